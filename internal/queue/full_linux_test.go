package queue

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestFullDisk fills a real file system.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("a small file system cannot be mounted here (TestDiskFails stands in): %s", out)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	c := newClock()
	o := Options{Now: c.now, MemoryBytes: 128 << 10, MaxBytes: 256 << 20}
	q := open(t, filepath.Join(dir, "lane"), o)
	n := 0
	for !q.Stats().MemoryOnly {
		n += 500
		appendItems(t, q, n-499, n, 200)
		must(t, q.Flush())
	}
	if st := q.Stats(); !strings.Contains(st.Why, "no space left on device") || st.DroppedRecords != 0 {
		t.Errorf("%+v", st)
	}
	onDisk := n - q.mem.count
	if onDisk < 15_000 {
		t.Errorf("%d records in 6 MB", onDisk)
	}
	if got := items(t, q); !slices.Equal(got, count(1, n)) {
		t.Errorf("%d of %d are there", len(got), n)
	}

	// A restart on the full disk keeps what is on it.
	must(t, q.Close())
	q = open(t, filepath.Join(dir, "lane"), o)
	if got := items(t, q); !slices.Equal(got, count(1, onDisk)) {
		t.Errorf("after a restart %d of %d are there", len(got), onDisk)
	}
	appendItems(t, q, onDisk+1, onDisk+8000, 200)
	must(t, q.Flush())
	// Settling makes room, and the disk is tried again.
	recs, err := q.Peek(t.Context(), 0, 1)
	must(t, err)
	must(t, q.Commit(recs[0].Seq+uint64(onDisk)*2/3))
	c.pass(31)
	must(t, q.Flush())
	if st := q.Stats(); st.MemoryOnly || st.DroppedRecords != 0 {
		t.Errorf("with room again: %+v", st)
	}
	got := items(t, q)
	if !slices.IsSorted(got) || got[len(got)-1] != onDisk+8000 || got[0] != onDisk*2/3+2 || len(got) != onDisk+8000-got[0]+1 {
		t.Errorf("with room again: %d..%d, %d items", got[0], got[len(got)-1], len(got))
	}
	must(t, q.Commit(1<<63))
	must(t, q.Close())
	if info, err := os.ReadDir(filepath.Join(dir, "lane")); err != nil || len(info) > 2 {
		t.Errorf("left: %v, %v", info, err)
	}
}
