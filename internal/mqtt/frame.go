package mqtt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"cloudbridge/internal/intern"
)

// The PUBLISH packet is laid out and read here and not by the library: a received copy may carry several subscription
// identifiers, of which the library keeps only the last, and it is the one packet whose cost a small computer feels.

// The identifiers of the properties that a PUBLISH may carry.
const (
	propPayloadFormat   = 1
	propExpiry          = 2
	propContentType     = 3
	propResponseTopic   = 8
	propCorrelationData = 9
	propSubscription    = 11
	propTopicAlias      = 35
	propUser            = 38
)

// maxString is the longest string or binary field; its length has two bytes.
const maxString = 65535

// maxPacket is the longest packet that MQTT can express.
const maxPacket = 5 + 268435455

// InvalidError is a message or filter that no broker could take, so that sending it again is of no use.
type InvalidError struct{ Why string }

// Error says what is wrong.
func (e *InvalidError) Error() string { return e.Why }

func invalid(format string, args ...any) error {
	return &InvalidError{Why: fmt.Sprintf(format, args...)}
}

// TooLargeError is a message that is longer than the broker allows.
type TooLargeError struct{ Size, Limit int }

// Error gives both sizes.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("a message of %d bytes is more than the %d that the broker takes", e.Size, e.Limit)
}

// CheckTopic says why a message cannot be published to topic.
func CheckTopic(topic string) error {
	switch {
	case topic == "":
		return invalid("the topic is empty")
	case len(topic) > maxString:
		return invalid("the topic has %d bytes, more than %d", len(topic), maxString)
	case !utf8.ValidString(topic):
		return invalid("topic %q is not UTF-8", topic)
	case OnlyInFilters(topic):
		return invalid("topic %q holds a wildcard, which only filters may, or a zero byte", topic)
	}
	return nil
}

// OnlyInFilters says whether text holds what no topic may: a wildcard, or a zero byte. It is asked for each message more than
// once, and strings.ContainsAny takes four times as long.
func OnlyInFilters(text string) bool {
	for i := range len(text) {
		switch text[i] {
		case '+', '#', 0:
			return true
		}
	}
	return false
}

// CheckFilter says why nobody can subscribe to filter.
func CheckFilter(filter string) error {
	switch {
	case filter == "":
		return invalid("the filter is empty")
	case len(filter) > maxString:
		return invalid("the filter has %d bytes, more than %d", len(filter), maxString)
	case !utf8.ValidString(filter):
		return invalid("filter %q is not UTF-8", filter)
	case strings.IndexByte(filter, 0) >= 0:
		return invalid("filter %q holds a zero byte", filter)
	}
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		switch {
		case level == "+", level == "#" && i == len(levels)-1:
		case level == "#":
			return invalid("filter %q: # may only be the last level", filter)
		case strings.ContainsAny(level, "+#"):
			return invalid("filter %q: a wildcard must be a whole level", filter)
		}
	}
	return nil
}

// checkProperties looks at what the packet could not express.
func checkProperties(p *Properties) error {
	if p == nil {
		return nil
	}
	if p.ResponseTopic != "" {
		if err := CheckTopic(p.ResponseTopic); err != nil {
			return fmt.Errorf("response topic: %w", err)
		}
	}
	if len(p.CorrelationData) > maxString {
		return invalid("correlation data of %d bytes, more than %d", len(p.CorrelationData), maxString)
	}
	if err := checkString("content type", p.ContentType); err != nil {
		return err
	}
	for _, u := range p.User {
		if err := errors.Join(checkString("user property", u.Key), checkString("user property", u.Value)); err != nil {
			return err
		}
	}
	return nil
}

func checkString(what, s string) error {
	if len(s) > maxString || !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return invalid("%s %.40q: must be UTF-8 without zero bytes and at most %d bytes long", what, s, maxString)
	}
	return nil
}

// publishSize gives the length of the properties, of what follows the fixed header, and of the whole packet.
func publishSize(v Protocol, m *Message, qos byte) (properties, remaining, total int) {
	remaining = 2 + len(m.Topic) + len(m.Payload)
	if qos > 0 {
		remaining += 2
	}
	if v == V5 {
		properties = propertiesSize(m.Properties)
		remaining += properties + lengthSize(properties)
	}
	return properties, remaining, 1 + lengthSize(remaining) + remaining
}

func propertiesSize(p *Properties) int {
	if p == nil {
		return 0
	}
	n := 0
	if p.UTF8 {
		n += 2
	}
	if p.Expiry > 0 {
		n += 5
	}
	if p.ContentType != "" {
		n += 3 + len(p.ContentType)
	}
	if p.ResponseTopic != "" {
		n += 3 + len(p.ResponseTopic)
	}
	if len(p.CorrelationData) > 0 {
		n += 3 + len(p.CorrelationData)
	}
	for _, u := range p.User {
		n += 5 + len(u.Key) + len(u.Value)
	}
	return n
}

func lengthSize(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	}
	return 4
}

// appendPublish lays out a PUBLISH; the sizes are those of publishSize.
func appendPublish(dst []byte, v Protocol, m *Message, qos byte, retain bool, id uint16) []byte {
	properties, remaining, _ := publishSize(v, m, qos)
	first := byte(0x30) | qos<<1
	if retain {
		first |= 1
	}
	dst = append(dst, first)
	dst = binary.AppendUvarint(dst, uint64(remaining))
	dst = appendString(dst, m.Topic)
	if qos > 0 {
		dst = binary.BigEndian.AppendUint16(dst, id)
	}
	if v == V5 {
		dst = binary.AppendUvarint(dst, uint64(properties))
		dst = appendProperties(dst, m.Properties)
	}
	return append(dst, m.Payload...)
}

