package mqtttest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// both runs a test in each protocol version.
func both(t *testing.T, test func(t *testing.T, v mqtt.Protocol)) {
	t.Helper()
	for _, v := range []mqtt.Protocol{mqtt.V5, mqtt.V311} {
		t.Run("MQTT "+v.String(), func(t *testing.T) { test(t, v) })
	}
}

// soon is a context for what must not take long.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// open dials and closes at the end of the test.
func open(t testing.TB, o mqtt.Options) *mqtt.Session {
	t.Helper()
	s, err := mqtt.Dial(soon(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

// inbox keeps what comes in.
type inbox struct {
	mu  sync.Mutex
	all []*mqtt.Inbound
	ack bool
}

func (b *inbox) take(in *mqtt.Inbound) {
	kept := *in
	kept.Payload = bytes.Clone(in.Payload)
	b.mu.Lock()
	b.all = append(b.all, &kept)
	b.mu.Unlock()
	if b.ack {
		in.Ack()
	}
}

func (b *inbox) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.all)
}

func (b *inbox) wait(t testing.TB, n int) []*mqtt.Inbound {
	t.Helper()
	mqtttest.Eventually(t, fmt.Sprintf("%d messages", n), func() bool { return b.len() >= n })
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]*mqtt.Inbound(nil), b.all...)
}

// publish sends one message and waits for its result.
func publish(t testing.TB, s *mqtt.Session, m *mqtt.Message) error {
	t.Helper()
	result := make(chan error, 2)
	if err := s.Publish(soon(t), m, func(r mqtt.Result) { result <- r.Err }); err != nil {
		return err
	}
	select {
	case err := <-result:
		return err
	case <-soon(t).Done():
		t.Fatal("no result")
		return nil
	}
}

func subscribe(t testing.TB, s *mqtt.Session, subs ...mqtt.Subscription) {
	t.Helper()
	refused, err := s.Subscribe(soon(t), subs...)
	if err = errors.Join(append(refused, err)...); err != nil {
		t.Fatal(err)
	}
}

func TestMessagesCrossABrokerUnchanged(t *testing.T) {
	broker := mqtttest.MosquittoWith(t, mqtttest.Setup{TLS: true, Websocket: true})
	urls := map[string]string{"tcp": broker.URL, "tls": broker.TLSURL, "ws": broker.WSURL, "wss": broker.WSSURL}
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, v mqtt.Protocol) {
				box := &inbox{ack: true}
				o := mqtt.Options{
					URL: url, Protocol: v, CleanStart: true, OnMessage: box.take,
					TLS: mqtt.TLS{CAFile: broker.Certs.CAFile},
				}
				s := open(t, o)
				root := strings.ReplaceAll(t.Name(), " ", "")
				subscribe(t, s, mqtt.Subscription{Filter: root + "/#", QoS: 2, ID: 7, SendRetained: true})
				long := strings.Repeat("0123456789abcdef", 20000)
				var want []mqtt.Message
				for qos := range byte(3) {
					for _, payload := range []string{"", "27.5", "教室 溫度", "\x00\xff", long} {
						m := mqtt.Message{Topic: fmt.Sprintf("%s/溫度/%d", root, qos), Payload: []byte(payload), QoS: qos}
						if err := publish(t, s, &m); err != nil {
							t.Fatal(err)
						}
						if v == mqtt.V5 {
							m.Subscriptions = []int{7}
						}
						want = append(want, m)
					}
				}
				var got []mqtt.Message
				for _, in := range box.wait(t, len(want)) {
					got = append(got, in.Message)
				}
				sameContent := cmp.Comparer(func(a, b []byte) bool { return string(a) == string(b) })
				// The broker may send different levels of QoS out of step.
				for qos := range byte(3) {
					if diff := cmp.Diff(ofQoS(want, qos), ofQoS(got, qos), sameContent); diff != "" {
						t.Errorf("QoS %d: want -, got +:\n%.2000s", qos, diff)
					}
				}
			})
		})
	}
}

