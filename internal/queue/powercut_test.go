package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"cloudbridge/internal/faketime"
)

// drain reads all that waits, from the start, without settling it.
func drain(t testing.TB, q Interface) []Record {
	t.Helper()
	var recs []Record
	var after uint64
	for {
		st := q.Stats()
		if st.Records == 0 || st.Last <= after {
			return recs
		}
		some, err := q.Peek(context.Background(), after, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range some {
			if r.Seq <= after {
				t.Fatalf("record %d comes after %d", r.Seq, after)
			}
			after = r.Seq
		}
		recs = append(recs, some...)
	}
}

// TestPowerCut cuts the power after any operation on the disk and asks what is left, three times in a row on one disk.
// Nothing that was reported safe may be missing, order must hold, and nothing may come back that had been gone. Time stands
// still meanwhile, so that a seed gives the same each time.
func TestPowerCut(t *testing.T) { faketime.Test(t, cutPower) }

func cutPower(t *testing.T) {
	rounds := 300
	if os.Getenv("CLOUDBRIDGE_FAULTS") == "full" {
		rounds = 20_000
	}
	for seed := range rounds {
		r := rand.New(rand.NewPCG(uint64(seed), 7))
		disk := newSimDisk()
		c := &cutter{t: t, r: r, known: map[int]bool{}, safe: map[int]bool{}}
		for life := range 4 {
			c.live(disk)
			if t.Failed() {
				t.Fatalf("seed %d, life %d", seed, life)
			}
			disk = disk.powerCut(r)
		}
	}
}

// cutter is a publisher with a good memory.
type cutter struct {
	t *testing.T
	r *rand.Rand
	// last is the newest item, known are those that may be on disk, safe those that must be, but for those up to settled.
	last, settled int
	known, safe   map[int]bool
}

func (c *cutter) live(disk *simDisk) {
	t, r := c.t, c.r
	dead, left := false, 5+r.IntN(120)
	q, err := Open("q", Options{FS: disk, segment: 2048 + 1024*int64(r.IntN(2))})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	seqs := c.takeStock(q)
	disk.fault = func(op, _ string) error {
		if left--; left < 0 && op != "read" {
			dead = true
			return errors.New("no power")
		}
		return nil
	}
	for steps := 0; !dead && steps < 200; steps++ {
		switch n := r.IntN(10); {
		case n < 6:
			c.last++
			item := c.last
			c.known[item] = true
			must(t, q.Append([]byte(payload(item, r.IntN(400))), func() {
				if !dead {
					c.safe[item] = true
				}
			}))
			seqs[item] = q.mem.next() - 1
		case n < 8:
			must(t, q.Flush())
		default:
			item := c.settled + r.IntN(c.last-c.settled+1)
			if seq, ok := seqs[item]; ok {
				c.settled = item
				must(t, q.Commit(seq))
			}
		}
	}
	disk.fault = nil
}

// takeStock compares what is there with what must and what may be.
func (c *cutter) takeStock(q *Log) map[int]uint64 {
	seqs, was := map[int]uint64{}, 0
	for _, rec := range drain(c.t, q) {
		item := payloadItem(c.t, rec.Data)
		if item <= was {
			c.t.Errorf("item %d comes after %d", item, was)
		}
		if !c.known[item] {
			c.t.Errorf("item %d is back", item)
		}
		was = item
		seqs[item] = rec.Seq
	}
	for item := range c.safe {
		if _, ok := seqs[item]; !ok && item > c.settled {
			c.t.Errorf("item %d was safe and is gone; %d are there, %d is settled", item, len(seqs), c.settled)
		}
	}
	clear(c.known)
	for item := range seqs {
		c.known[item] = true
	}
	return seqs
}

// payload is a record that says what it is at both ends.
func payload(item, n int) string {
	return fmt.Sprintf("item %d %s end %d", item, strings.Repeat("x", n), item)
}

func payloadItem(t testing.TB, b []byte) int {
	t.Helper()
	text := strings.TrimPrefix(string(b), "item ")
	item, _, _ := strings.Cut(text, " ")
	n, err := strconv.Atoi(item)
	if err != nil || !strings.HasPrefix(string(b), "item ") || !strings.HasSuffix(text, " end "+item) {
		t.Fatalf("%q is not a record of this test: %v", b, err)
	}
	return n
}
