package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	damageItems   = 200
	damagePayload = 208
)

// fixedPayload has the same length for each item.
func fixedPayload(i int) []byte {
	s := payload(i, 100)
	return []byte(payload(i, 100+damagePayload-len(s)))
}

// writeDamaged makes a queue of 200 items in two full segments and a part of a third.
func writeDamaged(t *testing.T, dir string) {
	t.Helper()
	q := open(t, dir, Options{segment: 16 << 10, Log: silent(t)})
	for i := 1; i <= damageItems; i++ {
		must(t, q.Append(fixedPayload(i), nil))
	}
	must(t, q.Flush())
	must(t, q.Close())
	if n := segments(t, dir); n != 3 {
		t.Fatalf("%d segments, want 3", n)
	}
}

// perSegment is how many of the items a segment takes.
const perSegment = ((16 << 10) - headSize) / (frameSize + damagePayload)

// at is where item i begins in its segment.
func at(i int) int64 { return headSize + int64((i-1)%perSegment)*(frameSize+damagePayload) }

func flip(t *testing.T, name string, offset int64) {
	t.Helper()
	b, err := os.ReadFile(name)
	must(t, err)
	b[offset] ^= 0x10
	must(t, os.WriteFile(name, b, 0o600))
}

func zero(t *testing.T, name string, from, to int64) {
	t.Helper()
	b, err := os.ReadFile(name)
	must(t, err)
	clear(b[from:to])
	must(t, os.WriteFile(name, b, 0o600))
}

// without is all items but those.
func without(missing ...int) []int {
	return slices.DeleteFunc(count(1, damageItems), func(i int) bool { return slices.Contains(missing, i) })
}

