package mqtttest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The kinds of packet.
const (
	CONNECT     = 1
	CONNACK     = 2
	PUBLISH     = 3
	PUBACK      = 4
	PUBREC      = 5
	PUBREL      = 6
	PUBCOMP     = 7
	SUBSCRIBE   = 8
	SUBACK      = 9
	UNSUBSCRIBE = 10
	UNSUBACK    = 11
	PINGREQ     = 12
	PINGRESP    = 13
	DISCONNECT  = 14
)

// Packet is what a client sent, read by a codec that shares nothing with the one under test.
type Packet struct {
	Kind  byte
	Flags byte
	// Body is what follows the length.
	Body []byte

	ID         uint16
	Topic      string
	Payload    []byte
	QoS        byte
	Retain     bool
	Code       byte     // of an acknowledgement or DISCONNECT
	Filters    []string // of SUBSCRIBE and UNSUBSCRIBE
	Options    []byte   // of each filter
	Properties []byte   // as they stood on the wire
	Connect    *Connect
}

// Connect is what a client says at its login.
type Connect struct {
	Level, Flags                 byte
	KeepAlive                    uint16
	ClientID, Username, Password string
	WillTopic, WillPayload       string
	WillProperties               []byte
}

// Clean tells of the clean start (clean session) flag.
func (c *Connect) Clean() bool { return c.Flags&2 != 0 }

var errMalformed = errors.New("malformed packet")

func readPacket(r *bufio.Reader, v5 func() bool) (p Packet, err error) {
	first, err := r.ReadByte()
	if err != nil {
		return p, err
	}
	length, err := binary.ReadUvarint(r)
	if err != nil {
		return p, err
	}
	if length > 268435455 {
		return p, errMalformed
	}
	p.Kind, p.Flags, p.Body = first>>4, first&0xF, make([]byte, length)
	if _, err := io.ReadFull(r, p.Body); err != nil {
		return p, err
	}
	d := decoder{rest: p.Body}
	p.read(&d, v5())
	if d.bad || len(d.rest) > 0 {
		return p, fmt.Errorf("%w: type %d, body %x", errMalformed, p.Kind, p.Body)
	}
	return p, nil
}

func (p *Packet) read(d *decoder, v5 bool) {
	switch p.Kind {
	case CONNECT:
		p.Connect = readConnect(d)
	case PUBLISH:
		p.QoS, p.Retain = p.Flags>>1&3, p.Flags&1 != 0
		p.Topic = d.text()
		if p.QoS > 0 {
			p.ID = d.uint16()
		}
		if v5 {
			p.Properties = d.properties()
		}
		p.Payload, d.rest = d.rest, nil
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		p.ID = d.uint16()
		if v5 && len(d.rest) > 0 {
			p.Code = d.byte()
			if len(d.rest) > 0 {
				p.Properties = d.properties()
			}
		}
	case SUBSCRIBE, UNSUBSCRIBE:
		p.ID = d.uint16()
		if v5 {
			p.Properties = d.properties()
		}
		for len(d.rest) > 0 && !d.bad {
			p.Filters = append(p.Filters, d.text())
			if p.Kind == SUBSCRIBE {
				p.Options = append(p.Options, d.byte())
			}
		}
	case DISCONNECT:
		if v5 && len(d.rest) > 0 {
			p.Code = d.byte()
			if len(d.rest) > 0 {
				p.Properties = d.properties()
			}
		}
	case PINGREQ:
	default:
		d.bad = true
	}
}

func readConnect(d *decoder) *Connect {
	c := &Connect{}
	if d.text() != "MQTT" {
		d.bad = true
	}
	c.Level, c.Flags, c.KeepAlive = d.byte(), d.byte(), d.uint16()
	if c.Level == 5 {
		d.properties()
	}
	c.ClientID = d.text()
	if c.Flags&0x04 != 0 {
		if c.Level == 5 {
			c.WillProperties = d.properties()
		}
		c.WillTopic, c.WillPayload = d.text(), d.text()
	}
	if c.Flags&0x80 != 0 {
		c.Username = d.text()
	}
	if c.Flags&0x40 != 0 {
		c.Password = d.text()
	}
	return c
}

type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) take(n int) []byte {
	if n > len(d.rest) {
		d.bad, d.rest = true, nil
		return make([]byte, min(n, 2))
	}
	taken := d.rest[:n]
	d.rest = d.rest[n:]
	return taken
}

func (d *decoder) byte() byte     { return d.take(1)[0] }
func (d *decoder) uint16() uint16 { return binary.BigEndian.Uint16(d.take(2)) }
func (d *decoder) text() string   { return string(d.take(int(d.uint16()))) }

func (d *decoder) properties() []byte {
	n, used := binary.Uvarint(d.rest)
	if used <= 0 || n > uint64(len(d.rest)) {
		d.bad, d.rest = true, nil
		return nil
	}
	d.take(used)
	return d.take(int(n))
}

// Frame lays out a packet: its first byte, its length, and the parts of its body.
func Frame(first byte, parts ...[]byte) []byte {
	var body []byte
	for _, part := range parts {
		body = append(body, part...)
	}
	return append(binary.AppendUvarint([]byte{first}, uint64(len(body))), body...)
}

// Text is a string as it stands in a packet, behind its length.
func Text(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

// Block is properties as they stand in an MQTT 5 packet, behind their length.
func Block(properties ...[]byte) []byte {
	var all []byte
	for _, p := range properties {
		all = append(all, p...)
	}
	return append(binary.AppendUvarint(nil, uint64(len(all))), all...)
}

// ReceiveMaximum is that property.
func ReceiveMaximum(n uint16) []byte { return binary.BigEndian.AppendUint16([]byte{33}, n) }

// ServerKeepAlive is that property.
func ServerKeepAlive(seconds uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{19}, seconds)
}

// MaximumPacketSize is that property.
func MaximumPacketSize(n uint32) []byte { return binary.BigEndian.AppendUint32([]byte{39}, n) }

// MaximumQoS is that property.
func MaximumQoS(n byte) []byte { return []byte{36, n} }

// RetainUnavailable is the property that says that the broker keeps no messages.
func RetainUnavailable() []byte { return []byte{37, 0} }

// ReasonString is that property.
func ReasonString(s string) []byte { return append([]byte{31}, Text(s)...) }

// ServerReference is that property.
func ServerReference(s string) []byte { return append([]byte{28}, Text(s)...) }

// AssignedClientID is that property.
func AssignedClientID(s string) []byte { return append([]byte{18}, Text(s)...) }

// SubscriptionID is that property, of a message or a SUBSCRIBE.
func SubscriptionID(n int) []byte { return binary.AppendUvarint([]byte{11}, uint64(n)) }

// UserProperty is that property.
func UserProperty(key, value string) []byte {
	return append(append([]byte{38}, Text(key)...), Text(value)...)
}

func id(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
