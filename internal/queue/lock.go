package queue

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrLocked is what Lock answers where another process holds the lock.
var ErrLocked = errors.New("another cloudbridge is using it")

// lockName is the file in a queue directory that is locked; it stays when the lock goes.
const lockName = "lock"

// Lock keeps other processes out of a queue directory, which it makes if need be, until unlock is called or this process
// ends in whatever way. Where the error is not ErrLocked the directory cannot be written at all.
func Lock(dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("queue directory: %w", err)
	}
	name := filepath.Join(dir, lockName)
	f, err := openLocked(name)
	if errors.Is(err, ErrLocked) {
		if pid, e := os.ReadFile(name); e == nil {
			if n, e := strconv.Atoi(strings.TrimSpace(string(pid))); e == nil {
				return nil, fmt.Errorf("queue directory %s: %w (process %d)", dir, ErrLocked, n)
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("queue directory %s: %w", dir, err)
	}
	// The number is only for the words above; without it the lock holds all the same.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f.Close, nil
}
