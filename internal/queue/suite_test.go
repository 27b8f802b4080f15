package queue

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"cloudbridge/internal/faketime"
)

// onBoth runs a test on both queues. open makes an empty one.
func onBoth(t *testing.T, test func(t *testing.T, open func(maxBytes int64, overflow string) Interface)) {
	t.Run("Memory", func(t *testing.T) {
		test(t, func(maxBytes int64, overflow string) Interface { return NewMemory(maxBytes, overflow) })
	})
	t.Run("Log", func(t *testing.T) {
		test(t, func(maxBytes int64, overflow string) Interface {
			q, err := Open(filepath.Join(t.TempDir(), "lane"), Options{MaxBytes: maxBytes, Overflow: overflow})
			must(t, err)
			t.Cleanup(func() { must(t, q.Close()) })
			return q
		})
	})
}

func fill(t *testing.T, m Interface, from, to int, safe func(int)) {
	t.Helper()
	for i := from; i <= to; i++ {
		if err := m.Append(fmt.Appendf(nil, "rec%03d", i), func() { safe(i) }); err != nil {
			t.Fatal(err)
		}
	}
}

func peekAll(t *testing.T, m Interface, after uint64, n int) []string {
	t.Helper()
	recs, err := m.Peek(t.Context(), after, n)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range recs {
		out = append(out, fmt.Sprintf("%d:%s", r.Seq, r.Data))
	}
	return out
}

// TestFlushLetsGo sees that Flush calls each safe once, in order, and keeps the records.
func TestFlushLetsGo(t *testing.T) { onBoth(t, eachFlushLetsGo) }

func eachFlushLetsGo(t *testing.T, open func(int64, string) Interface) {
	m := open(0, "oldest")
	var safe []int
	fill(t, m, 1, 3, func(i int) { safe = append(safe, i) })
	must(t, m.Flush())
	if want := []int{1, 2, 3}; !slices.Equal(safe, want) {
		t.Errorf("safe after Flush = %v, want %v", safe, want)
	}
	if got := peekAll(t, m, 0, 10); len(got) != 3 {
		t.Errorf("after Flush the queue holds %v, want all three", got)
	}
	must(t, m.Commit(3))
	if len(safe) != 3 {
		t.Errorf("after Commit safe was called for %v, want once for each", safe)
	}
}

func TestPeekAndCommit(t *testing.T) { onBoth(t, eachPeekAndCommit) }

func eachPeekAndCommit(t *testing.T, open func(int64, string) Interface) {
	m := open(0, "oldest")
	var safe []int
	fill(t, m, 1, 5, func(i int) { safe = append(safe, i) })

	tests := []struct {
		after uint64
		n     int
		want  []string
	}{
		{0, 2, []string{"1:rec001", "2:rec002"}},
		{2, 10, []string{"3:rec003", "4:rec004", "5:rec005"}},
		{4, 1, []string{"5:rec005"}},
		{0, 0, []string{"1:rec001"}},
	}
	for _, tt := range tests {
		if got := peekAll(t, m, tt.after, tt.n); !slices.Equal(got, tt.want) {
			t.Errorf("Peek(%d, %d) = %v, want %v", tt.after, tt.n, got, tt.want)
		}
	}
	if safe != nil {
		t.Fatalf("safe %v before anything was settled", safe)
	}

	must(t, m.Commit(3))
	if want := []int{1, 2, 3}; !slices.Equal(safe, want) {
		t.Errorf("safe after Commit(3) = %v, want %v", safe, want)
	}
	want := Stats{Records: 2, Bytes: 2 * (6 + RecordOverhead), First: 4, Last: 5}
	if got := m.Stats(); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
	must(t, m.Commit(2))   // behind: nothing
	must(t, m.Commit(100)) // ahead: all there is, and no numbers are skipped
	fill(t, m, 6, 6, func(i int) { safe = append(safe, i) })
	if got := peekAll(t, m, 0, 10); !slices.Equal(got, []string{"6:rec006"}) {
		t.Errorf("after committing all: %v", got)
	}
	if want := []int{1, 2, 3, 4, 5}; !slices.Equal(safe, want) {
		t.Errorf("safe = %v, want %v", safe, want)
	}
}

func TestOverflow(t *testing.T) { onBoth(t, eachOverflow) }

func eachOverflow(t *testing.T, open func(int64, string) Interface) {
	const four = 4 * (6 + RecordOverhead)
	tests := []struct {
		overflow string
		want     []string
		safe     []int
	}{
		{"oldest", []string{"3:rec003", "4:rec004", "5:rec005", "6:rec006"}, []int{1, 2}},
		{"newest", []string{"1:rec001", "2:rec002", "3:rec003", "4:rec004"}, []int{5, 6}},
	}
	for _, tt := range tests {
		t.Run(tt.overflow, func(t *testing.T) {
			m := open(four, tt.overflow)
			var safe []int
			fill(t, m, 1, 6, func(i int) { safe = append(safe, i) })
			if got := peekAll(t, m, 0, 10); !slices.Equal(got, tt.want) {
				t.Errorf("kept %v, want %v", got, tt.want)
			}
			if !slices.Equal(safe, tt.safe) {
				t.Errorf("safe = %v, want %v", safe, tt.safe)
			}
			if s := m.Stats(); s.DroppedRecords != 2 || s.Bytes != four {
				t.Errorf("Stats = %+v", s)
			}

			// A record larger than the whole queue goes alone: it does not empty it first.
			big := false
			must(t, m.Append(make([]byte, four), func() { big = true }))
			if s := m.Stats(); s.Records != 4 || s.DroppedRecords != 3 || !big {
				t.Errorf("after the large one: %+v, settled %v", s, big)
			}
		})
	}
}

