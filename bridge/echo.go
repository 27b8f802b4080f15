package bridge

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

const (
	// echoLife is how long after its confirmation an echo may still arrive.
	echoLife = 10 * time.Second
	// mostEchoes bounds what is remembered of publishes whose end nobody told.
	mostEchoes = 1 << 16
)

// echoes remembers what we sent to a cloud that sends it back, so that our own words are not taken for a command. Each
// fingerprint answers for one message: an equal value that a person sends right after our echo came back is a command. It is safe
// for concurrent use.
type echoes struct {
	mu    sync.Mutex
	seed  maphash.Seed
	life  time.Duration
	last  echoToken
	marks map[echoMark][]echoToken // oldest first; several publishes may share a fingerprint
	sends map[echoToken][]echoMark
	ends  []echoEnd // confirmed ones in the order in which they end
	// order is what was sent, oldest first, for the bound; it may name what is gone.
	order  []echoToken
	frozen bool
}

// echoToken names one publish; zero is none.
type echoToken uint64

// echoMark is a fingerprint. The value is hashed, for it may be as large as a message.
type echoMark struct {
	address mappings.Address
	value   uint64
}

type echoEnd struct {
	at    time.Time
	token echoToken
}

func newEchoes(scale float64) *echoes {
	e := &echoes{seed: maphash.MakeSeed(), life: scaleTime(echoLife, scale)}
	e.clear()
	return e
}

// sent notes what a publish may bring back. It is called before the publish is written, for the echo may be quicker
// than the confirmation.
func (e *echoes) sent(list []platforms.Echo, now time.Time) echoToken {
	if len(list) == 0 {
		return 0
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.prune(now)
	e.last++
	for _, echo := range list {
		m := e.mark(echo)
		e.marks[m] = append(e.marks[m], e.last)
		e.sends[e.last] = append(e.sends[e.last], m)
	}
	e.order = append(e.order, e.last)
	if len(e.sends) > mostEchoes || len(e.order) >= 2*mostEchoes {
		e.bound()
	}
	return e.last
}

// confirmed starts the last stretch of a publish's fingerprints. It is also for one that was refused: nothing more is
// known of it then.
func (e *echoes) confirmed(t echoToken, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.sends[t]; ok {
		e.ends = append(e.ends, echoEnd{now.Add(e.life), t})
	}
	e.prune(now)
}

// ours says whether a message of the cloud's is an echo, and if so uses the fingerprint up. Several fingerprints of one
// message are names of one address (a feed, its group): one of them is enough, the most exact is tried first.
func (e *echoes) ours(list []platforms.Echo, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.prune(now)
	for _, echo := range list {
		m := e.mark(echo)
		if tokens := e.marks[m]; len(tokens) > 0 {
			e.unmark(m, tokens[0])
			return true
		}
	}
	return false
}

// freeze holds everything while the connection is down to a broker that keeps the session: an echo may wait there. thaw
// gives what was confirmed its last stretch anew.
func (e *echoes) freeze() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.frozen = true
}

func (e *echoes) thaw(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.frozen {
		return
	}
	e.frozen = false
	for i := range e.ends {
		e.ends[i].at = now.Add(e.life)
	}
}

// clear forgets everything: what a lost connection did not bring back never comes.
func (e *echoes) clear() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.marks = make(map[echoMark][]echoToken)
	e.sends = make(map[echoToken][]echoMark)
	e.ends, e.order, e.frozen = nil, nil, false
}

// len is how many fingerprints are waiting.
func (e *echoes) len() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, marks := range e.sends {
		n += len(marks)
	}
	return n
}

func (e *echoes) mark(echo platforms.Echo) echoMark {
	return echoMark{echo.Address, maphash.String(e.seed, echo.Value)}
}

// unmark takes one fingerprint of one publish away.
func (e *echoes) unmark(m echoMark, t echoToken) {
	e.marks[m] = without(e.marks[m], t)
	if len(e.marks[m]) == 0 {
		delete(e.marks, m)
	}
	e.sends[t] = without(e.sends[t], m)
	if len(e.sends[t]) == 0 {
		delete(e.sends, t)
	}
}

// forget takes all that is left of one publish away.
func (e *echoes) forget(t echoToken) {
	for _, m := range slices.Clone(e.sends[t]) {
		e.unmark(m, t)
	}
}

// prune forgets what has ended.
func (e *echoes) prune(now time.Time) {
	for !e.frozen && len(e.ends) > 0 && e.ends[0].at.Before(now) {
		e.forget(e.ends[0].token)
		e.ends = e.ends[1:]
	}
}

// bound forgets the oldest publishes where there are too many, and the names of those that are gone.
func (e *echoes) bound() {
	e.order = slices.DeleteFunc(e.order, func(t echoToken) bool { return e.sends[t] == nil })
	if len(e.sends) <= mostEchoes {
		return
	}
	// A quarter goes at once, so that not every publish has to look at all.
	for len(e.sends) > mostEchoes*3/4 {
		e.forget(e.order[0])
		e.order = e.order[1:]
	}
}

// without removes the first v from a list of its own.
func without[T comparable](list []T, v T) []T {
	if i := slices.Index(list, v); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}
