package queue

import (
	"context"
	"fmt"
	"testing"
)

const uuidBoot = "6e0b1a0c-5c0f-4d53-9a5e-6a51f1e0f3aa"

// countingDisk counts what goes to the real disk: bytes, and the pages of 4 KiB that each fsync has to bring there.
type countingDisk struct {
	osDisk
	bytes, pages, syncs int64
}

func (d *countingDisk) Create(name string) (file, error) {
	f, err := d.osDisk.Create(name)
	return &countingFile{file: f, d: d, dirty: map[int64]bool{}}, err
}

func (d *countingDisk) Open(name string, write bool) (file, error) {
	f, err := d.osDisk.Open(name, write)
	return &countingFile{file: f, d: d, dirty: map[int64]bool{}}, err
}

type countingFile struct {
	file
	d     *countingDisk
	dirty map[int64]bool
}

func (f *countingFile) WriteAt(b []byte, at int64) (int, error) {
	f.d.bytes += int64(len(b))
	for p := at / 4096; p*4096 < at+int64(len(b)); p++ {
		f.dirty[p] = true
	}
	return f.file.WriteAt(b, at)
}

func (f *countingFile) Sync() error {
	f.d.syncs++
	f.d.pages += int64(len(f.dirty))
	clear(f.dirty)
	return f.file.Sync()
}

// TestBytesWritten measures what a message of 200 bytes costs the disk. "always" flushes each batch before it is
// acknowledged; in "when-behind" a cloud that keeps up commits before anybody flushes, and one that does not has the
// queue flush 750 at once.
func TestBytesWritten(t *testing.T) {
	const n = 12_000
	tests := []struct {
		name   string
		batch  int
		behind bool
		most   float64 // bytes to the disk for each message, by pages
	}{
		{"when-behind, the cloud keeps up", 16, false, 0},
		{"when-behind, the cloud is away", 750, true, 600},
		{"always, one by one", 1, true, 6000},
		{"always, by 16", 16, true, 1100},
		{"always, by 256", 256, true, 650},
	}
	for _, tt := range tests {
		disk := &countingDisk{}
		q := open(t, t.TempDir(), Options{FS: disk, BootID: uuidBoot, Log: silent(t)})
		for i := 1; i <= n; i++ {
			must(t, q.Append(make([]byte, 200), nil))
			if i%tt.batch == 0 {
				if tt.behind {
					must(t, q.Flush())
				} else {
					must(t, q.Commit(uint64(i)))
					must(t, q.Flush())
				}
			}
		}
		perMessage := float64(disk.pages*4096) / n
		t.Logf("%s: %d bytes of writes and %.0f bytes of pages for each message, %.3f fsyncs", tt.name, disk.bytes/n, perMessage, float64(disk.syncs)/n)
		if perMessage > tt.most {
			t.Errorf("%s: %.0f bytes for each message, want %.0f at most", tt.name, perMessage, tt.most)
		}
	}
}

// BenchmarkAppendFlush is durability "always", with that many messages to a flush. Settling keeps the files few.
func BenchmarkAppendFlush(b *testing.B) {
	for _, batch := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("b=%d", batch), func(b *testing.B) {
			disk := &countingDisk{}
			q := open(b, b.TempDir(), Options{FS: disk, BootID: uuidBoot})
			rec := make([]byte, 200)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				must(b, q.Append(rec, nil))
				if n++; n%batch == 0 {
					must(b, q.Flush())
				}
				if n%20_000 == 0 {
					must(b, q.Commit(uint64(n)))
				}
			}
			b.ReportMetric(float64(disk.pages*4096)/float64(b.N), "disk-B/op")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// BenchmarkAppendCommitLog is "when-behind" with a cloud that keeps up.
func BenchmarkAppendCommitLog(b *testing.B) {
	q := open(b, b.TempDir(), Options{BootID: uuidBoot})
	rec := make([]byte, 200)
	safe := func() {}
	b.ReportAllocs()
	var seq uint64
	for b.Loop() {
		must(b, q.Append(rec, safe))
		if seq++; seq%64 == 0 {
			must(b, q.Commit(seq))
		}
	}
}

// BenchmarkAppendPeekCommitLog is the same with the sender's look at what came, 64 at a time.
func BenchmarkAppendPeekCommitLog(b *testing.B) {
	q := open(b, b.TempDir(), Options{BootID: uuidBoot})
	rec := make([]byte, 200)
	safe := func() {}
	b.ReportAllocs()
	var after, seq uint64
	for b.Loop() {
		must(b, q.Append(rec, safe))
		if seq++; seq%64 == 0 {
			recs, err := q.Peek(b.Context(), after, 64)
			must(b, err)
			after = recs[len(recs)-1].Seq
			must(b, q.Commit(after))
		}
	}
}

// BenchmarkDrain reads from disk and commits, so many at a time; filling up is not counted.
func BenchmarkDrain(b *testing.B) {
	const filled = 50_000
	for _, batch := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("b=%d", batch), func(b *testing.B) {
			q := open(b, b.TempDir(), Options{BootID: uuidBoot})
			rec := make([]byte, 200)
			var after, last uint64
			b.ReportAllocs()
			for i := 0; i < b.N; i += batch {
				if after == last {
					b.StopTimer()
					for range filled {
						must(b, q.Append(rec, nil))
					}
					must(b, q.Flush())
					last += filled
					b.StartTimer()
				}
				recs, err := q.Peek(context.Background(), after, batch)
				must(b, err)
				after = recs[len(recs)-1].Seq
				must(b, q.Commit(after))
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// BenchmarkPeekDisk reads and does not commit.
func BenchmarkPeekDisk(b *testing.B) {
	q := open(b, b.TempDir(), Options{BootID: uuidBoot})
	for range 50_000 {
		must(b, q.Append(make([]byte, 200), nil))
	}
	must(b, q.Flush())
	b.ReportAllocs()
	var after uint64
	for b.Loop() {
		recs, err := q.Peek(context.Background(), after, 64)
		must(b, err)
		if after = recs[len(recs)-1].Seq; after == 50_000 {
			after = 0
		}
	}
}
