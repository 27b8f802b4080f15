package trial

import (
	"context"
	"sync"
	"time"

	"cloudbridge/internal/mqtt"
)

// Publisher is a board that publishes numbered messages. It never sends one twice: what a lost connection leaves open
// counts as not acknowledged, so each duplicate at the far end is the bridge's.
type Publisher struct {
	url, id string
	rate    int
	next    func(n int) mqtt.Message

	stop  context.CancelFunc
	ended chan struct{}

	mu    sync.Mutex
	sent  []Message
	open  int // published, and not answered yet
	acked int
}

// Publish starts a publisher with a client id of its own. It sends so many messages a second; next makes the one with a
// number, in which the far end must find that number again.
func Publish(url, id string, rate int, next func(n int) mqtt.Message) *Publisher {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Publisher{url: url, id: id, rate: rate, next: next, stop: cancel, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		for ctx.Err() == nil {
			p.connect(ctx)
		}
	}()
	return p
}

// connect publishes for as long as one connection lives.
func (p *Publisher) connect(ctx context.Context) {
	s, err := mqtt.Dial(ctx, mqtt.Options{URL: p.url, Protocol: mqtt.V5, ClientID: p.id, CleanStart: true})
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

func (p *Publisher) one(ctx context.Context, s *mqtt.Session) bool {
	p.mu.Lock()
	n := len(p.sent)
	out := p.next(n)
	p.sent = append(p.sent, Message{Topic: out.Topic})
	p.open++
	p.mu.Unlock()
	answered := func(r mqtt.Result) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.open--
		if r.Err == nil {
			p.acked++
			p.sent[n].Acked = time.Now()
		}
	}
	if err := s.Publish(ctx, &out, answered); err != nil {
		answered(mqtt.Result{Err: err})
		return false
	}
	return true
}

func (p *Publisher) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}

// Acked is how many messages Mosquitto has acknowledged so far.
func (p *Publisher) Acked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.acked
}

// End stops publishing and gives all that was sent. Calling it again does no harm.
func (p *Publisher) End() []Message {
	p.stop()
	<-p.ended
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent
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

func closeSession(s *mqtt.Session) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.Close(ctx) // Whoever is gone cannot be told.
}
