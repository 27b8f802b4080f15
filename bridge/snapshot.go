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
	"time"

	"cloudbridge/mappings"
)

// snapshotFile holds the newest point of each address that waits, for rules that keep only that.
const snapshotFile = "latest"

// snapshotHead begins the file: what it is, and its version.
var snapshotHead = []byte("cloudbridge latest 1\n")

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// writeSnapshot replaces the file in one step; without points there is no file.
func writeSnapshot(dir string, points []mappings.Point) error {
	path := filepath.Join(dir, snapshotFile)
	if len(points) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	data := bytes.Clone(snapshotHead)
	for i := range points {
		rec := points[i].Append(nil)
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
		p, err := mappings.ReadPoint(rec)
		if err != nil {
			return points, errSnapshot
		}
		points = append(points, p)
	}
	return points, nil
}

// recall takes up the newest values that an earlier run could not send.
func (l *budgetLane) recall() {
	if !l.c.b.stored() {
		return
	}
	points, err := readSnapshot(l.c.folder(l.name))
	if err != nil {
		l.c.b.log.Warn(fmt.Sprintf("%s: %s", l.c.name, err))
	}
	now := time.Now()
	for _, p := range points {
		l.c.adopt(&p)
		l.latest.put(p, now)
		l.kept = true
	}
}

// snapshot brings the newest values to disk when they have waited for two of their turns, for their readings are
// acknowledged, and takes the file away when nothing waits any more. It returns when it is needed next. mu is held.
func (l *budgetLane) snapshot(now time.Time) (at time.Time) {
	if !l.c.b.stored() {
		return at
	}
	since, waits := l.latest.oldest()
	share := l.pacer.perAddress(max(l.c.acct.sharing(l, l.latest.active(now)), 1))
	late := lateFlush(share)
	switch {
	case !waits && len(l.trials) == 0 && l.kept:
		l.kept = false
		l.write(nil)
		return at
	case !waits || !l.unsaved:
		return at
	}
	// The cloud keeps up while each address gets its turn in time; when it does not, one file in a minute will do.
	at = since.Add(late)
	if next := l.saved.Add(time.Minute); l.kept && next.After(at) {
		at = next
	}
	if at.After(now) {
		return at
	}
	l.unsaved, l.kept, l.saved = false, true, now
	l.write(l.unsent())
	return time.Time{}
}

// unsent are the newest values that the cloud has not confirmed. mu is held.
func (l *budgetLane) unsent() []mappings.Point {
	points := l.latest.points()
	for _, t := range l.trials {
		if t.seq == 0 {
			points = append(points, t.point)
		}
	}
	return points
}

func (l *budgetLane) write(points []mappings.Point) {
	if err := writeSnapshot(l.c.folder(l.name), points); err != nil && l.c.last.first("snapshot") {
		l.c.b.log.Warn(fmt.Sprintf("%s: write the newest values to disk: %s: they are in memory alone", l.c.name, err))
	}
}
