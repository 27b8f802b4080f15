package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
)

// writeBytes is about how much goes to the disk in one write.
const writeBytes = 64 << 10

// part is the records that a round has written to the active segment, up to end.
type part struct {
	first, last uint64
	end         int64
}

// Flush brings everything that is not committed to disk and calls its safes. Callers that come while another's round is
// under way share the next one. Where the disk does not take it, the queue goes on in memory alone, and lets go of
// whoever waits: Stats says so, and it is no error.
func (q *Log) Flush() error {
	q.mu.Lock()
	target := q.mem.next() - 1
	for !q.closed && q.mem.count > 0 && q.mem.first <= target {
		if q.flushing != nil {
			q.awaitRound()
			continue
		}
		if q.why != nil && q.o.Now().Before(q.retryAt) {
			q.tellAll()
			break
		}
		q.flushing = make(chan struct{})
		q.mu.Unlock()
		q.round()
		q.mu.Lock()
	}
	if q.closed {
		q.mu.Unlock()
		return ErrClosed
	}
	q.settled.run(&q.mu)
	return nil
}

// tellAll calls the safes of all that is in memory: without a disk it gets no safer.
func (q *Log) tellAll() {
	for seq := max(q.told+1, q.mem.first); seq < q.mem.next(); seq++ {
		e := q.mem.at(int(seq - q.mem.first))
		q.settled.add(e.safe)
		e.safe = nil
	}
	q.told = q.mem.next() - 1
}

// round writes what is in memory. Whoever set flushing calls it, without the lock.
func (q *Log) round() {
	q.mu.Lock()
	first := q.mem.first
	q.batch = slices.Grow(q.batch[:0], q.mem.count)
	for i := range q.mem.count {
		q.batch = append(q.batch, *q.mem.at(i))
	}
	q.mu.Unlock()
	err := q.write(first, q.batch)
	clear(q.batch)
	if cap(q.batch) > 4*smallRing {
		q.batch = nil
	}

	q.mu.Lock()
	if err != nil {
		q.retryAt = q.o.Now().Add(retryAfter)
	}
	q.why = err
	due := q.cursor.due(q)
	close(q.flushing)
	q.flushing = nil
	q.settled.run(&q.mu)
	if due {
		q.cursor.save(q, false)
	}
	q.reclaim()
}

// write brings batch, whose first record has number seq, to disk, with one fsync for each segment that it takes. Whatever
// the error, what got there is in the queue's books.
func (q *Log) write(seq uint64, batch []entry) error {
	for len(batch) > 0 {
		if q.active != nil && q.active.file == nil {
			f, err := q.fs.Open(q.path(q.active.id), true)
			if err != nil {
				q.condemn() // It is from before a restart, and a new one may do.
				continue
			}
			q.active.file = f
		}
		if n := frameLen(q.boot, len(batch[0].data)); q.active == nil || !q.active.fits(n) {
			if err := q.turn(seq, n); err != nil {
				return err
			}
		}
		p, err := q.fill(q.active, seq, batch)
		if err == nil {
			err = q.sync(q.active)
		}
		if err != nil {
			q.condemn()
			return fmt.Errorf("write the queue in %s: %w", q.dir, err)
		}
		// At once: until it is in the books its segment counts as settled.
		q.publish(p)
		batch = batch[p.last-seq+1:]
		seq = p.last + 1
	}
	return nil
}

func (s *segment) fits(n int) bool { return s.tail+int64(n) <= s.size }

// fill writes as many of the records as the segment takes, and zeros behind them, so that a reader can tell an end from
// a write that was cut short.
func (q *Log) fill(s *segment, seq uint64, batch []entry) (part, error) {
	p := part{first: seq, last: seq - 1}
	buf, at := q.buf[:0], s.tail
	for _, e := range batch {
		if !s.fits(frameLen(q.boot, len(e.data))) {
			break
		}
		p.last++
		before := len(buf)
		buf = appendFrame(buf, s.id, p.last, e.wall, q.boot, e.data, s.lastSeq == 0 || s.lastSeq+1 != p.last)
		s.lastSeq = p.last
		s.tail += int64(len(buf) - before)
		if len(buf) >= writeBytes {
			if _, err := s.file.WriteAt(buf, at); err != nil {
				return p, err
			}
			buf, at = buf[:0], s.tail
		}
	}
	p.end = s.tail
	if s.tail < s.size {
		buf = append(buf, make([]byte, 8)...)
	}
	q.buf = buf[:0]
	if cap(buf) > 4*writeBytes {
		q.buf = nil
	}
	_, err := s.file.WriteAt(buf, at)
	return p, err
}

// sync is the one place where something becomes safe. A new file's name has to be on disk, too.
func (q *Log) sync(s *segment) error {
	if err := s.file.Sync(); err != nil {
		return err
	}
	if s.newName {
		if err := q.fs.SyncDir(q.dir); err != nil {
			return err
		}
		s.newName = false
	}
	return nil
}

