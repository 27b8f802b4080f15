package emulator

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Network is a network inside this process: its listeners are found by address, and its connections are made of
// memory. Nothing in it blocks in a way that testing/synctest cannot see, so a whole broker can run in a bubble; make
// the Network inside the bubble too.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*memoryListener
	ports     int
}

// NewNetwork returns a network without listeners.
func NewNetwork() *Network { return &Network{listeners: map[string]*memoryListener{}} }

// Listen opens an address such as "cloud.test:1883". Port 0 picks a free one.
func (n *Network) Listen(address string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if port == "0" {
		n.ports++
		address = net.JoinHostPort(host, fmt.Sprint(49151+n.ports))
	}
	if n.listeners[address] != nil {
		return nil, &net.OpError{Op: "listen", Net: "memory", Addr: memoryAddr(address), Err: syscall.EADDRINUSE}
	}
	l := &memoryListener{network: n, address: memoryAddr(address), queue: make(chan net.Conn, 128), done: make(chan struct{})}
	n.listeners[address] = l
	return l, nil
}

// DialContext connects to a listener of this network. With nobody at the address it is refused, as by a closed port.
func (n *Network) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	refused := &net.OpError{Op: "dial", Net: network, Addr: memoryAddr(address), Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	if err := ctx.Err(); err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: memoryAddr(address), Err: err}
	}
	n.mu.Lock()
	l := n.listeners[address]
	n.mu.Unlock()
	if l == nil {
		return nil, refused
	}
	near, far := memoryPipe("memory:client", l.address)
	select {
	case l.queue <- far:
		return near, nil
	case <-l.done:
		return nil, refused
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: network, Addr: memoryAddr(address), Err: ctx.Err()}
	}
}

type memoryAddr string

func (memoryAddr) Network() string  { return "memory" }
func (a memoryAddr) String() string { return string(a) }

type memoryListener struct {
	network *Network
	address memoryAddr
	queue   chan net.Conn
	done    chan struct{}
	once    sync.Once
}

func (l *memoryListener) Addr() net.Addr { return l.address }

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close also closes what was dialled and never accepted, as a kernel does.
func (l *memoryListener) Close() error {
	l.once.Do(func() {
		l.network.mu.Lock()
		delete(l.network.listeners, string(l.address))
		l.network.mu.Unlock()
		close(l.done)
		for {
			select {
			case c := <-l.queue:
				_ = c.Close()
			default:
				return
			}
		}
	})
	return nil
}

// memoryPipe joins two connections. Unlike net.Pipe each way has a buffer, as a socket has: two sides that both write
// before they read do not wait for each other.
func memoryPipe(a, b memoryAddr) (net.Conn, net.Conn) {
	up, down := newStream(), newStream()
	return &memoryConn{in: down, out: up, local: a, remote: b}, &memoryConn{in: up, out: down, local: b, remote: a}
}

type memoryConn struct {
	in, out       *stream
	local, remote memoryAddr
}

func (c *memoryConn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *memoryConn) Write(p []byte) (int, error) { return c.out.write(p) }
func (c *memoryConn) LocalAddr() net.Addr         { return c.local }
func (c *memoryConn) RemoteAddr() net.Addr        { return c.remote }

func (c *memoryConn) Close() error {
	c.in.closeReader()
	c.out.closeWriter()
	return nil
}

func (c *memoryConn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *memoryConn) SetReadDeadline(t time.Time) error  { c.in.reading.set(c.in, t); return nil }
func (c *memoryConn) SetWriteDeadline(t time.Time) error { c.out.writing.set(c.out, t); return nil }

// streamSize is how much may be under way in one direction.
const streamSize = 1 << 20

var errReset = fmt.Errorf("memory: %w", syscall.ECONNRESET)

// stream is one direction of a connection.
type stream struct {
	mu               sync.Mutex
	cond             *sync.Cond
	buf              []byte
	readerGone       bool
	writerGone       bool
	reading, writing deadline
}

func newStream() *stream {
	s := &stream{}
	s.cond = sync.NewCond(&s.mu)
	return s
}

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.readerGone:
			return 0, net.ErrClosed
		case s.reading.over:
			return 0, os.ErrDeadlineExceeded
		case len(s.buf) > 0:
			n := copy(p, s.buf)
			if s.buf = s.buf[n:]; len(s.buf) == 0 {
				s.buf = nil
			}
			s.cond.Broadcast()
			return n, nil
		case s.writerGone:
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		}
		s.cond.Wait()
	}
}

func (s *stream) write(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.writerGone:
			return n, net.ErrClosed
		case s.readerGone:
			return n, errReset
		case s.writing.over:
			return n, os.ErrDeadlineExceeded
		case len(p) == 0:
			return n, nil
		}
		if room := streamSize - len(s.buf); room > 0 {
			k := min(room, len(p))
			s.buf, p, n = append(s.buf, p[:k]...), p[k:], n+k
			s.cond.Broadcast()
			continue
		}
		s.cond.Wait()
	}
}

func (s *stream) closeReader() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readerGone, s.buf = true, nil
	s.reading.stop()
	s.cond.Broadcast()
}

func (s *stream) closeWriter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writerGone = true
	s.writing.stop()
	s.cond.Broadcast()
}

// deadline belongs to the stream's mutex.
type deadline struct {
	timer *time.Timer
	over  bool
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func (d *deadline) set(s *stream, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.stop()
	d.over = false
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		d.over = true
		s.cond.Broadcast()
		return
	}
	var own *time.Timer
	own = time.AfterFunc(wait, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if d.timer == own { // A deadline that was moved meanwhile is not this timer's any more.
			d.over = true
			s.cond.Broadcast()
		}
	})
	d.timer = own
}
