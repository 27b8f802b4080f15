package mqtt

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"cloudbridge/internal/mqtt/wire"
)

// The ways in which a session ends, beside a *RefusedError and the network's own errors.
var (
	// ErrSessionClosed is how a session ends that its owner closed.
	ErrSessionClosed = errors.New("session closed")
	// ErrHungUp is how a session ends when the broker closes the connection and does not say why.
	ErrHungUp = errors.New("the broker closed the connection")
	// ErrSilent is how a session ends when the broker does not answer any more.
	ErrSilent = errors.New("the broker does not answer")
)

// errEnded stands for the session's own error until that is known.
var errEnded = errors.New("session ended")

// goodbye is how long Close waits for the broker to hang up after the DISCONNECT. Hanging up first would reset the
// connection when something of the broker's is still unread, and the DISCONNECT might get lost with it.
const goodbye = 250 * time.Millisecond

// Inbound is a message that was received, and its acknowledgement.
type Inbound struct {
	Message
	Acknowledgement
	// PacketID is the packet identifier of a message with QoS above 0: a broker that sends one again to a kept session
	// sends it under the same, marked as Duplicate.
	PacketID uint16
	// Came is when it came in.
	Came time.Time
}

// Acknowledgement is what is kept of a message until it may be acknowledged.
type Acknowledgement struct {
	conn   *wire.Conn
	ticket uint64
	ack    func()
}

// NewInbound is a message for tests that need no session; ack is called by each Ack.
func NewInbound(m Message, ack func()) *Inbound {
	return &Inbound{Message: m, Came: time.Now(), Acknowledgement: Acknowledgement{ack: ack}}
}

// Ack acknowledges the message. It may be called from any goroutine, once or more, at any time and in any order: the
// session sends acknowledgements in the order in which the messages came. After the session's end, and for QoS 0, it
// does nothing.
func (a Acknowledgement) Ack() {
	switch {
	case a.conn != nil:
		a.conn.Ack(a.ticket)
	case a.ack != nil:
		a.ack()
	}
}

// Session is one connection to a broker, logged in. All methods may be called from any goroutine.
type Session struct {
	o      Options
	conn   *wire.Conn
	client *paho.Client
	ids    *PacketIDs
	caps   Capabilities // set before the library reads its first packet after the CONNACK
	window window

	// Of the reading goroutine: what it reads with, the message that came last, and the QoS 2 messages that were handed on and
	// not released.
	decoder decoder
	in      Inbound
	handed  map[uint16]struct{}

	mu        sync.Mutex
	sequence  uint64 // counts publishes, for their order
	pending   map[uint16]pending
	unwritten []unwritten // QoS 0, in order
	requests  map[uint16]chan<- packets.ControlPacket
	pings     []ping // sent and not answered, in order
	// answered is when the last PINGRESP came, or the session began.
	answered time.Time
	cause    error // why the session ends, once it does

	ending   chan struct{} // closed when cause is set
	finished sync.Once
	done     chan struct{} // closed when all is over
}

// pending is a publish that waits for its confirmation.
type pending struct {
	sequence uint64
	size     int
	qos      byte
	released bool // PUBREC came, PUBREL went
	done     func(Result)
}

// unwritten is a QoS 0 publish that waits for its bytes to go out.
type unwritten struct {
	sequence uint64
	end      int64
	done     func(Result)
}

func newSession(o Options) *Session {
	return &Session{
		answered: time.Now(),
		o:        o, ids: o.PacketIDs,
		decoder:  decoder{version: o.Protocol},
		handed:   map[uint16]struct{}{},
		pending:  map[uint16]pending{},
		requests: map[uint16]chan<- packets.ControlPacket{},
		ending:   make(chan struct{}),
		done:     make(chan struct{}),
	}
}

// Capabilities are what the broker granted.
func (s *Session) Capabilities() Capabilities { return s.caps }

// Done is closed when the session has ended and every publish has its result.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err says why the session ended: ErrSessionClosed after Close, a *RefusedError with Packet Disconnect when the broker
// said goodbye, ErrHungUp when it closed the connection without a word, ErrSilent when it did not answer, else the
// network's error. It is nil before Done is closed.
func (s *Session) Err() error {
	select {
	case <-s.done:
		return s.endCause()
	default:
		return nil
	}
}

func (s *Session) endCause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// fail notes why the session ends; the first reason counts. From here on nothing new is taken.
func (s *Session) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return
	}
	// What the wire found is the root; the library tells of what followed from it.
	if root := s.conn.Err(); root != nil {
		err = root
	}
	if hungUp(err) {
		err = ErrHungUp
	}
	s.setCause(err)
}

func (s *Session) setCause(err error) {
	if s.cause == nil {
		s.cause = err
		close(s.ending)
	}
}

// finish gives every open publish and request its end. The library calls it when its own goroutines are gone.
func (s *Session) finish() {
	s.finished.Do(func() {
		_ = s.conn.Close()
		s.conn.Rest()
		<-s.conn.Flushed()
		for _, p := range s.unconfirmed() {
			s.window.release(p.size)
			if p.done != nil {
				p.done(Result{Err: s.endCause()})
			}
		}
		close(s.done)
	})
}

// Close sends a DISCONNECT (no will is published), closes the connection and waits until no goroutine of the session
// is left. It obeys ctx by cutting short. What is not confirmed yet ends with ErrSessionClosed.
func (s *Session) Close(ctx context.Context) error {
	s.mu.Lock()
	open := s.cause == nil
	s.setCause(ErrSessionClosed)
	s.mu.Unlock()
	if open {
		if s.conn.Goodbye(0xE0, 0) == nil && s.conn.Drain(ctx) == nil {
			s.awaitEnd(ctx, goodbye)
		}
		_ = s.conn.Close()
	}
	// It ends by itself now; a second Close only waits for the first.
	select {
	case <-s.done:
		return nil
	default:
	}
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		_ = s.conn.Close()
		return fmt.Errorf("close session: %w", ctx.Err())
	}
}

func (s *Session) awaitEnd(ctx context.Context, atMost time.Duration) {
	patience := time.NewTimer(atMost)
	defer patience.Stop()
	select {
	case <-s.done:
	case <-patience.C:
	case <-ctx.Done():
	}
}
