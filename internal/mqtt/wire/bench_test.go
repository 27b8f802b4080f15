package wire

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/eclipse/paho.golang/packets"
)

// endless brings the same bytes for ever.
type endless struct {
	data []byte
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.data[e.at:])
	e.at = (e.at + n) % len(e.data)
	return n, nil
}

func BenchmarkReadPublish(b *testing.B) {
	packet := append([]byte("\x32\x7a\x00\x14sensors/temperature1\x00\x09\x00"), make([]byte, 97)...)
	n := 0
	c := New(script{r: &endless{data: packet}}, Options{MaxPacket: 1 << 20, OnPublish: func(byte, []byte) error {
		if n++; n == b.N {
			return io.EOF
		}
		return nil
	}})
	c.greeted = true
	b.SetBytes(int64(len(packet)))
	b.ReportAllocs()
	b.ResetTimer()
	if _, err := packets.ReadPacket(c); err == nil {
		b.Fatal("a message got to the library")
	}
	b.StopTimer()
	_ = c.Close()
	<-c.Flushed()
}

func BenchmarkAcknowledge(b *testing.B) {
	c := New(script{r: bytes.NewReader(nil)}, Options{MaxPacket: 1 << 20})
	b.ReportAllocs()
	for b.Loop() {
		ticket, err := c.Owe(7, 1)
		if err != nil {
			b.Fatal(err)
		}
		c.Ack(ticket)
	}
	_ = c.Close()
	<-c.Flushed()
}

func BenchmarkWriteThroughTheLibrary(b *testing.B) {
	for name, v311 := range map[string]bool{"5": false, "3.1.1": true} {
		b.Run(name, func(b *testing.B) {
			c := New(script{r: bytes.NewReader(nil)}, Options{V311: v311, MaxPacket: 1 << 20})
			p := &packets.Publish{Topic: "sensors/temperature1", QoS: 1, PacketID: 9, Payload: make([]byte, 97)}
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Room(context.Background()); err != nil {
					b.Fatal(err)
				}
				if _, err := p.WriteTo(c); err != nil {
					b.Fatal(err)
				}
			}
			_ = c.Close()
			<-c.Flushed()
		})
	}
}
