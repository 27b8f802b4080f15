package queue

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	segmentBytes = 1 << 20
	// memoryOnlyBytes is the most that a queue keeps in memory when its disk cannot be written.
	memoryOnlyBytes = 4 << 20
	// retryAfter is how long a disk that failed is left alone.
	retryAfter = 30 * time.Second
)

// Options of a Log. The zero value is a queue without a bound.
type Options struct {
	// MaxBytes bounds what waits, in memory and on disk; zero is no bound. At the bound the oldest records go, on disk by
	// whole segments, or, where Overflow is "newest", the record that does not fit.
	MaxBytes int64
	Overflow string
	// MemoryBytes is how much may wait in memory alone before the queue flushes of its own accord; default 1 MiB.
	MemoryBytes int64
	// FreeBytes stay free on the disk, whoever fills it; zero leaves that to the disk.
	FreeBytes int64
	// Now is the clock, time.Now by default. BootID names this run of the machine; every record carries it.
	Now    func() time.Time
	BootID string
	// FS is the disk; nil is the real one.
	FS fileSystem
	// Log is told, in words, what was lost or could not be read.
	Log func(string)

	segment int64 // the size of a segment in tests
}

// Log is a queue that is in memory while it is settled quickly and on disk when it is not. What is flushed is on disk
// and in order before what is in memory, in segments of fixed size that are used again once they are settled. Nothing
// is written, not even the folder made, until the first Flush that finds something to bring to disk.
//
// Where the disk fails or is full the queue goes on in memory alone, in little space: Flush then calls the safes, for the
// records will get no safer, and every 30 seconds it, or Append, tries the disk again.
type Log struct {
	dir  string
	o    Options
	fs   fileSystem
	boot bootMark

	mu sync.Mutex
	// mem holds the newest records, those that are not on disk.
	mem   ring
	chunk chunk
	// segs are the segments with records that wait, the oldest first, and the active one even if it has none. free are
	// those to be used again or removed. active is the one being written; segs has it once something in it is on disk.
	segs, free []*segment
	active     *segment
	nextID     uint32
	foreign    map[uint32]bool // numbers that are taken by files which are not ours, or cannot be read
	// held is what segs count towards the bound; records and bytes are what they hold, settled or not.
	held, bytes int64
	records     int
	// committed is the number up to which all is settled, durable that up to which all is on disk or settled.
	committed, durable uint64
	dropped, lost      uint64
	// why is what is wrong with the disk, nil if it works, and retryAt when to try again. told is the number up to
	// which whoever waited has been told "safe" without a disk.
	why     error
	retryAt time.Time
	told    uint64
	// unread says that the folder could not be read at opening, so that nothing may be written beside what it holds.
	unread bool
	closed bool
	// wake is closed when a record arrives or the queue closes; nil while nobody waits.
	wake    chan struct{}
	settled settler
	// flushing is closed when the round of writing under way ends; nil if there is none. Its owner alone writes segments.
	flushing chan struct{}

	batch  []entry // the round's
	buf    []byte  // the round's
	reader reader
	cursor cursor
}

var _ Interface = (*Log)(nil)

// Append copies rec into the queue. A record that goes because the queue is full is settled by policy: it is counted and
// its safe is called, but it is no error. Append waits for the disk only when twice MemoryBytes wait for it already.
func (q *Log) Append(rec []byte, safe func()) error {
	if len(rec) > maxData {
		return fmt.Errorf("record of %d bytes: a queue takes %d at most", len(rec), maxData)
	}
	size := int64(len(rec)) + RecordOverhead
	now := q.o.Now()
	q.mu.Lock()
	for !q.closed && q.flushing != nil && q.why == nil && q.mem.bytes > 2*q.o.MemoryBytes {
		q.awaitRound()
	}
	if q.closed {
		q.mu.Unlock()
		return ErrClosed
	}
	if !q.makeRoom(size) {
		q.dropped++
		q.settled.add(safe)
		q.settled.run(&q.mu)
		return nil
	}
	q.mem.push(entry{data: q.chunk.keep(rec), wall: wallNumber(now), safe: safe})
	q.wakeAll()
	switch retry := !now.Before(q.retryAt); {
	case q.flushing != nil:
	case q.why == nil && q.mem.bytes > q.o.MemoryBytes, q.why != nil && retry:
		q.flushing = make(chan struct{})
		go q.round()
	case q.why != nil && q.mem.bytes > q.o.MemoryBytes:
		q.tellAll()
	}
	q.settled.run(&q.mu)
	return nil
}

