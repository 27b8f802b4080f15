package queue

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"cloudbridge/internal/faketime"
)

// cursorWrites counts the writes of the cursor to a disk in memory. fail, if set, is what they answer.
type cursorWrites struct {
	*simDisk
	n    int
	fail error
}

func watchCursor() *cursorWrites {
	w := &cursorWrites{simDisk: newSimDisk()}
	w.fault = func(op, name string) error {
		if op != "write" || name != cursorName {
			return nil
		}
		w.n++
		return w.fail
	}
	return w
}

// count forgets what was counted before.
func (w *cursorWrites) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.n
	w.n = 0
	return n
}

func (w *cursorWrites) setFail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail = err
}

// says is what a start would take as settled if the process were killed now.
func (w *cursorWrites) says(t *testing.T) uint64 {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	var most uint64
	data := w.names["q/"+cursorName].data
	for at := 0; at < len(data); at += cursorStep {
		if _, n, ok := parseCursor(data[at:]); ok {
			most = max(most, n)
		}
	}
	return most
}

// onWatched has records on a disk that counts.
func onWatched(t *testing.T, records int, test func(t *testing.T, w *cursorWrites, q *Log)) {
	faketime.Test(t, func(t *testing.T) {
		w := watchCursor()
		q := open(t, "q", Options{FS: w, segment: 64 << 10})
		appendItems(t, q, 1, records, 0)
		must(t, q.Flush())
		w.count()
		test(t, w, q)
	})
}

// TestCursorIsLazy commits a thousand times a second: the cursor is written fifty times a second, and never knows less than
// what was settled a fiftieth of a second ago.
func TestCursorIsLazy(t *testing.T) {
	onWatched(t, 3000, func(t *testing.T, w *cursorWrites, q *Log) {
		for i := uint64(1); i <= 3000; i++ {
			must(t, q.Commit(i))
			synctest.Wait()
			if said := w.says(t); said+21 < i {
				t.Fatalf("the cursor says %d when %d are settled", said, i)
			}
			time.Sleep(time.Millisecond)
		}
		if n := w.count(); n < 130 || n > 151 {
			t.Errorf("written %d times in 3 s, want fifty times a second", n)
		}
		time.Sleep(cursorEvery)
		synctest.Wait()
		if said := w.says(t); said != 3000 {
			t.Errorf("the cursor says %d, want 3000", said)
		}
		w.count()
		time.Sleep(time.Hour)
		if n := w.count(); n != 0 {
			t.Errorf("written %d times while nothing was settled", n)
		}
	})
}

// TestCursorAtOnce commits seldom: then each commit is written before it returns.
func TestCursorAtOnce(t *testing.T) {
	onWatched(t, 20, func(t *testing.T, w *cursorWrites, q *Log) {
		for i := uint64(1); i <= 20; i++ {
			must(t, q.Commit(i))
			if said := w.says(t); said != i {
				t.Errorf("the cursor says %d when %d are settled", said, i)
			}
			time.Sleep(cursorEvery + time.Millisecond)
		}
		if n := w.count(); n != 20 {
			t.Errorf("written %d times for 20 commits", n)
		}
	})
}

// TestCursorOfFlushRounds flushes and commits each record by itself, as durability "always" does.
func TestCursorOfFlushRounds(t *testing.T) {
	onWatched(t, 10, func(t *testing.T, w *cursorWrites, q *Log) {
		must(t, q.Commit(10))
		w.count()
		for i := 11; i <= 1010; i++ {
			appendItems(t, q, i, i, 0)
			must(t, q.Flush())
			must(t, q.Commit(uint64(i)))
			time.Sleep(time.Millisecond)
		}
		if n := w.count(); n > 51 {
			t.Errorf("written %d times in 1 s, want fifty times", n)
		}
		time.Sleep(cursorEvery)
		synctest.Wait()
		if said := w.says(t); said != 1010 {
			t.Errorf("the cursor says %d, want 1010", said)
		}
	})
}

// TestCursorAtClose closes while the cursor rests: the last is written and synced before Close returns, and nothing after.
func TestCursorAtClose(t *testing.T) {
	onWatched(t, 20, func(t *testing.T, w *cursorWrites, q *Log) {
		must(t, q.Commit(1))
		must(t, q.Commit(15))
		if said := w.says(t); said != 1 {
			t.Errorf("the cursor says %d before it has rested, want 1", said)
		}
		must(t, q.Close())
		if said := w.says(t); said != 15 {
			t.Errorf("the cursor says %d at the end, want 15", said)
		}
		w.mu.Lock()
		if n := len(w.names["q/"+cursorName].dirty); n > 0 {
			t.Errorf("%d sectors of the cursor are not synced", n)
		}
		w.mu.Unlock()
		w.count()
		if err := q.Commit(20); !errors.Is(err, ErrClosed) {
			t.Errorf("a commit after the end: %v", err)
		}
		time.Sleep(time.Hour)
		if n := w.count(); n != 0 {
			t.Errorf("written %d times after the end", n)
		}
	})
}

// TestCursorCloseMeetsTimer closes at the moment at which the timer ends, again and again.
func TestCursorCloseMeetsTimer(t *testing.T) {
	for range 50 {
		onWatched(t, 2, func(t *testing.T, w *cursorWrites, q *Log) {
			must(t, q.Commit(1))
			must(t, q.Commit(2))
			time.Sleep(cursorEvery)
			must(t, q.Close())
			w.count()
			synctest.Wait()
			if said, n := w.says(t), w.count(); said != 2 || n != 0 {
				t.Errorf("the cursor says %d, and was written %d times after the end", said, n)
			}
		})
	}
}

// TestCursorOnBadDisk has a disk that does not take the cursor: it is left alone for half a minute, by the timer too.
func TestCursorOnBadDisk(t *testing.T) {
	onWatched(t, 1001, func(t *testing.T, w *cursorWrites, q *Log) {
		w.setFail(errors.New("bad"))
		for i := uint64(1); i <= 1000; i++ {
			must(t, q.Commit(i))
			time.Sleep(time.Millisecond)
		}
		if n := w.count(); n != 1 {
			t.Errorf("tried %d times in the first second, want once", n)
		}
		time.Sleep(retryAfter)
		w.setFail(nil)
		if n := w.count(); n != 0 {
			t.Errorf("tried %d times while nothing was settled", n)
		}
		must(t, q.Commit(1001))
		if said := w.says(t); said != 1001 {
			t.Errorf("the cursor says %d when the disk is well again, want 1001", said)
		}
	})
}
