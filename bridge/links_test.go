package bridge

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/generic"
	"cloudbridge/platforms/generic/generictest"
	"cloudbridge/platforms/hivemqcloud"
	"cloudbridge/platforms/hivemqcloud/hivemqcloudtest"
	"cloudbridge/platforms/thingspeak"
	"cloudbridge/platforms/thingspeak/thingspeaktest"
)

// hive starts the emulator of HiveMQ Cloud at hive:8883 and returns how a bridge and a phone reach it.
func (b *bubble) hive(set map[string]string) (h *hivemqcloudtest.Server, table func(protocol string) func(any), phone mqtt.Options) {
	b.Helper()
	h, err := hivemqcloudtest.Start(emulator.Options{Listener: b.listen("hive:8883"), Set: set})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = h.Close() })
	ca := quoted(b, h.Config("x"), "ca_file")
	const host = "demo.s1.eu.hivemq.cloud"
	table = func(protocol string) func(any) {
		return func(c any) {
			t := c.(*hivemqcloud.Cloud)
			t.Host, t.URL, t.Username, t.Password, t.CAFile, t.Protocol = host, "mqtts://hive:8883", "bridge", "bridge-password", ca, protocol
		}
	}
	phone = mqtt.Options{
		URL: "mqtts://hive:8883", DialContext: b.net.DialContext, TLS: mqtt.TLS{CAFile: ca, ServerName: host},
		Username: "phone", Password: "p",
	}
	return h, table, phone
}

// quoted reads one string of a TOML table.
func quoted(t *bubble, toml, key string) string {
	t.Helper()
	for line := range strings.Lines(toml) {
		if rest, ok := strings.CutPrefix(line, key+" = "); ok {
			return strings.Trim(strings.TrimSpace(rest), `"`)
		}
	}
	t.Fatalf("no %s in %s", key, toml)
	return ""
}

// TestForbiddenTopic has a rule whose topic the credential may not use, beside one that it may. HiveMQ closes the
// connection for it, on MQTT 3.1.1 without a word: the topic is found and rests, the rest goes on.
func TestForbiddenTopic(t *testing.T) {
	for _, protocol := range []string{"5", "3.1.1"} {
		for _, qos := range []byte{0, 1} {
			t.Run(fmt.Sprintf("%s QoS %d", protocol, qos), func(t *testing.T) {
				inBubble(t, func(b *bubble) {
					h, table, phone := b.hive(map[string]string{"filter": "school/#", "credentials": "phone p both #"})
					watcher := join(b.T, phone, "#")
					l := b.lab().cloud("hive", hivemqcloud.Kind, table(protocol))
					withQoS := func(u *Uplink) { u.QoS = qos }
					l.up("iot/{rest...}", "hive", topic("school/{rest}"), withQoS)
					l.up("private/{rest...}", "hive", topic("secret/{rest}"), withQoS)
					br, stop := l.run()
					online(b.T, br)
					board := b.board()
					const n = 60
					for i := range n {
						board.publish("iot/temp", fmt.Sprint(i))
						if i%10 == 5 {
							board.publish("private/temp", "x")
						}
						time.Sleep(time.Second)
					}
					time.Sleep(9 * time.Minute)
					s := br.Status().Clouds[0]
					stop()
					got := map[string]bool{}
					for _, m := range watcher.messages() {
						if m.Topic == "school/temp" {
							got[string(m.Payload)] = true
						}
						if strings.HasPrefix(m.Topic, "secret") {
							b.Errorf("%s reached the cloud", m.Topic)
						}
					}
					if qos == 1 && len(got) != n {
						b.Errorf("%d of %d allowed readings arrived", len(got), n)
					}
					if qos == 0 && len(got) < n-12 {
						b.Errorf("%d of %d allowed readings with QoS 0 arrived", len(got), n)
					}
					if s.Counts.Refused == 0 || len(s.Rejected) == 0 || !strings.Contains(s.Rejected[0].Why, "secret/temp") {
						b.Errorf("refused %d: %+v, want the topic by name", s.Counts.Refused, s.Rejected)
					}
					if logins := h.Count("login", true); logins > 20 {
						b.Errorf("%d logins", logins)
					}
					b.Logf("%d arrived, %d refused, %d logins: %+v", len(got), s.Counts.Refused, h.Count("login", true), s.Rejected)
				})
			})
		}
	}
}

