package main

import (
	"net"
	"net/url"
	"strings"

	"cloudbridge/cmd/cloudbridge/internal/config"
	"cloudbridge/internal/mqtt"
	"cloudbridge/platforms/all"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/thingspeak/thingspeaktest"
)

// samples are, by platform, a topic to publish to and one to subscribe to (USER stands for the user name), and a message.
var samples = map[string]struct{ publish, message, subscribe string }{
	"thingspeak":   {"channels/1001/publish", "field1=21.5&field2=48", "channels/1001/subscribe/fields/field1"},
	"adafruit-io":  {"USER/feeds/temperature", "21.5", "USER/feeds/#"},
	"hivemq-cloud": {"school/room1/temperature", "21.5", "school/#"},
	"mqtt":         {"school/room1/temperature", "21.5", "school/#"},
}

// byHand are the commands by which a person can try an emulator: with the account that its own config names.
func byHand(platform string, em emulator.Emulator) []string {
	sample, known := samples[platform]
	f, err := config.Parse("pretend.toml", []byte(em.Config("pretend")), config.Environment{Hostname: "pretend"}, all.Kinds())
	if err != nil || !known || len(f.Bridge.Clouds) != 1 {
		return nil
	}
	o, ok := f.Bridge.Clouds[0].Platform.Session()
	if !ok {
		return nil
	}
	pub, sub := o, o
	if platform == "thingspeak" {
		// The first device is the bridge's, and a second login as one device ends the first.
		devices := thingspeaktest.DemoDevices()
		pub, sub = as(o, devices[1]), as(o, devices[2])
	}
	topic := func(t string) string { return " -t '" + strings.ReplaceAll(t, "USER", o.Username) + "'" }
	return []string{
		"mosquitto_pub" + login(pub) + topic(sample.publish) + " -m '" + sample.message + "'",
		"mosquitto_sub" + login(sub) + topic(sample.subscribe) + " -v",
	}
}

// as is a session of another device of ThingSpeak's.
func as(o mqtt.Options, d thingspeaktest.Device) mqtt.Options {
	o.ClientID, o.Username, o.Password = d.ClientID, d.Username, mqtt.Secret(d.Password)
	return o
}

// login writes the options of the Mosquitto clients for a session.
func login(o mqtt.Options) string {
	u, err := url.Parse(o.URL)
	if err != nil {
		return ""
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		return ""
	}
	var b strings.Builder
	add := func(flag, value string) {
		if value != "" {
			b.WriteString(" " + flag + " " + value)
		}
	}
	if o.TLS.CAFile != "" {
		// These clients take the server's name from the host alone, and a cloud that wants one takes no number.
		host = "localhost"
	}
	add("-h", host)
	add("-p", port)
	add("--cafile", o.TLS.CAFile)
	add("-i", o.ClientID)
	add("-u", o.Username)
	add("-P", o.Password.Reveal())
	return b.String()
}
