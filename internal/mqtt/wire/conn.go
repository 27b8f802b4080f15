// Package wire is the connection between an MQTT client library and the network.
//
// The library writes and reads MQTT 5 packets in many small pieces; a [Conn] makes whole packets of them. Outgoing
// packets are gathered and go out together, so that a busy session makes one system call and one TLS record for many
// packets, and a quiet one is not delayed. Incoming packets are checked before the library sees their first byte: a
// hostile length never allocates, and a packet that has no business here ends the connection. In 3.1.1 mode both
// directions are translated, so that a library that knows MQTT 5 only speaks to brokers that do not.
//
// Acknowledgements are kept here too: messages may be acknowledged in any order, and the packets leave in the order
// in which the messages came, with no timer to drive them.
package wire

import (
	"bufio"
	"context"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// readBuffer is what one read may bring; packets up to this size are handed on without a copy.
	readBuffer = 16 << 10
	// batchLimit is how much may wait while a write is under way, before publishers have to wait.
	batchLimit = 64 << 10
	// controlLimit bounds the answers that wait for a peer which sends but never reads.
	controlLimit = 1 << 20
	// lastWords is how long a connection that cannot be written any more is still read, for the peer's reason.
	lastWords = time.Second
)

// Options say how a connection is treated.
type Options struct {
	// V311 translates both ways to MQTT 3.1.1.
	V311 bool
	// MaxPacket is the longest packet in bytes that is let in.
	MaxPacket int
	// OnPublish takes each PUBLISH on the reading goroutine: the flags of its first byte and what follows the length,
	// as it stood on the wire. The body belongs to OnPublish if owned is true and is overwritten after the call if not.
	// An error ends the connection.
	OnPublish func(flags byte, body []byte, owned bool) error
	// OnPuback, where set, takes each PUBACK that confirms, on the reading goroutine, so that the library need not: it
	// is by far the most frequent answer. One that refuses goes to the library.
	OnPuback func(id uint16)
	// OnPubrec is told of each QoS 2 identifier whose PUBREC is on its way out.
	OnPubrec func(id uint16)
	// OnWritten is told on the writing goroutine how many bytes have gone out in all.
	OnWritten func(total int64)
	// WillProperties replace, in MQTT 5, those of the will in the library's CONNECT, for it leaves most of them out.
	WillProperties []byte
	// Abort cuts the transport at once; without it the connection is closed.
	Abort func()
}

// Conn is a net.Conn that also is the sync.Locker which brackets one packet. One goroutine may read; any may write.
type Conn struct {
	net.Conn
	o     Options
	start time.Time

	// Of the reading goroutine.
	reader  *bufio.Reader
	serve   []byte // what the library has yet to read of the current packet
	scratch []byte
	greeted bool // a CONNACK has come

	lastIn, lastOut, written atomic.Int64
	connack                  atomic.Int32 // the raw code times 256, 2 for the old format, 1 once it has come
	flooded                  atomic.Bool  // reading on is of no use

	mu       sync.Mutex
	wake     sync.Cond
	out      []byte // packets that wait
	spare    []byte // the buffer of the write before, to be used again
	packet   int    // where in out the packet that is being written starts
	control  int    // how much of out is answers that nobody waits to send
	appended int64
	room     chan struct{} // closed when out was taken, if somebody waits for that
	drained  chan struct{} // closed when all is written, if somebody waits for that
	last     bool          // the goodbye is said, nothing may follow it
	closed   bool
	err      error

	acks    acks
	flushed chan struct{}
}

// New takes over nc and starts the goroutine that writes to it. Close ends both.
func New(nc net.Conn, o Options) *Conn {
	c := &Conn{Conn: nc, o: o, start: time.Now(), flushed: make(chan struct{})}
	c.wake.L = &c.mu
	c.reader = bufio.NewReaderSize(source{c}, readBuffer)
	go c.flush()
	return c
}

// Lock starts one packet; [Conn.Write] adds to it.
func (c *Conn) Lock() {
	c.mu.Lock()
	c.packet = len(c.out)
}

// Write adds bytes to the packet between Lock and Unlock.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.over(); err != nil {
		return 0, err
	}
	c.out = append(c.out, p...)
	return len(p), nil
}

// Unlock ends the packet, translates it where that is needed, and sends it on its way.
func (c *Conn) Unlock() {
	if packet := c.out[c.packet:]; len(packet) > 0 {
		if c.o.V311 {
			packet = translate(packet)
		} else if packet[0]>>4 == typeConnect {
			packet = withWill(packet, c.o.WillProperties)
		}
		c.out = append(c.out[:c.packet], packet...)
	}
	c.appended += int64(len(c.out) - c.packet)
	c.wake.Signal()
	c.mu.Unlock()
}

// Append lets add append one whole packet, in the protocol version of the connection, and tells how many bytes will
// have gone out when it has. It does not wait for room: see [Conn.Room].
func (c *Conn) Append(add func(dst []byte) []byte) (end int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.over(); err != nil {
		return 0, err
	}
	before := len(c.out)
	c.out = add(c.out)
	c.appended += int64(len(c.out) - before)
	c.wake.Signal()
	return c.appended, nil
}

// Control appends short packets that answer the peer. They never wait, for the reading goroutine sends them; a peer
// that keeps asking and does not read the answers is cut off.
func (c *Conn) Control(packets ...byte) (end int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.controlLocked(packets)
}

