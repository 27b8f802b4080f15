package bridge

import (
	"container/list"
	"hash/maphash"
	"sync"
	"time"
)

// The breaker's figures are the design's: more than 50 equal messages in 10 s is no board, it is a circle.
const (
	breakerEqual  = 50
	breakerSpan   = 10 * time.Second
	breakerRest   = time.Minute
	breakerMemory = 1024
)

// breaker stops a rule that sends one message round and round where no property of the message can tell. It remembers
// the most recent kinds of message only, so its memory is bounded. It is safe for concurrent use.
type breaker struct {
	mu     sync.Mutex
	seed   maphash.Seed
	seen   map[breakerKey]*list.Element // of *breakerCount
	recent *list.List                   // the least recent last
	open   map[int]time.Time            // a rule's end of rest
}

type breakerKey struct {
	rule    int
	message uint64
}

// breakerCount holds the times of the last breakerEqual messages of one kind, as a ring.
type breakerCount struct {
	key   breakerKey
	times []time.Time
	next  int
}

func newBreaker() *breaker {
	return &breaker{
		seed:   maphash.MakeSeed(),
		seen:   make(map[breakerKey]*list.Element),
		recent: list.New(),
		open:   make(map[int]time.Time),
	}
}

// allow says whether a rule may send a message. tripped is true for the one message that stops the rule, so that it is
// told once.
func (b *breaker) allow(rule int, topic string, payload []byte, now time.Time) (ok, tripped bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if until, stopped := b.open[rule]; stopped {
		if now.Before(until) {
			return false, false
		}
		delete(b.open, rule)
	}
	if b.count(rule, topic, payload, now) {
		b.open[rule] = now.Add(breakerRest)
		return false, true
	}
	return true, false
}

// count notes a message and says whether it is one too many.
func (b *breaker) count(rule int, topic string, payload []byte, now time.Time) bool {
	var h maphash.Hash
	h.SetSeed(b.seed)
	_, _ = h.WriteString(topic) // a hash never fails
	_ = h.WriteByte(0)
	_, _ = h.Write(payload)
	c := b.find(breakerKey{rule, h.Sum64()})
	if len(c.times) < breakerEqual {
		c.times = append(c.times, now)
		return false
	}
	oldest := c.times[c.next]
	c.times[c.next] = now
	c.next = (c.next + 1) % breakerEqual
	return now.Sub(oldest) < breakerSpan
}

// find returns the count of a kind of message, and forgets the least recent kind where there are too many.
func (b *breaker) find(key breakerKey) *breakerCount {
	if e, ok := b.seen[key]; ok {
		b.recent.MoveToFront(e)
		return e.Value.(*breakerCount)
	}
	if b.recent.Len() >= breakerMemory {
		last := b.recent.Back()
		delete(b.seen, last.Value.(*breakerCount).key)
		b.recent.Remove(last)
	}
	c := &breakerCount{key: key}
	b.seen[key] = b.recent.PushFront(c)
	return c
}
