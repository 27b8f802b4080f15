package bridge

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/platforms/generic"
)

// anyBroker fills a generic cloud table.
func anyBroker(url, protocol string) func(any) {
	return func(c any) {
		c.(*generic.Cloud).URL = url
		c.(*generic.Cloud).Protocol = protocol
	}
}

func topic(s string) func(any) { return func(p any) { p.(*generic.Place).Topic = s } }

// TestUplinkOverMosquitto takes readings from one real broker to another, in both protocol versions.
func TestUplinkOverMosquitto(t *testing.T) {
	for _, protocol := range []string{"5", "3.1.1"} {
		t.Run(protocol, func(t *testing.T) {
			a, b := mqtttest.Mosquitto(t), mqtttest.Mosquitto(t)
			l := newLab(t, "lab1", a.URL).cloud("far", generic.Kind, anyBroker(b.URL, protocol))
			if protocol == "3.1.1" {
				l.cfg.Local.Session.Protocol = mqtt.V311
			}
			l.up("iot/{rest...}", "far", topic("school/{bridge}/{rest}"))
			phone := join(t, mqtt.Options{URL: b.URL}, "school/#")
			br, stop := l.run()
			online(t, br)
			board := join(t, mqtt.Options{URL: a.URL})
			const n = 500
			for i := range n {
				board.publish(fmt.Sprintf("iot/ece/dev%d/temp", i%3), fmt.Sprint(i))
			}
			got := phone.wait(n)
			seen := map[string]int{}
			for i, m := range got {
				if string(m.Payload) != fmt.Sprint(i) || m.Topic != fmt.Sprintf("school/lab1/ece/dev%d/temp", i%3) {
					t.Fatalf("message %d is %s = %s: not in order", i, m.Topic, m.Payload)
				}
				seen[string(m.Payload)]++
			}
			eventually(t, "all confirmed", func() bool { return br.Status().Clouds[0].Counts.Confirmed == n })
			stop()
			if len(seen) != n {
				t.Errorf("%d different readings arrived, want %d", len(seen), n)
			}
		})
	}
}

// TestTwowayIsNoLoop publishes once on each side of a two-way mapping and sees one message on each.
func TestTwowayIsNoLoop(t *testing.T) {
	for _, protocol := range []string{"5", "3.1.1"} {
		t.Run(protocol, func(t *testing.T) {
			a, b := mqtttest.Mosquitto(t), mqtttest.Mosquitto(t)
			l := newLab(t, "lab1", a.URL).cloud("far", generic.Kind, anyBroker(b.URL, protocol))
			if protocol == "3.1.1" {
				l.cfg.Local.Session.Protocol = mqtt.V311
			}
			l.up("home/{rest...}", "far", topic("maker/home/{rest}"), func(u *Uplink) { u.Twoway = true })
			l.down("far", topic("maker/home/{rest...}"), "home/{rest}", func(d *Downlink) { d.Twoway, d.MaxHops = true, 0 })
			br, _ := l.run()
			online(t, br)
			board, phone := join(t, mqtt.Options{URL: a.URL}, "home/#"), join(t, mqtt.Options{URL: b.URL}, "maker/#")
			board.publish("home/lamp/state", "ON")
			phone.wait(1)
			phone.publish("maker/home/lamp/set", "OFF")
			board.wait(2)
			eventually(t, "the bridge to be at rest", func() bool {
				s := br.Status()
				return s.Clouds[0].Counts.Confirmed >= 2 && s.Clouds[0].Counts.Waiting == 0
			})
			// A second round shows that nothing of the first went round: messages of one connection stay in order.
			board.publish("home/end", "1")
			got := phone.wait(3)
			if want := "maker/home/lamp/state=ON maker/home/lamp/set=OFF maker/home/end=1 "; spell(got) != want {
				t.Errorf("the cloud heard %s, want %s", spell(got), want)
			}
			phone.publish("maker/home/end2", "1")
			got = board.wait(4)
			if want := "home/lamp/state=ON home/lamp/set=OFF home/end=1 home/end2=1 "; spell(got) != want {
				t.Errorf("the house heard %s, want %s", spell(got), want)
			}
		})
	}
}