func TestDamage(t *testing.T) {
	const first, second, third = "0000000001.seg", "0000000002.seg", "0000000003.seg"
	in := func(dir, name string) string { return filepath.Join(dir, name) }
	tests := []struct {
		name   string
		damage func(t *testing.T, dir string)
		want   []int
		lost   uint64
		says   string
	}{
		{"nothing", func(*testing.T, string) {}, without(), 0, ""},
		{"a bit of data", func(t *testing.T, d string) { flip(t, in(d, first), at(10)+50) }, without(10), 1, "1 record "},
		{"a bit of a record's head", func(t *testing.T, d string) { flip(t, in(d, second), at(100)+9) }, without(100), 1, "1 record "},
		{"a bit of a length", func(t *testing.T, d string) { flip(t, in(d, first), at(20)+5) }, without(20), 1, "1 record "},
		{"the first record", func(t *testing.T, d string) { flip(t, in(d, second), headSize+8) }, without(perSegment + 1), 1, "1 record "},
		{"a page of zeros", func(t *testing.T, d string) { zero(t, in(d, first), 4096, 8192) }, without(count(17, 34)...), 18, "18 records"},
		{"a segment's head", func(t *testing.T, d string) { flip(t, in(d, second), 3) }, without(), 0, "64 bytes"},
		{"a segment's first page", func(t *testing.T, d string) { zero(t, in(d, second), 0, 4096) }, without(count(perSegment+1, perSegment+17)...), 0, "4144 bytes"},
		{"the last record torn", func(t *testing.T, d string) { zero(t, in(d, third), at(200)+100, 16<<10) }, without(200), 1, "1 record "},
		{"the last record's head torn", func(t *testing.T, d string) { zero(t, in(d, third), at(200)+20, 16<<10) }, without(200), 0, "24 bytes"},
		{"a truncated tail", func(t *testing.T, d string) { must(t, os.Truncate(in(d, third), at(200)+100)) }, without(200), 1, "1 record "},
		{"a truncated segment", func(t *testing.T, d string) { must(t, os.Truncate(in(d, first), at(50)+10)) }, without(count(50, perSegment)...), 0, "10 bytes"},
		{"garbage at the end", func(t *testing.T, d string) {
			b, err := os.ReadFile(in(d, third))
			must(t, err)
			copy(b[at(201):], "garbage that is no record, and not a multiple of eight either")
			must(t, os.WriteFile(in(d, third), b, 0o600))
		}, without(), 0, "bytes"},
		{"an empty file", func(t *testing.T, d string) { must(t, os.Truncate(in(d, second), 0)) }, without(count(perSegment+1, 2*perSegment)...), 0, ""},
		{"a missing file", func(t *testing.T, d string) { must(t, os.Remove(in(d, second))) }, without(count(perSegment+1, 2*perSegment)...), 0, ""},
		{"all missing", func(t *testing.T, d string) { must(t, os.RemoveAll(d)) }, nil, 0, ""},
		{"foreign files", func(t *testing.T, d string) {
			must(t, os.WriteFile(in(d, "0000000000.seg"), []byte(strings.Repeat("not a segment\n", 5000)), 0o600))
			must(t, os.WriteFile(in(d, "0000000004.seg"), []byte("<html>"), 0o600))
			must(t, os.WriteFile(in(d, "notes.txt"), []byte("mine"), 0o600))
			must(t, os.Mkdir(in(d, "0000000005.seg"), 0o700))
		}, without(), 0, "left alone"},
		{"a copied segment", func(t *testing.T, d string) {
			b, err := os.ReadFile(in(d, first))
			must(t, err)
			must(t, os.WriteFile(in(d, "0000000007.seg"), b, 0o600))
		}, without(), 0, ""},
		{"a damaged cursor", func(t *testing.T, d string) {
			must(t, os.WriteFile(in(d, cursorName), []byte("cbcursor and nothing that makes sense"), 0o600))
		}, without(), 0, "sent twice"},
		{"an empty cursor", func(t *testing.T, d string) { must(t, os.WriteFile(in(d, cursorName), nil, 0o600)) }, without(), 0, "sent twice"},
		{"a cursor that is a folder", func(t *testing.T, d string) {
			must(t, os.Remove(in(d, cursorName)))
			must(t, os.Mkdir(in(d, cursorName), 0o700))
		}, without(), 0, "sent twice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "lane")
			writeDamaged(t, dir)
			tt.damage(t, dir)
			var said []string
			o := Options{segment: 16 << 10, Log: func(s string) { said = append(said, s) }}
			q := open(t, dir, o)
			if got := items(t, q); !slices.Equal(got, tt.want) {
				t.Errorf("%d items are left, want %d: %v", len(got), len(tt.want), missing(got))
			}
			if st := q.Stats(); st.LostRecords != tt.lost {
				t.Errorf("%d are lost, want %d", st.LostRecords, tt.lost)
			}
			if text := strings.Join(said, "\n"); !strings.Contains(text, tt.says) || (tt.says == "") != (text == "") {
				t.Errorf("it says %q, want %q in it", text, tt.says)
			}

			// It goes on, in order, and the next start finds the same.
			appendItems(t, q, damageItems+1, damageItems+50, 100)
			must(t, q.Flush())
			want := slices.Concat(tt.want, count(damageItems+1, damageItems+50))
			if st := q.Stats(); st.MemoryOnly {
				t.Errorf("memory only: %s", st.Why)
			}
			must(t, q.Close())
			q = open(t, dir, o)
			if got := items(t, q); !slices.Equal(got, want) {
				t.Errorf("after going on %d items, want %d: %v", len(got), len(want), missing(got))
			}
			must(t, q.Commit(1<<63))
			must(t, q.Close())
			q = open(t, dir, o)
			if got := items(t, q); tt.name != "a cursor that is a folder" && len(got) > 0 {
				t.Errorf("%d come back after all was settled", len(got))
			}
		})
	}
}

func missing(got []int) (out []int) {
	for _, i := range count(1, damageItems) {
		if !slices.Contains(got, i) {
			out = append(out, i)
		}
	}
	return out
}

