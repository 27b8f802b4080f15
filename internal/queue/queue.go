// Package queue keeps records in order until they are settled. It knows bytes and sequence numbers, nothing of MQTT.
package queue

import (
	"context"
	"errors"
)

// ErrClosed is what a closed queue answers.
var ErrClosed = errors.New("queue is closed")

// Record is one entry. Sequence numbers rise by one from record to record and are never used again.
type Record struct {
	Seq  uint64
	Data []byte
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
	Close() error
}

// Stats is what waits in a queue and what it had to drop.
type Stats struct {
	Records int
	Bytes   int64
	// DroppedRecords counts those that went because the queue was full.
	DroppedRecords uint64
	First, Last    uint64
}
