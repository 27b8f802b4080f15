package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// silent is for a queue in which nothing may be wrong.
func silent(t *testing.T) func(string) {
	return func(s string) { t.Errorf("the queue says %q", s) }
}

func open(t testing.TB, dir string, o Options) *Log {
	t.Helper()
	q, err := Open(dir, o)
	must(t, err)
	t.Cleanup(func() { _ = q.Close() })
	return q
}

func items(t testing.TB, q Interface) (out []int) {
	t.Helper()
	for _, r := range drain(t, q) {
		out = append(out, payloadItem(t, r.Data))
	}
	return out
}

func appendItems(t testing.TB, q Interface, from, to, size int) {
	t.Helper()
	for i := from; i <= to; i++ {
		must(t, q.Append([]byte(payload(i, size)), nil))
	}
}

func count(from, to int) (out []int) {
	for i := from; i <= to; i++ {
		out = append(out, i)
	}
	return out
}

// TestNothingWritten is the promise of "when-behind": with a consumer that keeps up there is not even a folder.
func TestNothingWritten(t *testing.T) {
	root := t.TempDir()
	q := open(t, filepath.Join(root, "lane"), Options{})
	safe := 0
	for seq := uint64(1); seq <= 20_000; seq++ {
		must(t, q.Append(make([]byte, 200), func() { safe++ }))
		if seq%100 == 0 {
			recs, err := q.Peek(t.Context(), seq-100, 100)
			if err != nil || len(recs) != 100 {
				t.Fatalf("Peek gave %d records, %v", len(recs), err)
			}
			must(t, q.Commit(seq))
			must(t, q.Flush()) // The clock of the session: by now there is nothing to flush.
		}
	}
	must(t, q.Close())
	if entries, err := os.ReadDir(root); err != nil || len(entries) > 0 {
		t.Errorf("the disk holds %v, %v", entries, err)
	}
	if safe != 20_000 {
		t.Errorf("%d of 20000 are safe", safe)
	}
}

func TestReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "lane")
	now := time.Date(2026, 11, 20, 8, 0, 0, 123456789, time.UTC)
	boots := []string{"6e0b1a0c-5c0f-4d53-9a5e-6a51f1e0f3aa", "boot two", "", "6E0B1A0C-5C0F-4D53-9A5E-6A51F1E0F3AA"}
	for i, boot := range boots {
		q := open(t, dir, Options{BootID: boot, Now: func() time.Time { return now.Add(time.Duration(i) * time.Hour) }, Log: silent(t)})
		appendItems(t, q, 3*i+1, 3*i+2, 50)
		must(t, q.Flush())
		appendItems(t, q, 3*i+3, 3*i+3, 50)
		recs := drain(t, q)
		if last := recs[len(recs)-1]; last.Boot != boot || !last.Wall.Equal(q.o.Now()) {
			t.Errorf("in memory: boot %q at %v", last.Boot, last.Wall)
		}
		must(t, q.Flush())
		must(t, q.Close())
	}

	q := open(t, dir, Options{Log: silent(t)})
	recs := drain(t, q)
	if len(recs) != 3*len(boots) {
		t.Fatalf("%d records", len(recs))
	}
	for i, r := range recs {
		want := now.Add(time.Duration(i/3) * time.Hour)
		if payloadItem(t, r.Data) != i+1 || r.Seq != uint64(i+1) || r.Boot != boots[i/3] || !r.Wall.Equal(want) {
			t.Errorf("record %d is %d, number %d, boot %q at %v, want boot %q at %v", i+1, payloadItem(t, r.Data), r.Seq, r.Boot, r.Wall, boots[i/3], want)
		}
	}
	must(t, q.Commit(5))
	must(t, q.Close())

	q = open(t, dir, Options{Log: silent(t)})
	if st := q.Stats(); st.First != 6 || st.Last != 12 || st.Records != 7 {
		t.Errorf("after Commit(5) and a restart: %+v", st)
	}
	must(t, q.Commit(12))
	must(t, q.Close())
	q = open(t, dir, Options{Log: silent(t)})
	appendItems(t, q, 13, 13, 0)
	if st := q.Stats(); st.First != 13 || st.Records != 1 {
		t.Errorf("numbers do not go on: %+v", st)
	}
}

// TestReuse has thousands of records of all sizes go through few files, with restarts, and reads them all back in order.
func TestReuse(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 2))
	next, settled := 1, 0
	var seqs []uint64
	for range 20 {
		q := open(t, dir, Options{segment: 8192, MemoryBytes: 4096, Log: silent(t)})
		for range 200 {
			n := r.IntN(12)
			appendItems(t, q, next, next+n-1, r.IntN(600))
			next += n
			if r.IntN(3) == 0 {
				must(t, q.Flush())
			}
			if r.IntN(2) == 0 && q.Stats().Records > 0 {
				recs, err := q.Peek(t.Context(), 0, 1+r.IntN(20))
				must(t, err)
				for _, rec := range recs {
					if settled++; payloadItem(t, rec.Data) != settled {
						t.Fatalf("item %d where %d is due", payloadItem(t, rec.Data), settled)
					}
					seqs = append(seqs, rec.Seq)
				}
				must(t, q.Commit(recs[len(recs)-1].Seq))
			}
			if want := next - 1 - settled; q.Stats().Records != want {
				t.Fatalf("%d records, want %d", q.Stats().Records, want)
			}
		}
		must(t, q.Flush())
		if got, want := items(t, q), count(settled+1, next-1); !slices.Equal(got, want) {
			t.Fatalf("left: %v, want %v", got, want)
		}
		if most := int(q.Stats().Bytes*5/4/8192) + 3; segments(t, dir) > most {
			t.Errorf("%d segments, want %d at most", segments(t, dir), most)
		}
		must(t, q.Close())
	}
	if !slices.IsSorted(seqs) {
		t.Error("sequence numbers fell")
	}
}

