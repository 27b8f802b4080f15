package hivemqcloud

import (
	"errors"
	"strings"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/generic"
	"cloudbridge/platforms/hivemqcloud/hivemqcloudtest"
	"cloudbridge/platforms/platformtest"
)

func table(host, url string) *Cloud {
	c := &Cloud{Host: host, Username: "bridge", Password: "hunter2hunter2"}
	c.URL = url
	return c
}

func TestOpen(t *testing.T) {
	const name = "abc123.s1.eu.hivemq.cloud"
	for _, c := range []struct{ host, url, want string }{
		{name, "", "mqtts://" + name + ":8883"},
		{name + ":8883", "", "mqtts://" + name + ":8883"},
		{name + ":8884", "", "wss://" + name + ":8884/mqtt"},
		{name + ":8884/mqtt", "", "wss://" + name + ":8884/mqtt"},
		{"wss://" + name + ":8884/mqtt", "", "wss://" + name + ":8884/mqtt"},
		{"wss://" + name, "", "wss://" + name + ":8884/mqtt"},
		{"mqtts://" + name, "", "mqtts://" + name + ":8883"},
		{"mqtt://" + name + ":8883", "", "mqtts://" + name + ":8883"},
		{"tls://" + name + ":8883", "", "mqtts://" + name + ":8883"},
		{" " + name + "\n", "", "mqtts://" + name + ":8883"},
		{"", "mqtts://" + name, "mqtts://" + name + ":8883"},
		{name, "mqtts://127.0.0.1:4000", "mqtts://127.0.0.1:4000"},
	} {
		p, err := Open(table(c.host, c.url))
		if err != nil {
			t.Errorf("host %q, url %q: %v", c.host, c.url, err)
			continue
		}
		o, ok := p.Session()
		if !ok || o.URL != c.want || o.TLS.ServerName != name || o.Protocol != mqtt.V5 || o.Password.Reveal() != "hunter2hunter2" {
			t.Errorf("host %q, url %q: %+v", c.host, c.url, o)
		}
		if want := "hivemq-cloud " + name + " bridge"; p.Account() != want {
			t.Errorf("account %q, want %q", p.Account(), want)
		}
		l := p.Limits()
		if l.Window != 10 || l.MaxQoS != 2 || !l.Retain || !l.Will || !l.Public || l.LoginsPerMinute != 6 {
			t.Errorf("host %q, url %q: limits %+v", c.host, c.url, l)
		}
	}
}

func TestWindowOnOldProtocol(t *testing.T) {
	for protocol, want := range map[string]int{"": 65535, "5": 65535, "auto": 10, "3.1.1": 10} {
		c := table("a.hivemq.cloud", "")
		c.Protocol = protocol
		p, err := Open(c)
		if err != nil {
			t.Fatal(err)
		}
		if o, _ := p.Session(); o.Window != want {
			t.Errorf("protocol %q: window %d, want %d", protocol, o.Window, want)
		}
	}
}

func TestOpenFaults(t *testing.T) {
	for _, c := range []struct {
		table *Cloud
		key   string
		text  string
	}{
		{table("", ""), "host", "missing"},
		{table("1.2.3.4", ""), "host", "tells its clusters apart by name"},
		{table("", "mqtts://1.2.3.4"), "url", "tells its clusters apart by name"},
		{table("mqtt://a.hivemq.cloud:1883", ""), "host", "not encrypted"},
		{table("a.hivemq.cloud", "ws://127.0.0.1:80"), "url", "not encrypted"},
		{table("a.hivemq.cloud", "mqtts://x:y"), "url", "not a port"},
		{table("https://a.hivemq.cloud", ""), "host", "https://"},
		{table("mqtts://bridge:hunter2hunter2@a.hivemq.cloud", ""), "host", "user name or password"},
		{&Cloud{Host: "a.hivemq.cloud", Username: "u"}, "password", "missing"},
		{&Cloud{Host: "a.hivemq.cloud", Password: "p"}, "username", "missing"},
	} {
		_, err := Open(c.table)
		var e *platforms.KeyError
		if !errors.As(err, &e) || e.Key != c.key || !strings.Contains(e.Text, c.text) || e.Hint == "" || len(platformtest.Keys(err)) != 1 {
			t.Errorf("%s %s: %v (%+v)", c.table.Host, c.table.URL, err, e)
		}
	}
	_, err := Open(&Cloud{})
	if got := strings.Join(platformtest.Keys(err), " "); got != "host username password" {
		t.Errorf("an empty table blames %s: %v", got, err)
	}
}

