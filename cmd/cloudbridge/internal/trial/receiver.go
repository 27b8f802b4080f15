package trial

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
)

// Receiver notes what arrives at the far end.
type Receiver struct {
	mu      sync.Mutex
	arrived []Arrival
	numbers map[int]bool
	last    time.Time
}

// NewReceiver returns a receiver that is told of arrivals by [Receiver.Take].
func NewReceiver() *Receiver {
	return &Receiver{numbers: make(map[int]bool), last: time.Now()}
}

// Take notes an arrival.
func (r *Receiver) Take(a Arrival) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.arrived = append(r.arrived, a)
	r.numbers[a.Number] = true
	r.last = a.At
}

// Settle waits until all that was sent has arrived and nothing more comes, or until nothing has come for so long.
func (r *Receiver) Settle(sent []Message, patience time.Duration) []Arrival {
	const quiet = 300 * time.Millisecond
	began := time.Now()
	for {
		r.mu.Lock()
		missing := 0
		for n, m := range sent {
			if !m.Acked.IsZero() && !r.numbers[n] {
				missing++
			}
		}
		idle := min(time.Since(r.last), time.Since(began))
		if missing == 0 && idle > quiet || idle > patience {
			defer r.mu.Unlock()
			return slices.Clone(r.arrived)
		}
		r.mu.Unlock()
		<-time.After(20 * time.Millisecond)
	}
}

// Count is how many different messages have arrived, and how many arrivals were of one that had come before.
func (r *Receiver) Count() (different, again int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.numbers), len(r.arrived) - len(r.numbers)
}

// Listen subscribes to a filter until the end of the test, and connects again when the connection is lost: with CleanStart
// false and a SessionExpiry the broker keeps what comes meanwhile. o.OnMessage takes the messages.
func Listen(t *testing.T, o mqtt.Options, filter string) {
	t.Helper()
	s, err := listen(t.Context(), o, filter)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			select {
			case <-s.Done():
			case <-ctx.Done():
				closeSession(s)
				return
			}
			for {
				again, err := listen(ctx, o, filter)
				if err == nil {
					s = again
					break
				}
				if !pause(ctx, 50*time.Millisecond) {
					return
				}
			}
		}
	}()
}

func listen(ctx context.Context, o mqtt.Options, filter string) (*mqtt.Session, error) {
	s, err := mqtt.Dial(ctx, o)
	if err != nil {
		return nil, err
	}
	refused, err := s.Subscribe(ctx, mqtt.Subscription{Filter: filter, QoS: 1})
	if err == nil {
		err = refused[0]
	}
	if err != nil {
		closeSession(s)
		return nil, err
	}
	return s, nil
}
