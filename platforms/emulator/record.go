package emulator

import (
	"sync"
	"time"
)

// remembered is how many events a record keeps. Counts go on for ever; an emulator that runs for days must not grow.
const remembered = 10_000

// Record is what an emulator saw: the events, newest last, and how many there were of each kind. It may be used from
// any goroutine.
type Record struct {
	log func(Event)

	mu     sync.Mutex
	events []Event // a ring once it is full
	next   int
	counts map[counted]int
	change chan struct{}
}

type counted struct {
	what     string
	accepted bool
}

// NewRecord returns an empty record that tells o.Log of each event.
func NewRecord(o Options) *Record {
	return &Record{log: o.Log, counts: map[counted]int{}, change: make(chan struct{})}
}

// Add notes an event, at this moment if it has no time of its own.
func (r *Record) Add(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	r.mu.Lock()
	if len(r.events) < remembered {
		r.events = append(r.events, e)
	} else {
		r.events[r.next] = e
		r.next = (r.next + 1) % remembered
	}
	r.counts[counted{e.What, e.Accepted}]++
	close(r.change)
	r.change = make(chan struct{})
	r.mu.Unlock()
	if r.log != nil {
		r.log(e)
	}
}

// Events is what happened so far, oldest first; the last 10,000 events at most.
func (r *Record) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Event, 0, len(r.events))
	all = append(all, r.events[r.next:]...)
	return append(all, r.events[:r.next]...)
}

// Count counts events: all of a kind of What, accepted or not.
func (r *Record) Count(what string, accepted bool) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[counted{what, accepted}]
}

// Changed returns a channel that is closed at the next event, for tests that wait for one without polling.
func (r *Record) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.change
}
