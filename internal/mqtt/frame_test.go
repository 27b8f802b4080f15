package mqtt

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/google/go-cmp/cmp"
)

var full = Message{
	Topic: "a/溫度", Payload: []byte("27.5"), QoS: 1, Retain: true,
	Properties: &Properties{
		ContentType: "text/plain", ResponseTopic: "r", CorrelationData: []byte{0, 255}, UTF8: true, Expiry: time.Minute,
		User: []UserProperty{{"k", "v"}, {"k", "w"}, {"", ""}},
	},
}

func TestPublishIsLaidOutAndReadBack(t *testing.T) {
	tests := []Message{
		{Topic: "a"},
		{Topic: "a", Payload: []byte("x")},
		{Topic: "a", QoS: 1},
		{Topic: "a", QoS: 2, Retain: true},
		full,
		{Topic: strings.Repeat("t", 65535), Payload: make([]byte, 3<<20), QoS: 1},
		{Topic: "a", Properties: &Properties{Expiry: time.Millisecond}},
		{Topic: "a", Properties: &Properties{UTF8: true}},
		{Topic: "a", Payload: make([]byte, 120)},
		{Topic: "a", Payload: make([]byte, 16380)},
	}
	for _, m := range tests {
		for _, v := range []Protocol{V5, V311} {
			packet := appendPublish(nil, v, &m, m.QoS, m.Retain, 0x1234)
			if _, _, total := publishSize(v, &m, m.QoS); total != len(packet) {
				t.Errorf("%s: %d bytes, foretold %d", v, len(packet), total)
			}
			want := m
			if v == V311 {
				want.Properties = nil
			} else if p := m.Properties; p != nil && p.Expiry == time.Millisecond {
				want.Properties = &Properties{Expiry: time.Second} // Rounded up, so that it does not mean none.
			}
			var got Message
			id, err := (&decoder{version: v}).decodePublish(packet[0]&0xF, bodyOf(t, packet), &got)
			if err != nil || m.QoS > 0 && id != 0x1234 {
				t.Errorf("%s: identifier %#x, %v", v, id, err)
			}
			if diff := cmp.Diff(want, got, cmp.Comparer(bytes.Equal)); diff != "" {
				t.Errorf("%s: want -, got +:\n%.1000s", v, diff)
			}
			if v == V5 {
				sameAsLibrary(t, packet, &got)
			}
		}
	}
}

func bodyOf(t testing.TB, packet []byte) []byte {
	t.Helper()
	f := fields{rest: packet[1:]}
	if n := f.uvarint(); f.short || n != len(f.rest) {
		t.Fatalf("a length of %d for %d bytes", n, len(f.rest))
	}
	return f.rest
}

// sameAsLibrary reads the packet with the library too.
func sameAsLibrary(t *testing.T, packet []byte, m *Message) {
	t.Helper()
	cp, err := packets.ReadPacket(bytes.NewReader(packet))
	if err != nil {
		t.Errorf("the library cannot read what we can: %v\n%x", err, packet)
		return
	}
	p := cp.Content.(*packets.Publish)
	if p.Topic != m.Topic || !bytes.Equal(p.Payload, m.Payload) || p.QoS != m.QoS || p.Retain != m.Retain ||
		p.Duplicate != m.Duplicate {
		t.Errorf("the library reads %v out of %x", p, packet)
	}
	own := m.Properties
	if own == nil {
		own = &Properties{}
	}
	theirs := Properties{
		ContentType: p.Properties.ContentType, ResponseTopic: p.Properties.ResponseTopic,
		CorrelationData: p.Properties.CorrelationData,
		UTF8:            p.Properties.PayloadFormat != nil && *p.Properties.PayloadFormat == 1,
	}
	if e := p.Properties.MessageExpiry; e != nil {
		theirs.Expiry = time.Duration(max(*e, 1)) * time.Second
	}
	for _, u := range p.Properties.User {
		theirs.User = append(theirs.User, UserProperty(u))
	}
	if diff := cmp.Diff(theirs, *own, cmp.Comparer(bytes.Equal)); diff != "" {
		t.Errorf("the library's properties -, ours +:\n%s", diff)
	}
	if n := len(m.Subscriptions); n > 0 && *p.Properties.SubscriptionIdentifier != m.Subscriptions[n-1] {
		t.Errorf("the library's identifier is %d, ours are %v", *p.Properties.SubscriptionIdentifier, m.Subscriptions)
	}
}

