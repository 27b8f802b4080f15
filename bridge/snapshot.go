package bridge

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"cloudbridge/internal/queue"
	"cloudbridge/mappings"
)

// snapshotFile holds the newest point of each address that waits, for rules that keep only that.
const snapshotFile = "latest"

// snapshotHead begins the file: what it is, and its version.
var snapshotHead = []byte("cloudbridge latest 1\n")

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// snapshot is the file of a lane's newest values, whose readings are acknowledged when they come in. It is written while
// they wait for long, and goes when all that it holds is settled: after a crash an old one would say what is no longer so.
type snapshot struct {
	// writing lets one at a time change the file, in the order of what they saw.
	writing sync.Mutex
	// What follows is guarded by the lane. unsaved says that something changed since the file was written; kept that there
	// is one, written at the time saved.
	unsaved, kept bool
	saved         time.Time
}

// free is when the file may be written next: one in a minute will do, and spares the card.
func (f *snapshot) free(c *cloud) time.Time {
	if !f.kept {
		return time.Time{}
	}
	return f.saved.Add(c.b.scaled(time.Minute))
}

// wrote notes what the file holds from now on, before it is written. The lane's lock is held.
func (f *snapshot) wrote(records int, now time.Time) {
	f.unsaved, f.kept, f.saved = false, records > 0, now
}

// keepNewest writes a lane's newest values to disk, or takes the file away where there are none.
func (c *cloud) keepNewest(lane string, recs [][]byte) error {
	err := writeSnapshot(c.folder(lane), recs)
	if err != nil && c.last.first("snapshot") {
		c.b.log.Warn(fmt.Sprintf("%s: write the newest values to disk: %s: they are in memory alone", c.name, err))
	}
	return err
}

// recallNewest reads the newest values that an earlier run could not send, and gives them the rules of today.
func (c *cloud) recallNewest(lane string) []mappings.Point {
	if !c.b.stored() {
		return nil
	}
	points, err := readSnapshot(c.folder(lane))
	if err != nil {
		c.b.log.Warn(fmt.Sprintf("%s: %s", c.name, err))
	}
	now := time.Now()
	for i := range points {
		p := &points[i]
		c.adopt(p)
		// Where the clock was set back, what comes now is newer all the same.
		if p.Arrived.After(now) {
			p.Arrived = now
		}
		if p.Time.After(now) {
			p.Time = now
		}
	}
	return points
}

// writeSnapshot replaces the file in one step; without records there is no file.
func writeSnapshot(dir string, recs [][]byte) error {
	path := filepath.Join(dir, snapshotFile)
	if len(recs) == 0 {
		switch err := os.Remove(path); {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		}
		syncDir(dir) // A power cut must not bring it back.
		return nil
	}
	data := bytes.Clone(snapshotHead)
	for _, rec := range recs {
		data = binary.LittleEndian.AppendUint32(data, uint32(len(rec)))
		data = binary.LittleEndian.AppendUint32(data, crc32.Checksum(rec, crcTable))
		data = append(data, rec...)
	}
	return replaceFile(path, data)
}

var errSnapshot = errors.New("the file of newest values is damaged: what is whole is used")