// condemn gives the active segment up after a failed write or fsync: nobody knows what of it is on disk, and a second
// fsync would answer as if all were well. What was safe in it before is read from it as ever.
func (q *Log) condemn() {
	s := q.active
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	s.unfit = true
	q.active = nil
	if s.count == 0 {
		if len(q.segs) == 0 || q.segs[len(q.segs)-1] != s {
			s.gone = true
			q.free = append(q.free, s)
		}
	} else {
		q.hold(s, s.size)
	}
	q.trim()
}

// turn makes the next segment the active one: one to be used again, or a new one, which takes a record of n bytes.
func (q *Log) turn(first uint64, n int) error {
	if err := q.comeBack(); err != nil {
		return err
	}
	size := max(q.o.segment, int64(align(headSize+n)))
	q.mu.Lock()
	if old := q.active; old != nil {
		if old.file != nil {
			_ = old.file.Close() // All that counts in it is synced.
			old.file = nil
		}
		q.active = nil
		if old.count > 0 {
			q.hold(old, old.size)
		}
		q.trim()
	}
	q.makeRoom(0)
	s := q.takeFree(size)
	q.mu.Unlock()

	if s == nil {
		if short := q.short(size); short != nil {
			q.mu.Lock()
			// Four segments are as much as memory would hold; to drop from fewer would gain nothing.
			if q.o.Overflow != "newest" && len(q.segs) >= memoryOnlyBytes/segmentBytes && q.dropSegment() {
				s = q.takeFree(size)
			}
			q.mu.Unlock()
			if s == nil {
				return short
			}
		}
	}
	if s != nil && q.renew(s) != nil {
		s = nil // It is of no use, but a new one may be.
	}
	if s == nil {
		var err error
		if s, err = q.create(size); err != nil {
			return fmt.Errorf("make room for the queue in %s: %w", q.dir, err)
		}
	}
	s.tail, s.used, s.lastSeq, s.newName = headSize, headSize, 0, true
	if _, err := s.file.WriteAt(head{formatVersion, s.id, first}.encode(), 0); err != nil {
		_ = s.file.Close()
		_ = q.fs.Remove(q.path(s.id))
		return fmt.Errorf("write the queue in %s: %w", q.dir, err)
	}
	q.mu.Lock()
	q.active = s
	q.mu.Unlock()
	return nil
}

// takeFree takes a segment of the right size to be used again.
func (q *Log) takeFree(size int64) *segment {
	for i, s := range q.free {
		if !s.unfit && s.size == size {
			q.free = append(q.free[:i], q.free[i+1:]...)
			return &segment{id: s.id, size: s.size}
		}
	}
	return nil
}

// freshID gives a number that no file has.
func (q *Log) freshID() uint32 {
	for {
		id := q.nextID
		q.nextID++
		if !q.foreign[id] {
			return id
		}
	}
}

// renew gives a used file a new name, and with it a number that none of its old records has.
func (q *Log) renew(s *segment) error {
	id := q.freshID()
	if err := q.fs.Rename(q.path(s.id), q.path(id)); err != nil {
		return err
	}
	s.id = id
	f, err := q.fs.Open(q.path(id), true)
	if err != nil {
		return err
	}
	s.file = f
	return nil
}

// create makes a file and fills it with zeros, so that to bring records to disk later takes no journal entry and no room.
func (q *Log) create(size int64) (*segment, error) {
	if err := q.fs.MkdirAll(q.dir); err != nil {
		return nil, err
	}
	q.cursor.prepare(q)
	id := q.freshID()
	f, err := q.fs.Create(q.path(id))
	if err != nil {
		return nil, err
	}
	s := &segment{id: id, size: size, file: f}
	zeros := make([]byte, writeBytes)
	for at := int64(0); at < size && err == nil; at += writeBytes {
		_, err = f.WriteAt(zeros[:min(writeBytes, size-at)], at)
	}
	if err != nil {
		_ = f.Close()
		_ = q.fs.Remove(q.path(s.id))
		return nil, err
	}
	return s, nil
}

// short says whether a new file of size bytes would leave too little of the disk free.
func (q *Log) short(size int64) error {
	if q.o.FreeBytes <= 0 {
		return nil
	}
	free, err := q.fs.Free(q.dir)
	for dir := q.dir; errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir; {
		dir = filepath.Dir(dir) // The folder is not there yet.
		free, err = q.fs.Free(dir)
	}
	if err != nil || free-size >= q.o.FreeBytes {
		return nil // A disk that does not say is full when a write says so.
	}
	return fmt.Errorf("the disk of %s has %.1f MB left, of which %.1f MB are to stay free", q.dir, float64(free)/1e6, float64(q.o.FreeBytes)/1e6)
}

// comeBack makes sure that a folder that could not be read at opening is not written beside what it holds: numbers would
// be given twice.
func (q *Log) comeBack() error {
	if !q.unread {
		return nil
	}
	names, err := q.fs.List(q.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the queue: %w", err)
	}
	for _, name := range names {
		if _, ok := segmentID(name); ok || name == cursorName {
			return fmt.Errorf("the queue in %s could not be read at the start and can be now; a restart takes up what is in it", q.dir)
		}
	}
	q.unread = false
	return nil
}
