package hivemqcloudtest

import (
	"bytes"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudbridge/internal/faketime"
	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/platforms/emulator"
)

func TestLogin(t *testing.T) {
	s := start(t, "credentials", "reader reader-password subscribe school/#")
	for _, p := range versions {
		for _, c := range []struct {
			name     string
			change   func(*mqtt.Options)
			v311, v5 string
		}{
			{"good", func(*mqtt.Options) {}, "none", "none"},
			{"over WebSocket", func(o *mqtt.Options) { o.URL = s.WebSocketURL() }, "none", "none"},
			{"wrong password", func(o *mqtt.Options) { o.Password = "x" }, "CONNACK 4", "CONNACK 134"},
			{"nobody", func(o *mqtt.Options) { o.Username, o.Password = "", "" }, "CONNACK 4", "CONNACK 134"},
			{"another cluster's name", func(o *mqtt.Options) {
				o.TLS = mqtt.TLS{ServerName: "other.s1.eu.hivemq.cloud", InsecureSkipVerify: true}
			}, "CONNACK 5", "CONNACK 135"},
			{"a will that is not allowed", func(o *mqtt.Options) {
				o.Username, o.Password, o.Will = "reader", "reader-password", &mqtt.Message{Topic: "school/x", Payload: []byte("gone")}
			}, "CONNACK 5", "CONNACK 135"},
		} {
			o := s.bridge(p)
			c.change(&o)
			session, err := dial(t, o)
			if got, want := code(err), by(p, c.v311, c.v5); got != want {
				t.Errorf("%s (MQTT %s): %s, %v; want %s", c.name, p, got, err, want)
			}
			if session != nil {
				hangUp(session)
			}
		}
	}
	if good, bad := s.Count("login", true), s.Count("login", false); good != 4 || bad != 8 {
		t.Errorf("%d logins and %d refused, want 4 and 8", good, bad)
	}
}

func TestNoServerName(t *testing.T) {
	s := start(t)
	c := rawDial(t, s, "")
	if _, err := c.Write(connect5()); err != nil {
		t.Fatal(err)
	}
	if p := packet(t, c); p[0] != 0x20 || p[2] != 0x87 {
		t.Errorf("answered % x, want CONNACK 0x87", p)
	}
}

func TestPublishNotAllowed(t *testing.T) {
	s := start(t, "permission", "subscribe")
	for _, p := range versions {
		for qos, want := range []string{"none", by(p, "closed", "PUBACK 135"), by(p, "closed", "PUBREC 135")} {
			session := dialed(t, s.bridge(p))
			got := publish(t, session, &mqtt.Message{Topic: "school/x", Payload: []byte("1"), QoS: byte(qos)})
			if got != want {
				t.Errorf("MQTT %s, QoS %d: %s, want %s", p, qos, got, want)
			}
			if got, want := ended(t, session), by(p, "closed", "DISCONNECT 135"); got != want {
				t.Errorf("MQTT %s, QoS %d: the session ends with %s, want %s", p, qos, got, want)
			}
			if p == mqtt.V5 && !strings.Contains(session.Err().Error(), "'school/x'") {
				t.Errorf("the goodbye does not name the topic: %v", session.Err())
			}
		}
	}
	if n := s.Count("publish", false); n != 6 {
		t.Errorf("%d messages were refused, want 6:\n%+v", n, s.Events())
	}
}

func TestSubscribeNotAllowed(t *testing.T) {
	s := start(t, "filter", "school/+/cmd")
	for _, p := range versions {
		session := dialed(t, s.bridge(p))
		subs := []mqtt.Subscription{{Filter: "school/lab1/cmd"}, {Filter: "school/#"}, {Filter: "other"}, {Filter: "school/+/cmd", QoS: 1}}
		refused, err := session.Subscribe(t.Context(), subs...)
		if err != nil {
			t.Fatal(err)
		}
		want := by(p, "SUBACK 128", "SUBACK 135")
		for i, want := range []string{"none", want, want, "none"} {
			if got := code(refused[i]); got != want {
				t.Errorf("MQTT %s, %s: %s, want %s", p, subs[i].Filter, got, want)
			}
		}
		if err := session.Ping(t.Context()); err != nil {
			t.Errorf("MQTT %s: the connection is gone: %v", p, err)
		}
		hangUp(session)
	}
}

