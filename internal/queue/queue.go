// Package queue keeps records in order until they are settled. It knows bytes and sequence numbers, nothing of MQTT.
package queue

import (
	"context"
	"errors"
	"time"
)

// ErrClosed is what a closed queue answers.
var ErrClosed = errors.New("queue is closed")

// RecordOverhead is what a record counts beyond its own bytes towards a queue's bound and in Stats.Bytes, so that a
// bound in bytes also bounds what a million tiny records take. On disk it is the record's head with the boot id.
const RecordOverhead = 48

// Record is one entry. Sequence numbers rise by one from record to record and are never used again; where records were
// lost or dropped, or the queue was opened anew, they may jump.
type Record struct {
	Seq  uint64
	Data []byte
	// Wall is what the clock said when the record came, right or wrong, and Boot names the run of the machine in which it
	// said so, as the queue's owner gave it; empty if unknown.
	Wall time.Time
	Boot string
}

// Interface is what a lane needs of its queue: the contract of the design's section 5.
type Interface interface {
	// Append adds a record. safe, which may be nil, is called once: when the record is on disk or committed.
	Append(rec []byte, safe func()) error
	// Peek waits for records past sequence number after and returns at most n of them, oldest first. The error is the
	// context's or ErrClosed.
	Peek(ctx context.Context, after uint64, n int) ([]Record, error)
	// Commit settles every record up to through.
	Commit(through uint64) error
	// Flush brings everything that is not committed to disk, with one fsync.
	Flush() error
	// Stats says what waits.
	Stats() Stats
	// Tail is the sequence number that was given last, whether its record waits or not, and how many records went because
	// the queue was full.
	Tail() (last, dropped uint64)
	Close() error
}

// Stats is what waits in a queue and what it had to drop.
type Stats struct {
	Records int
	Bytes   int64
	// DroppedRecords counts those that went because the queue was full.
	DroppedRecords uint64
	First, Last    uint64
	// LostRecords counts those that the disk did not give back, found at opening or since.
	LostRecords uint64
	// MemoryOnly says that the disk cannot be written, and Why says what is wrong with it, in words.
	MemoryOnly bool
	Why        string
}

// noWall stands for the zero time, which has no nanoseconds since 1970.
const noWall = -1 << 63

func wallNumber(t time.Time) int64 {
	if t.IsZero() {
		return noWall
	}
	return t.UnixNano()
}

func wallTime(n int64) time.Time {
	if n == noWall {
		return time.Time{}
	}
	return time.Unix(0, n)
}