func TestSpaceComesBack(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir, Options{segment: 16 << 10, Log: silent(t)})
	appendItems(t, q, 1, 5000, 200)
	must(t, q.Flush())
	if n := segments(t, dir); n < 60 {
		t.Fatalf("%d segments hold 5000 records", n)
	}
	var after uint64
	for after < 5000 {
		recs, err := q.Peek(t.Context(), after, 64)
		must(t, err)
		after = recs[len(recs)-1].Seq
		must(t, q.Commit(after))
	}
	if n := segments(t, dir); n > 1 {
		t.Errorf("%d segments are left of an empty queue", n)
	}
	if q.held != 0 || q.records != 0 || q.bytes != 0 {
		t.Errorf("the books say %d, %d, %d", q.held, q.records, q.bytes)
	}
	// All is settled while the reader stands at the start.
	appendItems(t, q, 5001, 6000, 200)
	must(t, q.Flush())
	_, err := q.Peek(t.Context(), 5000, 1)
	must(t, err)
	must(t, q.Commit(6000))
	if q.reader.seg != nil && q.reader.gone(q) {
		t.Error("a removed file is still open, and keeps its space")
	}
}

func segments(t *testing.T, dir string) int {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	must(t, err)
	return len(names)
}

func TestBoundOnDisk(t *testing.T) {
	for _, overflow := range []string{"oldest", "newest"} {
		t.Run(overflow, func(t *testing.T) {
			const bound = 1 << 20
			dir := t.TempDir()
			q := open(t, dir, Options{MaxBytes: bound, Overflow: overflow, Log: silent(t)})
			safe := 0
			for i := 1; i <= 10_000; i++ {
				must(t, q.Append([]byte(payload(i, 200)), func() { safe++ }))
				if i%50 == 0 {
					must(t, q.Flush())
				}
			}
			st := q.Stats()
			if st.Records+int(st.DroppedRecords) != 10_000 || safe != 10_000 || st.Records < 2500 {
				t.Errorf("%+v, %d safe", st, safe)
			}
			got := items(t, q)
			// Towards the end of the room a small record may fit where a larger one did not.
			if overflow == "newest" && !slices.Equal(got[:4000], count(1, 4000)) {
				t.Errorf("kept %d..%d, want the oldest", got[0], got[len(got)-1])
			}
			if overflow == "oldest" && !slices.Equal(got, count(10_001-st.Records, 10_000)) {
				t.Errorf("kept %d..%d, want the newest", got[0], got[len(got)-1])
			}
			if size := int64(segments(t, dir)) * q.o.segment; size > bound+2*q.o.segment {
				t.Errorf("the files take %d bytes of %d", size, bound)
			}
			must(t, q.Close())
			q = open(t, dir, Options{MaxBytes: bound, Overflow: overflow, Log: silent(t)})
			if again := items(t, q); !slices.Equal(again, got) {
				t.Errorf("after a restart %d records, before %d", len(again), len(got))
			}
		})
	}
}

// TestLargeRecords has records that fill segments, and some that need one of their own.
func TestLargeRecords(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir, Options{segment: 8192, Log: silent(t)})
	sizes := []int{10, 8000, 9000, 100_000, 10, 70_000, 300_000, 8192 - headSize - frameSize, 1}
	for i, n := range sizes {
		must(t, q.Append(bytes.Repeat([]byte{byte(i)}, n), nil))
		if i%2 == 0 {
			must(t, q.Flush())
		}
	}
	must(t, q.Flush())
	for range 2 {
		for i, rec := range drain(t, q) {
			if !bytes.Equal(rec.Data, bytes.Repeat([]byte{byte(i)}, sizes[i])) {
				t.Errorf("record %d: %d bytes, want %d", i, len(rec.Data), sizes[i])
			}
		}
		must(t, q.Close())
		q = open(t, dir, Options{segment: 8192, Log: silent(t)})
	}
	must(t, q.Commit(uint64(len(sizes))))
	if n := segments(t, dir); n > 1 {
		t.Errorf("%d segments are left", n)
	}
}

