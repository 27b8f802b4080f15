package wire

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
)

// Flow is the lowest connection of a transport, with a way to write to it that never waits: whoever has something to send
// can do so on its own goroutine, and no other has to wake up for it. What the network does not take at once stays in the
// flow until [Flow.settle]. Layers such as TLS may lie on top.
type Flow struct {
	net.Conn
	raw     syscall.RawConn // nil where the system cannot be asked without waiting
	reading attempt         // of the goroutine that reads

	mu      sync.Mutex
	writing attempt
	eager   bool
	rest    []byte // taken over and not written
}

// errNotNow says that the network has nothing, or takes nothing, now.
var errNotNow = errors.New("not now")

// attempt is one call to the system. Its method is made once, for a closure for each call would be garbage for each call.
type attempt struct {
	do    func(fd uintptr) bool
	piece []byte
	n     int
	err   error
}

// NewFlow wraps a connection. Only one that the operating system knows as a socket can be written without waiting.
func NewFlow(c net.Conn) *Flow {
	f := &Flow{Conn: c}
	if s, ok := c.(syscall.Conn); ok && canTry {
		if raw, err := s.SyscallConn(); err == nil {
			f.raw = raw
		}
	}
	f.writing.do = func(fd uintptr) bool {
		f.writing.n, f.writing.err = tryWrite(fd, f.writing.piece)
		return true // Not false: that would wait.
	}
	f.reading.do = func(fd uintptr) bool {
		f.reading.n, f.reading.err = tryRead(fd, f.reading.piece)
		return !errors.Is(f.reading.err, errNotNow)
	}
	return f
}

// able says whether the flow can write without waiting.
func (f *Flow) able() bool { return f != nil && f.raw != nil }

// Read reads what there is, and waits only for the first byte.
func (f *Flow) Read(p []byte) (int, error) {
	if f.raw == nil || len(p) == 0 {
		return f.Conn.Read(p)
	}
	r := &f.reading
	r.piece = p
	err := f.raw.Read(r.do)
	r.piece = nil
	switch {
	case err != nil:
		return 0, err
	case r.err != nil:
		return 0, f.failure("read", r.err)
	case r.n == 0:
		return 0, io.EOF
	}
	return r.n, nil
}

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
		w := &f.writing
		w.piece = p
		err := f.raw.Write(w.do)
		w.piece = nil
		switch {
		case err != nil:
			return 0, err
		case w.err != nil && !errors.Is(w.err, errNotNow):
			return 0, f.failure("write", w.err)
		}
		n = w.n
	}
	f.rest = append(f.rest, p[n:]...)
	return len(p), nil
}

// failure tells of an error as the network library does.
func (f *Flow) failure(what string, err error) error {
	return &net.OpError{Op: what, Net: f.RemoteAddr().Network(), Source: f.LocalAddr(), Addr: f.RemoteAddr(), Err: err}
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
