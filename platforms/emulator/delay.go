package emulator

import (
	"math/rand/v2"
	"net"
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
	d := &delayConn{Conn: c, chunks: make(chan chunk, 64), done: make(chan struct{})}
	go d.pump(l.most)
	return d, nil
}

// chunk is what one read brought, and when it may be seen.
type chunk struct {
	data []byte
	err  error
	due  time.Time
}

type delayConn struct {
	net.Conn
	chunks chan chunk
	rest   []byte
	err    error
	once   sync.Once
	done   chan struct{}
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
	for len(d.rest) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		var c chunk
		select {
		case c = <-d.chunks:
		case <-d.done:
			return 0, net.ErrClosed
		}
		wait := time.NewTimer(time.Until(c.due))
		select {
		case <-wait.C:
		case <-d.done:
			wait.Stop()
			return 0, net.ErrClosed
		}
		d.rest, d.err = c.data, c.err
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

func (d *delayConn) Close() error {
	d.once.Do(func() { close(d.done) })
	return d.Conn.Close()
}
