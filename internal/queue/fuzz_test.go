package queue

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// FuzzSegment gives any bytes for a segment. Whatever they are, what the start finds is what is read later, record for
// record and in order, and the queue goes on behind it.
func FuzzSegment(f *testing.F) {
	good := head{formatVersion, 1, 1}.encode()
	for i := range 5 {
		good = appendFrame(good, 1, uint64(i+1), int64(i), markBoot([]string{"", "boot", "6e0b1a0c-5c0f-4d53-9a5e-6a51f1e0f3aa"}[i%3]), bytes.Repeat([]byte{byte(i)}, 11*i), i == 0)
	}
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add(append(slices.Clone(good), make([]byte, 100)...))
	f.Add(append(slices.Clone(good), appendFrame(nil, 9, 77, 0, bootMark{}, []byte("left over"), true)...))
	f.Add(appendFrame(slices.Clone(good[:100]), 1, 1<<63, 0, bootMark{}, nil, false))
	f.Add([]byte(segmentMagic))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "0000000001.seg"), b, 0o600))
		q, err := Open(dir, Options{segment: 4096})
		if err != nil {
			if h, ok := parseHead(b); !ok || h.version <= formatVersion {
				t.Fatal(err)
			}
			return
		}
		defer q.Close()
		st := q.Stats()
		recs := drain(t, q)
		if len(recs) != st.Records || q.Stats().LostRecords != st.LostRecords {
			t.Fatalf("%d records of %+v", len(recs), st)
		}
		for _, r := range recs {
			// The boot id stands right before the data.
			if !bytes.Contains(b, r.Data) {
				t.Fatalf("%q is not in the file", r.Data)
			}
		}
		must(t, q.Append([]byte("new"), nil))
		must(t, q.Flush())
		if again := drain(t, q); len(again) != len(recs)+1 || string(again[len(recs)].Data) != "new" {
			t.Fatalf("%d records, and then %d", len(recs), len(again))
		}
	})
}

// FuzzCursor gives any bytes for the cursor: it never hides a record that was not settled.
func FuzzCursor(f *testing.F) {
	f.Add(encodeCursor(0), []byte{})
	f.Add([]byte(cursorMagic), encodeCursor(1<<40))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		file := make([]byte, 2*cursorStep)
		copy(file, first)
		copy(file[cursorStep:], second)
		_, n1, ok1 := parseCursor(file)
		_, n2, ok2 := parseCursor(file[cursorStep:])
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, cursorName), file, 0o600))
		q, err := Open(dir, Options{segment: 4096})
		if err != nil {
			return // of a newer format
		}
		defer q.Close()
		must(t, q.Append([]byte("new"), nil))
		must(t, q.Flush())
		recs := drain(t, q)
		if len(recs) != 1 || ok1 && recs[0].Seq <= n1 || ok2 && recs[0].Seq <= n2 {
			t.Fatalf("%+v behind %d (%v) and %d (%v)", recs, n1, ok1, n2, ok2)
		}
	})
}
