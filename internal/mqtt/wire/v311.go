package wire

import "encoding/binary"

// translate makes an outgoing MQTT 5 packet one of 3.1.1, in place: it never gets longer. The packet comes from our own
// library, whole and well-formed; what is not is passed on as it is, for the broker to refuse.
func translate(packet []byte) []byte {
	if len(packet) < 2 {
		return packet
	}
	length, used := binary.Uvarint(packet[1:])
	if used <= 0 || uint64(len(packet)-1-used) != length {
		return packet
	}
	body := packet[1+used:]
	switch packet[0] >> 4 {
	case typeConnect:
		body = connect311(body)
	case typePublish:
		at := field(body, 0)
		if packet[0]&0x06 != 0 {
			at += 2
		}
		body = cut(body, at)
	case typePuback, typePubrec, typePubrel, typePubcomp:
		body = body[:min(2, len(body))]
	case typeSubscribe:
		body = subscribe311(body)
	case typeUnsubscribe:
		body = cut(body, 2)
	case typeDisconnect:
		body = nil
	}
	// The length can only have become shorter, so the body moves towards the front.
	packet = appendLength(packet[:1], len(body))
	return append(packet, body...)
}

// connect311 lowers the protocol level and takes out the properties, those of the will included.
func connect311(body []byte) []byte {
	const level, flags, fixed = 6, 7, 10
	if len(body) < fixed {
		return body
	}
	body[level] = 4
	body = cut(body, fixed)
	if body[flags]&0x04 != 0 {
		body = cut(body, field(body, fixed))
	}
	return body
}

// subscribe311 takes out the properties and leaves only the QoS of each filter's options.
func subscribe311(body []byte) []byte {
	body = cut(body, 2)
	for at := 2; at < len(body); at++ {
		if at = field(body, at); at < len(body) {
			body[at] &= 0x03
		}
	}
	return body
}

// field is where the string or binary field that starts at ends.
func field(body []byte, at int) int {
	if at+2 > len(body) {
		return len(body)
	}
	return at + 2 + int(binary.BigEndian.Uint16(body[at:]))
}

// cut takes out the properties that start at.
func cut(body []byte, at int) []byte {
	if at < 0 || at >= len(body) {
		return body
	}
	n, used := binary.Uvarint(body[at:])
	end := uint64(at) + uint64(max(used, 0)) + n
	if used <= 0 || n > uint64(len(body)) || end > uint64(len(body)) {
		return body
	}
	return append(body[:at], body[end:]...)
}

// withWill gives an MQTT 5 CONNECT the will properties that its sender asked for.
func withWill(packet, properties []byte) []byte {
	const flags, fixed = 7, 10
	length, used := binary.Uvarint(packet[1:])
	if used <= 0 || uint64(len(packet)-1-used) != length || length < fixed {
		return packet
	}
	body := packet[1+used:]
	if body[flags]&0x04 == 0 {
		return packet
	}
	own, used := binary.Uvarint(body[fixed:])
	if used <= 0 || own > uint64(len(body)) {
		return packet
	}
	at := field(body, fixed+used+int(own)) // Behind the client's identifier.
	if at > len(body) {
		return packet
	}
	head := append([]byte(nil), body[:at]...)
	head = append(appendLength(head, len(properties)), properties...)
	tail := cut(append([]byte(nil), body[at:]...), 0)
	out := appendLength([]byte{packet[0]}, len(head)+len(tail))
	return append(append(out, head...), tail...)
}
