package bridge

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/platforms/adafruitio"
	"cloudbridge/platforms/generic"
	"cloudbridge/platforms/thingspeak"
	"cloudbridge/platforms/thingspeak/thingspeaktest"
)

// TestTwoTablesOneChannel has two [cloud.x] tables write to one channel: they share its pace.
func TestTwoTablesOneChannel(t *testing.T) {
	inBubble(t, func(b *bubble) {
		ts := b.thingSpeak()
		l := b.lab()
		for i := range 2 {
			name := fmt.Sprintf("w%d", i)
			l.cloud(name, thingspeak.Kind, func(c any) {
				t := c.(*thingspeak.Cloud)
				t.APIURL = "http://ts:80"
				t.Channels = map[string]thingspeak.Channel{"1001": {WriteKey: mqtt.Secret(thingspeaktest.DemoChannels()[0].WriteKey)}}
			})
			l.up(fmt.Sprintf("iot/%d", i), name, field(1001, int64(i+1)))
		}
		_, stop := l.run()
		board := b.board()
		for i := range 900 {
			board.publish("iot/0", fmt.Sprint(i))
			board.publish("iot/1", fmt.Sprint(i))
			time.Sleep(time.Second)
		}
		stop()
		if bad := refused(ts); len(bad) > 0 {
			b.Errorf("%d refused, the first %+v", len(bad), bad[0])
		}
		if n := len(ts.Feed(1001)); n < 50 {
			b.Errorf("%d rows in 15 minutes, want nearly one in each 15.75 s", n)
		}
	})
}

// TestJoinedRowCountsForEachRule sees a row of two rules' values counted for both.
func TestJoinedRowCountsForEachRule(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.thingSpeak()
		l := b.lab().cloud("w", thingspeak.Kind, weatherTable)
		l.up("iot/a", "w", field(1001, 1)).up("iot/b", "w", field(1001, 2))
		br, stop := l.run()
		online(b.T, br)
		board := b.board()
		for i := range 60 {
			board.publish("iot/a", fmt.Sprint(i))
			board.publish("iot/b", fmt.Sprint(i))
			time.Sleep(time.Second)
		}
		s := br.Status()
		stop()
		for _, r := range s.Rules {
			if r.Counts.Sent != s.Clouds[0].Counts.Sent || r.Counts.Sent == 0 {
				b.Errorf("%s counts %d rows sent, the cloud %d", r.Label, r.Counts.Sent, s.Clouds[0].Counts.Sent)
			}
		}
	})
}

// TestTwoSessionsTwoEchoes has rules that need two sessions on MQTT 3.1.1: each session hears the echo of a command, and
// none of them goes up.
func TestTwoSessionsTwoEchoes(t *testing.T) {
	a, far := mqtttest.Mosquitto(t), mqtttest.Mosquitto(t)
	l := newLab(t, "lab1", a.URL).cloud("far", generic.Kind, anyBroker(far.URL, "5"))
	l.cfg.Local.Session.Protocol = mqtt.V311
	l.up("+/status", "far", nil)
	l.up("lab/{rest...}", "far", topic("maker/lab/{rest}"), func(u *Uplink) { u.Twoway = true })
	l.down("far", topic("maker/lab/{rest...}"), "lab/{rest}", func(d *Downlink) { d.Twoway, d.MaxHops = true, 0 })
	br, _ := l.run()
	online(t, br)
	eventually(t, "the second session", func() bool {
		list := br.local.sessions()
		return len(list) == 2 && list[1].link.status(time.Now()).State == stateOnline
	})
	phone := join(t, mqtt.Options{URL: far.URL}, "#")
	for i := range 10 {
		phone.publish("maker/lab/status", fmt.Sprint(i))
	}
	eventually(t, "both sessions to hear all echoes", func() bool {
		return br.Status().Unmatched.Reasons["dropped: our own command, come back"] == 20
	})
	phone.publish("end", "1")
	for _, m := range phone.wait(11) {
		if !strings.HasPrefix(m.Topic, "maker/lab/status") && m.Topic != "end" {
			t.Errorf("%s = %s went up again", m.Topic, m.Payload)
		}
	}
	if n := len(phone.messages()); n != 11 {
		t.Errorf("the cloud heard %d messages, want the ten commands and the end", n)
	}
}

