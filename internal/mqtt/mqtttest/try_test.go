package mqtttest_test

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
)

// TestTryPublishWithoutRoom fills the window: what finds no room is not sent, neither then nor later.
func TestTryPublishWithoutRoom(t *testing.T) {
	hold := func(_ *mqtttest.Conn, p mqtttest.Packet) bool { return p.Kind == mqtttest.PUBLISH }
	faulty(t, mqtttest.Script{OnPacket: hold}, func(t *testing.T, f *mqtttest.Fake, o mqtt.Options) {
		o.Window = 3
		s := open(t, o)
		broker := f.Accepted()
		r := &results{}
		for i := range 5 {
			ok, err := s.TryPublish(&mqtt.Message{Topic: "a", QoS: 1, Payload: []byte(strconv.Itoa(i))}, r.of(i))
			if err != nil || ok != (i < 3) {
				t.Errorf("publish %d into a window of 3: %v %v", i, ok, err)
			}
		}
		// What needs no room goes beside them, and a message that cannot be is told apart.
		if ok, err := s.TryPublish(&mqtt.Message{Topic: "a", Payload: []byte("5")}, r.of(5)); !ok || err != nil {
			t.Errorf("QoS 0 beside a full window: %v %v", ok, err)
		}
		var invalid *mqtt.InvalidError
		if ok, err := s.TryPublish(&mqtt.Message{Topic: "a/#"}, nil); ok || !errors.As(err, &invalid) {
			t.Errorf("a wildcard: %v %v", ok, err)
		}
		mqtttest.Eventually(t, "what was sent", func() bool { return len(f.Received(mqtttest.PUBLISH)) == 4 })
		for _, p := range f.Received(mqtttest.PUBLISH) {
			if p.QoS > 0 {
				broker.Confirm(p)
			}
		}
		mqtttest.Eventually(t, "four results", func() bool { return r.len() == 4 })
		if ok, err := s.TryPublish(&mqtt.Message{Topic: "a", QoS: 1, Payload: []byte("6")}, r.of(6)); !ok || err != nil {
			t.Errorf("into an empty window: %v %v", ok, err)
		}
		mqtttest.Eventually(t, "the last", func() bool { return len(f.Received(mqtttest.PUBLISH)) == 5 })
		got := ""
		for _, p := range f.Received(mqtttest.PUBLISH) {
			got += string(p.Payload)
		}
		if got != "01256" {
			t.Errorf("the broker got %s, want 01256", got)
		}
		broker.Drop()
		_ = ended(t, s)
		if ok, err := s.TryPublish(&mqtt.Message{Topic: "a"}, r.of(7)); ok || !errors.Is(err, mqtt.ErrHungUp) {
			t.Errorf("after the end: %v %v", ok, err)
		}
	})
}

