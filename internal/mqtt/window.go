package mqtt

import (
	"context"
	"sync"
)

// window lets at most max publishes and maxBytes of their payloads be unconfirmed at once. Who has to wait is served
// in the order of asking, so that a stream of small messages does not starve a large one.
type window struct {
	mu       sync.Mutex
	max      int
	maxBytes int // 0 is no bound
	used     int
	bytes    int
	waiting  []*waiter
}

type waiter struct {
	size  int
	ready chan struct{}
}

// try takes room where there is some and nobody waits for it.
func (w *window) try(size int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) > 0 || !w.fits(size) {
		return false
	}
	w.grant(size)
	return true
}

// acquire waits for room. It gives ctx's error, or errEnded when ended is closed first.
func (w *window) acquire(ctx context.Context, ended <-chan struct{}, size int) error {
	w.mu.Lock()
	if len(w.waiting) == 0 && w.fits(size) {
		w.grant(size)
		w.mu.Unlock()
		return nil
	}
	me := &waiter{size: size, ready: make(chan struct{})}
	w.waiting = append(w.waiting, me)
	w.mu.Unlock()
	var err error
	select {
	case <-me.ready:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-ended:
		err = errEnded
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, other := range w.waiting {
		if other == me {
			w.waiting = append(w.waiting[:i], w.waiting[i+1:]...)
			w.admit() // Who stood behind may be smaller.
			return err
		}
	}
	// The room was granted at the same moment; give it back.
	w.giveBack(size)
	return err
}

// release gives back the room of a publish of this size.
func (w *window) release(size int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.giveBack(size)
}

func (w *window) giveBack(size int) {
	w.used--
	w.bytes -= size
	w.admit()
}

func (w *window) admit() {
	for len(w.waiting) > 0 && w.fits(w.waiting[0].size) {
		w.grant(w.waiting[0].size)
		close(w.waiting[0].ready)
		w.waiting[0] = nil
		w.waiting = w.waiting[1:]
	}
}

// fits says whether there is room; a message beyond maxBytes goes alone.
func (w *window) fits(size int) bool {
	return w.used == 0 || w.used < w.max && (w.maxBytes == 0 || w.bytes+size <= w.maxBytes)
}

func (w *window) grant(size int) {
	w.used++
	w.bytes += size
}
