package bridge

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

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
		p.Rule, p.Also = -1, nil // The rules may have changed since.
		points = append(points, p)
	}
	return points, nil
}
