package emulator

import (
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"
)

// delayed puts off what clients send by up to most, at random: the arrival of data, not its order, as a network does.
func delayed(l net.Listener, most time.Duration) net.Listener {
	if most <= 0 {
		return l
	}
	return &delayListener{Listener: l, most: most}
}

type delayListener struct {
	net.Listener
	most time.Duration
}

func (l *delayListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	d := &delayConn{Conn: c, chunks: make(chan chunk, 64), done: make(chan struct{}), over: make(chan struct{})}
	go d.pump(l.most)
	return d, nil
}

// chunk is what one read brought, and when it may be seen.
type chunk struct {
	data []byte
	err  error
	due  time.Time
}

// delayConn reads ahead of its reader, and so has a read deadline of its own.
type delayConn struct {
	net.Conn
	chunks chan chunk
	next   *chunk // taken, and not yet due or not yet read to its end
	once   sync.Once
	done   chan struct{}

	mu    sync.Mutex
	timer *time.Timer
	over  chan struct{} // closed when the deadline is over
}

func (d *delayConn) pump(most time.Duration) {
	var last time.Time
	for {
		buf := make([]byte, 4096)
		n, err := d.Conn.Read(buf)
		due := time.Now().Add(rand.N(most))
		if due.Before(last) {
			due = last
		}
		last = due
		select {
		case d.chunks <- chunk{buf[:n], err, due}:
		case <-d.done:
			return
		}
		if err != nil {
			return
		}
	}
}

func (d *delayConn) Read(p []byte) (int, error) {
	d.mu.Lock()
	over := d.over
	d.mu.Unlock()
	select {
	case <-over:
		return 0, os.ErrDeadlineExceeded
	case <-d.done:
		return 0, net.ErrClosed
	default:
	}
	if d.next == nil {
		select {
		case c := <-d.chunks:
			d.next = &c
		case <-over:
			return 0, os.ErrDeadlineExceeded
		case <-d.done:
			return 0, net.ErrClosed
		}
	}
	if early := time.Until(d.next.due); early > 0 {
		wait := time.NewTimer(early)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-over:
			return 0, os.ErrDeadlineExceeded
		case <-d.done:
			return 0, net.ErrClosed
		}
	}
	n := copy(p, d.next.data)
	d.next.data = d.next.data[n:]
	if len(d.next.data) > 0 {
		return n, nil
	}
	if d.next.err != nil {
		return n, d.next.err // and so again, if somebody asks again
	}
	d.next = nil
	return n, nil
}

func (d *delayConn) SetDeadline(t time.Time) error {
	_ = d.SetReadDeadline(t)
	return d.SetWriteDeadline(t)
}

func (d *delayConn) SetReadDeadline(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	select {
	case <-d.over:
		d.over = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return nil
	}
	wait := time.Until(t)
	if wait <= 0 {
		close(d.over)
		return nil
	}
	var own *time.Timer
	own = time.AfterFunc(wait, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.timer == own { // A deadline that was moved meanwhile is not this timer's any more.
			close(d.over)
			d.timer = nil
		}
	})
	d.timer = own
	return nil
}

func (d *delayConn) Close() error {
	d.once.Do(func() {
		close(d.done)
		_ = d.SetReadDeadline(time.Time{})
	})
	return d.Conn.Close()
}
