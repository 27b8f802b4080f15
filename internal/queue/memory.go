package queue

import (
	"bytes"
	"context"
	"sync"
)

// RecordOverhead is what a record counts beyond its own bytes towards a queue's bound and in Stats.Bytes, so that a
// bound in bytes also bounds what a million tiny records take.
const RecordOverhead = 48

// smallRing is the number of entries below which a ring is not given back to the collector: it holds one full window
// of messages in flight, so a queue that fills and empties all day allocates nothing for it.
const smallRing = 1024

// Memory is a queue without a disk. What it holds is gone with the process: a record is safe once it is committed, or
// once its owner has asked with Flush for no more than memory can give.
type Memory struct {
	maxBytes   int64
	keepOldest bool

	mu sync.Mutex
	// ring holds count entries from head on; the entry at head has sequence number first. Its length is a power of two.
	ring    []entry
	head    int
	count   int
	first   uint64
	bytes   int64
	dropped uint64
	closed  bool
	// wake is closed when a record arrives or the queue closes; nil while nobody waits.
	wake chan struct{}
	// settled holds callbacks that are due, in order. One goroutine at a time runs them, outside the lock.
	settled []func()
	spare   []func()
	running bool
}

type entry struct {
	data []byte
	safe func()
}

var _ Interface = (*Memory)(nil)

// NewMemory makes an empty queue of at most maxBytes, zero being no bound. At the bound the oldest records go, or, where
// overflow is "newest", the record that does not fit.
func NewMemory(maxBytes int64, overflow string) *Memory {
	return &Memory{maxBytes: maxBytes, keepOldest: overflow == "newest", first: 1}
}

// Append copies rec into the queue. A record that goes because the queue is full is settled by policy: it is counted and
// its safe is called, but it is no error.
func (m *Memory) Append(rec []byte, safe func()) error {
	size := int64(len(rec)) + RecordOverhead
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return ErrClosed
	}
	if m.maxBytes > 0 {
		// Emptying the queue would not make room for a record that is larger than all of it.
		if size > m.maxBytes || (m.keepOldest && m.bytes+size > m.maxBytes) {
			m.dropped++
			m.settle(safe)
			m.runSettled()
			return nil
		}
		for m.bytes+size > m.maxBytes {
			m.dropped++
			m.settle(m.pop())
		}
	}
	if m.count == len(m.ring) {
		m.resize(max(64, 2*len(m.ring)))
	}
	m.ring[(m.head+m.count)&(len(m.ring)-1)] = entry{data: bytes.Clone(rec), safe: safe}
	m.count++
	m.bytes += size
	m.wakeAll()
	m.runSettled()
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
		if end := m.first + uint64(m.count); after+1 < end {
			recs := m.slice(max(after+1, m.first), end, n)
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

// slice copies out at most n entries of the sequence numbers from start up to end.
func (m *Memory) slice(start, end uint64, n int) []Record {
	n = int(min(uint64(max(n, 1)), end-start))
	recs := make([]Record, n)
	at := m.head + int(start-m.first)
	for i := range recs {
		recs[i] = Record{Seq: start + uint64(i), Data: m.ring[(at+i)&(len(m.ring)-1)].data}
	}
	return recs
}

// Commit settles every record up to through and calls their safes in order. While another goroutine is calling safes it
// leaves these to it, so that they stay in order; a safe may use the queue.
func (m *Memory) Commit(through uint64) error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return ErrClosed
	}
	for m.count > 0 && m.first <= through {
		m.settle(m.pop())
	}
	m.runSettled()
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
	for i := range m.count {
		e := &m.ring[(m.head+i)&(len(m.ring)-1)]
		m.settle(e.safe)
		e.safe = nil
	}
	m.runSettled()
	return nil
}

// Stats says what waits.
func (m *Memory) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Stats{Records: m.count, Bytes: m.bytes, DroppedRecords: m.dropped}
	if m.count > 0 {
		s.First, s.Last = m.first, m.first+uint64(m.count)-1
	}
	return s
}

// Close ends all that waits in Peek. What was not committed never becomes safe.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.wakeAll()
	m.ring, m.head, m.count, m.bytes = nil, 0, 0, 0
	return nil
}

func (m *Memory) wakeAll() {
	if m.wake != nil {
		close(m.wake)
		m.wake = nil
	}
}

// pop takes the oldest entry out and returns its safe.
func (m *Memory) pop() func() {
	e := &m.ring[m.head]
	safe := e.safe
	m.bytes -= int64(len(e.data)) + RecordOverhead
	*e = entry{}
	m.head = (m.head + 1) & (len(m.ring) - 1)
	m.count--
	m.first++
	// A backlog that is gone gives its memory back; at a quarter, so that growing and shrinking do not alternate.
	if len(m.ring) > smallRing && m.count <= len(m.ring)/4 {
		m.resize(len(m.ring) / 2)
	}
	return safe
}

func (m *Memory) resize(n int) {
	ring := make([]entry, n)
	for i := range m.count {
		ring[i] = m.ring[(m.head+i)&(len(m.ring)-1)]
	}
	m.ring, m.head = ring, 0
}

func (m *Memory) settle(safe func()) {
	if safe != nil {
		m.settled = append(m.settled, safe)
	}
}

// runSettled is called with the lock held and gives it up. The callbacks run without it, so that they may come back to
// the queue; whoever finds them running leaves its own to the goroutine that runs them.
func (m *Memory) runSettled() {
	if m.running || len(m.settled) == 0 {
		m.mu.Unlock()
		return
	}
	m.running = true
	for len(m.settled) > 0 {
		due := m.settled
		m.settled = m.spare[:0]
		m.mu.Unlock()
		for i, safe := range due {
			safe()
			due[i] = nil
		}
		m.mu.Lock()
		m.spare = due[:0]
		if cap(due) > smallRing {
			m.spare = nil
		}
	}
	m.running = false
	m.mu.Unlock()
}
