package wire

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
)

// script is a connection that brings the given bytes and then ends.
type script struct {
	net.Conn
	r io.Reader
}

func (s script) Read(p []byte) (int, error)      { return s.r.Read(p) }
func (s script) Write(p []byte) (int, error)     { return len(p), nil }
func (s script) Close() error                    { return nil }
func (s script) SetReadDeadline(time.Time) error { return nil }

// FuzzIncoming reads whatever a broker may send, in both versions and through the library's own reader: it must neither
// panic nor take more memory than came in, nor let through what is longer than allowed.
func FuzzIncoming(f *testing.F) {
	greeting := "\x20\x02\x00\x00"
	for _, seed := range []string{
		"", greeting, "\x20\x03\x00\x00\x00", "\x20\xff\xff\xff\xff\x0f", "\x30\xff\xff\xff\x7f", "\x20\x02\x00\x06",
		greeting + "\x32\x06\x00\x01a\x00\x09x", greeting + "\x90\x03\x00\x01\x80", greeting + "\x40\x02\x00\x01",
		"\x20\x03\x00\x00\x00\xe0\x00", "\x20\x03\x00\x00\x00\xe0\x06\x97\x04\x1f\x00\x01x", "\x20\x06\x00\x00\x03\x21\x00\x09",
		"\x20\x03\x00\x00\x00\x50\x08\x00\x07\x97\x04\x1f\x00\x01x", greeting + "\x62\x02\x00\x01\xd0\x00",
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	const most = 1 << 16
	f.Fuzz(func(t *testing.T, data []byte, v311 bool) {
		c := New(script{r: bytes.NewReader(data)}, Options{
			V311: v311, MaxPacket: most,
			OnPublish: func(_ byte, body []byte) error {
				if len(body) > min(most, len(data)) {
					t.Errorf("a body of %d bytes out of %d", len(body), len(data))
				}
				return nil
			},
		})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for {
			if _, err := packets.ReadPacket(c); err != nil {
				break
			}
		}
		runtime.ReadMemStats(&after)
		// The fuzzing itself allocates beside us, but nothing near what a hostile length announces.
		if spent := after.TotalAlloc - before.TotalAlloc; spent > 8<<20+200*uint64(len(data)) {
			t.Errorf("%d bytes of memory for %d bytes of input", spent, len(data))
		}
		_ = c.Close()
		<-c.Flushed()
	})
}

// FuzzOutgoing translates packets that the library could have written, and some that it could not: what comes out is
// never longer, and always one whole packet.
func FuzzOutgoing(f *testing.F) {
	for _, packet := range []io.WriterTo{
		&packets.Publish{Topic: "a", QoS: 1, PacketID: 1, Properties: &packets.Properties{ContentType: "t"}},
		&packets.Subscribe{PacketID: 7, Properties: &packets.Properties{}, Subscriptions: []packets.SubOptions{{Topic: "a"}}},
		&packets.Unsubscribe{PacketID: 7, Properties: &packets.Properties{}, Topics: []string{"a"}},
		&packets.Connect{ProtocolName: "MQTT", ProtocolVersion: 5, ClientID: "c", Properties: &packets.Properties{}},
		&packets.Disconnect{Properties: &packets.Properties{}},
	} {
		var b bytes.Buffer
		if _, err := packet.WriteTo(&b); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes()[0], b.Bytes()[2:])
	}
	f.Fuzz(func(t *testing.T, first byte, body []byte) {
		if len(body) >= 1<<21 {
			return
		}
		packet := append(appendLength([]byte{first}, len(body)), body...)
		whole := func(name string, p []byte) {
			length, used := binary.Uvarint(p[1:])
			if used <= 0 || int(length) != len(p)-1-used || p[0] != first {
				t.Errorf("%s: % x became % x", name, packet, p)
			}
		}
		whole("with a will", withWill(bytes.Clone(packet), []byte("properties")))
		old := translate(bytes.Clone(packet))
		whole("translated", old)
		if len(old) > len(packet) {
			t.Errorf("% x grew to % x", packet, old)
		}
	})
}
