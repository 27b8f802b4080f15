// Package faultproxy is a line that fails on command: a TCP proxy for tests that cuts, refuses, delays, limits and swallows
// what goes through it.
//
// What it holds back it passes on later, as TCP does when the line is there again: a [Proxy.Hole] that ends lets the bytes
// flow on, and one that ends with [Proxy.Cut] is a line whose far end has forgotten the connection.
package faultproxy

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Direction is a way through the proxy.
type Direction int

// The ways: up is from whoever dialled to the target.
const (
	Up Direction = iota
	Down
)

// dialTimeout is for the target, which is on this machine.
const dialTimeout = 5 * time.Second

// Stats count what has gone through a proxy since it was started.
type Stats struct {
	// Accepted connections, those of them that are Open, and those that the proxy has Cut.
	Accepted, Open, Cut int
	// Up and Down are bytes that were passed on.
	Up, Down int64
}

// Proxy passes connections on to one target. All methods may be called at any time.
type Proxy struct {
	target string
	addr   string

	mu       sync.Mutex
	listener net.Listener // nil while new connections are refused
	closed   bool
	links    map[*link]struct{}
	stats    Stats
	set      settings
	changed  chan struct{} // closed at each change of set
	quota    [2]int64      // bytes until the cut; negative is none
	free     [2]time.Time  // when a limited line has sent what it was given

	running sync.WaitGroup
}

// settings are what a fault changes; the zero value is a good line.
type settings struct {
	delay time.Duration
	rate  int // bytes per second in each direction; 0 is no limit
	hole  [2]bool
}

// Listen starts a proxy to target, a host:port, on a loopback address of its own.
func Listen(target string) (*Proxy, error) {
	l, err := listenSomewhere()
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	p := &Proxy{
		target: target, addr: l.Addr().String(), links: make(map[*link]struct{}),
		changed: make(chan struct{}), quota: [2]int64{-1, -1},
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serve(l)
	return p, nil
}

// listenSomewhere takes a random address out of 127.0.0.0/8, where the system has them all: while the proxy refuses, its
// port is free, and on 127.0.0.1 anybody's outgoing connection could be given it.
func listenSomewhere() (net.Listener, error) {
	host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	if l, err := net.Listen("tcp", host+":0"); err == nil {
		return l, nil
	}
	return net.Listen("tcp", "127.0.0.1:0")
}

// Addr is where the proxy listens, host:port. It stays the same until Close.
func (p *Proxy) Addr() string { return p.addr }

// Stats copies the counters out.
func (p *Proxy) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Open = len(p.links)
	return s
}

// serve accepts on l. mu is held.
func (p *Proxy) serve(l net.Listener) {
	p.listener = l
	p.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // Closed: nothing else happens to a listener on loopback.
			}
			p.accept(c.(*net.TCPConn), l)
		}
	})
}

func (p *Proxy) accept(c *net.TCPConn, l net.Listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != l {
		reset(c) // It came in the moment in which the proxy began to refuse.
		return
	}
	p.stats.Accepted++
	k := newLink(p, c)
	p.links[k] = struct{}{}
	p.running.Go(k.run)
}

// change changes the settings and wakes whoever obeys them.
func (p *Proxy) change(f func(*settings)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.set)
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) settings() (settings, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.set, p.changed
}

// Cut resets all connections, in both directions; what was on its way is lost. New ones are taken as before.
func (p *Proxy) Cut() {
	p.mu.Lock()
	links := p.links
	p.links = make(map[*link]struct{})
	p.stats.Cut += len(links)
	p.mu.Unlock()
	for k := range links {
		k.abort()
	}
}

// CutAfter passes on n more bytes in one direction, over all connections, and then cuts the connection that has the next
// one, be it in the midst of a packet. It happens once.
func (p *Proxy) CutAfter(d Direction, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.quota[d] = n
}

// Refuse makes new connections fail at once, as where nobody listens. Those that are open stay.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
}

// Accept takes new connections again.
func (p *Proxy) Accept() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil || p.closed {
		return nil
	}
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		return fmt.Errorf("listen again: %w", err)
	}
	p.serve(l)
	return nil
}

// Delay holds each byte back for d, in each direction.
func (p *Proxy) Delay(d time.Duration) { p.change(func(s *settings) { s.delay = d }) }

// Limit lets so many bytes a second through in each direction, over all connections; 0 is no limit.
func (p *Proxy) Limit(bytesPerSecond int) { p.change(func(s *settings) { s.rate = bytesPerSecond }) }

// Hole swallows everything in these directions, the news that an end has closed its connection included: the other end
// sees a link that is open and dead. A new connection is accepted, and hangs.
func (p *Proxy) Hole(ds ...Direction) {
	p.change(func(s *settings) {
		for _, d := range ds {
			s.hole[d] = true
		}
	})
}

// Resume makes the line good again: what was held back flows on, new connections are taken. Only what was cut stays cut.
func (p *Proxy) Resume() error {
	p.CutAfter(Up, -1)
	p.CutAfter(Down, -1)
	p.change(func(s *settings) { *s = settings{} })
	return p.Accept()
}

// Close refuses, cuts, and waits until the proxy's goroutines are gone.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Refuse()
	p.Cut()
	p.running.Wait()
	return nil
}

// forget takes a connection that has ended off the list.
func (p *Proxy) forget(k *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, k)
}

// cutOne notes that a connection is being cut alone.
func (p *Proxy) cutOne(k *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.links[k]; ok {
		delete(p.links, k)
		p.stats.Cut++
	}
}

// take says how many of n bytes may go on in a direction, and whether the connection is to be cut after them.
func (p *Proxy) take(d Direction, n int) (may int, cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q := p.quota[d]; q >= 0 {
		if int64(n) > q {
			n, cut = int(q), true
			p.quota[d] = -1
		} else {
			p.quota[d] -= int64(n)
		}
	}
	if d == Up {
		p.stats.Up += int64(n)
	} else {
		p.stats.Down += int64(n)
	}
	return n, cut
}

// reserve gives the time at which a limited line has sent n more bytes.
func (p *Proxy) reserve(d Direction, n, rate int) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.free[d].Before(now) {
		p.free[d] = now
	}
	p.free[d] = p.free[d].Add(time.Duration(n) * time.Second / time.Duration(rate))
	return p.free[d]
}

// reset closes a connection so that the peer sees a reset, not an end.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
