package queue

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	killDir   = "CLOUDBRIDGE_QUEUE_KILL_DIR"
	killFirst = "CLOUDBRIDGE_QUEUE_KILL_FIRST"
	millionOf = "CLOUDBRIDGE_QUEUE_MILLION"
)

// TestMain lets the test binary be its own victim.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(killDir) != "":
		first, err := strconv.Atoi(os.Getenv(killFirst))
		if err == nil {
			err = beKilled(os.Getenv(killDir), first)
		}
		fmt.Fprintln(os.Stderr, "the victim:", err)
		os.Exit(1)
	case os.Getenv(millionOf) != "":
		if err := million(os.Getenv(millionOf)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func faults() bool { return os.Getenv("CLOUDBRIDGE_FAULTS") == "full" }

// beKilled appends, flushes, reads and commits for ever. It says "s N" when item N is reported safe, and "c N" before it
// commits up to item N.
func beKilled(dir string, first int) error {
	q, err := Open(dir, Options{segment: 16 << 10, MemoryBytes: 32 << 10})
	if err != nil {
		return err
	}
	var say sync.Mutex
	tell := func(what string, n int) {
		say.Lock()
		defer say.Unlock()
		fmt.Printf("%s %d\n", what, n)
	}
	tell("open", q.Stats().Records)
	// A second caller, so that flushes meet.
	go func() {
		for q.Flush() == nil {
			time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
		}
	}()
	var after uint64
	for item := first; ; {
		for range 1 + rand.IntN(40) {
			n := item
			if err := q.Append([]byte(payload(n, rand.IntN(800))), func() { tell("s", n) }); err != nil {
				return err
			}
			item++
		}
		if rand.IntN(3) > 0 {
			if err := q.Flush(); err != nil {
				return err
			}
		}
		if st := q.Stats(); st.Records > 100 && st.Last > after {
			recs, err := q.Peek(context.Background(), after, 1+rand.IntN(150))
			if err != nil {
				return err
			}
			last := recs[len(recs)-1]
			after = last.Seq
			tell("c", payloadItem(fatal{}, last.Data))
			if err := q.Commit(after); err != nil {
				return err
			}
		}
	}
}

// TestKill kills a process with -9 while it appends, flushes and commits, again and again on one folder, and looks at
// what is left: what was reported safe and not settled is all there, in order, with no holes. Of what was settled shortly
// before the end some comes again, in order too, but for what was settled before it was on disk.
func TestKill(t *testing.T) {
	rounds := 20
	if faults() {
		rounds = 200
	}
	dir := filepath.Join(t.TempDir(), "lane")
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	next, settled := 1, 0
	var safeTotal, again int
	for round := range rounds {
		lines := killOne(t, dir, next, time.Duration(r.IntN(40_000))*time.Microsecond)
		safe := 0
		for _, line := range lines {
			var what string
			var n int
			if _, err := fmt.Sscanf(line, "%s %d", &what, &n); err != nil {
				continue // The last one may be cut.
			}
			switch what {
			case "s":
				if n != safe+1 && safe != 0 {
					t.Errorf("item %d was safe after %d", n, safe)
				}
				safe = n
				safeTotal++
			case "c":
				settled = max(settled, n) // What came again is settled again.
			}
		}
		q := open(t, dir, Options{segment: 16 << 10, Log: silent(t)})
		left := items(t, q)
		must(t, q.Close())
		for i := 1; i < len(left); i++ {
			if left[i] <= left[i-1] || left[i] > max(left[i-1], settled)+1 {
				t.Errorf("round %d: item %d follows %d", round, left[i], left[i-1])
			}
		}
		last := settled
		if len(left) > 0 {
			if left[0] > settled+1 {
				t.Errorf("round %d: the first is %d, and only up to %d was settled", round, left[0], settled)
			}
			last = max(last, left[len(left)-1])
			for i := 0; i < len(left) && left[i] <= settled; i++ {
				again++
			}
		}
		if last < safe {
			t.Errorf("round %d: up to %d was safe, up to %d is there", round, safe, last)
		}
		next = max(last, safe) + 1
		if t.Failed() {
			t.FailNow()
		}
	}
	if safeTotal == 0 || settled == 0 {
		t.Errorf("%d safe, up to %d settled: nothing was tried", safeTotal, settled)
	}
	t.Logf("%d kills, %d items safe, none lost, %d settled ones came again", rounds, safeTotal, again)
}

// killOne runs the victim and kills it that long after it has begun.
func killOne(t *testing.T, dir string, first int, after time.Duration) []string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killDir+"="+dir, fmt.Sprintf("%s=%d", killFirst, first))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	in := bufio.NewReader(out)
	begun, err := in.ReadString('\n')
	if err != nil || !strings.HasPrefix(begun, "open") {
		t.Errorf("the victim said %q, %v, %s", begun, err, stderr.String())
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	rest, err := io.ReadAll(in)
	must(t, err)
	_ = cmd.Wait()
	if stderr.Len() > 0 {
		t.Errorf("the victim said %s", stderr.String())
	}
	lines := strings.SplitAfter(string(rest), "\n")
	if n := len(lines); n > 0 && !strings.HasSuffix(lines[n-1], "\n") {
		lines = lines[:n-1]
	}
	return lines
}

// fatal ends a process in which there is no test.
type fatal struct{ testing.TB }

func (fatal) Helper() {}

func (fatal) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func (fatal) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
