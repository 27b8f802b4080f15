package mqtt

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho/log"
	"github.com/eclipse/paho.golang/paho/session"
)

// notFound is the reason code for a packet identifier that is not in use.
const notFound = 0x92

// manager is the session state as the library sees it. All its methods run on the library's reading goroutine.
type manager struct{ s *Session }

var _ session.SessionManager = manager{}

// ConAckReceived notes what the broker grants and finishes the QoS 2 handshakes of the connection before.
func (m manager) ConAckReceived(_ io.Writer, _ *packets.Connect, ca *packets.Connack) error {
	s := m.s
	s.caps = s.o.capabilities(ca)
	s.window.max, s.window.maxBytes = s.caps.Window, s.o.WindowBytes
	for _, id := range s.ids.begin(ca.SessionPresent) {
		s.mu.Lock()
		s.pending[id] = pending{qos: 2, released: true}
		s.mu.Unlock()
		if _, err := s.conn.Control(0x62, 2, byte(id>>8), byte(id)); err != nil {
			return err
		}
	}
	return nil
}

func (o Options) capabilities(ca *packets.Connack) Capabilities {
	c := Capabilities{
		Protocol:           o.Protocol,
		SessionPresent:     ca.SessionPresent,
		Window:             o.Window,
		MaximumPacketSize:  maxPacket,
		MaximumQoS:         2,
		RetainAvailable:    true,
		WildcardsAvailable: true,
		SubscriptionIDs:    true,
		SharedAvailable:    true,
		KeepAlive:          o.KeepAlive,
	}
	p := ca.Properties
	if p == nil {
		return c
	}
	if p.ReceiveMaximum != nil && *p.ReceiveMaximum > 0 {
		c.Window = min(c.Window, int(*p.ReceiveMaximum))
	}
	if p.MaximumPacketSize != nil && *p.MaximumPacketSize > 0 {
		c.MaximumPacketSize = int(min(*p.MaximumPacketSize, maxPacket))
	}
	if p.MaximumQOS != nil {
		c.MaximumQoS = min(*p.MaximumQOS, 2)
	}
	if p.ServerKeepAlive != nil && *p.ServerKeepAlive > 0 {
		// A longer one changes nothing: asking more often than we must is allowed.
		c.KeepAlive = min(c.KeepAlive, time.Duration(*p.ServerKeepAlive)*time.Second)
	}
	for flag, value := range map[*bool]*byte{
		&c.RetainAvailable: p.RetainAvailable, &c.WildcardsAvailable: p.WildcardSubAvailable,
		&c.SubscriptionIDs: p.SubIDAvailable, &c.SharedAvailable: p.SharedSubAvailable,
	} {
		if value != nil {
			*flag = *value == 1
		}
	}
	c.AssignedClientID = p.AssignedClientID
	return c
}

// PacketReceived takes the broker's answers. An identifier that nobody waits for is no reason to hang up.
func (m manager) PacketReceived(cp *packets.ControlPacket, _ chan<- *packets.Publish) error {
	s := m.s
	switch p := cp.Content.(type) {
	case *packets.Puback:
		s.settle(p.PacketID, 1, s.reason(Puback, p.ReasonCode, p.Properties))
	case *packets.Pubrec:
		return s.pubrec(p)
	case *packets.Pubcomp:
		s.settle(p.PacketID, 2, s.reason(Pubcomp, p.ReasonCode, p.Properties))
	case *packets.Pubrel:
		delete(s.handed, p.PacketID)
		return s.answer(0x70, p.PacketID, s.ids.release(p.PacketID))
	case *packets.Suback, *packets.Unsuback:
		s.mu.Lock()
		answer := s.requests[cp.PacketID()]
		delete(s.requests, cp.PacketID())
		s.mu.Unlock()
		if answer != nil {
			s.ids.free(cp.PacketID())
			answer <- *cp
		}
	}
	return nil
}