func appendProperties(dst []byte, p *Properties) []byte {
	if p == nil {
		return dst
	}
	if p.UTF8 {
		dst = append(dst, propPayloadFormat, 1)
	}
	if p.Expiry > 0 {
		dst = binary.BigEndian.AppendUint32(append(dst, propExpiry), seconds(p.Expiry))
	}
	if p.ContentType != "" {
		dst = appendString(append(dst, propContentType), p.ContentType)
	}
	if p.ResponseTopic != "" {
		dst = appendString(append(dst, propResponseTopic), p.ResponseTopic)
	}
	if len(p.CorrelationData) > 0 {
		dst = appendString(append(dst, propCorrelationData), p.CorrelationData)
	}
	for _, u := range p.User {
		dst = appendString(append(dst, propUser), u.Key)
		dst = appendString(dst, u.Value)
	}
	return dst
}

func appendString[T string | []byte](dst []byte, s T) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

// seconds rounds up, so that a short time does not become none.
func seconds(d time.Duration) uint32 {
	return uint32(min((d+time.Second-1)/time.Second, math.MaxUint32))
}

// decoder reads messages, and keeps one copy of what they have in common. It is the reading goroutine's.
type decoder struct {
	version Protocol
	topics  intern.Pool // those that were found to be right
	ids     []int       // the subscription identifiers of the message before
	scratch []int
}

// decodePublish reads what follows the length of a PUBLISH. The payload is the body's.
func (d *decoder) decodePublish(flags byte, body []byte, m *Message) (id uint16, err error) {
	m.QoS, m.Retain, m.Duplicate = flags>>1&3, flags&1 != 0, flags&8 != 0
	if m.QoS == 3 {
		return 0, errors.New("a message with QoS 3")
	}
	r := fields{rest: body}
	topic := r.bytes()
	if m.QoS > 0 {
		if id = r.uint16(); id == 0 && !r.short {
			return 0, errors.New("a message with packet identifier 0")
		}
	}
	if d.version == V5 {
		if err := d.decodeProperties(r.take(r.uvarint()), m); err != nil {
			return 0, err
		}
	}
	if r.short {
		return 0, errors.New("a message that ends too soon")
	}
	var known bool
	if m.Topic, known = d.topics.Find(topic); !known {
		if err := CheckTopic(string(topic)); err != nil {
			return 0, fmt.Errorf("a message came whose topic cannot be: %w", err)
		}
		m.Topic = d.topics.Text(topic)
	}
	m.Payload = r.rest
	return id, nil
}

func (d *decoder) decodeProperties(block []byte, m *Message) error {
	if len(block) == 0 {
		return nil
	}
	d.scratch = d.scratch[:0]
	var properties Properties // It stays on the stack, for most messages have none.
	p := &properties
	for r := (fields{rest: block}); len(r.rest) > 0; {
		switch kind := r.byte(); kind {
		case propPayloadFormat:
			p.UTF8 = r.byte() == 1
		case propExpiry:
			// An expiry of zero seconds is about to be none; the shortest that we can tell is one.
			p.Expiry = time.Duration(max(r.uint32(), 1)) * time.Second
		case propContentType:
			p.ContentType = string(r.bytes())
		case propResponseTopic:
			p.ResponseTopic = string(r.bytes())
		case propCorrelationData:
			p.CorrelationData = append([]byte(nil), r.bytes()...)
		case propSubscription:
			d.scratch = append(d.scratch, r.uvarint())
		case propUser:
			p.User = append(p.User, UserProperty{Key: string(r.bytes()), Value: string(r.bytes())})
		case propTopicAlias:
			return errors.New("a message with a topic alias, though we allow none")
		default:
			return fmt.Errorf("a message with property %d, which messages do not have", kind)
		}
		if r.short {
			return errors.New("a message whose properties end too soon")
		}
	}
	if propertiesSize(p) > 0 { // Some brokers send properties that say nothing.
		kept := properties
		m.Properties = &kept
	}
	if len(d.scratch) > 0 {
		// They seldom differ from those before, and nobody changes them.
		slices.Sort(d.scratch)
		if !slices.Equal(d.ids, d.scratch) {
			d.ids = slices.Clone(d.scratch)
		}
		m.Subscriptions = d.ids
	}
	return nil
}

// fields reads one field after the other; short says that one of them was not all there.
type fields struct {
	rest  []byte
	short bool
}

func (f *fields) take(n int) []byte {
	if n < 0 || n > len(f.rest) {
		f.short, f.rest = true, nil
		return nil
	}
	taken := f.rest[:n]
	f.rest = f.rest[n:]
	return taken
}

func (f *fields) byte() byte {
	if b := f.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) uint16() uint16 {
	if b := f.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (f *fields) uint32() uint32 {
	if b := f.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (f *fields) bytes() []byte { return f.take(int(f.uint16())) }

func (f *fields) uvarint() int {
	n := 0
	for shift := 0; shift <= 21; shift += 7 {
		b := f.byte()
		n |= int(b&0x7F) << shift
		if b < 0x80 {
			return n
		}
	}
	f.short = true
	return 0
}