// TestDamageWhileReading flips bits under an open queue: what is damaged is counted, and the rest goes on in order.
func TestDamageWhileReading(t *testing.T) {
	dir := t.TempDir()
	writeDamaged(t, dir)
	var said []string
	q := open(t, dir, Options{segment: 16 << 10, Log: func(s string) { said = append(said, s) }})
	flip(t, filepath.Join(dir, "0000000001.seg"), at(10)+50)
	zero(t, filepath.Join(dir, "0000000002.seg"), 0, 16<<10)
	flip(t, filepath.Join(dir, "0000000003.seg"), at(200)+5)
	lost := append(append([]int{10}, count(perSegment+1, 2*perSegment)...), 200)
	if got := items(t, q); !slices.Equal(got, without(lost...)) {
		t.Errorf("%d items: without %v", len(got), missing(got))
	}
	if st := q.Stats(); st.LostRecords != uint64(len(lost)) || st.Records != damageItems-len(lost) {
		t.Errorf("%+v, want %d lost", st, len(lost))
	}
	if len(said) != 3 {
		t.Errorf("it says %q", said)
	}
	must(t, q.Commit(199))
	if st := q.Stats(); st.Records != 0 || st.Bytes != 0 {
		t.Errorf("after settling all: %+v", st)
	}
}

// TestUnreadable has folders and files that must not be touched. Root may touch everything, so there the disk itself
// refuses.
func TestUnreadable(t *testing.T) {
	disk := newSimDisk()
	q := open(t, "q", Options{FS: disk})
	appendItems(t, q, 1, 5, 10)
	must(t, q.Flush())
	must(t, q.Close())

	deny := func(ops ...string) func(op, name string) error {
		return func(op, name string) error {
			if slices.Contains(ops, op) || slices.Contains(ops, op+" "+name) {
				return fs.ErrPermission
			}
			return nil
		}
	}
	tests := []struct {
		name  string
		fault func(op, name string) error
		reads int
		why   string
	}{
		{"folder not readable", deny("list", "open"), 0, "permission denied"},
		{"folder not writable", deny("create", "rename", "remove", "write", "mkdir"), 5, "permission denied"},
		{"file not readable", deny("open 0000000001.seg"), 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var said []string
			disk := disk.copy()
			disk.fault = tt.fault
			q := open(t, "q", Options{FS: disk, Log: func(s string) { said = append(said, s) }})
			safe := 0
			must(t, q.Append([]byte(payload(6, 0)), func() { safe++ }))
			must(t, q.Flush())
			st := q.Stats()
			if st.Records != tt.reads+1 || safe != 1 || st.MemoryOnly != (tt.why != "") || !strings.Contains(st.Why, tt.why) {
				t.Errorf("%+v, %d safe, said %q", st, safe, said)
			}
			if len(drain(t, q)) != st.Records {
				t.Error("not all come out")
			}
			must(t, q.Close())

			disk.fault = nil
			want := count(1, 6)
			if tt.why != "" {
				want = count(1, 5)
			}
			q = open(t, "q", Options{FS: disk, Log: silent(t)})
			if got := items(t, q); !slices.Equal(got, want) {
				t.Errorf("with the disk in order again: %v, want %v", got, want)
			}
		})
	}

	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, []byte("mine"), 0o600))
	q = open(t, file, Options{})
	appendItems(t, q, 1, 3, 0)
	must(t, q.Flush())
	if st := q.Stats(); !st.MemoryOnly || st.Records != 3 || !strings.Contains(st.Why, "not a directory") {
		t.Errorf("a file for a folder: %+v", st)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "mine" {
		t.Errorf("the file is %q, %v", b, err)
	}
}

// TestComesBack has a folder that could not be listed at opening: what it holds may not be mixed with what is new.
func TestComesBack(t *testing.T) {
	for _, filled := range []bool{false, true} {
		t.Run(fmt.Sprint(filled), func(t *testing.T) {
			c := newClock()
			disk := newSimDisk()
			if filled {
				q := open(t, "q", Options{FS: disk})
				appendItems(t, q, 1, 5, 10)
				must(t, q.Flush())
				must(t, q.Close())
			}
			disk.fault = func(op, _ string) error {
				if op == "list" {
					return errors.New("input/output error")
				}
				return nil
			}
			q := open(t, "q", Options{FS: disk, Now: c.now})
			appendItems(t, q, 6, 9, 10)
			must(t, q.Flush())
			disk.fault = nil
			c.pass(31)
			must(t, q.Flush())
			if st := q.Stats(); st.MemoryOnly != filled || filled && !strings.Contains(st.Why, "restart") {
				t.Errorf("%+v", st)
			}
			if got := items(t, q); !slices.Equal(got, count(6, 9)) {
				t.Errorf("got %v", got)
			}
		})
	}
}
