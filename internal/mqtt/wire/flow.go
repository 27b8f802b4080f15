package wire

import (
	"net"
	"sync"
	"syscall"
)

// Flow is the lowest connection of a transport, with a way to write to it that never waits: whoever has something to send
// can do so on its own goroutine, and no other has to wake up for it. What the network does not take at once stays in the
// flow until [Flow.settle]. Layers such as TLS may lie on top.
type Flow struct {
	net.Conn
	raw syscall.RawConn

	mu    sync.Mutex
	eager bool
	rest  []byte // taken over and not written
	try   func(fd uintptr) bool
	// What try works on: a closure made anew for each write would be garbage for each write.
	piece   []byte
	written int
	err     error
}

// NewFlow wraps a connection. Only one that the operating system knows as a socket can be written without waiting.
func NewFlow(c net.Conn) *Flow {
	f := &Flow{Conn: c}
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			f.raw = raw
		}
	}
	f.try = func(fd uintptr) bool {
		f.written, f.err = writeNow(fd, f.piece)
		return true // Not false: that would wait.
	}
	return f
}

// able says whether the flow can write without waiting.
func (f *Flow) able() bool { return f != nil && f.raw != nil && canWriteNow }

// Write writes, or takes p over where it must not wait.
func (f *Flow) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.eager {
		if err := f.writeRest(); err != nil {
			return 0, err
		}
		return f.Conn.Write(p)
	}
	n := 0
	if len(f.rest) == 0 {
		f.piece = p
		err := f.raw.Write(f.try)
		f.piece = nil
		if err == nil && f.err != nil {
			// In the words of the connection itself, which say whose it is.
			err = &net.OpError{Op: "write", Net: f.LocalAddr().Network(), Source: f.LocalAddr(), Addr: f.RemoteAddr(), Err: f.err}
		}
		if err != nil {
			return 0, err
		}
		n = f.written
	}
	f.rest = append(f.rest, p[n:]...)
	return len(p), nil
}

func (f *Flow) writeRest() error {
	if len(f.rest) == 0 {
		return nil
	}
	_, err := f.Conn.Write(f.rest)
	f.rest = nil
	return err
}

// setEager switches the waiting off and on, and says whether something is left over that waits.
func (f *Flow) setEager(on bool) (left bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.eager = on
	return len(f.rest) > 0
}

// settle writes what is left over, and waits for the network where it must.
func (f *Flow) settle() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writeRest()
}