// reason is nil for success, which a code below 0x80 is.
func (s *Session) reason(packet Packet, code byte, p *packets.Properties) error {
	if code < 0x80 {
		return nil
	}
	r := Reason{Packet: packet, Protocol: s.o.Protocol, Code: code}
	if p != nil {
		r.Text = p.ReasonString
	}
	return &RefusedError{r}
}

// pubrec goes on with a QoS 2 handshake. One that we do not know gets a PUBREL too, so that the broker can forget it.
func (s *Session) pubrec(p *packets.Pubrec) error {
	if err := s.reason(Pubrec, p.ReasonCode, p.Properties); err != nil {
		s.settle(p.PacketID, 2, err)
		return nil
	}
	s.mu.Lock()
	known, ok := s.pending[p.PacketID]
	ok = ok && known.qos == 2
	if ok {
		known.released = true
		s.pending[p.PacketID] = known
	}
	s.mu.Unlock()
	return s.answer(0x62, p.PacketID, ok)
}

// answer sends PUBREL or PUBCOMP; MQTT 5 can say that the identifier is unknown.
func (s *Session) answer(first byte, id uint16, known bool) error {
	packet := binary.BigEndian.AppendUint16([]byte{first, 2}, id)
	if !known && s.o.Protocol == V5 {
		packet[1] = 3
		packet = append(packet, notFound)
	}
	_, err := s.conn.Control(packet...)
	return err
}

// received takes each PUBLISH from the wire, on the reading goroutine, and hands it to the owner.
func (s *Session) received(flags byte, body []byte) error {
	in := &s.in
	*in = Inbound{Came: s.conn.Came()}
	id, err := s.decoder.decodePublish(flags, body, &in.Message)
	if err != nil {
		return err
	}
	select {
	case <-s.ending:
		return nil // Not acknowledged, so it comes again to a session that is kept.
	default:
	}
	if in.QoS > 0 {
		if in.ticket, err = s.conn.Owe(id, in.QoS); err != nil {
			return err
		}
		in.conn, in.PacketID = s.conn, id
	}
	if in.QoS == 2 {
		if _, again := s.handed[id]; again || s.ids.holds(id) {
			// Exactly once: the message was handed on before, only the answer is wanted again.
			in.Ack()
			return nil
		}
		s.handed[id] = struct{}{}
	}
	s.o.OnMessage(in)
	return nil
}

// ConnectionLost takes the broker's goodbye.
func (m manager) ConnectionLost(dp *packets.Disconnect) error {
	if dp == nil {
		return nil
	}
	r := Reason{Packet: Disconnect, Protocol: m.s.o.Protocol, Code: dp.ReasonCode}
	if dp.Properties != nil {
		r.Text, r.Server = dp.Properties.ReasonString, dp.Properties.ServerReference
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	m.s.setCause(&RefusedError{r})
	return nil
}

var errOnlyRequests = errors.New("only SUBSCRIBE and UNSUBSCRIBE are kept by the library's rules")

// AddToSession gives a SUBSCRIBE or UNSUBSCRIBE its identifier, and remembers who waits for the answer; answer must
// have room for it.
func (m manager) AddToSession(_ context.Context, packet session.Packet, answer chan<- packets.ControlPacket) error {
	s := m.s
	if packet.Type() != packets.SUBSCRIBE && packet.Type() != packets.UNSUBSCRIBE {
		return errOnlyRequests
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return s.cause
	}
	id, err := s.ids.take(false)
	if err != nil {
		return err
	}
	packet.SetIdentifier(id)
	s.requests[id] = answer
	return nil
}

// Ack is not used: the wire acknowledges.
func (manager) Ack(*packets.Publish) error { return errOnlyRequests }

// Close is not used: the session ends with its connection.
func (manager) Close() error { return nil }

// SetErrorLogger is not used: errors go to the session's owner.
func (manager) SetErrorLogger(log.Logger) {}

// SetDebugLogger is not used.
func (manager) SetDebugLogger(log.Logger) {}