func TestSessions(t *testing.T) {
	s := start(t, "sessions", "2")
	kept := s.bridge(mqtt.V5)
	kept.ClientID, kept.SessionExpiry, kept.CleanStart = "kept", time.Hour, false
	hangUp(dialed(t, kept)) // away, and still counted
	for _, p := range versions {
		one := s.bridge(p)
		session := dialed(t, one)
		two := one
		two.ClientID = "two"
		if _, err := dial(t, two); code(err) != by(p, "CONNACK 5", "CONNACK 151") {
			t.Errorf("MQTT %s: a session too many: %v", p, err)
		}
		if _, err := dial(t, kept); err != nil {
			t.Errorf("MQTT %s: the session that is there already: %v", p, err)
		}
		hangUp(session)
		mqtttest.Eventually(t, "the session to end", func() bool { _, ok := s.Server.Clients.Get("bridge"); return !ok })
	}
}

func TestTakeOver(t *testing.T) {
	s := start(t)
	for _, p := range versions {
		older := dialed(t, s.bridge(p))
		newer := dialed(t, s.bridge(p))
		if got, want := ended(t, older), by(p, "closed", "DISCONNECT 142"); got != want {
			t.Errorf("MQTT %s: the older one ends with %s, want %s", p, got, want)
		}
		hangUp(newer)
	}
}

