package queue

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// TestSharedFlush has many callers at once, on a disk whose first fsync takes its time.
func TestSharedFlush(t *testing.T) {
	disk := newSimDisk()
	held, release := make(chan struct{}), make(chan struct{})
	slow := sync.OnceFunc(func() { close(held); <-release })
	q := open(t, "q", Options{FS: &gate{disk, slow}, Log: silent(t)})
	var safe atomic.Int32
	add := func() { must(t, q.Append([]byte("x"), func() { safe.Add(1) })) }
	add()
	var wg sync.WaitGroup
	wg.Go(func() { must(t, q.Flush()) })
	<-held
	const callers = 20
	entered := make(chan struct{}, callers)
	for range callers {
		wg.Go(func() {
			add()
			entered <- struct{}{}
			must(t, q.Flush())
		})
	}
	for range callers {
		<-entered
	}
	close(release)
	wg.Wait()
	if safe.Load() != callers+1 {
		t.Errorf("%d safe", safe.Load())
	}
	disk.mu.Lock()
	defer disk.mu.Unlock()
	if n := disk.ops["sync"]; n != 2 {
		t.Errorf("%d fsyncs for %d callers, want 2", n, callers+1)
	}
}

// gate holds up every fsync.
type gate struct {
	*simDisk
	hold func()
}

func (g *gate) Create(name string) (file, error) {
	f, err := g.simDisk.Create(name)
	return &gatedFile{f, g.hold}, err
}

type gatedFile struct {
	file
	hold func()
}

func (f *gatedFile) Sync() error { f.hold(); return f.file.Sync() }

// TestMeanwhile has records settled, and dropped, while they are being written.
func TestMeanwhile(t *testing.T) {
	const size = 100 - RecordOverhead
	for _, what := range []string{"commit", "drop"} {
		t.Run(what, func(t *testing.T) {
			disk := newSimDisk()
			held, release := make(chan struct{}), make(chan struct{})
			slow := sync.OnceFunc(func() { close(held); <-release })
			q := open(t, "q", Options{FS: &gate{disk, slow}, MaxBytes: 1000, Log: silent(t)})
			safe := 0
			add := func(n int) {
				for range n {
					must(t, q.Append(make([]byte, size), func() { safe++ }))
				}
			}
			add(10)
			var wg sync.WaitGroup
			wg.Go(func() { must(t, q.Flush()) })
			<-held
			want := Stats{Records: 5, Bytes: 500, First: 6, Last: 10}
			if what == "commit" {
				must(t, q.Commit(5))
			} else {
				add(5)
				want = Stats{Records: 10, Bytes: 1000, First: 6, Last: 15, DroppedRecords: 5}
			}
			if safe != 5 {
				t.Errorf("%d safe before the disk has them", safe)
			}
			close(release)
			wg.Wait()
			if st := q.Stats(); st != want || safe != 10 {
				t.Errorf("%+v, %d safe, want %+v", st, safe, want)
			}
			if recs := drain(t, q); len(recs) != want.Records || recs[0].Seq != 6 {
				t.Errorf("%d come out, from %d", len(recs), recs[0].Seq)
			}
		})
	}
}

// TestReadWhileDropped reads, slowly, what a writer drops and writes over.
func TestReadWhileDropped(t *testing.T) {
	q := open(t, t.TempDir(), Options{MaxBytes: 256 << 10, segment: 16 << 10, Log: silent(t)})
	const all = 20_000
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 1; i <= all; i++ {
			if err := q.Append([]byte(payload(i, i%300)), nil); err != nil {
				t.Error(err)
			}
			if i%100 == 0 {
				if err := q.Flush(); err != nil {
					t.Error(err)
				}
			}
		}
	})
	var after uint64
	for after < all {
		recs, err := q.Peek(t.Context(), after, 7)
		must(t, err)
		for _, r := range recs {
			if r.Seq <= after || payloadItem(t, r.Data) != int(r.Seq) {
				t.Fatalf("number %d after %d is %q", r.Seq, after, r.Data)
			}
			after = r.Seq
		}
		if after%3 == 0 {
			must(t, q.Commit(after-after%50))
		}
	}
	wg.Wait()
	if st := q.Stats(); st.LostRecords != 0 || st.Last != all {
		t.Errorf("%+v", st)
	}
}

// TestGapIsNoLoss leaves numbers out, because those records never were on disk, and starts again.
func TestGapIsNoLoss(t *testing.T) {
	dir := t.TempDir()
	o := Options{Log: silent(t)}
	q := open(t, dir, o)
	appendItems(t, q, 1, 5, 10)
	must(t, q.Flush())
	appendItems(t, q, 6, 10, 10)
	must(t, q.Commit(10))
	appendItems(t, q, 11, 15, 10)
	must(t, q.Flush())
	must(t, q.Close())
	q = open(t, dir, o)
	if st := q.Stats(); st.Records != 5 || st.First != 11 || st.LostRecords != 0 {
		t.Errorf("%+v", st)
	}
	// The cursor may be older than that.
	must(t, q.Close())
	must(t, os.Remove(filepath.Join(dir, cursorName)))
	q = open(t, dir, o)
	if st := q.Stats(); st.Records != 10 || st.LostRecords != 0 {
		t.Errorf("without a cursor: %+v", st)
	}
}
