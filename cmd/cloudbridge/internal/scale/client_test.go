package scale

import (
	"context"
	"sync"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
)

// dial connects a board or a listener until the end of the test.
func dial(t testing.TB, url, id string, receive func(*mqtt.Inbound)) *mqtt.Session {
	t.Helper()
	s, err := mqtt.Dial(context.Background(), mqtt.Options{
		URL: url, Protocol: mqtt.V5, ClientID: id, CleanStart: true, ReceiveMaximum: 65535, Window: 1000, OnMessage: receive,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.Close(ctx) // Whoever is gone cannot be told.
	})
	return s
}

// listen has everything that comes to a filter taken.
func listen(t testing.TB, url, filter string, take func(*mqtt.Message)) {
	t.Helper()
	s := dial(t, url, "witness", func(in *mqtt.Inbound) {
		take(&in.Message)
		in.Ack()
	})
	refused, err := s.Subscribe(t.Context(), mqtt.Subscription{Filter: filter, QoS: 1})
	if err != nil || refused[0] != nil {
		t.Fatalf("subscribe: %v, %v", err, refused)
	}
}

// board publishes with QoS 1.
type board struct {
	testing.TB
	s    *mqtt.Session
	open sync.WaitGroup
}

func newBoard(t testing.TB, url string) *board {
	t.Helper()
	return &board{TB: t, s: dial(t, url, "board", nil)}
}

func (b *board) publish(topic string, payload []byte) {
	b.Helper()
	b.open.Add(1)
	m := &mqtt.Message{Topic: topic, Payload: payload, QoS: 1}
	err := b.s.Publish(b.Context(), m, func(r mqtt.Result) {
		if r.Err != nil {
			b.Errorf("publish %s: %v", topic, r.Err)
		}
		b.open.Done()
	})
	if err != nil {
		b.Fatal(err)
	}
}

// flush waits until the broker has acknowledged everything.
func (b *board) flush() { b.open.Wait() }