func TestAppendCopies(t *testing.T) { onBoth(t, eachAppendCopies) }

func eachAppendCopies(t *testing.T, open func(int64, string) Interface) {
	m := open(0, "oldest")
	rec := []byte("before")
	must(t, m.Append(rec, nil))
	copy(rec, "after!")
	recs, err := m.Peek(t.Context(), 0, 1)
	if err != nil || string(recs[0].Data) != "before" {
		t.Fatalf("Peek = %+v, %v", recs, err)
	}
	must(t, m.Commit(1))
	must(t, m.Append([]byte("second"), nil))
	if string(recs[0].Data) != "before" {
		t.Errorf("a peeked record changed to %q", recs[0].Data)
	}
}

func TestPeekWaits(t *testing.T) { onBoth(t, eachPeekWaits) }

func eachPeekWaits(t *testing.T, open func(int64, string) Interface) {
	faketime.Test(t, func(t *testing.T) {
		m := open(0, "oldest")
		must(t, m.Append([]byte("in flight"), nil))
		type answer struct {
			recs []Record
			err  error
		}
		got := make(chan answer, 1)
		peek := func(ctx context.Context, after uint64) {
			recs, err := m.Peek(ctx, after, 10)
			got <- answer{recs, err}
		}

		go peek(t.Context(), 1)
		synctest.Wait()
		if len(got) != 0 {
			t.Fatal("Peek did not wait for a record past what is in flight")
		}
		must(t, m.Append([]byte("new"), nil))
		if a := <-got; a.err != nil || len(a.recs) != 1 || a.recs[0].Seq != 2 {
			t.Errorf("after Append: %+v", a)
		}
		must(t, m.Commit(2))

		ctx, cancel := context.WithCancel(t.Context())
		go peek(ctx, 2)
		synctest.Wait()
		cancel()
		if a := <-got; !errors.Is(a.err, context.Canceled) {
			t.Errorf("after cancel: %+v", a)
		}

		go peek(t.Context(), 2)
		go peek(t.Context(), 2)
		synctest.Wait()
		must(t, m.Close())
		for range 2 {
			if a := <-got; !errors.Is(a.err, ErrClosed) {
				t.Errorf("after Close: %+v", a)
			}
		}
		_, err := m.Peek(t.Context(), 0, 1)
		for what, err := range map[string]error{"Append": m.Append(nil, nil), "Commit": m.Commit(1), "Peek": err} {
			if !errors.Is(err, ErrClosed) {
				t.Errorf("%s on a closed queue: %v", what, err)
			}
		}
	})
}

// A safe may come back to the queue, and what that settles is still called in order.
func TestSafeUsesQueue(t *testing.T) { onBoth(t, eachSafeUsesQueue) }

func eachSafeUsesQueue(t *testing.T, open func(int64, string) Interface) {
	m := open(0, "oldest")
	var order []int
	must(t, m.Append([]byte("1"), func() {
		order = append(order, 1)
		must(t, m.Append([]byte("3"), func() { order = append(order, 3) }))
		must(t, m.Commit(3))
	}))
	must(t, m.Append([]byte("2"), func() { order = append(order, 2) }))
	must(t, m.Commit(1))
	if want := []int{1, 2, 3}; !slices.Equal(order, want) {
		t.Errorf("order = %v, want %v", order, want)
	}
}

func TestConcurrentUse(t *testing.T) { onBoth(t, eachConcurrentUse) }

func eachConcurrentUse(t *testing.T, open func(int64, string) Interface) {
	const writers, each = 4, 2000
	m := open(0, "oldest")
	var wg sync.WaitGroup
	var mu sync.Mutex
	settled := 0
	for range writers {
		wg.Go(func() {
			for range each {
				if err := m.Append([]byte("x"), func() { mu.Lock(); settled++; mu.Unlock() }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var after uint64
	for after < writers*each {
		recs, err := m.Peek(t.Context(), after, 100)
		if err != nil {
			t.Fatal(err)
		}
		if recs[0].Seq != after+1 {
			t.Fatalf("got %d after %d", recs[0].Seq, after)
		}
		after = recs[len(recs)-1].Seq
		must(t, m.Commit(after))
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	if settled != writers*each {
		t.Errorf("%d settled, want %d", settled, writers*each)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestBacklogGrowsAndShrinks(t *testing.T) { onBoth(t, eachBacklogGrowsAndShrinks) }

func eachBacklogGrowsAndShrinks(t *testing.T, open func(int64, string) Interface) {
	m := open(0, "oldest")
	next := 1
	safe := func(i int) {
		if i != next {
			t.Fatalf("safe of %d, want %d", i, next)
		}
		next++
	}
	fill(t, m, 1, 100, safe)
	must(t, m.Commit(60)) // so that the ring's head is not at its start when it grows
	fill(t, m, 101, 50_000, safe)
	for after := uint64(60); after < 50_000; {
		recs, err := m.Peek(t.Context(), after, 777)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range recs {
			if after++; r.Seq != after || string(r.Data) != fmt.Sprintf("rec%03d", after) {
				t.Fatalf("record %d is %q, want number %d", r.Seq, r.Data, after)
			}
		}
		must(t, m.Commit(after))
	}
	if next != 50_001 {
		t.Errorf("%d safes were called, want 50000", next-1)
	}
	ring := &ring{}
	switch q := m.(type) {
	case *Memory:
		ring = &q.ring
	case *Log:
		ring = &q.mem
	}
	if len(ring.slots) > smallRing {
		t.Errorf("an empty queue keeps %d entries", len(ring.slots))
	}
}