// TestEchoAfterReconnect has the broker hold the echo of a command in the kept session while the link is down.
func TestEchoAfterReconnect(t *testing.T) {
	var dropped atomic.Bool
	f := mqtttest.NewFake(mqtttest.Script{
		SessionPresent: true,
		OnPacket: func(c *mqtttest.Conn, p mqtttest.Packet) bool {
			if p.Kind == mqtttest.PUBLISH && string(p.Body[2:6]) == "home" && dropped.CompareAndSwap(false, true) {
				c.Confirm(p)
				c.Drop()
				return true
			}
			return false
		},
	})
	far := mqtttest.Mosquitto(t)
	l := newLab(t, "lab1", f.Listen(t)).cloud("far", generic.Kind, anyBroker(far.URL, "5"))
	l.cfg.Local.Session.Protocol = mqtt.V311
	l.up("home/{rest...}", "far", topic("maker/{rest}"), func(u *Uplink) { u.Twoway = true })
	l.down("far", topic("maker/{rest...}"), "home/{rest}", func(d *Downlink) { d.Twoway, d.MaxHops = true, 0 })
	br, _ := l.run()
	online(t, br)
	f.Accepted()
	phone := join(t, mqtt.Options{URL: far.URL}, "#")
	phone.publish("maker/lamp", "ON")
	again := f.Accepted()
	online(t, br)
	again.Publish(77, 1, "home/lamp", "ON") // what the broker kept
	eventually(t, "the echo to be known", func() bool {
		return br.Status().Unmatched.Reasons["dropped: our own command, come back"] == 1
	})
	again.Publish(78, 1, "home/lamp", "OFF") // what a switch says
	got := phone.wait(2)
	if want := "maker/lamp=ON maker/lamp=OFF "; spell(got) != want {
		t.Errorf("the cloud heard %s, want %s", spell(got), want)
	}
}

// TestRestore asks for a feed's last value at the start: it comes down if the house was not told it before, and the house
// counts as told only when the local broker has it.
func TestRestore(t *testing.T) {
	inBubble(t, func(b *bubble) {
		dir := t.TempDir()
		aio := b.adafruit(map[string]string{"feeds": "lights"})
		if err := aio.Toggle("lights", "ON"); err != nil {
			b.Fatal(err)
		}
		start := func(local string) (*Bridge, func()) {
			l := b.lab().cloud("home", adafruitio.Kind, func(c any) {
				a := c.(*adafruitio.Cloud)
				a.URL, a.Username, a.Key = "mqtt://aio:1883", aio.Username(), aioKey
			})
			l.cfg.Queue.Dir, l.cfg.Local.Session.URL = dir, local
			l.down("home", feed("lights"), "lamp", func(d *Downlink) { d.Restore = true })
			br, stop := l.run()
			eventually(b.T, "the cloud online", func() bool { return br.Status().Clouds[0].State == stateOnline })
			time.Sleep(5 * time.Second)
			return br, stop
		}
		lamp := join(b.T, mqtt.Options{URL: "mqtt://house:1883", DialContext: b.net.DialContext}, "lamp")
		_, stop := start("mqtt://nobody:1883") // The house cannot be told.
		stop()
		time.Sleep(time.Minute)
		_, stop = start("mqtt://house:1883")
		stop()
		if got := spell(lamp.messages()); got != "lamp=ON " {
			b.Fatalf("at the first start with a house the lamp heard %q, want ON", got)
		}
		time.Sleep(time.Minute)
		_, stop = start("mqtt://house:1883")
		if got := spell(lamp.messages()); got != "lamp=ON " {
			b.Errorf("at the second start the lamp heard %q, want nothing new", got)
		}
		stop()
		time.Sleep(time.Minute)
		if err := aio.Toggle("lights", "OFF"); err != nil {
			b.Fatal(err)
		}
		_, stop = start("mqtt://house:1883")
		if got := spell(lamp.messages()); got != "lamp=ON lamp=OFF " {
			b.Errorf("after a toggle while the bridge was away the lamp heard %q, want OFF too", got)
		}
		stop()
	})
}

// TestTwinsAreTold has two boards whose names become one feed.
func TestTwinsAreTold(t *testing.T) {
	inBubble(t, func(b *bubble) {
		aio := b.adafruit(nil)
		l := b.lab().cloud("home", adafruitio.Kind, func(c any) {
			a := c.(*adafruitio.Cloud)
			a.URL, a.Username, a.Key = "mqtt://aio:1883", aio.Username(), aioKey
		})
		l.up("dev/{device}/t", "home", feed("{device}"))
		br, stop := l.run()
		online(b.T, br)
		board := b.board()
		board.publish("dev/Pico W/t", "1")
		board.publish("dev/pico-w/t", "2")
		time.Sleep(time.Second)
		stop()
		if !l.log.has("dev/Pico W/t and dev/pico-w/t are written to one place: pico-w") {
			b.Errorf("nobody said so: %s", l.log)
		}
	})
}
