package queue

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// leap is added to the sequence numbers where something could not be read that may hold higher ones.
const leap = 1 << 40

// Open opens the queue in dir, which need not be there. Whatever is wrong with dir it keeps what is whole, says through
// Options.Log what is not, and goes on in memory where it has to. Only files of a newer format are refused.
func Open(dir string, o Options) (*Log, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.FS == nil {
		o.FS = osDisk{}
	}
	if o.MemoryBytes <= 0 {
		o.MemoryBytes = 1 << 20
	}
	if o.segment == 0 {
		o.segment = segmentBytes
		// Oldest go by whole segments: in a small queue these are small, too.
		if eighth := o.MaxBytes / 8 &^ 4095; o.MaxBytes > 0 && eighth < segmentBytes {
			o.segment = max(eighth, 64<<10)
		}
	}
	q := &Log{dir: dir, o: o, fs: o.FS, boot: markBoot(o.BootID), nextID: 1, foreign: map[uint32]bool{}, mem: ring{first: 1}}
	// What Peek gives of records in memory is what it gives of them on disk.
	if len(o.BootID) > 255 {
		q.o.BootID = o.BootID[:255]
	}
	if err := q.load(); err != nil {
		return nil, err
	}
	return q, nil
}

// load takes up what is in the folder. It writes nothing.
func (q *Log) load() error {
	names, err := q.fs.List(q.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		q.unread = true
		q.why = fmt.Errorf("read the queue: %w", err)
		q.retryAt = q.o.Now().Add(retryAfter)
		q.say("cannot be read, so what it holds waits for a restart: %v", err)
		return nil
	}
	committed, doubt, err := q.cursor.load(q)
	if err != nil {
		return err
	}
	q.committed = committed
	last := committed
	var buf []byte
	slices.Sort(names)
	for _, name := range names {
		id, ok := segmentID(name)
		if !ok {
			continue
		}
		var s *segment
		s, buf, err = q.loadSegment(id, last, buf)
		var newer newerError
		switch {
		case errors.As(err, &newer):
			return err
		case err != nil:
			// Its numbers are unknown, and it may be read the next time.
			doubt = true
			q.foreign[id] = true
			q.nextID = max(q.nextID, id+1)
			q.say("%s cannot be read and is left alone: %v", name, err)
		case s == nil:
			q.foreign[id] = true
		case s.count == 0:
			s.gone = true
			q.free = append(q.free, s)
		default:
			last = s.last()
			q.segs = append(q.segs, s)
			q.records += s.count
			q.bytes += s.bytes
			q.hold(s, s.size)
		}
	}
	if n := len(q.segs); n > 0 && !q.segs[n-1].unfit {
		q.active = q.segs[n-1]
		q.hold(q.active, q.active.used-headSize)
	}
	if doubt || q.lost > 0 {
		last += leap
	}
	q.durable = last
	q.mem.first = last + 1
	return nil
}

// loadSegment reads a segment's file, and gives nil for what is not one. Records up to after are settled, or known from
// another file. buf is used again.
func (q *Log) loadSegment(id uint32, after uint64, buf []byte) (*segment, []byte, error) {
	f, err := q.fs.Open(q.path(id), false)
	if err != nil {
		return nil, buf, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, buf, err
	}
	start := make([]byte, min(size, headSize))
	readPages(f, start, 0)
	h, headed := parseHead(start)
	switch {
	case headed && h.version > formatVersion:
		return nil, buf, newerError{q.dir, q.name(id), h.version}
	case !headed && size > max(q.o.segment, segmentBytes):
		// Nothing of ours is that large without a head, and it may not fit into memory.
		q.say("%s is not a file of a queue and is left alone", q.name(id))
		return nil, buf, nil
	}
	if int64(cap(buf)) < size {
		buf = make([]byte, size)
	}
	b := buf[:size]
	errored := readPages(f, b, 0)
	c := scan(b, id, after)
	blank := len(bytes.Trim(b, "\x00")) == 0
	if !c.ours && !blank && errored == nil {
		q.say("%s is not a file of a queue and is left alone", q.name(id))
		return nil, buf, nil
	}
	q.nextID = max(q.nextID, id+1, c.newestID+1)
	if errored != nil {
		q.say("%s cannot be read as a whole: %v", q.name(id), errored)
	}
	if c.lost > 0 || c.badBytes > 0 && !blank {
		q.lost += c.lost
		q.say("%s is damaged: %s and %d bytes are not whole and left out, %s kept", q.name(id), records(int(c.lost)), c.badBytes, records(c.count))
	}
	s := &segment{id: id, size: size, used: int64(c.end), tail: int64(c.end), runs: c.runs, count: c.count, bytes: c.bytes, lastSeq: c.lastSeq}
	s.unfit = size != q.o.segment || c.badBytes > 0 || errored != nil
	return s, buf, nil
}
