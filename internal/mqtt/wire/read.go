package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The kinds of packet, as they stand in the upper half of the first byte.
const (
	typeConnect     = 1
	typeConnack     = 2
	typePublish     = 3
	typePuback      = 4
	typePubrec      = 5
	typePubrel      = 6
	typePubcomp     = 7
	typeSubscribe   = 8
	typeSuback      = 9
	typeUnsubscribe = 10
	typeUnsuback    = 11
	typePingresp    = 13
	typeDisconnect  = 14
)

// Read gives the library the next packet that is for it, in the form of MQTT 5. PUBLISH packets never get there.
func (c *Conn) Read(p []byte) (int, error) {
	for len(c.serve) == 0 {
		if c.flooded.Load() {
			c.rest()
			return 0, c.Err()
		}
		if err := c.next(); err != nil {
			c.rest()
			c.fail(err)
			return 0, err
		}
	}
	n := copy(p, c.serve)
	c.serve = c.serve[n:]
	return n, nil
}

// next reads one packet, checks it, and either gives it to OnPublish or lays it out in c.serve.
func (c *Conn) next() error {
	first, err := c.reader.ReadByte()
	if err != nil {
		return err
	}
	length, err := c.length()
	if err != nil {
		return err
	}
	if err := c.check(first, length); err != nil {
		return err
	}
	body, owned, err := c.body(length)
	if err != nil {
		return cutShort(err)
	}
	switch kind := first >> 4; {
	case kind == typePublish:
		err = c.o.OnPublish(first&0xF, body)
	case kind == typePuback && c.o.OnPuback != nil && (length == 2 || body[2] < 0x80):
		c.o.OnPuback(binary.BigEndian.Uint16(body))
	default:
		err = c.lay(first, body)
	}
	if err == nil && !owned {
		_, err = c.reader.Discard(length)
	}
	return err
}

// length reads the length of a packet: at most four bytes, seven bits each.
func (c *Conn) length() (int, error) {
	length := 0
	for shift := 0; shift <= 21; shift += 7 {
		b, err := c.reader.ReadByte()
		if err != nil {
			return 0, cutShort(err)
		}
		length |= int(b&0x7F) << shift
		if b < 0x80 {
			if total := 2 + shift/7 + length; total > c.o.MaxPacket {
				return 0, protocolError(fmt.Sprintf("a packet of %d bytes, more than the %d allowed", total, c.o.MaxPacket))
			}
			return length, nil
		}
	}
	return 0, protocolError("a packet length of more than four bytes")
}

// body gives what follows the length. A long body is read piece by piece, so that memory is spent on what has come and
// not on what was announced.
func (c *Conn) body(length int) (body []byte, owned bool, err error) {
	if length <= readBuffer {
		body, err = c.reader.Peek(length)
		return body, false, err
	}
	body = make([]byte, 0, 4*readBuffer)
	for len(body) < length {
		if len(body) == cap(body) {
			grown := make([]byte, len(body), min(2*cap(body), length))
			copy(grown, body)
			body = grown
		}
		n, err := io.ReadFull(c.reader, body[len(body):min(cap(body), length)])
		body = body[:len(body)+n]
		if err != nil {
			return nil, false, err
		}
	}
	return body, true, nil
}

// check refuses what a broker may not send, or not now.
func (c *Conn) check(first byte, length int) error {
	kind, flags := first>>4, first&0xF
	if !c.greeted && kind != typeConnack {
		return protocolError(fmt.Sprintf("the broker's first packet is of type %d instead of a CONNACK; is this an MQTT port?", kind))
	}
	wantFlags, minimum, exact := byte(0), 2, c.o.V311
	switch kind {
	case typePublish:
		return nil // The flags matter to whoever decodes it.
	case typeConnack:
		if c.greeted {
			return protocolError("a second CONNACK")
		}
		exact = c.o.V311
	case typePuback, typePubrec, typePubcomp:
	case typePubrel:
		wantFlags = 2
	case typeSuback:
		minimum, exact = 3, false
	case typeUnsuback:
	case typePingresp:
		minimum, exact = 0, true
	case typeDisconnect:
		if c.o.V311 {
			return protocolError("a DISCONNECT, which a broker does not send in MQTT 3.1.1")
		}
		minimum = 0
	default:
		return protocolError(fmt.Sprintf("a packet of type %d, which a broker does not send", kind))
	}
	if flags != wantFlags || length < minimum || exact && length != minimum {
		return protocolError(fmt.Sprintf("a malformed packet of type %d", kind))
	}
	return nil
}

// lay puts the packet into c.serve as the library expects it.
func (c *Conn) lay(first byte, body []byte) error {
	kind := first >> 4
	c.scratch = append(c.scratch[:0], first)
	switch {
	case kind == typeConnack:
		body = c.greet(body)
	case kind == typeDisconnect && len(body) == 0:
		body = []byte{0} // A reason of 0 may be left out, which the library does not know.
	case c.o.V311 && (kind == typeSuback || kind == typeUnsuback):
		c.scratch = appendLength(c.scratch, len(body)+1)
		c.scratch = append(c.scratch, body[0], body[1], 0)
		c.serve = append(c.scratch, body[2:]...)
		c.scratch = c.serve
		return nil
	}
	c.scratch = appendLength(c.scratch, len(body))
	c.scratch = append(c.scratch, body...)
	c.serve = c.scratch
	return nil
}

// greet keeps the raw code of a CONNACK and gives its body for the library. A broker that knows 3.1.1 only answers an
// MQTT 5 CONNECT in its own format, without properties; that is told apart by its length.
func (c *Conn) greet(body []byte) []byte {
	c.greeted = true
	code, old := body[1], len(body) == 2
	seen := int32(code)<<8 | 1
	if old {
		seen |= 2
	}
	c.connack.Store(seen)
	if !old {
		if code != 0 && code < 0x80 {
			// The library takes it for success.
			body = append([]byte(nil), body...)
			body[1] = 0x80
		}
		return body
	}
	switch {
	case !c.o.V311 && code == 0:
		return []byte{0, 0x84, 0} // It has accepted something that it cannot have understood.
	case code != 0:
		return []byte{0, fiveFromOld(code), 0}
	}
	// Neither subscription identifiers nor shared subscriptions.
	return []byte{body[0] & 1, 0, 4, 41, 0, 42, 0}
}

// fiveFromOld is the MQTT 5 reason for a CONNACK code of 3.1.1, and for Adafruit's 6 (too many logins) and 7 (banned).
func fiveFromOld(code byte) byte {
	switch code {
	case 1:
		return 0x84
	case 2:
		return 0x85
	case 3:
		return 0x88
	case 4:
		return 0x86
	case 5:
		return 0x87
	case 6:
		return 0x9F
	case 7:
		return 0x8A
	}
	return 0x80
}

func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func appendLength(dst []byte, n int) []byte { return binary.AppendUvarint(dst, uint64(n)) }
