package faults

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
)

// topics is over how many topics the messages are spread.
const topics = 8

// publisher is a board that publishes numbered messages with QoS 1. It never sends one twice: what a lost connection
// leaves open counts as not acknowledged, so each duplicate at the far end is the bridge's.
type publisher struct {
	url  string
	rate int

	stop  context.CancelFunc
	ended chan struct{}

	mu   sync.Mutex
	sent []message
	open int // published, and not answered yet
}

func publish(url string, rate int) *publisher {
	ctx, cancel := context.WithCancel(context.Background())
	p := &publisher{url: url, rate: rate, stop: cancel, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		for ctx.Err() == nil {
			p.connect(ctx)
		}
	}()
	return p
}

// connect publishes for as long as one connection lives.
func (p *publisher) connect(ctx context.Context) {
	s, err := mqtt.Dial(ctx, mqtt.Options{URL: p.url, Protocol: mqtt.V5, ClientID: "board", CleanStart: true})
	if err != nil {
		pause(ctx, 20*time.Millisecond)
		return
	}
	defer closeSession(s)
	began, done := time.Now(), 0
	for pause(ctx, 2*time.Millisecond) {
		for due := int(time.Since(began).Seconds() * float64(p.rate)); done < due; done++ {
			if !p.one(ctx, s) {
				return
			}
		}
	}
	// The last answers are still on their way.
	for deadline := time.Now().Add(2 * time.Second); p.waiting() > 0 && time.Now().Before(deadline); {
		<-time.After(time.Millisecond)
	}
}

func (p *publisher) one(ctx context.Context, s *mqtt.Session) bool {
	p.mu.Lock()
	n := len(p.sent)
	m := message{topic: strconv.Itoa(n % topics)}
	p.sent = append(p.sent, m)
	p.open++
	p.mu.Unlock()
	out := mqtt.Message{Topic: "fault/" + m.topic, Payload: []byte(strconv.Itoa(n)), QoS: 1}
	answered := func(r mqtt.Result) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.open--
		if r.Err == nil {
			p.sent[n].acked = time.Now()
		}
	}
	if err := s.Publish(ctx, &out, answered); err != nil {
		answered(mqtt.Result{Err: err})
		return false
	}
	return true
}

func (p *publisher) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}

// end stops publishing and gives all that was sent.
func (p *publisher) end() []message {
	p.stop()
	<-p.ended
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent
}

// receiver listens at the far end.
type receiver struct {
	mu      sync.Mutex
	arrived []arrival
	numbers map[int]bool
	last    time.Time
}

func receive(t *testing.T, url string) *receiver {
	t.Helper()
	r := &receiver{numbers: make(map[int]bool), last: time.Now()}
	s, err := mqtt.Dial(t.Context(), mqtt.Options{
		URL: url, Protocol: mqtt.V5, ClientID: "witness", CleanStart: true, ReceiveMaximum: 65535, OnMessage: r.take,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeSession(s) })
	refused, err := s.Subscribe(t.Context(), mqtt.Subscription{Filter: "far/#", QoS: 1})
	if err != nil || refused[0] != nil {
		t.Fatalf("subscribe: %v, %v", err, refused)
	}
	return r
}

func (r *receiver) take(in *mqtt.Inbound) {
	now := time.Now()
	n, err := strconv.Atoi(string(in.Payload))
	if err != nil {
		n = -1
	}
	r.mu.Lock()
	r.arrived = append(r.arrived, arrival{number: n, topic: strings.TrimPrefix(in.Topic, "far/"), at: now})
	r.numbers[n] = true
	r.last = now
	r.mu.Unlock()
	in.Ack()
}

// settle waits until all that was sent has arrived and nothing more comes, or until nothing has come for so long.
func (r *receiver) settle(sent []message, patience time.Duration) []arrival {
	const quiet = 300 * time.Millisecond
	began := time.Now()
	for {
		r.mu.Lock()
		missing := 0
		for n, m := range sent {
			if !m.acked.IsZero() && !r.numbers[n] {
				missing++
			}
		}
		idle := time.Since(r.last)
		if since := time.Since(began); since < idle {
			idle = since
		}
		if missing == 0 && idle > quiet || idle > patience {
			defer r.mu.Unlock()
			return r.arrived
		}
		r.mu.Unlock()
		<-time.After(20 * time.Millisecond)
	}
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.numbers)
}

func closeSession(s *mqtt.Session) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.Close(ctx) // Whoever is gone cannot be told.
}

// pause waits, and says whether it was not cut short.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (o outcome) String() string {
	return fmt.Sprintf("sent %d, delivered %d, lost %d %v, duplicated %d, out of order %d", o.sent, o.delivered, o.lost, o.missing, o.duplicated, o.disordered)
}
