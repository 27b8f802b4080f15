package queue

import (
	"context"
	"sync"
	"time"
)

// Memory is a queue without a disk. What it holds is gone with the process: a record is safe once it is committed, or
// once its owner has asked with Flush for no more than memory can give.
type Memory struct {
	maxBytes   int64
	keepOldest bool

	mu      sync.Mutex
	ring    ring
	chunk   chunk
	dropped uint64
	closed  bool
	// wake is closed when a record arrives or the queue closes; nil while nobody waits.
	wake    chan struct{}
	settled settler
}

var _ Interface = (*Memory)(nil)

// NewMemory makes an empty queue of at most maxBytes, zero being no bound. At the bound the oldest records go, or, where
// overflow is "newest", the record that does not fit.
func NewMemory(maxBytes int64, overflow string) *Memory {
	return &Memory{maxBytes: maxBytes, keepOldest: overflow == "newest", ring: ring{first: 1}}
}

// Append copies rec into the queue. A record that goes because the queue is full is settled by policy: it is counted and
// its safe is called, but it is no error.
func (m *Memory) Append(rec []byte, safe func()) error {
	size := int64(len(rec)) + RecordOverhead
	wall := wallNumber(time.Now())
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return ErrClosed
	}
	if m.maxBytes > 0 {
		// Emptying the queue would not make room for a record that is larger than all of it.
		if size > m.maxBytes || (m.keepOldest && m.ring.bytes+size > m.maxBytes) {
			m.dropped++
			m.settled.add(safe)
			m.settled.run(&m.mu)
			return nil
		}
		for m.ring.bytes+size > m.maxBytes {
			m.dropped++
			m.settled.add(m.ring.pop())
		}
	}
	m.ring.push(entry{data: m.chunk.keep(rec), wall: wall, safe: safe})
	m.wakeAll()
	m.settled.run(&m.mu)
	return nil
}

// Peek waits for records past after. Their data belongs to the queue and must not be changed; it stays as it is for as
// long as the caller holds it, even when the record has been committed or dropped meanwhile.
func (m *Memory) Peek(ctx context.Context, after uint64, n int) ([]Record, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m.mu.Lock()
		if m.closed {
			m.mu.Unlock()
			return nil, ErrClosed
		}
		if after+1 < m.ring.next() {
			recs := m.ring.records(max(after+1, m.ring.first), n, "")
			m.mu.Unlock()
			return recs, nil
		}
		if m.wake == nil {
			m.wake = make(chan struct{})
		}
		wake := m.wake
		m.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
		}
	}
}

// Commit settles every record up to through and calls their safes in order. While another goroutine is calling safes it
// leaves these to it, so that they stay in order; a safe may use the queue.
func (m *Memory) Commit(through uint64) error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return ErrClosed
	}
	for m.ring.count > 0 && m.ring.first <= through {
		m.settled.add(m.ring.pop())
	}
	m.settled.run(&m.mu)
	return nil
}

// Flush lets go of whoever waits for the records to be safe: there is no disk under this queue, and they will get no safer
// than they are. Its owner asks for it only when waiting any longer would stop everything else.
func (m *Memory) Flush() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return ErrClosed
	}
	for i := range m.ring.count {
		e := m.ring.at(i)
		m.settled.add(e.safe)
		e.safe = nil
	}
	m.settled.run(&m.mu)
	return nil
}

// Stats says what waits.
func (m *Memory) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Stats{Records: m.ring.count, Bytes: m.ring.bytes, DroppedRecords: m.dropped}
	if m.ring.count > 0 {
		s.First, s.Last = m.ring.first, m.ring.next()-1
	}
	return s
}

// Tail is the sequence number that was given last, and how many records were dropped.
func (m *Memory) Tail() (last, dropped uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ring.next() - 1, m.dropped
}

// Close ends all that waits in Peek. What was not committed never becomes safe.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.wakeAll()
	m.ring = ring{first: m.ring.next()}
	return nil
}

func (m *Memory) wakeAll() {
	if m.wake != nil {
		close(m.wake)
		m.wake = nil
	}
}
