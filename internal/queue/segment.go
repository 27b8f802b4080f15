package queue

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// segment is one file. What the owner of the round alone uses is below the line.
type segment struct {
	id    uint32
	size  int64
	used  int64 // up to here it is on disk
	held  int64 // what it counts towards the bound
	runs  []run // of the records in it, lost ones left out
	count int
	bytes int64
	// gone says that its records are settled: its file may be used again, so whatever was read from it is void.
	gone bool
	// unfit says that the file is never written again: a write or an fsync failed, or it is not of today's size.
	unfit bool

	file    file // open for writing
	tail    int64
	lastSeq uint64 // of the record before tail, 0 if unknown
	newName bool   // the folder does not have its name on disk yet
}

const segmentSuffix = ".seg"

func (q *Log) name(id uint32) string { return fmt.Sprintf("%010d%s", id, segmentSuffix) }

func (q *Log) path(id uint32) string { return filepath.Join(q.dir, q.name(id)) }

// segmentID reads a file's name.
func segmentID(name string) (uint32, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 10 {
		return 0, false
	}
	id, err := strconv.ParseUint(digits, 10, 31)
	return uint32(id), err == nil
}

func (s *segment) last() uint64 {
	if len(s.runs) == 0 {
		return 0
	}
	return s.runs[len(s.runs)-1].last
}

// live counts the records past committed.
func (s *segment) live(committed uint64) int {
	n := 0
	for i := len(s.runs) - 1; i >= 0 && s.runs[i].last > committed; i-- {
		n += int(s.runs[i].last - max(s.runs[i].first, committed+1) + 1)
	}
	return n
}

// firstFrom is the first record from seq on, 0 if there is none.
func (s *segment) firstFrom(seq uint64) uint64 {
	for _, r := range s.runs {
		if r.last >= seq {
			return max(r.first, seq)
		}
	}
	return 0
}

// cut takes the numbers from lo to hi out of the runs and says how many records that were.
func (s *segment) cut(lo, hi uint64) int {
	n := 0
	var runs []run
	for _, r := range s.runs {
		from, to := max(r.first, lo), min(r.last, hi)
		if from > to {
			runs = append(runs, r)
			continue
		}
		n += int(to - from + 1)
		if r.first < from {
			runs = append(runs, run{r.first, from - 1})
		}
		if to < r.last {
			runs = append(runs, run{to + 1, r.last})
		}
	}
	s.runs = runs
	return n
}

// hold sets what a segment counts towards the bound.
func (q *Log) hold(s *segment, n int64) {
	q.held += n - s.held
	s.held = n
}

// empty takes out the records of a segment, which are settled.
func (q *Log) empty(s *segment) {
	q.records -= s.count
	q.bytes -= s.bytes
	q.hold(s, 0)
	s.runs, s.count, s.bytes = nil, 0, 0
}

// trim lets go of segments in which nothing waits any more.
func (q *Log) trim() {
	n := 0
	for _, s := range q.segs {
		if s.last() > q.committed {
			break
		}
		if s == q.active {
			q.empty(s)
			break
		}
		q.empty(s)
		s.gone = true
		q.free = append(q.free, s)
		n++
	}
	if n > 0 {
		q.segs = append(q.segs[:0], q.segs[n:]...)
		clear(q.segs[len(q.segs):cap(q.segs)])
	}
}

// dropSegment drops what waits in the oldest segment that has something, and says whether there was one.
func (q *Log) dropSegment() bool {
	for _, s := range q.segs {
		if n := s.live(q.committed); n > 0 {
			q.dropped += uint64(n)
			q.committed = s.last()
			q.trim()
			return true
		}
	}
	return false
}

// lose counts records that the disk did not give back. It returns how many these were.
func (q *Log) lose(s *segment, lo, hi uint64) int {
	if lo > hi {
		return 0
	}
	n := s.cut(max(lo, q.committed+1), hi)
	if n == 0 {
		return 0
	}
	share := s.bytes * int64(n) / int64(s.count)
	s.count -= n
	s.bytes -= share
	q.records -= n
	q.bytes -= share
	q.lost += uint64(n)
	q.trim()
	return n
}

// publish enters records that are on disk now into the books of the active segment, and takes them out of memory. Those
// that were settled while they were being written stay out.
func (q *Log) publish(p part) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.active
	if len(q.segs) == 0 || q.segs[len(q.segs)-1] != s {
		q.segs = append(q.segs, s)
	}
	first, before := max(p.first, q.mem.first), q.mem.bytes
	for q.mem.count > 0 && q.mem.first <= p.last {
		q.settled.add(q.mem.pop())
	}
	if first <= p.last {
		if n := len(s.runs); n > 0 && s.runs[n-1].last+1 == first {
			s.runs[n-1].last = p.last
		} else {
			s.runs = append(s.runs, run{first, p.last})
		}
		n := int(p.last - first + 1)
		s.count += n
		s.bytes += before - q.mem.bytes
		q.records += n
		q.bytes += before - q.mem.bytes
		q.hold(s, s.held+p.end-s.used)
	}
	s.used = p.end
	q.durable = p.last
}

// reclaim removes the files that nobody needs: all while the disk holds nothing, else all but one, the next to be written.
func (q *Log) reclaim() {
	q.mu.Lock()
	if q.flushing != nil || len(q.free) == 0 {
		q.mu.Unlock()
		return // A round may want them, and looks after the rest when it ends.
	}
	var away []*segment
	kept := q.free[:0]
	for _, s := range q.free {
		if !s.unfit && s.size == q.o.segment && q.records > 0 && len(kept) == 0 {
			kept = append(kept, s)
			continue
		}
		away = append(away, s)
	}
	clear(q.free[len(kept):])
	q.free = kept
	q.mu.Unlock()

	if len(away) == 0 {
		return
	}
	q.reader.mu.Lock()
	if q.reader.seg != nil && q.reader.gone(q) {
		q.reader.forget() // An open file would keep its space.
	}
	q.reader.mu.Unlock()
	for _, s := range away {
		// What cannot be removed is found again at the next start, settled.
		_ = q.fs.Remove(q.path(s.id))
	}
}
