package faketime

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// TestTimersOfManyGoroutines has goroutines of one bubble find their timers due, all at once: with two processors that is what
// breaks the race detector.
func TestTimersOfManyGoroutines(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	for range 2 {
		t.Run("bubble", func(t *testing.T) {
			t.Parallel()
			Test(t, func(*testing.T) {
				var busy sync.WaitGroup
				for range 4 {
					busy.Go(func() {
						for range 20_000 {
							timer := time.NewTimer(0)
							select {
							case <-timer.C:
							default:
							}
							timer.Reset(0)
							timer.Stop()
						}
					})
				}
				busy.Wait()
			})
		})
	}
	t.Cleanup(func() {
		if after := runtime.GOMAXPROCS(0); after != before {
			t.Errorf("%d processors after the bubbles, where there were %d", after, before)
		}
	})
}
