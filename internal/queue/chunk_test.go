package queue

import (
	"bytes"
	"context"
	"math/rand/v2"
	"testing"
)

// bothKinds are the two queues, the one on disk held in memory by a bound that no test reaches.
func bothKinds(t *testing.T) map[string]Interface {
	t.Helper()
	log, err := Open(t.TempDir(), Options{MemoryBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	list := map[string]Interface{"memory": NewMemory(0, ""), "log": log}
	t.Cleanup(func() {
		for name, q := range list {
			if err := q.Close(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	return list
}

// TestRecordsKeepTheirBytes holds records of all lengths long after they were settled: nothing that came later, and nothing
// that their owner appends to them, changes them.
func TestRecordsKeepTheirBytes(t *testing.T) {
	const n = 400
	for name, q := range bothKinds(t) {
		t.Run(name, func(t *testing.T) {
			dice := rand.New(rand.NewPCG(1, 2))
			content := func(i, length int) []byte { return bytes.Repeat([]byte{byte(i)}, length) }
			var lengths []int
			var held []Record
			rec := make([]byte, 0, chunkBytes)
			for i := range n {
				length := dice.IntN(chunkBytes / 3)
				if i%4 > 0 {
					length = dice.IntN(100)
				}
				lengths = append(lengths, length)
				rec = append(rec[:0], content(i, length)...)
				if err := q.Append(rec, nil); err != nil {
					t.Fatal(err)
				}
				clear(rec) // It is the caller's again.
				if i%10 == 9 {
					recs, err := q.Peek(context.Background(), uint64(len(held)), 10)
					if err != nil {
						t.Fatal(err)
					}
					held = append(held, recs...)
					if err := q.Commit(uint64(len(held))); err != nil {
						t.Fatal(err)
					}
				}
			}
			if len(held) != n {
				t.Fatalf("%d records, want %d", len(held), n)
			}
			for i, r := range held {
				_ = append(r.Data, "overrun"...)
				if !bytes.Equal(r.Data, content(i, lengths[i])) {
					t.Fatalf("record %d has changed", i)
				}
			}
			for i, r := range held {
				if !bytes.Equal(r.Data, content(i, lengths[i])) {
					t.Fatalf("record %d changed with its neighbour", i)
				}
			}
		})
	}
}

// TestLittleGarbage settles records as they come: what remains for each is a share of its chunk.
func TestLittleGarbage(t *testing.T) {
	const n = 1000
	for name, q := range bothKinds(t) {
		t.Run(name, func(t *testing.T) {
			rec, seq := make([]byte, 120), uint64(0)
			pay := func() {}
			one := func() {
				for range n {
					seq++
					if q.Append(rec, pay) != nil || q.Commit(seq) != nil {
						t.Error("the queue does not take a record")
					}
				}
			}
			one()
			if got := testing.AllocsPerRun(5, one); got > n {
				t.Errorf("%v allocations for %d records", got, n)
			} else {
				t.Logf("%v allocations for %d records", got, n)
			}
		})
	}
}