// TestToggleIsQuick measures a command's way down with everything on one machine.
func TestToggleIsQuick(t *testing.T) {
	a, b := mqtttest.Mosquitto(t), mqtttest.Mosquitto(t)
	l := newLab(t, "lab1", a.URL).cloud("far", generic.Kind, anyBroker(b.URL, "auto"))
	l.down("far", topic("cmd/lamp"), "house/lamp", func(d *Downlink) { d.Values = map[string]string{"ON": "1", "OFF": "0"} })
	br, _ := l.run()
	online(t, br)
	lamp, phone := join(t, mqtt.Options{URL: a.URL}, "house/#"), join(t, mqtt.Options{URL: b.URL})
	began := time.Now()
	phone.publish("cmd/lamp", "ON")
	got := lamp.wait(1)
	t.Logf("toggle to lamp: %v", time.Since(began))
	if string(got[0].Payload) != "1" {
		t.Errorf("the lamp heard %s, want 1", got[0].Payload)
	}
	phone.publish("cmd/lamp", "BLINK")
	phone.publish("cmd/lamp", "OFF")
	if got := lamp.wait(2); string(got[1].Payload) != "0" {
		t.Errorf("after a value that is not listed the lamp heard %s, want 0", got[1].Payload)
	}
	s := br.Status()
	if s.Rules[0].Counts.Dropped != 1 {
		t.Errorf("a value that is not listed was counted %d times as dropped, want once: %v", s.Rules[0].Counts.Dropped, s.Rules[0].Counts.Reasons)
	}
}

// besideADeadCloud runs a bridge with one cloud that is down and one that works, each with an uplink, and returns a board
// in the house and a listener at the cloud that works.
func besideADeadCloud(t *testing.T, protocol mqtt.Protocol, down, good string) (board, phone *client) {
	t.Helper()
	a, g := mqtttest.Mosquitto(t), mqtttest.Mosquitto(t)
	l := newLab(t, "lab1", a.URL)
	l.cfg.Local.Session.Protocol = protocol
	l.cloud("down", generic.Kind, anyBroker("mqtt://"+mqtttest.FreeAddr(t), "5")).up(down, "down", nil)
	l.cloud("good", generic.Kind, anyBroker(g.URL, "5")).up(good, "good", nil)
	phone = join(t, mqtt.Options{URL: g.URL}, "iot/#")
	br, _ := l.run()
	eventually(t, "the house and the good cloud online", func() bool {
		s := br.Status()
		return s.Local.State == stateOnline && s.Clouds[1].State == stateOnline
	})
	return join(t, mqtt.Options{URL: a.URL}), phone
}

// TestOrderBesideADeadCloud has one cloud down while another gets a flood: it arrives whole and in order.
func TestOrderBesideADeadCloud(t *testing.T) {
	for _, protocol := range []mqtt.Protocol{mqtt.V5, mqtt.V311} {
		t.Run(protocol.String(), func(t *testing.T) {
			board, phone := besideADeadCloud(t, protocol, "iot/#", "iot/#")
			const n = 3000
			for i := range n {
				board.publish("iot/x", fmt.Sprint(i))
			}
			for i, m := range phone.wait(n) {
				if string(m.Payload) != fmt.Sprint(i) {
					t.Fatalf("reading %d is %s", i, m.Payload)
				}
			}
		})
	}
}

// TestTwoTopicsOneDeadCloud has two rules, each for another cloud, of which one is down: what waits for it fills the
// local broker's window together with what the other cloud has long confirmed, for acknowledgements leave in order.
func TestTwoTopicsOneDeadCloud(t *testing.T) {
	for _, protocol := range []mqtt.Protocol{mqtt.V5, mqtt.V311} {
		t.Run(protocol.String(), func(t *testing.T) {
			board, phone := besideADeadCloud(t, protocol, "iot/hum", "iot/temp")
			const n = 1200
			for i := range n {
				board.publish("iot/hum", fmt.Sprint(i))
				board.publish("iot/temp", fmt.Sprint(i))
			}
			phone.wait(n)
		})
	}
}

// TestClientIDClash runs two bridges with one client id beside a broker that says nothing of it, or in MQTT 5 does since
// 2.0.15: they slow down and say what it may be, or is.
func TestClientIDClash(t *testing.T) {
	for _, protocol := range []mqtt.Protocol{mqtt.V5, mqtt.V311} {
		t.Run(protocol.String(), func(t *testing.T) {
			t.Parallel() // Nearly all of it is waiting.
			a, g := mqtttest.Mosquitto(t), mqtttest.Mosquitto(t)
			var labs []*lab
			for range 2 {
				l := newLab(t, "lab1", a.URL).cloud("far", generic.Kind, anyBroker(g.URL, "5")).up("iot/#", "far", nil)
				l.cfg.Local.Session.Protocol = protocol
				l.cfg.Clouds[0].Platform.(*generic.Broker).Options.ClientID = fmt.Sprint("far", len(labs))
				l.run()
				labs = append(labs, l)
			}
			eventually(t, "one of them to say so", func() bool {
				return slices.ContainsFunc(labs, func(l *lab) bool {
					return l.log.has("perhaps another bridge or program uses the client id") || l.log.has("another client with the same client id")
				})
			})
		})
	}
}
