package mqtttest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
)

func TestEachRefusalIsSeenAsItStoodOnTheWire(t *testing.T) {
	codes := map[mqtt.Protocol][]byte{
		mqtt.V311: {1, 2, 3, 4, 5, 6, 7, 8, 42, 0x80, 0x87, 255},
		mqtt.V5: {
			1, 5, 0x7F, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C,
			0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F, 255,
		},
	}
	both(t, func(t *testing.T, v mqtt.Protocol) {
		for _, code := range codes[v] {
			f := mqtttest.NewFake(mqtttest.Script{Refuse: code, Text: "because"})
			_, err := mqtt.Dial(soon(t), mqtt.Options{URL: f.Listen(t), Protocol: v, CleanStart: true})
			want := mqtt.Reason{Packet: mqtt.Connack, Protocol: v, Code: code}
			if v == mqtt.V5 {
				want.Text = "because"
			}
			var refused *mqtt.RefusedError
			if !errors.As(err, &refused) || refused.Reason != want {
				t.Errorf("code %#x gave %#v", code, err)
			}
			if f.Logins() != 1 {
				t.Errorf("code %#x: %d logins", code, f.Logins())
			}
		}
	})
}

func TestABrokerThatKnowsOnlyTheOldVersion(t *testing.T) {
	f := mqtttest.NewFake(mqtttest.Script{OldOnly: true})
	o := mqtt.Options{URL: f.Listen(t), Protocol: mqtt.V5, CleanStart: true}
	_, err := mqtt.Dial(soon(t), o)
	var refused *mqtt.RefusedError
	if !errors.As(err, &refused) || refused.Code != 1 || refused.Packet != mqtt.Connack {
		t.Fatalf("got %v, want the refusal with code 1", err)
	}
	o.Protocol = mqtt.V311
	open(t, o)
	if f.Logins() != 2 {
		t.Errorf("%d logins for two attempts", f.Logins())
	}
}

func TestHungUpBeforeTheAnswer(t *testing.T) {
	for name, script := range map[string]mqtttest.Script{
		"at once": {CloseEarly: true}, "in the midst of it": {CutConnack: true},
	} {
		t.Run(name, func(t *testing.T) {
			faulty(t, script, func(t *testing.T, f *mqtttest.Fake, o mqtt.Options) {
				_, err := mqtt.Dial(soon(t), o)
				if !errors.Is(err, mqtt.ErrClosedEarly) {
					t.Errorf("got %v", err)
				}
				if f.Logins() != 1 {
					t.Errorf("%d logins", f.Logins())
				}
			})
		})
	}
}

