package faultproxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// chunkSize is the most that is read at once.
	chunkSize = 16 << 10
	// bufferSize is what one direction of a connection holds; what is beyond waits with the sender, as on a real line.
	bufferSize = 512 << 10
	// slices a second are what a limited line is cut into, so that it trickles.
	slices = 50
)

// link is one connection through the proxy.
type link struct {
	p      *Proxy
	client *net.TCPConn
	gone   chan struct{} // closed by abort
	up     *pipe
	down   *pipe

	mu      sync.Mutex
	aborted bool
	server  *net.TCPConn // nil until the target is reached
}

func newLink(p *Proxy, c *net.TCPConn) *link {
	k := &link{p: p, client: c, gone: make(chan struct{})}
	k.up, k.down = newPipe(k, Up), newPipe(k, Down)
	return k
}

// abort resets both ends.
func (k *link) abort() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.aborted {
		return
	}
	k.aborted = true
	close(k.gone)
	reset(k.client)
	if k.server != nil {
		reset(k.server)
	}
}

// finish closes both ends in good order: what the target or the client has not taken yet still reaches it.
func (k *link) finish() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.aborted {
		return
	}
	k.aborted = true
	close(k.gone)
	_ = k.client.Close()
	_ = k.server.Close()
}

// run lives as long as the connection.
func (k *link) run() {
	defer k.p.forget(k)
	var work sync.WaitGroup
	defer work.Wait()
	defer k.abort()
	work.Go(func() { k.up.read(k.client) })
	if !k.reach() {
		return
	}
	server, err := net.DialTimeout("tcp", k.p.target, dialTimeout)
	if err != nil {
		return
	}
	tcp := server.(*net.TCPConn)
	k.mu.Lock()
	k.server = tcp
	if k.aborted {
		reset(tcp)
	}
	k.mu.Unlock()
	work.Go(func() { k.down.read(tcp) })
	var writers sync.WaitGroup
	writers.Go(func() { k.up.write(tcp) })
	writers.Go(func() { k.down.write(k.client) })
	writers.Wait()
	k.finish()
}

// reach waits until the target can be reached: a connection needs both directions to come about. A client that has given
// up meanwhile was never heard of at the target.
func (k *link) reach() bool {
	for waited := false; ; waited = true {
		set, changed := k.p.settings()
		if !set.hole[Up] && !set.hole[Down] {
			return !waited || !k.up.over()
		}
		select {
		case <-changed:
		case <-k.up.ended:
			return false
		case <-k.gone:
			return false
		}
	}
}

// chunk is what was read at once, and when.
type chunk struct {
	data []byte
	at   time.Time
}

// pipe is one direction of a connection. Reading and writing go on by themselves, so that a delay limits nothing.
type pipe struct {
	k     *link
	d     Direction
	ended chan struct{} // closed when the sender has closed or reset its end
	err   error         // set before ended is closed; io.EOF is a proper end

	mu     sync.Mutex
	chunks []chunk
	bytes  int
	more   chan struct{} // there is something to write
	room   chan struct{} // there is room to read
}

func newPipe(k *link, d Direction) *pipe {
	return &pipe{k: k, d: d, ended: make(chan struct{}), more: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

func (p *pipe) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// read takes in what one end sends.
func (p *pipe) read(from *net.TCPConn) {
	defer close(p.ended)
	for {
		buf := make([]byte, chunkSize)
		n, err := from.Read(buf)
		if n > 0 && !p.push(chunk{buf[:n], time.Now()}) {
			err = net.ErrClosed
		}
		if err != nil {
			p.err = err
			return
		}
	}
}

// push waits for room. It says whether the link is still there.
func (p *pipe) push(c chunk) bool {
	for {
		p.mu.Lock()
		if p.bytes < bufferSize {
			p.chunks = append(p.chunks, c)
			p.bytes += len(c.data)
			p.mu.Unlock()
			poke(p.more)
			return true
		}
		p.mu.Unlock()
		select {
		case <-p.room:
		case <-p.k.gone:
			return false
		}
	}
}

// pop takes the oldest chunk out; it waits for one, and gives the error with which the sender ended.
func (p *pipe) pop() (chunk, error) {
	for {
		over := p.over() // Asked first: what is read before the end is pushed before it.
		p.mu.Lock()
		if len(p.chunks) > 0 {
			c := p.chunks[0]
			p.chunks[0] = chunk{}
			p.chunks = p.chunks[1:]
			p.bytes -= len(c.data)
			p.mu.Unlock()
			poke(p.room)
			return c, nil
		}
		p.mu.Unlock()
		if over {
			return chunk{at: time.Now()}, p.err
		}
		select {
		case <-p.more:
		case <-p.ended:
		case <-p.k.gone:
			return chunk{}, net.ErrClosed
		}
	}
}

// write passes on what was taken in, as the line lets it. It ends when all is said, or when the link is gone.
func (p *pipe) write(to *net.TCPConn) {
	for {
		c, end := p.pop()
		if !p.held(c.at) {
			return
		}
		switch {
		case errors.Is(end, io.EOF):
			_ = to.CloseWrite()
			return
		case end != nil:
			p.k.abort() // A reset goes through as a reset.
			return
		}
		if !p.pass(to, c) {
			return
		}
	}
}

// held waits for the delay and the end of a hole. It says whether the link is still there.
func (p *pipe) held(since time.Time) bool {
	for {
		set, changed := p.k.p.settings()
		wait := time.Until(since.Add(set.delay))
		if !set.hole[p.d] && wait <= 0 {
			return true
		}
		var timer <-chan time.Time
		if !set.hole[p.d] {
			timer = time.After(wait)
		}
		select {
		case <-timer:
		case <-changed:
		case <-p.k.gone:
			return false
		}
	}
}

// pass writes a chunk, in slices where the line is limited.
func (p *pipe) pass(to *net.TCPConn, c chunk) bool {
	for data := c.data; len(data) > 0; {
		n := len(data)
		if set, _ := p.k.p.settings(); set.rate > 0 {
			n = min(n, max(1, set.rate/slices))
			if !p.until(p.k.p.reserve(p.d, n, set.rate)) {
				return false
			}
		}
		if !p.held(c.at) { // A hole may have begun meanwhile.
			return false
		}
		may, cut := p.k.p.take(p.d, n)
		if _, err := to.Write(data[:may]); err != nil {
			// The other direction learns of it from its own reading, and tells the sender if it may.
			return p.drop()
		}
		if cut {
			p.k.p.cutOne(p.k)
			// An end behind the last byte, for a reset could overtake it.
			_ = to.Close()
			p.k.abort()
			return false
		}
		data = data[may:]
	}
	return true
}

// drop throws away what comes for an end that is no longer there, until the link is gone.
func (p *pipe) drop() bool {
	for {
		if _, err := p.pop(); err != nil {
			return false
		}
	}
}

func (p *pipe) until(at time.Time) bool {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.k.gone:
		return false
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
