package mappings

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"cloudbridge/internal/intern"
	"cloudbridge/internal/mqtt"
)

// recordVersion is the first byte of a record. A later layout gets another number, and this one stays readable.
const recordVersion = 1

// The bits of a record's flags.
const (
	flagRetain = 1 << iota
	flagProperties
	flagUTF8
	flagCorrelation
	flagAlso
)

// Append writes a point as a record. It is read by ReadPoint, also of a later version of this program.
func (p *Point) Append(dst []byte) []byte {
	dst = append(dst, recordVersion)
	flags := byte(0)
	if p.Retain {
		flags |= flagRetain
	}
	if p.Properties != nil {
		flags |= flagProperties
		if p.Properties.UTF8 {
			flags |= flagUTF8
		}
		if p.Properties.CorrelationData != nil {
			flags |= flagCorrelation
		}
	}
	if len(p.Also) > 0 {
		flags |= flagAlso
	}
	dst = append(dst, flags, p.QoS)
	dst = binary.AppendVarint(dst, int64(p.Rule))
	if len(p.Also) > 0 {
		dst = binary.AppendUvarint(dst, uint64(len(p.Also)))
		for _, rule := range p.Also {
			dst = binary.AppendVarint(dst, int64(rule))
		}
	}
	dst = appendText(dst, p.Cloud)
	dst = appendText(dst, p.Name)
	dst = appendText(dst, p.Local)
	dst = appendTime(dst, p.Time)
	dst = appendTime(dst, p.Arrived)
	dst = binary.AppendUvarint(dst, uint64(len(p.Parts)))
	for i := range p.Parts {
		dst = appendText(dst, p.Parts[i].Name)
		dst = p.Parts[i].Value.appendRecord(dst)
	}
	if p.Properties != nil {
		dst = appendProperties(dst, p.Properties)
	}
	return dst
}

func appendText[T string | []byte](dst []byte, s T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendTime(dst []byte, t time.Time) []byte {
	dst = binary.AppendVarint(dst, t.Unix())
	return binary.AppendUvarint(dst, uint64(t.Nanosecond()))
}

func (v Value) appendRecord(dst []byte) []byte {
	dst = append(dst, byte(v.Kind))
	switch v.Kind {
	case Raw, Text, JSON:
		return appendText(dst, v.Bytes)
	case Int, Bool:
		return binary.AppendVarint(dst, v.Int)
	case Float:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v.Float))
	}
	return dst
}

func appendProperties(dst []byte, p *mqtt.Properties) []byte {
	dst = appendText(dst, p.ContentType)
	dst = appendText(dst, p.ResponseTopic)
	if p.CorrelationData != nil {
		dst = appendText(dst, p.CorrelationData)
	}
	dst = binary.AppendVarint(dst, int64(p.Expiry))
	dst = binary.AppendUvarint(dst, uint64(len(p.User)))
	for _, u := range p.User {
		dst = appendText(dst, u.Key)
		dst = appendText(dst, u.Value)
	}
	return dst
}

var (
	errRecordShort = errors.New("record ends too early")
	errRecordBad   = errors.New("record holds a number that makes no sense")
)

// ReadPoint reads a record that Append wrote. The point keeps nothing of rec. Its times are in UTC.
func ReadPoint(rec []byte) (Point, error) {
	return (&PointReader{once: true}).Read(bytes.Clone(rec))
}

// PointReader reads one record after the other. What points have in common, as the names of those of one topic, is one
// text for all of them. One goroutine at a time may use it.
type PointReader struct {
	once  bool // it reads one record, and has no use for what the next may have in common with it
	names intern.Pool
	parts []Part
	// block are the properties of the record before, as they stood in it, flags those of that record, and properties what
	// they were.
	block      []byte
	flags      byte
	properties *mqtt.Properties
}

// Read is ReadPoint for a point that is needed only until the next record is read. Its values share the record's memory,
// which must stay as it is.
func (r *PointReader) Read(rec []byte) (Point, error) {
	if len(rec) == 0 {
		return Point{}, errRecordShort
	}
	if rec[0] != recordVersion {
		return Point{}, fmt.Errorf("record has layout %d, this program reads layout %d: it was written by another version", rec[0], recordVersion)
	}
	d := decoder{rest: rec[1:], from: r}
	p := d.point()
	switch {
	case d.err != nil:
		return Point{}, d.err
	case len(d.rest) > 0:
		return Point{}, fmt.Errorf("record goes on for %d bytes after its end", len(d.rest))
	}
	return p, nil
}

