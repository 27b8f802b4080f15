package mqtttest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
)

func TestTheBrokersLimitsAreObeyed(t *testing.T) {
	f := mqtttest.NewFake(mqtttest.Script{Properties: [][]byte{
		mqtttest.MaximumPacketSize(100), mqtttest.MaximumQoS(1), mqtttest.RetainUnavailable(),
		mqtttest.ServerKeepAlive(20), mqtttest.AssignedClientID("given"),
	}})
	s := open(t, mqtt.Options{URL: f.Listen(t), Protocol: mqtt.V5, CleanStart: true})
	want := mqtt.Capabilities{
		Protocol: mqtt.V5, Window: 1000, MaximumPacketSize: 100, MaximumQoS: 1, WildcardsAvailable: true,
		SubscriptionIDs: true, SharedAvailable: true, AssignedClientID: "given", KeepAlive: 20 * time.Second,
	}
	if got := s.Capabilities(); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if err := publish(t, s, &mqtt.Message{Topic: "a", QoS: 2, Retain: true}); err != nil {
		t.Fatal(err)
	}
	if p := f.Received(mqtttest.PUBLISH)[0]; p.QoS != 1 || p.Retain {
		t.Errorf("sent with QoS %d, retain %v", p.QoS, p.Retain)
	}
	// 2 bytes of header, 3 of topic, 2 of identifier, 1 of properties.
	if err := publish(t, s, &mqtt.Message{Topic: "a", QoS: 1, Payload: make([]byte, 100-8)}); err != nil {
		t.Error(err)
	}
	err := s.Publish(soon(t), &mqtt.Message{Topic: "a", QoS: 1, Payload: make([]byte, 100-7)}, nil)
	var large *mqtt.TooLargeError
	if !errors.As(err, &large) || *large != (mqtt.TooLargeError{Size: 101, Limit: 100}) {
		t.Errorf("a byte too many gave %v", err)
	}
	if n := len(f.Received(mqtttest.PUBLISH)); n != 2 {
		t.Errorf("%d messages arrived, want 2", n)
	}
}

func TestPingsAreAnsweredInOrder(t *testing.T) {
	script := mqtttest.Script{OnPacket: func(_ *mqtttest.Conn, p mqtttest.Packet) bool { return p.Kind == mqtttest.PINGREQ }}
	faulty(t, script, func(t *testing.T, f *mqtttest.Fake, o mqtt.Options) {
		s := open(t, o)
		broker := f.Accepted()
		first, second := make(chan error, 1), make(chan error, 1)
		r := &results{}
		if err := s.Publish(soon(t), &mqtt.Message{Topic: "row"}, r.of(0)); err != nil {
			t.Fatal(err)
		}
		go func() { first <- s.Ping(context.Background()) }()
		mqtttest.Eventually(t, "one PINGREQ", func() bool { return len(f.Received(mqtttest.PINGREQ)) == 1 })
		if n := len(f.Received(mqtttest.PUBLISH)); n != 1 {
			t.Fatal("the PINGREQ overtook the message")
		}
		go func() { second <- s.Ping(context.Background()) }()
		mqtttest.Eventually(t, "two PINGREQ", func() bool { return len(f.Received(mqtttest.PINGREQ)) == 2 })
		broker.Send(mqtttest.Frame(mqtttest.PINGRESP << 4))
		if err := <-first; err != nil {
			t.Error(err)
		}
		select {
		case err := <-second:
			t.Error("the second ping took the answer to the first", err)
		default:
		}
		broker.Drop()
		if err := <-second; !errors.Is(err, mqtt.ErrHungUp) {
			t.Errorf("a ping without an answer gave %v", err)
		}
		ended(t, s)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := open(t, o).Ping(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("a ping with a cancelled context gave %v", err)
		}
	})
}

