package mappings

import (
	"math"
	"strconv"
)

// ValueKind is the type of a Value.
type ValueKind byte

// The kinds of value. Raw is a payload that no expression looked into: its bytes pass untouched.
const (
	NoValue ValueKind = iota
	Raw
	Text
	Int
	Float
	Bool
	JSON
)

// Value is a reading or a command's value.
type Value struct {
	Kind  ValueKind
	Bytes []byte  // Raw, Text, JSON (compact)
	Int   int64   // Int, and Bool as 0 or 1
	Float float64 // Float, never NaN or infinite
}

// AppendText appends the value as clouds and people write it: a number shortest and exact, a bool as true or false.
func (v Value) AppendText(dst []byte) []byte {
	switch v.Kind {
	case Raw, Text, JSON:
		return append(dst, v.Bytes...)
	case Int:
		return strconv.AppendInt(dst, v.Int, 10)
	case Float:
		return appendFloat(dst, v.Float)
	case Bool:
		return strconv.AppendBool(dst, v.Int != 0)
	}
	return dst
}

// appendFloat writes the shortest text that reads back as f. Only magnitudes that no sensor has get an exponent, since not
// every cloud can read one.
func appendFloat(dst []byte, f float64) []byte {
	if f == 0 {
		return append(dst, '0') // and never -0
	}
	format := byte('f')
	if a := math.Abs(f); a < 1e-9 || a >= 1e21 {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, 64)
}

// String is the value as text.
func (v Value) String() string { return string(v.AppendText(nil)) }

// Number is the value as a number: of Int and Float, and of Raw and Text where the whole text is one number.
func (v Value) Number() (float64, bool) {
	switch v.Kind {
	case Int:
		return float64(v.Int), true
	case Float:
		return v.Float, true
	case Raw, Text:
		n, ok := readNumber(string(v.Bytes))
		return n.float(), ok
	}
	return 0, false
}

// number is an exact integer or a float.
type number struct {
	whole bool
	i     int64
	f     float64
}

func (n number) float() float64 {
	if n.whole {
		return float64(n.i)
	}
	return n.f
}

// value is the number as expressions know it.
func (n number) value() any {
	if n.whole {
		return n.i
	}
	return n.f
}
