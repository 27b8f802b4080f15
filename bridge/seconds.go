package bridge

import (
	"sync"
	"time"
)

// mostSeconds bounds how many seconds are remembered; the oldest are forgotten first.
const mostSeconds = 20_000

// seconds keeps two rows of a channel out of one second, for the cloud knows entries by their second and refuses the
// second of two, in a bulk update even without a word.
type seconds struct {
	mu    sync.Mutex
	taken map[int64]bool
	order []int64
}

func newSeconds() *seconds { return &seconds{taken: make(map[int64]bool)} }

// free takes the second of a time, or the next one that is free.
func (s *seconds) free(t time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.taken[t.Unix()] {
		t = t.Truncate(time.Second).Add(time.Second)
	}
	s.taken[t.Unix()] = true
	if s.order = append(s.order, t.Unix()); len(s.order) > mostSeconds {
		delete(s.taken, s.order[0])
		s.order = s.order[1:]
	}
	return t
}
