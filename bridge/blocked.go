package bridge

import (
	"sync"
	"time"
)

// blocked are the topics that this account may not use, for a while.
type blocked struct {
	mu   sync.Mutex
	list map[string]time.Time
}

func (b *blocked) block(topic string, until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.list == nil {
		b.list = make(map[string]time.Time)
	}
	if len(b.list) > 1000 {
		clear(b.list)
	}
	b.list[topic] = until
}

func (b *blocked) unblock(topic string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.list, topic)
}

func (b *blocked) is(topic string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	until, ok := b.list[topic]
	if ok && !until.After(now) {
		delete(b.list, topic)
		return false
	}
	return ok
}
