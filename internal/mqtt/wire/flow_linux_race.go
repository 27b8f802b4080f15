//go:build race

package wire

import (
	"errors"
	"syscall"
)

const canTry = true

// Under the race detector the calls are those of the syscall package, which tell it that what comes out of a connection of
// this process was put into it before.
func tryWrite(fd uintptr, p []byte) (int, error) { return try(syscall.Write, fd, p) }
func tryRead(fd uintptr, p []byte) (int, error)  { return try(syscall.Read, fd, p) }

func try(call func(int, []byte) (int, error), fd uintptr, p []byte) (int, error) {
	for {
		n, err := call(int(fd), p)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			return 0, errNotNow
		case err != nil:
			return 0, err
		default:
			return n, nil
		}
	}
}