// TestStateTopics follows the state of the bridge as the house and the cloud see it: online, offline when the bridge
// stops, and by the will when it dies.
func TestStateTopics(t *testing.T) {
	inBubble(t, func(b *bubble) {
		_, table, phone := b.hive(map[string]string{"credentials": "phone p both #"})
		l := b.lab().cloud("hive", hivemqcloud.Kind, table("5"))
		l.cfg.Clouds[0].Announce = "school/status/lab1"
		l.up("iot/#", "hive", nil)
		br, stop := l.run()
		online(b.T, br)
		house := join(b.T, mqtt.Options{URL: "mqtt://house:1883", DialContext: b.net.DialContext}, "cloudbridge/#")
		watcher := join(b.T, phone, "school/status/#")
		time.Sleep(time.Second)
		states := func(c *client) map[string]string {
			last := map[string]string{}
			for _, m := range c.messages() {
				var s stateMessage
				if err := json.Unmarshal(m.Payload, &s); err != nil {
					b.Fatalf("%s: %s: %v", m.Topic, m.Payload, err)
				}
				if !m.Retain {
					b.Errorf("%s is not retained", m.Topic)
				}
				last[m.Topic] = s.State
			}
			return last
		}
		if got := fmt.Sprint(states(house)); got != "map[cloudbridge/lab1-0001/cloud/hive:online cloudbridge/lab1-0001/state:online]" {
			b.Errorf("the house sees %s", got)
		}
		if got := fmt.Sprint(states(watcher)); got != "map[school/status/lab1:online]" {
			b.Errorf("the cloud sees %s", got)
		}
		stop()
		time.Sleep(time.Second)
		if got := fmt.Sprint(states(house)); got != "map[cloudbridge/lab1-0001/cloud/hive:offline cloudbridge/lab1-0001/state:offline]" {
			b.Errorf("after a stop the house sees %s", got)
		}
		if got := fmt.Sprint(states(watcher)); got != "map[school/status/lab1:offline]" {
			b.Errorf("after a stop the cloud sees %s", got)
		}
	})
}

// TestFallback has brokers that refuse MQTT 5, each in its way, on both sides.
func TestFallback(t *testing.T) {
	for _, refusal := range []string{"1", "0x84", "close"} {
		t.Run(refusal, func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				old, err := generictest.Start(emulator.Options{Listener: b.listen("old:1883"), Set: map[string]string{"protocol": "3.1.1", "refusal": refusal}})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = old.Close() })
				l := b.lab().cloud("far", generic.Kind, anyBroker("mqtt://house:1883", "auto"))
				l.cfg.Local.Session.URL = "mqtt://old:1883"
				l.up("iot/#", "far", topic("up"))
				br, stop := l.run()
				online(b.T, br)
				s := br.Status()
				if s.Local.Protocol != "3.1.1" || s.Clouds[0].Protocol != "5" {
					b.Errorf("the old broker speaks %s with us, the new one %s", s.Local.Protocol, s.Clouds[0].Protocol)
				}
				want := uint64(2)
				if refusal == "close" {
					want = 3 // Only the second close without an answer tells.
				}
				if s.Local.Logins != want {
					b.Errorf("%d logins, want %d", s.Local.Logins, want)
				}
				stop()
			})
		})
	}
}

// TestThingSpeakOverREST writes with a write key alone: each row is confirmed by the cloud.
func TestThingSpeakOverREST(t *testing.T) {
	inBubble(t, func(b *bubble) {
		ts, err := thingspeaktest.New(thingspeaktest.Options{Options: emulator.Options{
			Listener: b.listen("ts:1883"), HTTPListener: b.listen("ts:80"), Delay: jitter,
		}})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = ts.Close() })
		l := b.lab().cloud("weather", thingspeak.Kind, func(c any) {
			t := c.(*thingspeak.Cloud)
			t.APIURL = "http://ts:80"
			t.Channels = map[string]thingspeak.Channel{"1001": {WriteKey: mqtt.Secret(thingspeaktest.DemoChannels()[0].WriteKey)}}
		})
		l.up("iot/temp", "weather", field(1001, 1))
		br, stop := l.run()
		board := b.board()
		for i := range 60 {
			board.publish("iot/temp", fmt.Sprint(i))
			time.Sleep(time.Second)
		}
		time.Sleep(20 * time.Second)
		s := br.Status().Clouds[0]
		stop()
		if bad := refused(ts); len(bad) > 0 {
			b.Fatalf("refused: %+v", bad)
		}
		rows := ts.Feed(1001)
		if len(rows) < 4 || rows[len(rows)-1].Values["field1"] != "59" {
			b.Errorf("the channel has %v", rows)
		}
		if s.Counts.Confirmed != uint64(len(rows)) || s.State != stateOnline {
			b.Errorf("%d rows, counted %+v, state %s", len(rows), s.Counts, s.State)
		}
	})
}