func TestAnOpenHandshakeIsFinishedByTheNextConnection(t *testing.T) {
	var mu sync.Mutex
	broken := false
	script := mqtttest.Script{SessionPresent: true, OnPacket: func(c *mqtttest.Conn, p mqtttest.Packet) bool {
		mu.Lock()
		defer mu.Unlock()
		if p.Kind == mqtttest.PUBREL && !broken {
			broken = true
			c.Drop()
			return true
		}
		return false
	}}
	faulty(t, script, func(t *testing.T, f *mqtttest.Fake, o mqtt.Options) {
		mu.Lock()
		broken = false
		mu.Unlock()
		o.CleanStart, o.PacketIDs = false, mqtt.NewPacketIDs()
		s := open(t, o)
		if err := publish(t, s, &mqtt.Message{Topic: "a", QoS: 2}); !errors.Is(err, mqtt.ErrHungUp) {
			t.Fatalf("got %v", err)
		}
		ended(t, s)
		used := f.Received(mqtttest.PUBLISH)[0].ID
		s = open(t, o)
		mqtttest.Eventually(t, "the PUBREL again", func() bool { return len(f.Received(mqtttest.PUBREL)) == 2 })
		if again := f.Received(mqtttest.PUBREL)[1].ID; again != used {
			t.Errorf("PUBREL for identifier %d, want %d", again, used)
		}
		if err := publish(t, s, &mqtt.Message{Topic: "b", QoS: 2}); err != nil {
			t.Fatal(err)
		}
		if next := f.Received(mqtttest.PUBLISH)[1].ID; next == used {
			t.Error("the identifier was used again while its handshake was open")
		}
	})
}