func (c *Conn) controlLocked(packets []byte) (end int64, err error) {
	if err := c.over(); err != nil {
		return 0, err
	}
	if c.control += len(packets); c.control > controlLimit {
		c.failLocked(protocolError("the broker does not read the answers it asks for"))
		c.flooded.Store(true)
		return 0, c.reason()
	}
	c.out = append(c.out, packets...)
	c.appended += int64(len(packets))
	c.wake.Signal()
	return c.appended, nil
}

// Goodbye appends the last packet; what is appended after it is refused.
func (c *Conn) Goodbye(packet ...byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.controlLocked(packet)
	c.last = true
	return err
}

// over says why nothing can be appended any more.
func (c *Conn) over() error {
	if c.closed || c.last {
		return c.reason()
	}
	return nil
}

// Room waits until a publisher may append.
func (c *Conn) Room(ctx context.Context) error {
	for {
		c.mu.Lock()
		if c.closed {
			defer c.mu.Unlock()
			return c.reason()
		}
		if len(c.out) < batchLimit {
			c.mu.Unlock()
			return nil
		}
		if c.room == nil {
			c.room = make(chan struct{})
		}
		room := c.room
		c.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Drain waits until all that was appended is written.
func (c *Conn) Drain(ctx context.Context) error {
	for {
		c.mu.Lock()
		if c.written.Load() == c.appended {
			c.mu.Unlock()
			return nil
		}
		if c.closed {
			defer c.mu.Unlock()
			return c.reason()
		}
		if c.drained == nil {
			c.drained = make(chan struct{})
		}
		drained := c.drained
		c.mu.Unlock()
		select {
		case <-drained:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// flush writes what is appended, as much at a time as there is, until the connection fails or is closed.
func (c *Conn) flush() {
	defer close(c.flushed)
	for {
		c.mu.Lock()
		for len(c.out) == 0 && !c.closed {
			c.wake.Wait()
		}
		if !c.closed && len(c.out) < batchLimit {
			// Whoever is about to publish more gets its turn first, and goes out in the same write.
			c.mu.Unlock()
			runtime.Gosched()
			c.mu.Lock()
		}
		if c.closed {
			c.mu.Unlock()
			return
		}
		batch := c.out
		c.out, c.spare, c.control = c.spare, nil, 0
		signal(&c.room)
		c.mu.Unlock()

		if err := c.writeAll(batch); err != nil {
			c.fail(err)
			// The peer may have said why before it hung up; the reader gets a moment to find it.
			_ = c.SetReadDeadline(time.Now().Add(lastWords))
			return
		}
		if c.o.OnWritten != nil {
			c.o.OnWritten(c.written.Load())
		}
		c.mu.Lock()
		if cap(batch) <= 2*batchLimit {
			c.spare = batch[:0]
		}
		if len(c.out) == 0 {
			signal(&c.drained)
		}
		c.mu.Unlock()
	}
}

// writeAll writes in pieces, so that a long packet on a slow link shows its progress.
func (c *Conn) writeAll(batch []byte) error {
	for len(batch) > 0 {
		n, err := c.Conn.Write(batch[:min(len(batch), batchLimit)])
		c.written.Add(int64(n))
		c.lastOut.Store(int64(time.Since(c.start)))
		if err != nil {
			return err
		}
		batch = batch[n:]
	}
	return nil
}

func signal(waiting *chan struct{}) {
	if *waiting != nil {
		close(*waiting)
		*waiting = nil
	}
}

// fail notes the first reason why the connection is of no use any more and stops the writing.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failLocked(err)
}

func (c *Conn) failLocked(err error) {
	if c.err == nil {
		c.err = err
	}
	c.closed = true
	c.wake.Broadcast()
	signal(&c.room)
	signal(&c.drained)
}

func (c *Conn) reason() error {
	if c.err != nil {
		return c.err
	}
	return net.ErrClosed
}

// Fail ends the connection with err as the reason, unless it has one already.
func (c *Conn) Fail(err error) {
	c.fail(err)
	c.abort()
}

// Close cuts the connection at once; what is not written is lost. To say goodbye first, append it and Drain.
func (c *Conn) Close() error {
	c.fail(net.ErrClosed)
	return c.abort()
}

func (c *Conn) abort() error {
	if c.o.Abort != nil {
		c.o.Abort()
	}
	return c.Conn.Close()
}

// Flushed is closed when the writing goroutine has ended.
func (c *Conn) Flushed() <-chan struct{} { return c.flushed }

// Err is the first reason why the connection ended, net.ErrClosed where we closed it ourselves.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Idle tells how long ago something came in, and how long ago something went out.
func (c *Conn) Idle() (in, out time.Duration) {
	now := time.Since(c.start)
	return now - time.Duration(c.lastIn.Load()), now - time.Duration(c.lastOut.Load())
}

// Written is how many bytes have gone out.
func (c *Conn) Written() int64 { return c.written.Load() }

// Connack gives the code of the CONNACK as it stood on the wire, and whether it came in the format of 3.1.1.
func (c *Conn) Connack() (code byte, oldFormat, seen bool) {
	v := c.connack.Load()
	return byte(v >> 8), v&2 != 0, v&1 != 0
}

// ProtocolError is something that a broker may not send.
type ProtocolError struct{ Why string }

// Error says what the broker did.
func (e *ProtocolError) Error() string { return "protocol error: " + e.Why }

func protocolError(why string) error { return &ProtocolError{Why: why} }

// source counts what comes in as a sign of life.
type source struct{ c *Conn }

func (s source) Read(p []byte) (int, error) {
	n, err := s.c.Conn.Read(p)
	if n > 0 {
		s.c.lastIn.Store(int64(time.Since(s.c.start)))
	}
	return n, err
}

var (
	_ net.Conn    = (*Conn)(nil)
	_ sync.Locker = (*Conn)(nil)
)