// makeRoom drops the oldest records until size bytes more fit, and says whether they do.
func (q *Log) makeRoom(size int64) bool {
	limit := q.o.MaxBytes
	memory := int64(1) << 62
	if q.why != nil {
		memory = memoryOnlyBytes
	}
	if limit <= 0 {
		limit = 1 << 62
	}
	if size > min(limit, memory) {
		return false
	}
	if q.o.Overflow == "newest" {
		return q.held+q.mem.bytes+size <= limit && q.mem.bytes+size <= memory
	}
	for q.held+q.mem.bytes+size > limit && q.dropSegment() {
	}
	for q.mem.count > 0 && (q.held+q.mem.bytes+size > limit || q.mem.bytes+size > memory) {
		q.dropped++
		q.settled.add(q.mem.pop())
	}
	return true
}

// Peek waits for records past after. Their data belongs to the queue and must not be changed; it stays as it is for as
// long as the caller holds it, even when the record has been committed or dropped meanwhile. Of what is on disk it gives
// as much as one reading brings, which may be less than n.
func (q *Log) Peek(ctx context.Context, after uint64, n int) ([]Record, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		q.mu.Lock()
		if q.closed {
			q.mu.Unlock()
			return nil, ErrClosed
		}
		from := max(after, q.committed) + 1
		if v, ok := q.view(from); ok {
			q.mu.Unlock()
			recs, wait := q.readDisk(v, max(n, 1))
			if len(recs) > 0 {
				return recs, nil
			}
			if wait > 0 {
				select {
				case <-time.After(wait):
				case <-ctx.Done():
				}
			}
			continue
		}
		if from < q.mem.next() {
			recs := q.mem.records(max(from, q.mem.first), n, q.o.BootID)
			q.mu.Unlock()
			return recs, nil
		}
		if q.wake == nil {
			q.wake = make(chan struct{})
		}
		wake := q.wake
		q.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
		}
	}
}

// Commit settles every record up to through and calls their safes in order. While another goroutine is calling safes it
// leaves these to it, so that they stay in order; a safe may use the queue.
func (q *Log) Commit(through uint64) error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return ErrClosed
	}
	through = min(through, q.mem.next()-1)
	if through <= q.committed {
		q.mu.Unlock()
		return nil
	}
	q.committed = through
	for q.mem.count > 0 && q.mem.first <= through {
		q.settled.add(q.mem.pop())
	}
	q.trim()
	due := q.cursor.due(q)
	q.settled.run(&q.mu)
	if due {
		q.cursor.save(q, false)
	}
	q.reclaim()
	return nil
}

// Stats says what waits. Bytes is near the truth while the oldest segment is partly settled, and exact otherwise.
func (q *Log) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := Stats{DroppedRecords: q.dropped, LostRecords: q.lost, MemoryOnly: q.why != nil}
	if q.why != nil {
		s.Why = q.why.Error()
	}
	if q.closed {
		return s
	}
	s.Records, s.Bytes = q.records+q.mem.count, q.bytes+q.mem.bytes
	for _, seg := range q.segs {
		left := seg.live(q.committed)
		if left > 0 {
			s.First = max(seg.firstFrom(q.committed+1), 1)
		}
		if left < seg.count {
			s.Records -= seg.count - left
			s.Bytes -= seg.bytes - seg.bytes*int64(left)/int64(seg.count)
		}
		if left > 0 {
			break // Those behind it are whole.
		}
	}
	for i := len(q.segs) - 1; i >= 0 && s.Last == 0; i-- {
		if seg := q.segs[i]; seg.live(q.committed) > 0 {
			s.Last = seg.last()
		}
	}
	if q.mem.count > 0 {
		if s.First == 0 {
			s.First = q.mem.first
		}
		s.Last = q.mem.next() - 1
	}
	return s
}

// Tail is the sequence number that was given last, and how many records were dropped.
func (q *Log) Tail() (last, dropped uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mem.next() - 1, q.dropped
}

// Close ends all that waits in Peek. What was neither flushed nor committed never becomes safe.
func (q *Log) Close() error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return nil
	}
	q.closed = true
	q.wakeAll()
	for q.flushing != nil {
		q.awaitRound()
	}
	q.mem = ring{first: q.mem.next()}
	behind := q.cursor.behind(q)
	q.cursor.wake()
	q.mu.Unlock()

	if behind {
		q.cursor.save(q, true)
	}
	q.cursor.close()
	q.reader.mu.Lock()
	q.reader.forget()
	q.reader.mu.Unlock()
	if q.active != nil && q.active.file != nil {
		return q.active.file.Close()
	}
	return nil
}

func (q *Log) wakeAll() {
	if q.wake != nil {
		close(q.wake)
		q.wake = nil
	}
}

// awaitRound waits, with the lock given up meanwhile, for the round under way.
func (q *Log) awaitRound() {
	done := q.flushing
	q.mu.Unlock()
	<-done
	q.mu.Lock()
}

// say tells the owner, without the lock.
func (q *Log) say(format string, args ...any) {
	if q.o.Log != nil {
		q.o.Log(fmt.Sprintf("queue %s: ", q.dir) + fmt.Sprintf(format, args...))
	}
}

func records(n int) string {
	if n == 1 {
		return "1 record"
	}
	return fmt.Sprintf("%d records", n)
}
