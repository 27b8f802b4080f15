package mqtt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"runtime"
	"syscall"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"cloudbridge/internal/mqtt/wire"
)

// The values that stand for an option that is zero.
const (
	defaultKeepAlive      = 60 * time.Second
	defaultReceiveMaximum = 1000
	defaultWindow         = 1000
	defaultMaximumPacket  = 4 << 20
)

// packetTimeout is the library's own limit to each exchange. Ours are the contexts and the keepalive, so it is far off.
const packetTimeout = 10 * 365 * 24 * time.Hour

// ErrClosedEarly means that the broker closed the connection before it answered.
var ErrClosedEarly = errors.New("the broker closed the connection before it answered")

// Dial connects and logs in, once, with the protocol version that o names. It obeys ctx until the CONNACK. The error is
// a *RefusedError with the raw code when the broker answered with a refusal, ErrClosedEarly when it closed the connection
// before a CONNACK, and else the network's own error. OnMessage may be called before Dial returns: a broker that kept
// the session sends at once.
func Dial(ctx context.Context, o Options) (*Session, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	link, err := o.open(ctx)
	if err != nil {
		return nil, err
	}
	var will []byte
	if o.Will != nil {
		will = appendProperties(nil, o.Will.Properties)
	}
	s := newSession(o)
	s.conn = wire.New(link, wire.Options{
		V311:      o.Protocol == V311,
		MaxPacket: o.MaximumPacketSize,
		OnPublish: s.received,
		OnPuback:  func(id uint16) { s.settle(id, 1, nil) },
		OnPubrec:  s.ids.hold,
		OnWritten: s.wrote,
		OnRead:    o.OnRead,
		Abort:     link.abort,
		Flow:      link.flow,

		WillProperties: will,
	})
	s.client = paho.NewClient(paho.ClientConfig{
		ClientID:           o.ClientID,
		Conn:               s.conn,
		Session:            manager{s},
		PingHandler:        pinger{s},
		PacketTimeout:      packetTimeout,
		OnPublishReceived:  []func(paho.PublishReceived) (bool, error){ignore},
		OnServerDisconnect: func(*paho.Disconnect) { s.finish() },
		OnClientError:      func(err error) { s.fail(err); s.finish() },
	})
	connack, err := s.client.Connect(ctx, o.connect())
	if err != nil {
		return nil, s.refused(ctx, connack, err)
	}
	return s, nil
}

// ignore stands where the library wants a handler; messages never get to the library.
func ignore(paho.PublishReceived) (bool, error) { return true, nil }

// complete checks the options and puts the defaults in.
func (o Options) complete() (Options, error) {
	if o.Protocol != V5 && o.Protocol != V311 {
		return o, fmt.Errorf("dial with protocol %d: one version must be named, 5 or 3.1.1", o.Protocol)
	}
	if o.Protocol == V311 && o.ClientID == "" && !o.CleanStart {
		return o, errors.New("a session that is kept needs a client id")
	}
	for what, s := range map[string]string{"client id": o.ClientID, "user name": o.Username} {
		if err := checkString(what, s); err != nil {
			return o, err
		}
	}
	if len(o.Password) > maxString {
		return o, invalid("a password of %d bytes, more than %d", len(o.Password), maxString)
	}
	if o.Will != nil {
		if err := errors.Join(CheckTopic(o.Will.Topic), checkProperties(o.Will.Properties)); err != nil {
			return o, fmt.Errorf("will: %w", err)
		}
		if len(o.Will.Payload) > maxString {
			return o, fmt.Errorf("will: %w", invalid("a payload of %d bytes, more than %d", len(o.Will.Payload), maxString))
		}
	}
	o.KeepAlive = orDefault(o.KeepAlive, defaultKeepAlive)
	o.ReceiveMaximum = min(orDefault(o.ReceiveMaximum, defaultReceiveMaximum), math.MaxUint16)
	o.Window = min(orDefault(o.Window, defaultWindow), math.MaxUint16)
	o.MaximumPacketSize = min(orDefault(o.MaximumPacketSize, defaultMaximumPacket), maxPacket)
	if o.PacketIDs == nil {
		o.PacketIDs = NewPacketIDs()
	}
	if o.OnMessage == nil {
		o.OnMessage = func(in *Inbound) { in.Ack() }
	}
	return o, nil
}

func orDefault[T int | time.Duration](value, otherwise T) T {
	if value <= 0 {
		return otherwise
	}
	return value
}

// connect is the CONNECT in the library's terms; for 3.1.1 the wire takes the properties out.
func (o Options) connect() *paho.Connect {
	receive, packet, expiry := uint16(o.ReceiveMaximum), uint32(o.MaximumPacketSize), seconds(o.SessionExpiry)
	c := &paho.Connect{
		ClientID:   o.ClientID,
		CleanStart: o.CleanStart,
		KeepAlive:  uint16(min(seconds(o.KeepAlive), math.MaxUint16)),
		Username:   o.Username,
		Password:   []byte(o.Password.Reveal()),
		// MQTT 3.1.1 knows no password without a user name.
		UsernameFlag: o.Username != "" || o.Password != "" && o.Protocol == V311,
		PasswordFlag: o.Password != "",
		Properties: &paho.ConnectProperties{
			ReceiveMaximum:     &receive,
			MaximumPacketSize:  &packet,
			RequestProblemInfo: true,
		},
	}
	if expiry > 0 {
		c.Properties.SessionExpiryInterval = &expiry
	}
	if w := o.Will; w != nil {
		c.WillMessage = &paho.WillMessage{Topic: w.Topic, Payload: w.Payload, QoS: w.QoS, Retain: w.Retain}
		c.WillProperties = &paho.WillProperties{} // The wire puts ours in.
	}
	return c
}

// refused cleans up after a login that came to nothing, and says why.
func (s *Session) refused(ctx context.Context, connack *paho.Connack, err error) error {
	_ = s.conn.Close()
	s.conn.Rest()
	<-s.conn.Flushed()
	if code, old, seen := s.conn.Connack(); seen && (code != 0 || old && s.o.Protocol == V5) {
		r := Reason{Packet: Connack, Protocol: s.o.Protocol, Code: code}
		switch {
		case old && s.o.Protocol == V5 && code == 0:
			// Code 1 is what such a broker should have said.
			r.Code, r.Text = 1, "the broker answers MQTT 5 as if it were 3.1.1"
		case connack != nil && connack.Properties != nil:
			r.Text, r.Server = connack.Properties.ReasonString, connack.Properties.ServerReference
		}
		return &RefusedError{r}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("wait for the broker's answer: %w", ctx.Err())
	}
	if cause := s.conn.Err(); cause != nil && !errors.Is(cause, net.ErrClosed) {
		err = cause
	}
	if hungUp(err) {
		return ErrClosedEarly
	}
	return fmt.Errorf("log in: %w", err)
}

// hungUp says whether err is what remains of a connection that the other side closed.
func hungUp(err error) bool {
	for _, end := range []error{
		io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED,
	} {
		if errors.Is(err, end) {
			return true
		}
	}
	// Windows has its own numbers for a connection that was aborted or reset.
	var number syscall.Errno
	return runtime.GOOS == "windows" && errors.As(err, &number) && (number == 10053 || number == 10054)
}