// TestPeekedDataStays reads, has the files used again, and looks at what it has read.
func TestPeekedDataStays(t *testing.T) {
	q := open(t, t.TempDir(), Options{segment: 4096, Log: silent(t)})
	appendItems(t, q, 1, 100, 100)
	must(t, q.Flush())
	recs, err := q.Peek(t.Context(), 0, 20)
	must(t, err)
	must(t, q.Commit(100))
	appendItems(t, q, 101, 300, 100)
	must(t, q.Flush())
	for i, r := range recs {
		if payloadItem(t, r.Data) != i+1 {
			t.Errorf("record %d changed to %q", i+1, r.Data)
		}
	}
}

// TestMemoryBytes sees that a queue nobody flushes does not grow in memory.
func TestMemoryBytes(t *testing.T) {
	q := open(t, t.TempDir(), Options{MemoryBytes: 10_000, Log: silent(t)})
	// One record goes beyond the bound before Append waits, and one more when it finds a round that had ended but for the last
	// lines: that one starts the next round.
	most := int64(2*10_000 + 2*(len(payload(2000, 200))+RecordOverhead))
	for i := 1; i <= 2000; i++ {
		must(t, q.Append([]byte(payload(i, 200)), nil))
		q.mu.Lock()
		waiting, why := q.mem.bytes, q.why
		q.mu.Unlock()
		if waiting > most {
			t.Fatalf("%d bytes wait in memory; the disk: %v", waiting, why)
		}
	}
	if got := items(t, q); !slices.Equal(got, count(1, 2000)) {
		t.Errorf("%d items, or not in order", len(got))
	}
}

func TestNewerFormat(t *testing.T) {
	newSegment := head{version: 2, id: 3, first: 1}.encode()
	newCursor := encodeCursor(5)
	newCursor[8] = 2
	binary.LittleEndian.PutUint32(newCursor[28:], crc32.Checksum(newCursor[:28], castagnoli))
	for name, content := range map[string][]byte{"0000000003.seg": newSegment, cursorName: newCursor} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
		_, err := Open(dir, Options{})
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "newer cloudbridge (format 2") {
			t.Errorf("%s of format 2: %v", name, err)
		}
		if left, _ := os.ReadFile(filepath.Join(dir, name)); !bytes.Equal(left, content) {
			t.Errorf("%s was changed", name)
		}
	}
}

func TestFrameRoundTrip(t *testing.T) {
	for _, boot := range []string{"", "x", "6e0b1a0c-5c0f-4d53-9a5e-6a51f1e0f3aa", "6e0b1a0c-5c0f-4d53-9a5e-6a51f1e0f3aX", strings.Repeat("b", 255)} {
		for _, n := range []int{0, 1, 7, 8, 200} {
			mark := markBoot(boot)
			b := appendFrame(nil, 7, 1<<40+3, wallNumber(time.Time{}), mark, make([]byte, n), true)
			f, what := parseFrame(b)
			if what != whole || f.size != len(b) || len(b)%8 != 0 || len(b) != frameLen(mark, n) {
				t.Fatalf("boot %q, %d bytes: %v, %+v", boot, n, what, f)
			}
			if f.id != 7 || f.seq != 1<<40+3 || !f.fresh || f.bootString() != boot || len(f.data()) != n || !wallTime(f.wall).IsZero() {
				t.Errorf("boot %q, %d bytes: %+v", boot, n, f)
			}
		}
	}
}

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "queue")
	unlock, err := Lock(dir)
	must(t, err)
	if _, err := Lock(dir); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("a second lock: %v", err)
	}
	must(t, unlock())
	unlock, err = Lock(dir)
	must(t, err)
	must(t, unlock())

	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := Lock(file); err == nil || errors.Is(err, ErrLocked) {
		t.Errorf("lock of a file: %v", err)
	}
}

func TestFolderName(t *testing.T) {
	tests := []struct{ platform, account, lane, want string }{
		{"thingspeak", "HQ8x", "channel 1001", "thingspeak-hq8x-channel-1001-"},
		{"mqtt", "wss://broker.emqx.io:8084/mqtt", "", "mqtt-wss-broker-emqx-io-8084-mqtt-"},
		{"adafruit-io", "../../etc", "..", "adafruit-io-etc-"},
		{"mqtt", strings.Repeat("長い", 40), "a", "mqtt-a-"},
		{"mqtt", strings.Repeat("x", 300), "a/b", "mqtt-" + strings.Repeat("x", 32) + "-a-b-"},
	}
	seen := map[string]bool{}
	for _, tt := range tests {
		got := FolderName(tt.platform, tt.account, tt.lane)
		if rest, ok := strings.CutPrefix(got, tt.want); !ok || len(rest) != 10 {
			t.Errorf("%q, %q, %q is %q, want %q and ten digits", tt.platform, tt.account, tt.lane, got, tt.want)
		}
		seen[got] = true
	}
	// The name never changes, or a queue would be left behind.
	if got, want := FolderName("thingspeak", "HQ8x", "channel 1001"), "thingspeak-hq8x-channel-1001-af48697d75"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, other := range [][3]string{{"thingspeak", "hq8x", "channel 1001"}, {"thingspeak", "HQ8xc", "hannel 1001"}, {"thingspeak", "HQ8x", "channel-1001"}} {
		if name := FolderName(other[0], other[1], other[2]); seen[name] {
			t.Errorf("%v shares %q", other, name)
		}
	}
}
