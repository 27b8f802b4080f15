package main

import (
	"bufio"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// startTime is how long a start takes where nothing is in the way: the config is read, the connections are made.
const startTime = 1500 * time.Millisecond

// beLean has the program take no more of a small computer than it needs: a Pi with 512 MB shares them with a broker, a
// database and a desktop. What GOGC and GOMEMLIMIT say in the environment stands.
//
// The garbage collector keeps within a share of the memory, so that a burst of large messages costs time and not the
// neighbours. What the start needed, its config in text, the certificates of the system, the pages
// of the program that only a start goes through, is given back once.
func beLean(getenv func(string) string) (stop func()) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	if total := memoryHere(); total > 0 && getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryShare(total))
	}
	t := time.AfterFunc(startTime, func() {
		debug.FreeOSMemory()
		releaseProgram()
	})
	return func() { t.Stop() }
}

// garbage is how much garbage may lie about, in hundredths of what is in use: less than the default, which costs a flood a few
// hundredths of its processor time and saves it two megabytes.
const garbage = 70

// The garbage collector works harder beyond a quarter of the computer's memory, but a heap of leastShare is always in order.
const (
	shareOfMemory = 4
	leastShare    = 96 << 20
)

func memoryShare(total int64) int64 { return max(total/shareOfMemory, leastShare) }

// memoryHere is how much memory the computer has, or 0 where it does not say.
func memoryHere() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "MemTotal:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}
