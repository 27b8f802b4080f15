package bridge

import (
	"slices"
	"sync"
)

// mostRejected is how many refused points a lane keeps to be looked at.
const mostRejected = 100

// rejected keeps the last points that a cloud refused for good, and counts them all. It is safe for
// concurrent use.
type rejected struct {
	mu    sync.Mutex
	ring  []Rejected
	next  int
	total uint64
}

func newRejected() *rejected { return new(rejected) }

// add notes a refused point. Only the beginning of its value is kept: it may be as large as a message.
func (r *rejected) add(e Rejected) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.Value = cut(e.Value)
	r.total++
	if len(r.ring) < mostRejected {
		r.ring = append(r.ring, e)
		return
	}
	r.ring[r.next] = e
	r.next = (r.next + 1) % mostRejected
}

// list copies out what is kept, oldest first.
func (r *rejected) list() []Rejected {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Concat(r.ring[r.next:], r.ring[:r.next])
}

// count is how many were refused since the start.
func (r *rejected) count() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total
}