func TestPublishObeysItsContext(t *testing.T) {
	hold := func(_ *mqtttest.Conn, p mqtttest.Packet) bool { return p.Kind == mqtttest.PUBLISH }
	faulty(t, mqtttest.Script{OnPacket: hold}, func(t *testing.T, f *mqtttest.Fake, o mqtt.Options) {
		o.Window = 1
		s := open(t, o)
		r := &results{}
		if err := s.Publish(soon(t), &mqtt.Message{Topic: "a", QoS: 1}, r.of(0)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		if err := s.Publish(ctx, &mqtt.Message{Topic: "a", QoS: 1}, r.of(1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		waits := make(chan error, 1)
		go func() { waits <- s.Publish(context.Background(), &mqtt.Message{Topic: "a", QoS: 1}, r.of(2)) }()
		if err := s.Close(soon(t)); err != nil {
			t.Error(err)
		}
		if err := <-waits; !errors.Is(err, mqtt.ErrSessionClosed) {
			t.Errorf("a waiting publish ended with %v", err)
		}
		if !errors.Is(s.Err(), mqtt.ErrSessionClosed) {
			t.Errorf("the session ended with %v", s.Err())
		}
		if errs := r.errs[0]; len(r.order) != 1 || len(errs) != 1 || !errors.Is(errs[0], mqtt.ErrSessionClosed) {
			t.Errorf("results %v %v", r.order, r.errs)
		}
		if n := len(f.Received(mqtttest.DISCONNECT)); n != 1 {
			t.Errorf("%d DISCONNECT packets", n)
		}
	})
}

func TestSubscribeObeysItsContextAndSeesRefusals(t *testing.T) {
	script := mqtttest.Script{OnPacket: func(c *mqtttest.Conn, p mqtttest.Packet) bool {
		if p.Kind == mqtttest.SUBSCRIBE && p.Filters[0] == "refused" {
			c.ConfirmWith(p, 0x80, "")
			return true
		}
		return (p.Kind == mqtttest.SUBSCRIBE || p.Kind == mqtttest.UNSUBSCRIBE) && p.Filters[0] == "unanswered"
	}}
	faulty(t, script, func(t *testing.T, f *mqtttest.Fake, o mqtt.Options) {
		s := open(t, o)
		refused, err := s.Subscribe(soon(t), mqtt.Subscription{Filter: "refused", QoS: 1}, mqtt.Subscription{Filter: "too"})
		var no *mqtt.RefusedError
		if err != nil || !errors.As(refused[1], &no) || no.Packet != mqtt.Suback || no.Code != 0x80 {
			t.Errorf("got %v, %v", refused, err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		if _, err := s.Subscribe(ctx, mqtt.Subscription{Filter: "unanswered"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if err := s.Unsubscribe(ctx, "unanswered"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		waits := make(chan error, 1)
		go func() {
			_, err := s.Subscribe(context.Background(), mqtt.Subscription{Filter: "unanswered"})
			waits <- err
		}()
		mqtttest.Eventually(t, "the request", func() bool { return len(f.Received(mqtttest.SUBSCRIBE)) >= 2 })
		f.Accepted().Drop()
		if err := <-waits; !errors.Is(err, mqtt.ErrHungUp) {
			t.Errorf("a request without an answer gave %v", err)
		}
	})
}

func TestClosingCutsShortWhereNobodyReads(t *testing.T) {
	stuck := make(chan struct{})
	script := mqtttest.Script{OnPacket: func(_ *mqtttest.Conn, p mqtttest.Packet) bool {
		if p.Kind == mqtttest.PUBLISH {
			<-stuck
		}
		return true
	}}
	t.Cleanup(func() { close(stuck) }) // Before the broker is closed, which waits for its goroutines.
	f := mqtttest.NewFake(script)
	o := mqtt.Options{URL: "mqtt://fake", Protocol: mqtt.V5, CleanStart: true, DialContext: f.Dial}
	s, err := mqtt.Dial(soon(t), o)
	if err != nil {
		t.Fatal(err)
	}
	r := &results{}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	sent := 0
	for err == nil {
		if err = s.Publish(ctx, &mqtt.Message{Topic: "a", Payload: make([]byte, 10000)}, r.of(sent)); err == nil {
			sent++
		}
	}
	if !errors.Is(err, context.DeadlineExceeded) || sent < 5 || sent > 30 {
		t.Errorf("%d messages were taken, then %v", sent, err)
	}
	ctx, cancel = context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := s.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	ended(t, s)
	if r.len() != sent {
		t.Errorf("%d results for %d messages", r.len(), sent)
	}
}

func TestABrokerThatAsksAndDoesNotReadIsCutOff(t *testing.T) {
	f := mqtttest.NewFake(mqtttest.Script{OnPacket: func(c *mqtttest.Conn, p mqtttest.Packet) bool {
		flood := bytes.Repeat(mqtttest.Frame(mqtttest.PUBREL<<4|2, []byte{0, 1}), 1000)
		for {
			c.Send(flood)
			select {
			case <-c.Broken():
				return true
			default:
			}
		}
	}})
	t.Cleanup(f.Close)
	s := open(t, mqtt.Options{URL: "mqtt://fake", Protocol: mqtt.V5, CleanStart: true, DialContext: f.Dial})
	if err := s.Publish(soon(t), &mqtt.Message{Topic: "a"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := ended(t, s); !strings.Contains(err.Error(), "does not read") {
		t.Errorf("the session ended with %v", err)
	}
}

func TestMessagesThatCannotBe(t *testing.T) {
	f := mqtttest.NewFake(mqtttest.Script{})
	s := open(t, mqtt.Options{URL: f.Listen(t), Protocol: mqtt.V5, CleanStart: true})
	long := strings.Repeat("x", 65536)
	tests := map[string]mqtt.Message{
		"no topic":              {},
		"a wildcard":            {Topic: "a/#"},
		"another wildcard":      {Topic: "a/+/b"},
		"a zero byte":           {Topic: "a\x00"},
		"no UTF-8":              {Topic: "a\xff"},
		"a long topic":          {Topic: long},
		"QoS 3":                 {Topic: "a", QoS: 3},
		"a long key":            {Topic: "a", Properties: &mqtt.Properties{User: []mqtt.UserProperty{{Key: long}}}},
		"a value without UTF-8": {Topic: "a", Properties: &mqtt.Properties{User: []mqtt.UserProperty{{Value: "\xff"}}}},
		"a response wildcard":   {Topic: "a", Properties: &mqtt.Properties{ResponseTopic: "#"}},
		"long correlation":      {Topic: "a", Properties: &mqtt.Properties{CorrelationData: []byte(long)}},
		"a long content type":   {Topic: "a", Properties: &mqtt.Properties{ContentType: long}},
	}
	for name, m := range tests {
		var invalid *mqtt.InvalidError
		if err := s.Publish(soon(t), &m, nil); !errors.As(err, &invalid) {
			t.Errorf("%s gave %v", name, err)
		}
	}
	if n := len(f.Received(mqtttest.PUBLISH)); n != 0 {
		t.Errorf("%d messages were sent", n)
	}
	if err := publish(t, s, &mqtt.Message{Topic: long[1:], QoS: 1}); err != nil {
		t.Errorf("the longest topic gave %v", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	faulty(t, mqtttest.Script{Properties: [][]byte{mqtttest.ReceiveMaximum(7)}}, func(t *testing.T, f *mqtttest.Fake, o mqtt.Options) {
		acks := make(chan mqtt.Acknowledgement, 1000)
		o.OnMessage = func(in *mqtt.Inbound) { acks <- in.Acknowledgement }
		s := open(t, o)
		broker := f.Accepted()
		r := &results{}
		var busy sync.WaitGroup
		for g := range 4 {
			busy.Go(func() {
				for i := range 50 {
					m := &mqtt.Message{Topic: "a", QoS: byte(i % 3), Payload: []byte("x")}
					if err := s.Publish(soon(t), m, r.of(g*50+i)); err != nil {
						t.Error(err)
					}
				}
			})
			busy.Go(func() {
				for range 50 {
					(<-acks).Ack()
				}
			})
		}
		busy.Go(func() {
			for i := range 200 {
				broker.Publish(uint16(i+1), byte(1+i%2), "in", "y")
			}
		})
		busy.Go(func() {
			for range 20 {
				if err := s.Ping(soon(t)); err != nil {
					t.Error(err)
				}
			}
		})
		busy.Wait()
		mqtttest.Eventually(t, "200 results", func() bool { return r.len() == 200 })
		answers := func() int { return len(f.Received(mqtttest.PUBACK)) + len(f.Received(mqtttest.PUBCOMP)) }
		mqtttest.Eventually(t, "200 acknowledgements", func() bool { return answers() == 200 })
		var order []uint16
		for _, p := range f.Received(mqtttest.PUBACK) {
			order = append(order, p.ID)
		}
		if !slices.IsSorted(order) {
			t.Errorf("acknowledged in the order %v", order)
		}
		for i, errs := range r.errs {
			if len(errs) != 1 || errs[0] != nil {
				t.Errorf("publish %d: %v", i, errs)
			}
		}
	})
}

func TestNetworkErrorsAreTheirOwn(t *testing.T) {
	nowhere := mqtttest.FreeAddr(t)
	_, err := mqtt.Dial(soon(t), mqtt.Options{URL: "mqtt://" + nowhere, Protocol: mqtt.V5, CleanStart: true})
	if err == nil || !strings.Contains(err.Error(), nowhere) || errors.Is(err, mqtt.ErrClosedEarly) {
		t.Errorf("nobody listens: %v", err)
	}
	if errors.Is(err, io.EOF) {
		t.Error("a refused port looks like a closed connection")
	}
}

func TestABrokerThatHasMovedSaysWhereTo(t *testing.T) {
	want := mqtt.Reason{Packet: mqtt.Connack, Protocol: mqtt.V5, Code: 0x9D, Server: "other:1883"}
	moved := mqtttest.ServerReference("other:1883")
	f := mqtttest.NewFake(mqtttest.Script{Refuse: 0x9D, Properties: [][]byte{moved}})
	_, err := mqtt.Dial(soon(t), mqtt.Options{URL: f.Listen(t), Protocol: mqtt.V5, CleanStart: true})
	var refused *mqtt.RefusedError
	if !errors.As(err, &refused) || refused.Reason != want {
		t.Errorf("the CONNACK gave %#v", err)
	}

	f = mqtttest.NewFake(mqtttest.Script{})
	s := open(t, mqtt.Options{URL: f.Listen(t), Protocol: mqtt.V5, CleanStart: true})
	f.Accepted().Send(mqtttest.Frame(mqtttest.DISCONNECT<<4, []byte{0x9D}, mqtttest.Block(moved)))
	want.Packet = mqtt.Disconnect
	if err := ended(t, s); !errors.As(err, &refused) || refused.Reason != want {
		t.Errorf("the DISCONNECT gave %#v", err)
	}
}