// TestCorkedSession lays messages out on a session that is held back: they go, and those of QoS 0 have their result, when it is
// let go.
func TestCorkedSession(t *testing.T) {
	both(t, func(t *testing.T, v mqtt.Protocol) {
		f := mqtttest.NewFake(mqtttest.Script{})
		s := open(t, mqtt.Options{URL: f.Listen(t), Protocol: v, CleanStart: true, ClientID: "bridge"})
		r := &results{}
		s.Cork()
		for i := range 20 {
			if ok, err := s.TryPublish(&mqtt.Message{Topic: "a", Payload: []byte("x")}, r.of(i)); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		if r.len() > 0 {
			t.Errorf("%d messages have a result while they are held back", r.len())
		}
		s.Uncork()
		mqtttest.Eventually(t, "20 results", func() bool { return r.len() == 20 })
		mqtttest.Eventually(t, "20 messages", func() bool { return len(f.Received(mqtttest.PUBLISH)) == 20 })
		// A ping does not wait for whoever holds the session back.
		s.Cork()
		defer s.Uncork()
		if err := s.Ping(soon(t)); err != nil {
			t.Error(err)
		}
	})
}

// TestTheWindowIsNeverExceededByMany publishes from many goroutines, waiting and not, corked and not: the broker never has more
// on its hands than it asked for, and each message that was taken comes once.
func TestTheWindowIsNeverExceededByMany(t *testing.T) {
	const most, each = 7, 60
	var mu sync.Mutex
	var waiting []mqtttest.Packet
	peak := 0
	answer := func(c *mqtttest.Conn) {
		for _, q := range waiting {
			c.Confirm(q)
		}
		waiting = nil
	}
	script := mqtttest.Script{
		Properties: [][]byte{mqtttest.ReceiveMaximum(most)},
		OnPacket: func(c *mqtttest.Conn, p mqtttest.Packet) bool {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case p.Kind == mqtttest.PINGREQ:
				answer(c)
				return false
			case p.Kind != mqtttest.PUBLISH:
				return false
			}
			waiting = append(waiting, p)
			if peak = max(peak, len(waiting)); len(waiting) >= most-1 {
				answer(c)
			}
			return true
		},
	}
	faulty(t, script, func(t *testing.T, f *mqtttest.Fake, o mqtt.Options) {
		peak = 0
		o.Window = most
		s := open(t, o)
		r := &results{}
		var busy sync.WaitGroup
		var taken [8]int
		for g := range taken {
			busy.Go(func() {
				for i := range each {
					m := &mqtt.Message{Topic: "a", QoS: 1, Payload: []byte(fmt.Sprint(g, " ", i))}
					if g%2 == 0 {
						if err := s.Publish(soon(t), m, r.of(g*each+i)); err != nil {
							t.Error(err)
						}
						taken[g]++
						continue
					}
					s.Cork()
					ok, err := s.TryPublish(m, r.of(g*each+i))
					s.Uncork()
					if err != nil {
						t.Error(err)
					}
					if ok {
						taken[g]++
					}
				}
			})
		}
		busy.Go(func() { // Each question has the broker answer early.
			for range 50 {
				if err := s.Ping(soon(t)); err != nil {
					t.Error(err)
				}
			}
		})
		busy.Wait()
		sum := 0
		for _, n := range taken {
			sum += n
		}
		if err := s.Ping(soon(t)); err != nil {
			t.Error(err)
		}
		mqtttest.Eventually(t, "all results", func() bool { return r.len() == sum })
		if peak > most {
			t.Errorf("%d in flight, %d allowed", peak, most)
		}
		if n := len(f.Received(mqtttest.PUBLISH)); n != sum {
			t.Errorf("%d messages came, %d were taken", n, sum)
		}
	})
}

// TestTryPublishOverMosquitto sends many messages without waiting through a real broker, with and without TLS, and falls back
// to waiting where there is no room: all come, in order.
func TestTryPublishOverMosquitto(t *testing.T) {
	const n = 2000
	broker := mqtttest.MosquittoWith(t, mqtttest.Setup{TLS: true, Conf: []string{"max_queued_messages 0"}})
	for name, url := range map[string]string{"tcp": broker.URL, "tls": broker.TLSURL} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, v mqtt.Protocol) {
				o := mqtt.Options{URL: url, Protocol: v, CleanStart: true, Window: 20, TLS: mqtt.TLS{CAFile: broker.Certs.CAFile}}
				in := &inbox{ack: true}
				o.ClientID, o.OnMessage = "phone", in.take
				subscribe(t, open(t, o), mqtt.Subscription{Filter: "a", QoS: 1})
				o.ClientID, o.OnMessage = "bridge", nil
				s := open(t, o)
				r, waited := &results{}, 0
				for i := range n {
					if i%16 == 0 {
						s.Cork()
					}
					m := &mqtt.Message{Topic: "a", QoS: 1, Payload: []byte(strconv.Itoa(i))}
					ok, err := s.TryPublish(m, r.of(i))
					if err != nil {
						t.Fatal(err)
					}
					if i%16 == 15 || !ok {
						s.Uncork()
					}
					if !ok {
						waited++
						if err := s.Publish(soon(t), m, r.of(i)); err != nil {
							t.Fatal(err)
						}
						if i%16 != 15 {
							s.Cork()
						}
					}
				}
				mqtttest.Eventually(t, "all results", func() bool { return r.len() == n })
				for i, m := range in.wait(t, n) {
					if string(m.Payload) != strconv.Itoa(i) {
						t.Fatalf("message %d is %s", i, m.Payload)
					}
				}
				if waited == 0 || waited == n {
					t.Errorf("%d of %d messages had to wait", waited, n)
				}
			})
		})
	}
}
