package main

import (
	"math"
	"runtime/debug"
	"testing"
)

func TestMemoryShare(t *testing.T) {
	for _, c := range []struct{ total, want int64 }{
		{512 << 20, 128 << 20}, // a Pi Zero
		{8 << 30, 2 << 30},
		{128 << 20, 96 << 20}, // a router: what is needed is needed
	} {
		if got := memoryShare(c.total); got != c.want {
			t.Errorf("of %d bytes: got %d, want %d", c.total, got, c.want)
		}
	}
}

// TestLeanKeepsToTheEnvironment says that whoever sets GOMEMLIMIT is obeyed.
func TestLeanKeepsToTheEnvironment(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	debug.SetMemoryLimit(math.MaxInt64)
	beLean(func(key string) string { return map[string]string{"GOMEMLIMIT": "1GiB"}[key] })()
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("with GOMEMLIMIT in the environment the limit became %d", got)
	}
	if memoryHere() == 0 {
		t.Skip("this computer does not say how much memory it has")
	}
	beLean(func(string) string { return "" })()
	if got := debug.SetMemoryLimit(-1); got != memoryShare(memoryHere()) {
		t.Errorf("without it the limit became %d, want %d", got, memoryShare(memoryHere()))
	}
}

// TestReleaseProgram goes on after its pages were given back: they come again when they are used.
func TestReleaseProgram(t *testing.T) {
	for range 3 {
		releaseProgram()
	}
}
