package queue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMillion queues a million messages of 200 bytes in a process of its own, reads them back after a restart of the
// queue, and looks at what memory and what disk that took. Without CLOUDBRIDGE_FAULTS=full it is a tenth of that.
func TestMillion(t *testing.T) {
	n := 100_000
	if faults() {
		n = 1_000_000
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", millionOf, n, filepath.Join(t.TempDir(), "lane")))
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// million is what the process does.
func million(args string) error {
	count, dir, _ := strings.Cut(args, " ")
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	begun := time.Now()
	lap := func(what string) {
		fmt.Printf("%s: %v, peak RSS %.1f MB\n", what, time.Since(begun).Round(time.Millisecond), peakRSS())
		begun = time.Now()
	}
	q, err := Open(dir, Options{BootID: "6e0b1a0c-5c0f-4d53-9a5e-6a51f1e0f3aa"})
	if err != nil {
		return err
	}
	rec := make([]byte, 200)
	for i := range n {
		copy(rec, fmt.Sprintf("%010d", i))
		if err := q.Append(rec, func() {}); err != nil {
			return err
		}
		if i%750 == 749 { // Three quarters of a window of 1,000: when the session asks for it.
			if err := q.Flush(); err != nil {
				return err
			}
		}
	}
	if err := errors.Join(q.Flush(), q.Close()); err != nil {
		return err
	}
	lap(fmt.Sprintf("append and flush %d", n))
	if q, err = Open(dir, Options{Log: func(s string) { fmt.Println(s) }}); err != nil {
		return err
	}
	lap(fmt.Sprintf("open with %d", q.Stats().Records))
	var after uint64
	for after < uint64(n) {
		recs, err := q.Peek(context.Background(), after, 100)
		if err != nil {
			return err
		}
		for _, r := range recs {
			if after++; r.Seq != after || string(r.Data[:10]) != fmt.Sprintf("%010d", after-1) || len(r.Data) != 200 {
				return fmt.Errorf("record %d is %q", r.Seq, r.Data)
			}
		}
		if err := q.Commit(after); err != nil {
			return err
		}
	}
	lap("drain")
	left, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil || len(left) > 1 {
		return fmt.Errorf("%d files are left, %v", len(left), err)
	}
	limit := 40.0
	if raceEnabled {
		limit = 400 // The detector has its own memory of each byte.
	}
	if rss := peakRSS(); rss > limit {
		return fmt.Errorf("%.1f MB RSS, want %.0f at most", rss, limit)
	}
	return q.Close()
}

// peakRSS is in MB, 0 where the system does not say.
func peakRSS() float64 {
	b, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb * 1024 / 1e6
		}
	}
	return 0
}
