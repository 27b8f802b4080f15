//go:build !race

package wire

import (
	"syscall"
	"unsafe"
)

const canTry = true

// tryWrite writes as much as a socket takes at once, and tryRead reads what it has. Go keeps its sockets in non-blocking
// mode, so the kernel answers at once, and the Go scheduler need not be told as it is of calls that may wait: that would wake up
// a thread of its own for each, where messages come one by one.
func tryWrite(fd uintptr, p []byte) (int, error) { return try(syscall.SYS_WRITE, fd, p) }
func tryRead(fd uintptr, p []byte) (int, error)  { return try(syscall.SYS_READ, fd, p) }

func try(call, fd uintptr, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, errNotNow
		default:
			return 0, errno
		}
	}
}
