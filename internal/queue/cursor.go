package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"sync"
	"time"
)

const (
	cursorName  = "cursor"
	cursorMagic = "cbcursor"
	// The two places are a page apart, so that one write never spoils both.
	cursorStep = 4096
	cursorSize = 32
	// cursorEvery is the least time from one writing of the cursor to the next. Who commits thousands of times a second
	// then hardly notices the cursor, and a crash makes no more come twice than was settled in so short a time; who
	// commits less often than that has each commit written at once.
	cursorEvery = 20 * time.Millisecond
)

// cursor keeps on disk how far all is settled. What settles something on disk has it written, at once if it has rested
// for cursorEvery and else when it has. It is never synced before the queue closes: the system writes it when it likes,
// and an old cursor means that some records come twice, never that one is lost. The two places are written in turns, and
// the greater number is the right one.
type cursor struct {
	// saved is what the file says. While resting is true the timer runs, and whoever wants to write leaves it to that.
	// The queue's lock guards them.
	saved   uint64
	resting bool
	timer   *time.Timer

	mu      sync.Mutex
	file    file
	slot    int64
	retryAt time.Time
	failed  bool
	closed  bool
}

func encodeCursor(committed uint64) []byte {
	b := make([]byte, 0, cursorSize)
	b = append(b, cursorMagic...)
	b = binary.LittleEndian.AppendUint32(b, formatVersion)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, committed)
	b = append(b, make([]byte, cursorSize-4-len(b))...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func parseCursor(b []byte) (version uint32, committed uint64, ok bool) {
	if len(b) < cursorSize || string(b[:8]) != cursorMagic || crc32.Checksum(b[:28], castagnoli) != binary.LittleEndian.Uint32(b[28:]) {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint64(b[16:]), true
}

// behind says whether the disk knows less than it should of what is settled. What never was on disk needs no cursor.
func (c *cursor) behind(q *Log) bool { return min(q.committed, q.durable) > c.saved }

// due says whether the caller must save the cursor now. From then on it rests. The queue's lock is held.
func (c *cursor) due(q *Log) bool {
	if q.closed || c.resting || !c.behind(q) {
		return false
	}
	c.resting = true
	if c.timer == nil {
		c.timer = time.AfterFunc(cursorEvery, func() { c.rested(q) })
	} else {
		c.timer.Reset(cursorEvery)
	}
	return true
}

// rested saves what was settled while the cursor rested. Where that was nothing the timer does not run again.
func (c *cursor) rested(q *Log) {
	q.mu.Lock()
	c.resting = false
	due := c.due(q)
	q.mu.Unlock()
	if due {
		c.save(q, false)
	}
}

// wake ends a rest, and with it the timer. The queue's lock is held.
func (c *cursor) wake() {
	if c.timer != nil {
		c.timer.Stop()
	}
	c.resting = false
}

// load reads the cursor. Where there is one and it cannot be made out, doubt is true.
func (c *cursor) load(q *Log) (committed uint64, doubt bool, err error) {
	f, err := q.fs.Open(filepath.Join(q.dir, cursorName), false)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		q.say("the file that says what is settled cannot be read, so records may be sent twice: %v", err)
		return 0, true, nil
	}
	defer f.Close()
	doubt = true
	for slot := range int64(2) {
		b := make([]byte, cursorSize)
		_, _ = f.ReadAt(b, slot*cursorStep) // What is not read fails its checksum.
		version, n, ok := parseCursor(b)
		if !ok {
			continue
		}
		if version > formatVersion {
			return 0, false, newerError{q.dir, cursorName, version}
		}
		doubt = false
		if n >= committed {
			committed, c.slot = n, 1-slot
		}
	}
	if doubt {
		q.say("the file that says what is settled is damaged, so records may be sent twice")
	}
	c.saved = committed
	return committed, doubt, nil
}

// save writes how far all is settled, and with sync waits for the disk.
func (c *cursor) save(q *Log, sync bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := q.o.Now()
	q.mu.Lock()
	committed := min(q.committed, q.durable)
	done := c.closed || committed <= c.saved
	blocked := c.failed && now.Before(c.retryAt)
	if blocked {
		c.wake() // The timer would run for nothing: the first commit after retryAt tries again.
	}
	q.mu.Unlock()
	if done || blocked {
		return
	}
	if err := c.write(q, committed, sync); err != nil {
		if c.file != nil {
			_ = c.file.Close()
			c.file = nil
		}
		c.retryAt = now.Add(retryAfter)
		if !c.failed {
			q.say("what is settled cannot be noted, so after a restart records are sent twice: %v", err)
		}
		c.failed = true
		return
	}
	c.failed = false
	c.slot = 1 - c.slot
	q.mu.Lock()
	c.saved = committed
	q.mu.Unlock()
}

func (c *cursor) write(q *Log, committed uint64, sync bool) error {
	if err := c.open(q); err != nil {
		return err
	}
	if _, err := c.file.WriteAt(encodeCursor(committed), c.slot*cursorStep); err != nil {
		return err
	}
	if sync {
		return c.file.Sync()
	}
	return nil
}

// open opens the file. A new one takes all its room at once.
func (c *cursor) open(q *Log) (err error) {
	if c.file != nil {
		return nil
	}
	name := filepath.Join(q.dir, cursorName)
	f, err := q.fs.Open(name, true)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = q.fs.Create(name)
		if err == nil {
			_, err = f.WriteAt(append(make([]byte, cursorStep), encodeCursor(0)...), 0)
		}
	}
	if err == nil {
		c.file = f
	}
	return err
}

// prepare makes the file before the first segment: once the disk is full it would be too late to note what is settled.
func (c *cursor) prepare(q *Log) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		_ = c.open(q) // The first to need it tells.
	}
}

func (c *cursor) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.file != nil {
		_ = c.file.Close()
		c.file = nil
	}
}

// newerError is the refusal of a file that a later version has written.
type newerError struct {
	dir, name string
	version   uint32
}

func (e newerError) Error() string {
	return fmt.Sprintf("queue %s: %s was written by a newer cloudbridge (format %d; this one reads up to %d): use that version again, or move the folder away",
		e.dir, e.name, e.version, formatVersion)
}
