package queue

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"sync"
	"time"
)

const (
	readBytes = 64 << 10
	// A segment that cannot be opened is tried again, for a process can be out of open files, but not for ever.
	openTries = 60
	openPause = time.Second
)

// reader remembers where the last Peek on disk ended, for the next goes on from there. Lock it before the queue.
type reader struct {
	mu   sync.Mutex
	seg  *segment
	file file
	off  int64 // of buf in the file
	buf  []byte
	i    int // up to here buf is read
	// seq is the last number before i. Records share buf, so it is never written again.
	seq   uint64
	tries int

	bootRaw []byte // of boot, which most records share
	boot    string
}

// view is a segment as it was when a Peek began, and the numbers in it that the Peek may give.
type view struct {
	seg         *segment
	used        int64
	first, last uint64
}

// view gives the segment that has the first record from number seq on.
func (q *Log) view(seq uint64) (view, bool) {
	for _, s := range q.segs {
		if s.last() >= seq {
			return view{s, s.used, s.firstFrom(seq), s.last()}, true
		}
	}
	return view{}, false
}

func (r *reader) forget() {
	if r.file != nil {
		_ = r.file.Close()
	}
	r.seg, r.file, r.buf, r.i, r.off, r.seq, r.tries = nil, nil, nil, 0, 0, 0, 0
}

// gone says whether the reader's segment holds nothing any more.
func (r *reader) gone(q *Log) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return r.seg.gone
}

// readDisk reads at most n records out of one segment. It may find none, because all were settled
// meanwhile or the disk did not give them back, which it then has counted; or because the segment cannot be opened, and
// then it says how long to wait.
func (q *Log) readDisk(v view, n int) (recs []Record, wait time.Duration) {
	r := &q.reader
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.seek(q, v.seg, v.first)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		if r.tries++; r.tries < openTries {
			return nil, openPause
		}
	}
	if err == nil {
		recs = r.take(v, n)
	}

	q.mu.Lock()
	if v.seg.gone || q.closed {
		q.mu.Unlock()
		r.forget()
		return nil, 0
	}
	lost := 0
	expected := max(v.first, q.committed+1)
	for _, rec := range recs {
		if rec.Seq > expected {
			lost += q.lose(v.seg, expected, rec.Seq-1)
		}
		expected = rec.Seq + 1
	}
	if len(recs) == 0 {
		lost += q.lose(v.seg, expected, v.last)
	}
	behind := v.seg.gone
	q.mu.Unlock()
	if lost > 0 {
		q.say("%s: the disk does not give back %s", q.name(v.seg.id), records(lost))
	}
	if behind {
		r.forget()
	}
	return recs, 0
}

// seek makes sure that the reader stands before number from in seg.
func (r *reader) seek(q *Log, seg *segment, from uint64) error {
	if r.seg != seg {
		r.forget()
		r.seg = seg
	}
	if r.file == nil {
		f, err := q.fs.Open(q.path(seg.id), false)
		if err != nil {
			return err
		}
		r.file = f
	}
	if from <= r.seq || r.off == 0 {
		r.off, r.buf, r.i, r.seq = headSize, nil, 0, 0
	}
	return nil
}

// take reads on, past what is damaged.
func (r *reader) take(v view, n int) (recs []Record) {
	for {
		f, what := parseFrame(r.buf[r.i:])
		if what == partial {
			// The record, or the start of one, ends outside of what has been read.
			at := r.off + int64(r.i)
			if left := v.used - at; max(int64(f.size), frameSize) <= left {
				if len(recs) > 0 {
					return recs
				}
				r.fetch(at, min(left, max(int64(f.size), readBytes)))
				continue
			} else if left < frameSize {
				return recs
			}
			what = broken
		}
		switch {
		case what != whole || f.id != v.seg.id || f.seq <= r.seq:
			r.i += 8
			continue
		case f.seq >= v.first:
			if len(recs) == n {
				return recs
			}
			if recs == nil {
				recs = make([]Record, 0, min(n, (len(r.buf)-r.i)/f.size+1))
			}
			recs = append(recs, Record{Seq: f.seq, Data: f.data(), Wall: wallTime(f.wall), Boot: r.bootOf(f)})
		}
		r.i += f.size
		r.seq = f.seq
	}
}

// bootOf makes the text once for as long as it stays the same.
func (r *reader) bootOf(f frame) string {
	if raw := f.boot(); !bytes.Equal(raw, r.bootRaw) {
		r.bootRaw, r.boot = bytes.Clone(raw), f.bootString()
	}
	return r.boot
}

// fetch reads n bytes into a new buffer.
func (r *reader) fetch(at, n int64) {
	buf := make([]byte, n)
	_ = readPages(r.file, buf, at) // What is missing is counted by the numbers that are left out.
	r.off, r.buf, r.i = at, buf, 0
}

// readPages fills b from the file. Where the disk has an error it goes by pages; what cannot be read is zeros, which no
// record is, and the error says why.
func readPages(f file, b []byte, at int64) error {
	n, err := f.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	clear(b[n:])
	if errors.Is(err, io.EOF) {
		return nil
	}
	const page = 4096
	for from := int64(0); from < int64(len(b)); {
		to := min((at+from)/page*page+page-at, int64(len(b)))
		if m, err := f.ReadAt(b[from:to], at+from); err != nil {
			clear(b[from+int64(m) : to])
		}
		from = to
	}
	return err
}
