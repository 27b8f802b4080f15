//go:build race

package faketime

import (
	"runtime"
	"sync"
)

// processors is what the process had before the first of the bubbles that run.
var (
	mu         sync.Mutex
	running    int
	processors int
)

// onOneProcessor keeps the process on one processor until the last bubble has called what it returns.
func onOneProcessor() (done func()) {
	mu.Lock()
	defer mu.Unlock()
	if running++; running == 1 {
		processors = runtime.GOMAXPROCS(1)
	}
	return func() {
		mu.Lock()
		defer mu.Unlock()
		if running--; running == 0 {
			runtime.GOMAXPROCS(processors)
		}
	}
}
