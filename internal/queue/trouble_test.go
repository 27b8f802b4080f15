package queue

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cloudbridge/internal/faketime"
)

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(seconds int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(time.Duration(seconds) * time.Second)
}

// copy is the disk as it is, with all of it synced.
func (d *simDisk) copy() *simDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := newSimDisk()
	next.dir = d.dir
	for name, i := range d.names {
		next.names[name] = &inode{data: slices.Clone(i.data), synced: slices.Clone(i.data), dirty: map[int]bool{}}
	}
	next.synced = maps.Clone(next.names)
	return next
}

// TestDiskFails breaks the disk under a running queue in every way, and mends it.
func TestDiskFails(t *testing.T) {
	tests := []struct {
		op  string
		err error
	}{
		{"write", syscall.EIO},
		{"write", syscall.ENOSPC},
		{"sync", syscall.EIO},
		{"syncdir", syscall.EIO},
		{"create", syscall.ENOSPC},
		{"create", syscall.EROFS},
	}
	for _, tt := range tests {
		for _, begun := range []int{0, 10} {
			t.Run(tt.op+" "+tt.err.Error(), func(t *testing.T) {
				c, disk := newClock(), newSimDisk()
				q := open(t, "q", Options{FS: disk, Now: c.now, segment: 4096, Log: silent(t)})
				appendItems(t, q, 1, begun, 100)
				must(t, q.Flush())

				disk.mu.Lock()
				disk.fault = func(op, _ string) error {
					if op == tt.op {
						return tt.err
					}
					return nil
				}
				disk.mu.Unlock()
				var safe []int
				for i := begun + 1; i <= begun+60; i++ {
					must(t, q.Append([]byte(payload(i, 100)), func() { safe = append(safe, i) }))
				}
				must(t, q.Flush())
				if want := count(begun+1, begun+60); !slices.Equal(safe, want) {
					t.Errorf("safe: %v", safe)
				}
				if st := q.Stats(); !st.MemoryOnly || !strings.Contains(st.Why, tt.err.Error()) || st.Records != begun+60 {
					t.Errorf("broken: %+v", st)
				}
				if got := items(t, q); !slices.Equal(got, count(1, begun+60)) {
					t.Errorf("broken: %v", got)
				}

				// It is left alone for half a minute, and then tried with a new file.
				tried := opCount(disk)
				c.pass(29)
				must(t, q.Flush())
				if n := opCount(disk); n != tried {
					t.Errorf("%d operations within 30 s", n-tried)
				}
				disk.mu.Lock()
				disk.fault = nil
				disk.mu.Unlock()
				c.pass(2)
				must(t, q.Flush())
				if st := q.Stats(); st.MemoryOnly || st.Why != "" || st.Records != begun+60 || q.mem.count != 0 {
					t.Errorf("mended: %+v, %d in memory", st, q.mem.count)
				}
				if got := items(t, q); !slices.Equal(got, count(1, begun+60)) {
					t.Errorf("mended: %v", got)
				}
				must(t, q.Close())
				q = open(t, "q", Options{FS: disk, segment: 4096})
				if got := items(t, q); !slices.Equal(got, count(1, begun+60)) {
					t.Errorf("after a restart: %v", got)
				}
			})
		}
	}
}

func opCount(d *simDisk) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range d.ops {
		n += k
	}
	return n
}

// TestFailedFileIsFinal sees that nothing is written to, or synced in, a file whose fsync failed.
func TestFailedFileIsFinal(t *testing.T) {
	c, disk := newClock(), newSimDisk()
	q := open(t, "q", Options{FS: disk, Now: c.now, segment: 4096})
	appendItems(t, q, 1, 5, 100)
	must(t, q.Flush())
	failed := map[string]bool{}
	bad := true
	disk.mu.Lock()
	disk.fault = func(op, name string) error {
		if op != "write" && op != "sync" && op != "rename" || !strings.HasSuffix(name, segmentSuffix) {
			return nil
		}
		if failed[name] {
			t.Errorf("%s of %s after it failed", op, name)
		}
		if op == "sync" && bad {
			failed[name] = true
			return syscall.EIO
		}
		return nil
	}
	disk.mu.Unlock()
	for i := 6; i < 40; i++ {
		appendItems(t, q, i, i, 100)
		must(t, q.Flush())
		c.pass(31)
		bad = i%3 == 0
	}
	if len(failed) < 5 {
		t.Errorf("only %d files failed", len(failed))
	}
	if got := items(t, q); !slices.Equal(got, count(1, 39)) {
		t.Errorf("got %v", got)
	}
}