func TestDialObeysItsContext(t *testing.T) {
	faulty(t, mqtttest.Script{Delay: time.Hour}, func(t *testing.T, _ *mqtttest.Fake, o mqtt.Options) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
		defer cancel()
		if _, err := mqtt.Dial(ctx, o); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestTheWindowIsNeverExceeded(t *testing.T) {
	const most = 3
	var mu sync.Mutex
	var waiting []mqtttest.Packet
	peak := 0
	script := mqtttest.Script{
		Properties: [][]byte{mqtttest.ReceiveMaximum(most)},
		OnPacket: func(c *mqtttest.Conn, p mqtttest.Packet) bool {
			if p.Kind != mqtttest.PUBLISH {
				return false
			}
			mu.Lock()
			defer mu.Unlock()
			waiting = append(waiting, p)
			peak = max(peak, len(waiting))
			if len(waiting) == most {
				// The last one first: order of confirmation is the broker's affair.
				for _, q := range slices.Backward(waiting) {
					c.Confirm(q)
				}
				waiting = nil
			}
			return true
		},
	}
	faulty(t, script, func(t *testing.T, _ *mqtttest.Fake, o mqtt.Options) {
		peak = 0
		if o.Protocol == mqtt.V311 {
			o.Window = most
		}
		s := open(t, o)
		if w := s.Capabilities().Window; w != most {
			t.Fatalf("window %d, want %d", w, most)
		}
		r := &results{}
		for i := range 30 * most {
			if err := s.Publish(soon(t), &mqtt.Message{Topic: "a", QoS: 1}, r.of(i)); err != nil {
				t.Fatal(err)
			}
		}
		mqtttest.Eventually(t, "all results", func() bool { return r.len() == 30*most })
		if peak != most {
			t.Errorf("at most %d in flight, want %d", peak, most)
		}
	})
}

func TestTheWindowCountsBytes(t *testing.T) {
	hold := func(_ *mqtttest.Conn, p mqtttest.Packet) bool { return p.Kind == mqtttest.PUBLISH }
	faulty(t, mqtttest.Script{OnPacket: hold}, func(t *testing.T, f *mqtttest.Fake, o mqtt.Options) {
		o.WindowBytes = 100
		s := open(t, o)
		big := &mqtt.Message{Topic: "a", QoS: 1, Payload: make([]byte, 1000)}
		if err := s.Publish(soon(t), big, nil); err != nil {
			t.Fatal("a message beyond the bound does not go even alone:", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		small := &mqtt.Message{Topic: "a", QoS: 1, Payload: []byte("x")}
		if err := s.Publish(ctx, small, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v beyond the bound", err)
		}
		broker := f.Accepted()
		mqtttest.Eventually(t, "the first message", func() bool { return len(f.Received(mqtttest.PUBLISH)) == 1 })
		broker.Confirm(f.Received(mqtttest.PUBLISH)[0])
		if err := s.Publish(soon(t), small, nil); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAfterALossTheUnconfirmedAreKnownInOrder(t *testing.T) {
	// The broker confirms only those with an odd number, and hangs up when the last has come.
	script := mqtttest.Script{OnPacket: func(c *mqtttest.Conn, p mqtttest.Packet) bool {
		switch {
		case p.Kind != mqtttest.PUBLISH:
			return false
		case string(p.Payload) == "end":
			c.Drop()
		case p.Payload[0]%2 == 1:
			return false
		}
		return true
	}}
	faulty(t, script, func(t *testing.T, _ *mqtttest.Fake, o mqtt.Options) {
		s := open(t, o)
		r := &results{}
		const n = 40
		for i := range n {
			m := &mqtt.Message{Topic: "a", QoS: byte(1 + i%2*i%3%2), Payload: []byte{byte(i)}}
			if i == n-1 {
				m.Payload = []byte("end")
			}
			if err := s.Publish(soon(t), m, r.of(i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := ended(t, s); !errors.Is(err, mqtt.ErrHungUp) {
			t.Errorf("the session ended with %v", err)
		}
		var lost []int
		for _, i := range r.order {
			if errs := r.errs[i]; len(errs) != 1 {
				t.Fatalf("publish %d has %d results", i, len(errs))
			} else if errs[0] != nil {
				if !errors.Is(errs[0], s.Err()) {
					t.Errorf("publish %d ended with %v", i, errs[0])
				}
				lost = append(lost, i)
			}
		}
		if len(r.order) != n || !slices.IsSorted(lost) || len(lost) < n/2 {
			t.Errorf("%d results, lost in this order: %v", len(r.order), lost)
		}
		if err := s.Publish(soon(t), &mqtt.Message{Topic: "a"}, nil); !errors.Is(err, mqtt.ErrHungUp) {
			t.Errorf("a publish after the end gave %v", err)
		}
	})
}

func TestTheReasonIsFoundWhenWritingFailsFirst(t *testing.T) {
	// The broker hangs up while much of ours is unread, which resets the connection under our writes.
	f := mqtttest.NewFake(mqtttest.Script{OnPacket: func(c *mqtttest.Conn, p mqtttest.Packet) bool {
		c.Goodbye(0x97, "quota")
		return true
	}})
	url := f.Listen(t)
	for range 20 {
		s := open(t, mqtt.Options{URL: url, Protocol: mqtt.V5, CleanStart: true})
		var err error
		for err == nil {
			err = s.Publish(soon(t), &mqtt.Message{Topic: "a", Payload: make([]byte, 30000)}, nil)
		}
		var refused *mqtt.RefusedError
		if err := ended(t, s); !errors.As(err, &refused) || refused.Code != 0x97 {
			t.Fatalf("the session ended with %v", err)
		}
	}
}

func TestRefusedPublishes(t *testing.T) {
	script := mqtttest.Script{OnPacket: func(c *mqtttest.Conn, p mqtttest.Packet) bool {
		switch {
		case p.Kind == mqtttest.PUBLISH && p.Topic == "refused":
			c.ConfirmWith(p, 0x97, "quota")
			return true
		case p.Kind == mqtttest.PUBREL && len(p.Topic) == 0 && p.ID == 3:
			c.ConfirmWith(p, 0x92, "")
			return true
		}
		return false
	}}
	f := mqtttest.NewFake(script)
	s := open(t, mqtt.Options{URL: f.Listen(t), Protocol: mqtt.V5, CleanStart: true})
	tests := []struct {
		topic string
		qos   byte
		want  string
	}{
		{"refused", 1, "PUBACK code 151 (0x97): quota"},
		{"refused", 2, "PUBREC code 151 (0x97): quota"},
		{"taken", 2, "PUBCOMP code 146 (0x92)"},
		{"taken", 2, "<nil>"},
		{"taken", 0, "<nil>"},
	}
	for _, test := range tests {
		err := publish(t, s, &mqtt.Message{Topic: test.topic, QoS: test.qos})
		if fmt.Sprint(err) != test.want {
			t.Errorf("%s with QoS %d gave %v, want %s", test.topic, test.qos, err, test.want)
		}
	}
}

func TestRepeatedIdentifiers(t *testing.T) {
	faulty(t, mqtttest.Script{}, func(t *testing.T, f *mqtttest.Fake, o mqtt.Options) {
		box := &inbox{}
		o.OnMessage = box.take
		s := open(t, o)
		broker := f.Accepted()
		broker.Publish(7, 1, "a", "one")
		broker.Repeat(7, 1, "a", "one")
		broker.Publish(9, 2, "b", "two")
		broker.Repeat(9, 2, "b", "two") // Exactly once, so not handed on.
		broker.Publish(0, 0, "c", "end")
		got := box.wait(t, 4)
		var topics string
		for _, in := range got {
			topics += in.Topic
			in.Ack()
		}
		if topics != "aabc" {
			t.Errorf("handed on: %s, want aabc", topics)
		}
		if err := s.Ping(soon(t)); err != nil {
			t.Fatal(err)
		}
		mqtttest.Eventually(t, "the handshake's end", func() bool { return len(f.Received(mqtttest.PUBCOMP)) == 2 })
		if n := len(f.Received(mqtttest.PUBACK)); n != 2 {
			t.Errorf("%d PUBACK, want 2", n)
		}
		if n := len(f.Received(mqtttest.PUBREC)); n != 2 {
			t.Errorf("%d PUBREC, want 2", n)
		}
		// Released, the identifier is free for another message.
		broker.Publish(9, 2, "d", "three")
		if got := box.wait(t, 5)[4].Topic; got != "d" {
			t.Errorf("got %q", got)
		}
	})
}

func TestAnswersToNothingAreTolerated(t *testing.T) {
	faulty(t, mqtttest.Script{}, func(t *testing.T, f *mqtttest.Fake, o mqtt.Options) {
		s := open(t, o)
		broker := f.Accepted()
		for _, kind := range []byte{mqtttest.PUBACK << 4, mqtttest.PUBREC << 4, mqtttest.PUBREL<<4 | 2, mqtttest.PUBCOMP << 4} {
			broker.Send(mqtttest.Frame(kind, []byte{0x12, 0x34}))
		}
		broker.Send(mqtttest.Frame(mqtttest.PINGRESP << 4))
		if broker.V5() {
			broker.Send(mqtttest.Frame(mqtttest.SUBACK<<4, []byte{1, 2, 0, 0}))
			broker.Send(mqtttest.Frame(mqtttest.UNSUBACK<<4, []byte{1, 2, 0, 0}))
		} else {
			broker.Send(mqtttest.Frame(mqtttest.SUBACK<<4, []byte{1, 2, 0}))
			broker.Send(mqtttest.Frame(mqtttest.UNSUBACK<<4, []byte{1, 2}))
		}
		if err := s.Ping(soon(t)); err != nil {
			t.Fatal(err)
		}
		if err := publish(t, s, &mqtt.Message{Topic: "a", QoS: 2}); err != nil {
			t.Fatal(err)
		}
		// The handshakes that we do not know are ended, so that the broker can forget them.
		var unknown []byte
		for _, kind := range []byte{mqtttest.PUBREL, mqtttest.PUBCOMP} {
			if p := f.Received(kind); len(p) > 0 && p[0].ID == 0x1234 {
				unknown = append(unknown, p[0].Code)
			}
		}
		want := map[bool][]byte{true: {0x92, 0x92}, false: {0, 0}}[broker.V5()]
		if !slices.Equal(unknown, want) {
			t.Errorf("answers to unknown handshakes: %x, want %x", unknown, want)
		}
	})
}

func TestWhatNoBrokerMaySendEndsTheSession(t *testing.T) {
	tests := map[string]struct {
		raw  []byte
		v5   []byte // in place of raw, where the versions differ
		want string
	}{
		"wildcards in a topic": {mqtttest.Frame(0x30, mqtttest.Text("++++++")), mqtttest.Frame(0x30, mqtttest.Text("++++++"), []byte{0}), `topic "++++++" holds a wildcard`},
		"an empty topic":       {mqtttest.Frame(0x30, mqtttest.Text("")), mqtttest.Frame(0x30, mqtttest.Text(""), []byte{0}), "the topic is empty"},
		"a topic alias":        {mqtttest.Frame(0x30, mqtttest.Text("")), mqtttest.Frame(0x30, mqtttest.Text("a"), []byte{3, 35, 0, 1}), ""},
		"QoS 3":                {mqtttest.Frame(0x36, mqtttest.Text("a"), []byte{0, 1, 0}), nil, "QoS 3"},
		"identifier 0":         {mqtttest.Frame(0x32, mqtttest.Text("a"), []byte{0, 0, 0}), nil, "packet identifier 0"},
		"an endless length":    {[]byte{0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, nil, "length of more than four bytes"},
		"a huge packet":        {[]byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F}, nil, "a packet of 268435460 bytes, more than the 1000 allowed"},
		"a second CONNACK":     {[]byte{0x20, 2, 0, 0}, []byte{0x20, 3, 0, 0, 0}, "a second CONNACK"},
		"a client's packet":    {[]byte{0xC0, 0}, nil, "type 12, which a broker does not send"},
		"wrong flags":          {[]byte{0x60, 2, 0, 1}, nil, "malformed packet of type 6"},
		"a short PUBACK":       {[]byte{0x40, 1, 0}, nil, "malformed packet of type 4"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			faulty(t, mqtttest.Script{}, func(t *testing.T, f *mqtttest.Fake, o mqtt.Options) {
				o.MaximumPacketSize = 1000
				s := open(t, o)
				broker := f.Accepted()
				raw := test.raw
				if broker.V5() && test.v5 != nil {
					raw = test.v5
				}
				broker.Send(raw)
				if err := ended(t, s); !strings.Contains(err.Error(), test.want) {
					t.Errorf("the session ended with %q, want %q in it", err, test.want)
				}
			})
		})
	}
}

func TestALinkThatBreaksInMidPacket(t *testing.T) {
	faulty(t, mqtttest.Script{}, func(t *testing.T, f *mqtttest.Fake, o mqtt.Options) {
		box := &inbox{}
		o.OnMessage = box.take
		s := open(t, o)
		broker := f.Accepted()
		broker.Publish(1, 1, "a", "whole")
		whole := mqtttest.Frame(0x32, mqtttest.Text("a"), []byte{0, 2, 0}, make([]byte, 100000))
		broker.Send(whole[:50000])
		broker.Drop()
		if err := ended(t, s); !errors.Is(err, mqtt.ErrHungUp) {
			t.Errorf("the session ended with %v", err)
		}
		if n := box.len(); n != 1 {
			t.Errorf("%d messages, want the whole one", n)
		}
	})
}

func TestTheBrokersGoodbye(t *testing.T) {
	faulty(t, mqtttest.Script{}, func(t *testing.T, f *mqtttest.Fake, o mqtt.Options) {
		s := open(t, o)
		r := &results{}
		f.Accepted().Goodbye(0x8E, "somebody else has this client id")
		err := ended(t, s)
		var refused *mqtt.RefusedError
		if o.Protocol == mqtt.V311 {
			if !errors.Is(err, mqtt.ErrHungUp) {
				t.Errorf("got %v", err)
			}
		} else if !errors.As(err, &refused) || refused.Reason != (mqtt.Reason{
			Packet: mqtt.Disconnect, Protocol: mqtt.V5, Code: 0x8E, Text: "somebody else has this client id",
		}) {
			t.Errorf("got %v", err)
		}
		if err := s.Publish(soon(t), &mqtt.Message{Topic: "a", QoS: 1}, r.of(0)); !errors.Is(err, s.Err()) {
			t.Errorf("a publish after the end gave %v", err)
		}
		if err := s.Ping(soon(t)); !errors.Is(err, s.Err()) {
			t.Errorf("a ping after the end gave %v", err)
		}
		if _, err := s.Subscribe(soon(t), mqtt.Subscription{Filter: "a"}); !errors.Is(err, s.Err()) {
			t.Errorf("a subscription after the end gave %v", err)
		}
		if err := s.Close(soon(t)); err != nil {
			t.Error(err)
		}
	})
}