// decoder reads fields until the first fault; what it returns after that is zero.
type decoder struct {
	rest []byte
	err  error
	from *PointReader
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.rest = nil
}

func (d *decoder) point() Point {
	flags := d.byte()
	p := Point{Retain: flags&flagRetain != 0, QoS: d.byte()}
	if flags&^(flagRetain|flagProperties|flagUTF8|flagCorrelation|flagAlso) != 0 || p.QoS > 2 ||
		flags&flagProperties == 0 && flags&(flagUTF8|flagCorrelation) != 0 {
		d.fail(errRecordBad)
	}
	p.Rule = int(d.varint())
	if flags&flagAlso != 0 {
		for n := d.count(1); n > 0; n-- {
			p.Also = append(p.Also, int(d.varint()))
		}
	}
	p.Cloud, p.Name, p.Local = d.name(), d.name(), d.name()
	p.Time, p.Arrived = d.time(), d.time()
	if n := d.count(2); n > 0 { // a part has at least a length and a kind
		d.from.parts = slices.Grow(d.from.parts[:0], n)[:n]
		for i := range d.from.parts {
			d.from.parts[i] = Part{Name: d.name(), Value: d.value()}
		}
		p.Parts = d.from.parts[:n:n]
	}
	if flags&flagProperties != 0 {
		p.Properties = d.properties(flags)
	}
	return p
}

// name reads a text of which there are few.
func (d *decoder) name() string {
	if d.from.once {
		return string(d.bytes())
	}
	return d.from.names.Text(d.bytes())
}

func (d *decoder) byte() byte {
	if len(d.rest) == 0 {
		d.fail(errRecordShort)
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *decoder) varint() int64 {
	i, n := binary.Varint(d.rest)
	d.skip(n)
	return i
}

func (d *decoder) uvarint() uint64 {
	i, n := binary.Uvarint(d.rest)
	d.skip(n)
	return i
}

func (d *decoder) skip(n int) {
	switch {
	case n > 0:
		d.rest = d.rest[n:]
	case n == 0:
		d.fail(errRecordShort)
	default:
		d.fail(errRecordBad)
	}
}

// count reads how many things of a least size follow; more than the record can hold is a fault, found before memory for
// them is taken.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.rest)/size) {
		d.fail(errRecordShort)
		return 0
	}
	return int(n)
}

// bytes reads a length and so many bytes, which share the decoder's copy of the record.
func (d *decoder) bytes() []byte {
	n := d.count(1)
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) time() time.Time {
	seconds, nanos := d.varint(), d.uvarint()
	if nanos >= 1e9 {
		d.fail(errRecordBad)
		return time.Time{}
	}
	return time.Unix(seconds, int64(nanos)).UTC()
}

func (d *decoder) value() Value {
	v := Value{Kind: ValueKind(d.byte())}
	switch v.Kind {
	case NoValue:
	case Raw, Text, JSON:
		v.Bytes = d.bytes()
	case Int, Bool:
		v.Int = d.varint()
	case Float:
		if len(d.rest) < 8 {
			d.fail(errRecordShort)
			break
		}
		v.Float = math.Float64frombits(binary.LittleEndian.Uint64(d.rest))
		d.rest = d.rest[8:]
		if math.IsNaN(v.Float) || math.IsInf(v.Float, 0) {
			d.fail(errRecordBad)
		}
	default:
		d.fail(errRecordBad)
	}
	return v
}

// properties reads what is left of a record. It is often what was left of the one before, and nobody changes it.
func (d *decoder) properties(flags byte) *mqtt.Properties {
	r := d.from
	if r.properties != nil && flags == r.flags && bytes.Equal(d.rest, r.block) {
		d.rest = nil
		return r.properties
	}
	block := d.rest
	p := d.newProperties(flags)
	if d.err == nil && len(d.rest) == 0 && p.CorrelationData == nil {
		r.block, r.flags, r.properties = append(r.block[:0], block...), flags, p
	}
	return p
}

func (d *decoder) newProperties(flags byte) *mqtt.Properties {
	p := &mqtt.Properties{UTF8: flags&flagUTF8 != 0}
	p.ContentType, p.ResponseTopic = string(d.bytes()), string(d.bytes())
	if flags&flagCorrelation != 0 {
		p.CorrelationData = d.bytes()
	}
	p.Expiry = time.Duration(d.varint())
	if n := d.count(2); n > 0 {
		p.User = make([]mqtt.UserProperty, n)
		for i := range p.User {
			p.User[i] = mqtt.UserProperty{Key: string(d.bytes()), Value: string(d.bytes())}
		}
	}
	return p
}
