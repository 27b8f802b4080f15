//go:build unix

package wire

import (
	"errors"
	"syscall"
)

const canWriteNow = true

// writeNow writes as much as a socket takes at once. Go keeps its sockets in non-blocking mode.
func writeNow(fd uintptr, p []byte) (int, error) {
	for {
		n, err := syscall.Write(int(fd), p)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			return 0, nil
		case err != nil:
			return 0, err
		default:
			return n, nil
		}
	}
}