func ofQoS(all []mqtt.Message, qos byte) (some []mqtt.Message) {
	for _, m := range all {
		if m.QoS == qos {
			some = append(some, m)
		}
	}
	return some
}

func TestPropertiesCrossMQTT5(t *testing.T) {
	broker := mqtttest.Mosquitto(t)
	box := &inbox{ack: true}
	s := open(t, mqtt.Options{URL: broker.URL, Protocol: mqtt.V5, CleanStart: true, OnMessage: box.take})
	subscribe(t, s, mqtt.Subscription{Filter: "a/#", QoS: 1, RetainAsPublished: true})
	m := mqtt.Message{
		Topic: "a/b", Payload: []byte("{}"), QoS: 1, Retain: true,
		Properties: &mqtt.Properties{
			ContentType: "application/json", ResponseTopic: "a/answer", CorrelationData: []byte{0, 1},
			UTF8: true, Expiry: 90 * time.Second,
			User: []mqtt.UserProperty{{Key: "hop", Value: "lab1"}, {Key: "hop", Value: "lab2"}},
		},
	}
	if err := publish(t, s, &m); err != nil {
		t.Fatal(err)
	}
	got := box.wait(t, 1)[0].Message
	if diff := cmp.Diff(m, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestOverlappingSubscriptionsNameEachIdentifier(t *testing.T) {
	broker := mqtttest.Mosquitto(t, "allow_duplicate_messages false")
	box := &inbox{ack: true}
	s := open(t, mqtt.Options{URL: broker.URL, Protocol: mqtt.V5, CleanStart: true, OnMessage: box.take})
	subscribe(t, s, mqtt.Subscription{Filter: "a/#", QoS: 1, ID: 1}, mqtt.Subscription{Filter: "+/b", QoS: 1, ID: 300},
		mqtt.Subscription{Filter: "c", QoS: 0, ID: 1})
	if err := publish(t, s, &mqtt.Message{Topic: "a/b", QoS: 1}); err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(soon(t)); err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, in := range box.wait(t, 1) {
		for _, id := range in.Subscriptions {
			seen[id] = true
		}
	}
	if !seen[1] || !seen[300] || len(seen) != 2 {
		t.Errorf("the copies name the subscriptions %v, want 1 and 300", seen)
	}
}

func TestNoLocalAndRetainHandling(t *testing.T) {
	broker := mqtttest.Mosquitto(t)
	box := &inbox{ack: true}
	s := open(t, mqtt.Options{URL: broker.URL, Protocol: mqtt.V5, CleanStart: true, OnMessage: box.take})
	if err := publish(t, s, &mqtt.Message{Topic: "kept", Payload: []byte("old"), QoS: 1, Retain: true}); err != nil {
		t.Fatal(err)
	}
	subscribe(t, s, mqtt.Subscription{Filter: "kept", QoS: 1}, mqtt.Subscription{Filter: "own", QoS: 1, NoLocal: true},
		mqtt.Subscription{Filter: "end", QoS: 1})
	for _, topic := range []string{"own", "end"} {
		if err := publish(t, s, &mqtt.Message{Topic: topic, QoS: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if got := box.wait(t, 1)[0]; got.Topic != "end" {
		t.Errorf("got %q, want only the message on topic end", got.Topic)
	}
	subscribe(t, s, mqtt.Subscription{Filter: "kept/#", QoS: 1, SendRetained: true})
	if got := box.wait(t, 2)[1]; got.Topic != "kept" || !got.Retain {
		t.Errorf("got %q, retain %v; want the retained message", got.Topic, got.Retain)
	}
	// To a subscription that was there before it is not sent again.
	subscribe(t, s, mqtt.Subscription{Filter: "kept/#", QoS: 1, SendRetained: true})
	if err := publish(t, s, &mqtt.Message{Topic: "end", QoS: 1}); err != nil {
		t.Fatal(err)
	}
	if got := box.wait(t, 3)[2]; got.Topic != "end" {
		t.Errorf("got %q after subscribing again, want only the message on topic end", got.Topic)
	}
}

func TestUnsubscribe(t *testing.T) {
	broker := mqtttest.Mosquitto(t)
	both(t, func(t *testing.T, v mqtt.Protocol) {
		box := &inbox{ack: true}
		s := open(t, mqtt.Options{URL: broker.URL, Protocol: v, CleanStart: true, OnMessage: box.take})
		subscribe(t, s, mqtt.Subscription{Filter: "a", QoS: 1}, mqtt.Subscription{Filter: "b", QoS: 1})
		if err := s.Unsubscribe(soon(t), "a", "never"); err != nil {
			t.Fatal(err)
		}
		for _, topic := range []string{"a", "b"} {
			if err := publish(t, s, &mqtt.Message{Topic: topic, QoS: 1}); err != nil {
				t.Fatal(err)
			}
		}
		if got := box.wait(t, 1)[0].Topic; got != "b" {
			t.Errorf("got a message on %q", got)
		}
	})
}

func TestWhatIsNotAcknowledgedComesAgain(t *testing.T) {
	broker := mqtttest.Mosquitto(t)
	both(t, func(t *testing.T, v mqtt.Protocol) {
		for qos := byte(1); qos <= 2; qos++ {
			t.Run(fmt.Sprintf("QoS %d", qos), func(t *testing.T) { comesAgain(t, broker.URL, v, qos) })
		}
	})
}

func comesAgain(t *testing.T, url string, v mqtt.Protocol, qos byte) {
	first := &inbox{}
	topic := strings.ReplaceAll(t.Name(), " ", "")
	o := mqtt.Options{
		URL: url, Protocol: v, ClientID: topic, SessionExpiry: time.Hour, OnMessage: first.take, PacketIDs: mqtt.NewPacketIDs(),
	}
	s := open(t, o)
	if s.Capabilities().SessionPresent {
		t.Fatal("a new client has a session")
	}
	subscribe(t, s, mqtt.Subscription{Filter: topic, QoS: qos})
	for i := range 5 {
		if err := publish(t, s, &mqtt.Message{Topic: topic, QoS: qos, Payload: []byte{byte('0' + i)}}); err != nil {
			t.Fatal(err)
		}
	}
	got := first.wait(t, 5)
	// Acknowledged out of order: only 0 and 1 form a prefix, so 3 must come again with 2 and 4.
	got[1].Ack()
	got[3].Ack()
	got[0].Ack()
	got[0].Ack()
	if err := s.Ping(soon(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	got[2].Ack() // Too late, and harmless.

	second := &inbox{ack: true}
	o.OnMessage = second.take
	s = open(t, o)
	if !s.Capabilities().SessionPresent {
		t.Fatal("the broker has forgotten the session")
	}
	var payloads string
	for _, in := range second.wait(t, 3) {
		payloads += string(in.Payload)
		if !in.Duplicate {
			t.Errorf("message %s comes again without the DUP flag", in.Payload)
		}
	}
	if payloads != "234" {
		t.Errorf("came again: %s, want 234", payloads)
	}
}

func TestABrokersRestartEndsTheSessionAndKeepsItsState(t *testing.T) {
	broker := mqtttest.Mosquitto(t)
	both(t, func(t *testing.T, v mqtt.Protocol) {
		o := mqtt.Options{URL: broker.URL, Protocol: v, ClientID: "r" + v.String(), SessionExpiry: time.Hour}
		s := open(t, o)
		subscribe(t, s, mqtt.Subscription{Filter: "x", QoS: 1})
		broker.Restart()
		select {
		case <-s.Done():
		case <-soon(t).Done():
			t.Fatal("the session outlives its broker")
		}
		var refused *mqtt.RefusedError
		if err := s.Err(); !errors.Is(err, mqtt.ErrHungUp) && !errors.As(err, &refused) {
			t.Errorf("the session ended with %v", err)
		}
		if !open(t, o).Capabilities().SessionPresent {
			t.Error("the broker has forgotten the session")
		}
	})
}

func TestWillsAreForLosses(t *testing.T) {
	broker := mqtttest.Mosquitto(t)
	both(t, func(t *testing.T, v mqtt.Protocol) {
		box := &inbox{ack: true}
		watcher := open(t, mqtt.Options{URL: broker.URL, Protocol: v, CleanStart: true, OnMessage: box.take})
		subscribe(t, watcher, mqtt.Subscription{Filter: "will/#", QoS: 1})
		dialled := &dialled{}
		o := mqtt.Options{
			URL: broker.URL, Protocol: v, CleanStart: true, DialContext: dialled.dial,
			Will: &mqtt.Message{
				Topic: "will/closed", Payload: []byte("offline"), QoS: 1,
				Properties: &mqtt.Properties{ContentType: "text/plain"},
			},
		}
		closed := open(t, o)
		if err := closed.Close(soon(t)); err != nil {
			t.Fatal(err)
		}
		o.Will.Topic = "will/lost"
		lost := open(t, o)
		dialled.cut()
		<-lost.Done()
		got := box.wait(t, 1)[0]
		if got.Topic != "will/lost" || string(got.Payload) != "offline" {
			t.Errorf("got the will %q %q", got.Topic, got.Payload)
		}
		if v == mqtt.V5 && (got.Properties == nil || got.Properties.ContentType != "text/plain") {
			t.Errorf("the will's properties are %v", got.Properties)
		}
	})
}

func TestTheBrokerSeesTheVersionAndOneLogin(t *testing.T) {
	both(t, func(t *testing.T, v mqtt.Protocol) {
		broker := mqtttest.MosquittoWith(t, mqtttest.Setup{Users: map[string]string{"bridge": "secret"}})
		o := mqtt.Options{
			URL: broker.URL, Protocol: v, ClientID: "c1", CleanStart: true, KeepAlive: 30 * time.Second,
			Username: "bridge", Password: "secret",
		}
		open(t, o)
		want := fmt.Sprintf("(p%d, c1, k30, u'bridge')", map[mqtt.Protocol]int{mqtt.V5: 5, mqtt.V311: 2}[v])
		mqtttest.Eventually(t, want+" in the log", func() bool { return strings.Contains(broker.Log(), want) })

		o.Password = "wrong"
		_, err := mqtt.Dial(soon(t), o)
		var refused *mqtt.RefusedError
		if !errors.As(err, &refused) || refused.Packet != mqtt.Connack {
			t.Fatalf("a wrong password gave %v", err)
		}
		if wantCode := map[mqtt.Protocol]byte{mqtt.V5: 0x87, mqtt.V311: 5}[v]; refused.Code != wantCode {
			t.Errorf("code %#x, want %#x", refused.Code, wantCode)
		}
		if n := strings.Count(broker.Log(), "New connection from"); n > 3 { // One is the helper's own probe.
			t.Errorf("%d connections for two logins", n)
		}
	})
}

func TestSubscriptionsRefusedByTheACL(t *testing.T) {
	dir := t.TempDir()
	acl := dir + "/acl"
	write(t, acl, "topic readwrite open/#\n")
	broker := mqtttest.Mosquitto(t, "acl_file "+acl)
	both(t, func(t *testing.T, v mqtt.Protocol) {
		s := open(t, mqtt.Options{URL: broker.URL, Protocol: v, CleanStart: true})
		refused, err := s.Subscribe(soon(t), mqtt.Subscription{Filter: "open/a", QoS: 1},
			mqtt.Subscription{Filter: "bad/#/filter"}, mqtt.Subscription{Filter: "shut/#", QoS: 1})
		if err != nil {
			t.Fatal(err)
		}
		var invalid *mqtt.InvalidError
		if refused[0] != nil || !errors.As(refused[1], &invalid) {
			t.Errorf("refused: %v", refused)
		}
		err = publish(t, s, &mqtt.Message{Topic: "shut/a", QoS: 1})
		var no *mqtt.RefusedError
		if v == mqtt.V5 && (!errors.As(err, &no) || no.Packet != mqtt.Puback || no.Code != 0x87) {
			t.Errorf("a publish without permission gave %v", err)
		}
		if v == mqtt.V311 && err != nil { // Mosquitto confirms it and drops it.
			t.Error(err)
		}
	})
}