func TestJudgeGolden(t *testing.T) {
	p, err := Open(table("abc.hivemq.cloud", ""))
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	for _, r := range []platforms.Reply{
		{Reason: mqtt.Reason{Packet: mqtt.Connack, Protocol: mqtt.V311, Code: 4}},
		{Reason: mqtt.Reason{Packet: mqtt.Connack, Protocol: mqtt.V311, Code: 5}},
		{Reason: mqtt.Reason{Packet: mqtt.Connack, Protocol: mqtt.V5, Code: 0x86}},
		{Reason: mqtt.Reason{Packet: mqtt.Connack, Protocol: mqtt.V5, Code: 0x87}},
		{Reason: mqtt.Reason{Packet: mqtt.Connack, Protocol: mqtt.V5, Code: 0x97}},
		{Reason: mqtt.Reason{Packet: mqtt.Puback, Protocol: mqtt.V5, Code: 0x87}, Topic: "school/lab1/temp"},
		{Reason: mqtt.Reason{Packet: mqtt.Suback, Protocol: mqtt.V5, Code: 0x87}, Topic: "school/#"},
		{Reason: mqtt.Reason{Packet: mqtt.Suback, Protocol: mqtt.V311, Code: 0x80}, Topic: "school/#"},
		{Reason: mqtt.Reason{Packet: mqtt.Disconnect, Protocol: mqtt.V5, Code: 0x87, Text: "Not authorized to publish on topic 'x'"}},
		{Reason: mqtt.Reason{Packet: mqtt.Disconnect, Protocol: mqtt.V5, Code: 0x8E}},
		{Reason: mqtt.Reason{Packet: mqtt.Disconnect, Protocol: mqtt.V5, Code: 0x93}},
	} {
		v := p.Judge(r)
		s.WriteString("MQTT " + r.Protocol.String() + ": " + (&mqtt.RefusedError{Reason: r.Reason}).Error() + "\n")
		s.WriteString("\t" + [...]string{"confirmed", "retry", "refused"}[v.Outcome])
		if v.After != 0 {
			s.WriteString(" after " + v.After.String())
		}
		s.WriteString("\n\t" + v.Why + "\n")
	}
	platformtest.Golden(t, "judge.txt", s.String())
}

func TestConformance(t *testing.T) {
	for _, protocol := range []string{"", "auto", "3.1.1"} {
		t.Run(protocol, func(t *testing.T) {
			platformtest.Run(t, platformtest.Case{
				Kind: Kind,
				Cloud: func() any {
					c := table("abc123.s1.eu.hivemq.cloud", "")
					c.Protocol = protocol
					return c
				},
				Secrets: []string{"hunter2hunter2"},
				Broken: func() any {
					c := table("mqtts://bridge:hunter2hunter2@abc123.s1.eu.hivemq.cloud", "")
					c.Username, c.KeepAlive = "a\x00", time.Millisecond
					return c
				},
				BrokenKeys: []string{"host", "username", "keepalive"},
				Scope:      mappings.Scope{Bridge: "lab1", Names: []string{"rest"}},
				Places:     []any{&generic.Place{}, &generic.Place{Topic: "school/{bridge}/{rest...}"}},
				BadPlaces:  []any{&generic.Place{Topic: "a/#"}},
				Sources:    []any{&generic.Place{Topic: "school/{bridge}/cmd/{rest...}"}, &generic.Place{Topic: "one"}},
				Good:       []mappings.Address{{Name: "a/b"}},
				Bad:        []mappings.Address{{Name: "a/+"}},
				Points: []mappings.Point{
					{Name: "school/lab1/溫度", QoS: 2, Retain: true, Parts: []mappings.Part{{Value: mappings.Value{Kind: mappings.Text, Bytes: []byte("27.5 °C")}}}},
					{Name: "school/lab1/x", QoS: 0, Parts: []mappings.Part{{Value: mappings.Value{Kind: mappings.Float, Float: 0.1}}}},
				},
				Emulator: hivemqcloudtest.Emulator,
				Options:  emulator.Options{},
			})
		})
	}
}
