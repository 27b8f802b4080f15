package mqtt

import (
	"context"
	"errors"
)

// PacketIDs hands out packet identifiers for the successive connections of one kept session, and remembers which QoS 2
// handshakes are open, so that an identifier is never taken again before its handshake is over.
type PacketIDs struct{}

// NewPacketIDs returns a fresh set of identifiers.
func NewPacketIDs() *PacketIDs { return &PacketIDs{} }

// Inbound is a message that was received, and its acknowledgement.
type Inbound struct {
	Message
}

// Ack acknowledges the message. It may be called from any goroutine, once or more, at any time and in any order: the
// session sends acknowledgements in the order in which the messages came. After the session's end, and for QoS 0, it
// does nothing.
func (in *Inbound) Ack() {}

// Session is one connection to a broker, logged in. All methods may be called from any goroutine.
type Session struct{}

// Dial connects and logs in, once, with the protocol version that o names. It obeys ctx until the CONNACK. The error is
// a *RefusedError with the raw code when the broker answered with a refusal, ErrClosedEarly when it closed the connection
// before a CONNACK, and else the network's own error.
func Dial(ctx context.Context, o Options) (*Session, error) { return nil, errors.New("not built") }

// ErrClosedEarly means that the broker closed the connection before it answered.
var ErrClosedEarly = errors.New("the broker closed the connection before it answered")

// Capabilities are what the broker granted.
func (s *Session) Capabilities() Capabilities { return Capabilities{} }

// Subscribe sends one SUBSCRIBE and waits for its SUBACK. The result has one entry per subscription, nil where granted
// and a *RefusedError where not; err is set when there was no answer.
func (s *Session) Subscribe(ctx context.Context, subs ...Subscription) (refused []error, err error) {
	return nil, nil
}

// Unsubscribe sends one UNSUBSCRIBE and waits for its UNSUBACK.
func (s *Session) Unsubscribe(ctx context.Context, filters ...string) error { return nil }

// Publish sends m, after waiting for room in the window. An error means that nothing was sent and done will not be
// called: ctx ended, the session ended, or the message can never go (a *TooLargeError, a topic that is none). Otherwise
// done is called exactly once, on a goroutine of the session's that it must not block.
func (s *Session) Publish(ctx context.Context, m *Message, done func(Result)) error { return nil }

// Ping sends a PINGREQ behind everything that was published before and waits for its PINGRESP.
func (s *Session) Ping(ctx context.Context) error { return nil }

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return nil }

// Err says why the session ended: ErrSessionClosed after Close, a *RefusedError with Packet Disconnect when the broker
// said goodbye, else the network's error. It is nil before Done is closed.
func (s *Session) Err() error { return nil }

// ErrSessionClosed is how a session ends that its owner closed.
var ErrSessionClosed = errors.New("session closed")

// Close sends a DISCONNECT (no will is published), closes the connection and waits until no goroutine of the session
// is left. It obeys ctx by cutting short.
func (s *Session) Close(ctx context.Context) error { return nil }