func TestReceiveMaximum(t *testing.T) {
	for _, delay := range []string{"0s", "20ms"} {
		s := start(t, "ack_delay", delay)
		c := rawDial(t, s, s.Host())
		if _, err := c.Write(connect5()); err != nil {
			t.Fatal(err)
		}
		ack := packet(t, c)
		if ack[0] != 0x20 || ack[2] != 0 || !bytes.Contains(ack, []byte{0x21, 0, 10}) {
			t.Fatalf("CONNACK % x, want success and Receive Maximum 10", ack)
		}
		burst := func(n int) {
			var b []byte
			for i := range n {
				b = append(b, 0x32, 7, 0, 1, 'a', 0, byte(i+1), 0, 'x')
			}
			if _, err := c.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		burst(10)
		for i := range 10 {
			if p := packet(t, c); p[0] != 0x40 || p[2] != byte(i+1) {
				t.Fatalf("answer % x, want PUBACK %d", p, i+1)
			}
		}
		burst(11)
		p := packet(t, c)
		for p[0] == 0x40 {
			p = packet(t, c)
		}
		if p[0] != 0xE0 || p[1] != 0x93 {
			t.Errorf("answer % x, want DISCONNECT 0x93", p)
		}
		if n := s.Count("publish", false); n != 1 {
			t.Errorf("%d messages refused, want 1", n)
		}
	}
}

// TestPolitePublisher sends more than the window without ever exceeding it, in each QoS; on 3.1.1 nothing is enforced.
func TestPolitePublisher(t *testing.T) {
	s := start(t, "ack_delay", "1ms")
	const each = 40
	for _, p := range versions {
		session := dialed(t, s.bridge(p))
		var left sync.WaitGroup
		for i := range 3 * each {
			left.Add(1)
			m := &mqtt.Message{Topic: "a", Payload: []byte("x"), QoS: byte(i % 3)}
			err := session.Publish(t.Context(), m, func(r mqtt.Result) {
				if r.Err != nil {
					t.Errorf("MQTT %s: %v", p, r.Err)
				}
				left.Done()
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		left.Wait()
		hangUp(session)
	}
	mqtttest.Eventually(t, "all messages", func() bool { return s.Count("publish", true) == 6*each })
	if n := s.Count("publish", false); n != 0 {
		t.Errorf("%d messages refused", n)
	}
}

func TestQueueDiscardsTheNewest(t *testing.T) {
	s := start(t, "queue", "5")
	kept := s.bridge(mqtt.V5)
	kept.ClientID, kept.SessionExpiry, kept.CleanStart = "kept", time.Hour, false
	session := dialed(t, kept)
	if _, err := session.Subscribe(t.Context(), mqtt.Subscription{Filter: "t", QoS: 1}); err != nil {
		t.Fatal(err)
	}
	hangUp(session)
	sender := dialed(t, s.bridge(mqtt.V5))
	for i := range 8 {
		if got := publish(t, sender, &mqtt.Message{Topic: "t", Payload: []byte{byte('0' + i)}, QoS: 1}); got != "none" {
			t.Fatal(got)
		}
	}
	got := make(chan string, 8)
	kept.OnMessage = func(in *mqtt.Inbound) { got <- string(in.Payload); in.Ack() }
	session = dialed(t, kept)
	if err := session.Ping(t.Context()); err != nil { // Its answer comes after all that was kept.
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range len(got) {
		seen[<-got] = true
	}
	for i := range 8 {
		if payload := string(rune('0' + i)); seen[payload] != (i < 5) {
			t.Errorf("message %s arrived: %v", payload, seen[payload])
		}
	}
}

func TestForcedDisconnect(t *testing.T) {
	s := start(t, "disconnect_every", "30ms")
	for _, p := range versions {
		session, err := dial(t, s.bridge(p))
		if err != nil {
			continue // The maintenance came before the CONNACK.
		}
		if got := ended(t, session); got != "closed" {
			t.Errorf("MQTT %s: %s, want an end without a word", p, got)
		}
	}
	if s.Count("disconnect", true) == 0 {
		t.Error("nobody was disconnected")
	}
}

func TestMalformedFilter(t *testing.T) {
	s := start(t)
	c := rawDial(t, s, s.Host())
	if _, err := c.Write(append(connect5(), 0x82, 9, 0, 1, 0, 0, 3, 'a', '#', 'b', 0)); err != nil {
		t.Fatal(err)
	}
	packet(t, c)
	if p := packet(t, c); p[0] != 0xE0 || p[1] != 0x8F {
		t.Errorf("answer % x, want DISCONNECT 0x8F", p)
	}
}

// TestInABubble runs the emulator and a session of ours on an in-memory network, TLS and WebSockets included, and lets an
// hour pass.
func TestInABubble(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		n := emulator.NewNetwork()
		o := emulator.Options{Delay: 300 * time.Millisecond, Set: map[string]string{"disconnect_every": "1h"}}
		for address, l := range map[string]*net.Listener{"hive.test:8883": &o.Listener, "hive.test:8884": &o.WSListener} {
			var err error
			if *l, err = n.Listen(address); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Start(o)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for _, p := range versions {
			for _, url := range []string{s.URL(), s.WebSocketURL()} {
				bridge := s.bridge(p)
				bridge.URL, bridge.ClientID, bridge.DialContext = url, url+p.String(), n.DialContext
				session := dialed(t, bridge)
				if got := publish(t, session, &mqtt.Message{Topic: "a", Payload: []byte("x"), QoS: 2}); got != "none" {
					t.Errorf("%s, MQTT %s: %s", url, p, got)
				}
				select {
				case <-session.Done():
					t.Errorf("%s, MQTT %s: ended after %v: %v", url, p, time.Since(began), session.Err())
				case <-time.After(10 * time.Minute):
				}
				t.Cleanup(func() {
					if got := ended(t, session); got != "closed" {
						t.Errorf("%s, MQTT %s: ended with %s", url, p, got)
					}
				})
			}
		}
		time.Sleep(time.Hour - time.Since(began) + time.Second)
		if n := s.Count("disconnect", true); n != 4 {
			t.Errorf("%d sessions were disconnected in the hour, want 4", n)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestSettings(t *testing.T) {
	for _, set := range []map[string]string{
		{"permision": "both"},
		{"permission": "all"},
		{"filter": "a/#/b"},
		{"sessions": "0"},
		{"receive_maximum": "x"},
		{"queue": "70000"},
		{"ack_delay": "1"},
		{"credentials": "user password"},
		{"disconnect_every": "often"},
	} {
		if s, err := Start(emulator.Options{Set: set}); err == nil {
			_ = s.Close()
			t.Errorf("%v is accepted", set)
		}
	}
}

// TestMosquittoTools shows that the emulator holds up against a client of somebody else's.
func TestMosquittoTools(t *testing.T) {
	pub, sub := mqtttest.Program(t, "mosquitto_pub"), mqtttest.Program(t, "mosquitto_sub")
	s := start(t)
	_, port, _ := strings.Cut(strings.TrimPrefix(s.URL(), "mqtts://"), ":")
	for _, version := range []string{"5", "mqttv311"} {
		login := []string{"-h", "localhost", "-p", port, "--cafile", s.CAFile(), "-u", "bridge", "-P", "bridge-password", "-V", version}
		before := s.Count("subscribe", true)
		listen := exec.CommandContext(t.Context(), sub, append(login, "-t", "school/#", "-C", "1", "-W", "20", "-q", "1")...)
		var heard bytes.Buffer
		listen.Stdout = &heard
		if err := listen.Start(); err != nil {
			t.Fatal(err)
		}
		mqtttest.Eventually(t, "the subscription", func() bool { return s.Count("subscribe", true) > before })
		out, err := exec.CommandContext(t.Context(), pub, append(login, "-t", "school/溫度", "-m", "二十七", "-q", "1")...).CombinedOutput()
		if err != nil {
			t.Fatalf("mosquitto_pub: %v\n%s", err, out)
		}
		if err := listen.Wait(); err != nil || heard.String() != "二十七\n" {
			t.Errorf("MQTT %s: mosquitto_sub heard %q, %v", version, heard.String(), err)
		}
		login[9] = "wrong"
		if out, err := exec.CommandContext(t.Context(), pub, append(login, "-t", "x", "-m", "y")...).CombinedOutput(); err == nil {
			t.Errorf("MQTT %s: a wrong password is taken\n%s", version, out)
		}
	}
}