func TestSeveralSubscriptionIdentifiers(t *testing.T) {
	body, _ := hex.DecodeString("000161" + "09" + "0b01" + "0bac02" + "0b7f" + "0100" + "78")
	var m Message
	if _, err := (&decoder{version: V5}).decodePublish(0, body, &m); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{1, 127, 300}, m.Subscriptions); diff != "" || m.Properties != nil || string(m.Payload) != "x" {
		t.Errorf("got %v, %v, %q", m.Subscriptions, m.Properties, m.Payload)
	}
}

func TestFilters(t *testing.T) {
	for filter, good := range map[string]bool{
		"#": true, "+": true, "a/#": true, "+/+/#": true, "/": true, "$share/g/a/+": true, "a//b": true, "溫度/+": true,
		"": false, "a#": false, "a/#/b": false, "a+": false, "+a/b": false, "a\x00": false, "\xff": false,
		strings.Repeat("x", 65536): false,
	} {
		if err := CheckFilter(filter); (err == nil) != good {
			t.Errorf("%.20q: %v", filter, err)
		}
	}
}

// FuzzPublish reads what may come in a PUBLISH: no panic, no topic that cannot be, and in MQTT 5 the same as the library
// reads.
func FuzzPublish(f *testing.F) {
	f.Add(byte(3), appendPublish(nil, V5, &full, 1, true, 9)[2:], true)
	f.Add(byte(2), appendPublish(nil, V311, &full, 1, false, 9)[2:], false)
	f.Add(byte(0), []byte("\x00\x06++++++\x00"), true)
	f.Add(byte(0), []byte("\x00\x01a\x05\x0b\x01\x0b\xac\x02x"), true)
	f.Add(byte(0), []byte("\x00\x01a\xff\xff\xff\xff\x7f"), true)
	f.Fuzz(func(t *testing.T, flags byte, body []byte, five bool) {
		v := V311
		if five {
			v = V5
		}
		var m Message
		id, err := (&decoder{version: v}).decodePublish(flags&0xF, bytes.Clone(body), &m)
		if err != nil {
			return
		}
		if err := CheckTopic(m.Topic); err != nil || m.QoS > 2 || m.QoS > 0 && id == 0 {
			t.Fatalf("let through: %+v, identifier %d, %v", m, id, err)
		}
		if five && len(body) < 1<<20 {
			packet := append([]byte{0x30 | flags&0xF}, lengthOf(len(body))...)
			sameAsLibrary(t, append(packet, body...), &m)
		}
		if checkProperties(m.Properties) != nil {
			return // A broker may pass on what we would not send.
		}
		again := appendPublish(nil, v, &m, m.QoS, m.Retain, id)
		var back Message
		dup := again[0]&0xF | flags&8
		if _, err := (&decoder{version: v}).decodePublish(dup, bodyOf(t, again), &back); err != nil {
			t.Fatalf("what we lay out we cannot read: %v", err)
		}
		back.Subscriptions = m.Subscriptions // They are the broker's and do not go out.
		if diff := cmp.Diff(m, back, cmp.Comparer(bytes.Equal)); diff != "" {
			t.Fatalf("want -, got +:\n%s", diff)
		}
	})
}

func lengthOf(n int) []byte {
	var b []byte
	for {
		d := byte(n & 0x7F)
		if n >>= 7; n == 0 {
			return append(b, d)
		}
		b = append(b, d|0x80)
	}
}

func TestErrorsTellWhatHappened(t *testing.T) {
	for want, err := range map[string]error{
		"CONNACK code 5 (0x05)":                      &RefusedError{Reason{Packet: Connack, Code: 5}},
		"PUBACK code 151 (0x97): quota":              &RefusedError{Reason{Packet: Puback, Code: 0x97, Text: "quota"}},
		"a message of 9 bytes is more than the 8":    &TooLargeError{9, 8},
		`topic "a/#" holds a wildcard, which only`:   CheckTopic("a/#"),
		`filter "a#": a wildcard must be a whole`:    CheckFilter("a#"),
		"the broker does not answer: nothing came":   errors.Join(ErrSilent, nil),
		"the broker closed the connection before it": ErrClosedEarly,
	} {
		if want, _, _ := strings.Cut(want, ": nothing"); !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q, want %q", err, want)
		}
	}
}
