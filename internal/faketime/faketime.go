// Package faketime runs tests in bubbles of testing/synctest, in which time is not that of the clock.
package faketime

import (
	"testing"
	"testing/synctest"
)

// Test is synctest.Test. Under the race detector all bubbles share one processor while they run: Go 1.26 keeps one race
// context for all timers of a bubble, where it has one for each processor otherwise, and two processors that run such timers
// at once break the detector's bookkeeping. The process then ends with "ThreadSanitizer: CHECK failed" or a segmentation
// violation, in a test that has done nothing wrong.
func Test(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	defer onOneProcessor()()
	synctest.Test(t, f)
}
