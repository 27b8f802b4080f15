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
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// readBuffer is what one read may bring; packets up to this size are handed on without a copy.
	readBuffer = 16 << 10
	// batchLimit is how much may wait while a write is under way, before publishers have to wait.
	batchLimit = 64 << 10
	// corkLimit is how much is held back at most for one write.
	corkLimit = 32 << 10
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
	// OnPublish takes each PUBLISH on the reading goroutine: the flags of its first byte and what follows the length, as it
	// stood on the wire. The body may be overwritten after the call. An error ends the connection.
	OnPublish func(flags byte, body []byte) error
	// OnPuback, where set, takes each PUBACK that confirms, on the reading goroutine, so that the library need not: it
	// is by far the most frequent answer. One that refuses goes to the library.
	OnPuback func(id uint16)
	// OnPubrec is told of each QoS 2 identifier whose PUBREC is on its way out.
	OnPubrec func(id uint16)
	// OnWritten is told on the writing goroutine how many bytes have gone out in all.
	OnWritten func(total int64)
	// WillProperties replace, in MQTT 5, those of the will in the library's CONNECT, for it leaves most of them out.
	WillProperties []byte
	// OnRead is told on the reading goroutine with true when something has come in, and once after each with false when all
	// of it was handed on, or nothing more will be.
	OnRead func(came bool)
	// Abort cuts the transport at once; without it the connection is closed.
	Abort func()
	// Flow, where set, is the lowest layer of the connection.
	Flow *Flow
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
	came    time.Time

	stirring sync.Mutex
	stirred  bool // something came in, and is not all handed on
	still    bool // nothing that comes in counts any more

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
	corks    int   // how many hold what is appended back for the moment
	pressing bool  // what waits goes out all the same
	writing  bool  // somebody writes
	left     int64 // bytes of a write that the flow has taken over and not written
	err      error

	acks    acks
	flushed chan struct{}
}

// New takes over nc and starts the goroutine that writes to it. Close ends both.
func New(nc net.Conn, o Options) *Conn {
	start := time.Now()
	c := &Conn{Conn: nc, o: o, start: start, came: start, flushed: make(chan struct{})}
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
	c.ring()
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
	c.ring()
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
	c.ring()
	return c.appended, nil
}

// Goodbye appends the last packet; what is appended after it is refused.
func (c *Conn) Goodbye(packet ...byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.controlLocked(packet)
	c.last = true
	c.pressLocked()
	return err
}

// over says why nothing can be appended any more.
func (c *Conn) over() error {
	if c.closed || c.last {
		return c.reason()
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

// Came is when something came in last, by the clock as it was then, or when the connection began. Only the reading goroutine
// may ask.
func (c *Conn) Came() time.Time { return c.came }

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

// stir notes that something came in. What it makes us answer goes out together.
func (c *Conn) stir() {
	c.stirring.Lock()
	defer c.stirring.Unlock()
	if c.still {
		return
	}
	c.stirred = true
	c.Cork()
	if c.o.OnRead != nil {
		c.o.OnRead(true)
	}
}

// rest notes that all that came in was handed on: the reading goroutine does so before it reads, and when it ends.
func (c *Conn) rest() {
	c.stirring.Lock()
	defer c.stirring.Unlock()
	c.restLocked()
}

// Rest notes that nothing more will be handed on: whoever ends the connection must. It may be the reading goroutine's last
// moments, or nobody waited for its end; OnRead is not called any more when Rest returns.
func (c *Conn) Rest() {
	c.stirring.Lock()
	defer c.stirring.Unlock()
	c.still = true
	c.restLocked()
}

func (c *Conn) restLocked() {
	if !c.stirred {
		return
	}
	c.stirred = false
	if c.o.OnRead != nil {
		c.o.OnRead(false)
	}
	c.Uncork()
}

// source counts what comes in as a sign of life.
type source struct{ c *Conn }

func (s source) Read(p []byte) (int, error) {
	s.c.rest()
	n, err := s.c.Conn.Read(p)
	if n > 0 {
		s.c.came = time.Now()
		s.c.lastIn.Store(int64(s.c.came.Sub(s.c.start)))
		s.c.stir()
	}
	return n, err
}

var (
	_ net.Conn    = (*Conn)(nil)
	_ sync.Locker = (*Conn)(nil)
)