// TestMemoryOnly fills a queue that has no disk: little is kept, drops are counted, whoever waits is let go, and Append
// alone finds the disk again.
func TestMemoryOnly(t *testing.T) {
	for _, overflow := range []string{"oldest", "newest"} {
		t.Run(overflow, func(t *testing.T) {
			c, disk := newClock(), newSimDisk()
			disk.fault = func(op, _ string) error {
				if op == "create" {
					return errors.New("no disk")
				}
				return nil
			}
			q := open(t, "q", Options{FS: disk, Now: c.now, Overflow: overflow, MaxBytes: 64 << 20})
			const all = 8 << 10
			safe := 0
			var mu sync.Mutex
			for range all {
				must(t, q.Append(make([]byte, 1024-RecordOverhead), func() { mu.Lock(); safe++; mu.Unlock() }))
			}
			must(t, q.Flush())
			st := q.Stats()
			if st.Records != 4<<10 || st.Bytes != 4<<20 || st.DroppedRecords != 4<<10 || !st.MemoryOnly {
				t.Errorf("%+v", st)
			}
			mu.Lock()
			if safe != all {
				t.Errorf("%d of %d let go", safe, all)
			}
			mu.Unlock()
			recs := drain(t, q)
			if overflow == "newest" != (recs[0].Seq == 1) || recs[len(recs)-1].Seq-recs[0].Seq != 4<<10-1 {
				t.Errorf("kept %d to %d", recs[0].Seq, recs[len(recs)-1].Seq)
			}

			disk.mu.Lock()
			disk.fault = nil
			disk.mu.Unlock()
			c.pass(31)
			must(t, q.Commit(recs[9].Seq)) // so that one more fits
			must(t, q.Append([]byte("wakes it"), nil))
			must(t, q.Flush())
			if st := q.Stats(); st.MemoryOnly || st.Records != 4<<10-9 {
				t.Errorf("with a disk: %+v", st)
			}
			if recs := drain(t, q); len(recs) != 4<<10-9 {
				t.Errorf("%d come out", len(recs))
			}
		})
	}
}

// TestFreeBytes has another program fill the disk: the oldest segments make way, and with few of them memory has to do.
func TestFreeBytes(t *testing.T) {
	disk := newSimDisk()
	disk.free = 10 << 20
	q := open(t, "q", Options{FS: disk, FreeBytes: 4 << 20, MemoryBytes: 64 << 10})
	appendItems(t, q, 1, 40_000, 200)
	must(t, q.Flush())
	st := q.Stats()
	if st.MemoryOnly || st.DroppedRecords == 0 || st.Records < 18_000 {
		t.Errorf("%+v", st)
	}
	if got := items(t, q); !slices.Equal(got, count(40_001-st.Records, 40_000)) {
		t.Errorf("kept %d..%d", got[0], got[len(got)-1])
	}
	if free, _ := disk.Free("q"); free < 4<<20-2*cursorStep {
		t.Errorf("%d bytes are free", free)
	}

	disk = newSimDisk()
	disk.free = 4 << 20
	q = open(t, "q", Options{FS: disk, FreeBytes: 4 << 20})
	appendItems(t, q, 1, 10, 200)
	must(t, q.Flush())
	if st := q.Stats(); !st.MemoryOnly || !strings.Contains(st.Why, "4.2 MB left, of which 4.2 MB are to stay free") {
		t.Errorf("%+v", st)
	}
}

// TestCursorOnFullDisk settles on a disk that has no room for another file, and crashes.
func TestCursorOnFullDisk(t *testing.T) {
	disk := newSimDisk()
	disk.room = 3*4096 + cursorStep + cursorSize
	q := open(t, "q", Options{FS: disk, segment: 4096})
	appendItems(t, q, 1, 100, 100)
	must(t, q.Flush())
	if st := q.Stats(); !st.MemoryOnly || q.mem.count == 100 {
		t.Fatalf("%+v, %d in memory", st, q.mem.count)
	}
	must(t, q.Commit(20))
	q = open(t, "q", Options{FS: disk.copy(), segment: 4096, Log: silent(t)})
	if st := q.Stats(); st.First != 21 {
		t.Errorf("after a crash the first is %d, want 21", st.First)
	}
}

// TestReadTrouble has no file handles left for a while, and a page that the disk does not give back.
func TestReadTrouble(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		disk := newSimDisk()
		q := open(t, "q", Options{FS: disk})
		for i := 1; i <= damageItems; i++ {
			must(t, q.Append(fixedPayload(i), nil))
		}
		must(t, q.Flush())
		refused := 5
		disk.fault = func(op, _ string) error {
			if refused--; op == "open" && refused >= 0 {
				return syscall.EMFILE
			}
			return nil
		}
		began := time.Now()
		if got := items(t, q); !slices.Equal(got, without()) || time.Since(began) != 5*time.Second {
			t.Errorf("%d items after %v", len(got), time.Since(began))
		}
		must(t, q.Close())

		disk.fault = nil
		for _, when := range []string{"opening", "reading"} {
			disk := &badPage{simDisk: disk.copy()}
			disk.bad = when == "opening"
			q := open(t, "q", Options{FS: disk})
			disk.bad = true
			if got := items(t, q); !slices.Equal(got, without(count(17, 34)...)) {
				t.Errorf("bad when %s: without %v", when, missing(got))
			}
			if st := q.Stats(); st.LostRecords != 18 || st.Records != damageItems-18 {
				t.Errorf("bad when %s: %+v", when, st)
			}
			must(t, q.Close())
		}
	})
}

// badPage cannot read the second page of a segment.
type badPage struct {
	*simDisk
	bad bool
}

func (d *badPage) Open(name string, write bool) (file, error) {
	f, err := d.simDisk.Open(name, write)
	if err != nil || !strings.HasSuffix(name, segmentSuffix) {
		return f, err
	}
	return &badPageFile{f, d}, nil
}

type badPageFile struct {
	file
	d *badPage
}

func (f *badPageFile) ReadAt(b []byte, at int64) (int, error) {
	if f.d.bad && at < 8192 && at+int64(len(b)) > 4096 {
		return 0, syscall.EIO
	}
	return f.file.ReadAt(b, at)
}
