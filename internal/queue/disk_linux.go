package queue

import (
	"os"
	"syscall"
)

// Sync leaves the file's times alone, so that a segment that has its full size costs no journal entry.
func (f osFile) Sync() error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