// readSnapshot reads what is whole of the file.
func readSnapshot(dir string) (points []mappings.Point, err error) {
	data, err := os.ReadFile(filepath.Join(dir, snapshotFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	rest, ok := bytes.CutPrefix(data, snapshotHead)
	if !ok {
		return nil, errSnapshot
	}
	for r := bytes.NewReader(rest); r.Len() > 0; {
		var head [8]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return points, errSnapshot
		}
		n := binary.LittleEndian.Uint32(head[:])
		if int64(n) > int64(r.Len()) {
			return points, errSnapshot
		}
		rec := make([]byte, n)
		if _, err := io.ReadFull(r, rec); err != nil || crc32.Checksum(rec, crcTable) != binary.LittleEndian.Uint32(head[4:]) {
			return points, errSnapshot
		}
		p, stamp, err := unstamp(queue.Record{Data: rec})
		if err != nil {
			return points, errSnapshot
		}
		if !stamp.Right {
			p.Time = time.Time{} // The clock was wrong when it came, and nobody knows by how much.
		}
		points = append(points, p)
	}
	return points, nil
}

// recall takes up the newest values that an earlier run could not send.
func (l *budgetLane) recall() {
	now := time.Now()
	for _, p := range l.c.recallNewest(l.name) {
		l.latest.put(p, now)
		l.file.kept, l.file.saved = true, now
	}
}

// keepFile brings the newest values to disk when they have waited for two of their turns, and takes the file away when it
// is of no use any more. It returns when it is needed next.
func (l *budgetLane) keepFile(now time.Time) (at time.Time) {
	if !l.c.b.stored() {
		return at
	}
	l.mu.Lock()
	since, waits := l.latest.oldest()
	idle := !waits && !l.trying(0)
	useless := l.file.kept && !l.needed() || idle && len(l.owed) > 0
	due := waits && l.file.unsaved
	if due && !useless {
		// The cloud keeps up while each address gets its turn in time.
		share := l.pacer.perAddress(max(l.c.acct.sharing(l, l.latest.active(now)), 1))
		if at = l.file.free(l.c); !l.file.kept {
			at = since.Add(lateFlush(share))
		}
	}
	l.mu.Unlock()
	switch {
	case useless:
		l.dropFile()
	case due && !at.After(now):
		// What it could not do has been told, and it tries again.
		_ = l.writeNewest()
		return time.Time{}
	}
	return at
}

// needed says whether something that the cloud has not confirmed may be in the file: the wait for it began before that was
// written. mu is held.
func (l *budgetLane) needed() bool {
	since, waits := l.latest.oldest()
	return waits && !since.After(l.file.saved) ||
		slices.ContainsFunc(l.trials, func(t *trial) bool { return t.seq == 0 && !t.point.Arrived.After(l.file.saved) })
}

// dropFile takes the file away, and lets go of whoever waits for one, if there is nothing to be kept.
func (l *budgetLane) dropFile() {
	l.file.writing.Lock()
	defer l.file.writing.Unlock()
	l.mu.Lock()
	drop := l.file.kept && !l.needed()
	var owed []func()
	if l.latest.len() == 0 && !l.trying(0) {
		owed, l.owed = l.owed, nil
	}
	if drop {
		l.file.kept = false
	}
	l.mu.Unlock()
	if drop {
		_ = l.c.keepNewest(l.name, nil) // It tells what it could not do.
	}
	release(owed)
}

// writeNewest writes all that the cloud has not confirmed, and lets go of whoever waits for that.
func (l *budgetLane) writeNewest() error {
	l.file.writing.Lock()
	defer l.file.writing.Unlock()
	l.mu.Lock()
	var recs [][]byte
	for _, p := range l.unsent() {
		recs = append(recs, p.Append(nil))
	}
	owed := l.owed
	l.owed = nil
	l.file.wrote(len(recs), time.Now())
	l.mu.Unlock()
	err := l.c.keepNewest(l.name, recs)
	if err != nil {
		l.mu.Lock()
		l.file.unsaved = true // It is tried again in a minute.
		l.mu.Unlock()
	}
	release(owed) // Where the disk fails they get no safer than they are.
	return err
}

// secure brings to disk what the oldest message waits for: the newest values, or the queue.
func (l *budgetLane) secure() bool {
	l.mu.Lock()
	owed := len(l.owed) > 0
	l.mu.Unlock()
	if before := l.debts.oldest(); owed && l.writeNewest() == nil && l.debts.oldest() != before {
		return true
	}
	return secure(l.queue, &l.debts)
}

// unsent are the newest values that the cloud has not confirmed. mu is held.
func (l *budgetLane) unsent() []mappings.Point {
	points := l.latest.points()
	for _, t := range l.trials {
		if t.seq == 0 && !l.latest.holds(t.point.Name) {
			points = append(points, t.point)
		}
	}
	return points
}

// release calls what lets go of messages.
func release(pays []func()) {
	for _, pay := range pays {
		pay()
	}
}
