package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// socket gives a connection over TCP, with TLS on top if secure, and the broker's end of it. writes counts the writes to
// what lies on the flow.
func socket(t testing.TB, o Options, secure bool) (c *Conn, broker net.Conn, writes *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ours, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	broker, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	o.Flow = NewFlow(ours)
	o.Abort = func() { _ = ours.Close() }
	var top net.Conn = o.Flow
	if secure {
		server := httptest.NewTLSServer(nil)
		defer server.Close()
		theirs := tls.Server(broker, server.TLS)
		config := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		config.ServerName = "example.com"
		mine := tls.Client(top, config)
		var shaken sync.WaitGroup
		shaken.Go(func() {
			if err := theirs.Handshake(); err != nil {
				t.Error(err)
			}
		})
		if err := mine.Handshake(); err != nil {
			t.Fatal(err)
		}
		shaken.Wait()
		top, broker = mine, theirs
	}
	counted := &countedWrites{Conn: top}
	if o.MaxPacket == 0 {
		o.MaxPacket = 1 << 20
	}
	c = New(counted, o)
	t.Cleanup(func() {
		_ = c.Close()
		_ = broker.Close()
		<-c.Flushed()
	})
	return c, broker, &counted.n
}

type countedWrites struct {
	net.Conn
	n atomic.Int32
}

func (c *countedWrites) Write(p []byte) (int, error) {
	c.n.Add(1)
	return c.Conn.Write(p)
}

// numbered appends a packet of size bytes that begins with a number.
func numbered(t testing.TB, c *Conn, n, size int) {
	t.Helper()
	if _, err := c.Append(func(dst []byte) []byte {
		dst = binary.BigEndian.AppendUint32(dst, uint32(n))
		return append(dst, make([]byte, size-4)...)
	}); err != nil {
		t.Fatal(err)
	}
}

// TestUncorkNeverWaits writes to a peer that does not read until the buffers of both sides are full: no call waits for it, and
// when it reads it gets all, in order.
func TestUncorkNeverWaits(t *testing.T) {
	const size, most = 1000, 1 << 20
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			var told atomic.Int64
			c, broker, _ := socket(t, Options{OnWritten: func(total int64) { told.Store(total) }}, secure)
			full := make(chan int, 1)
			go func() {
				n := 0
				for ; n < most && c.HasRoom(); n++ {
					c.Cork()
					numbered(t, c, n, size)
					c.Uncork()
				}
				full <- n
			}()
			var n int
			select {
			case n = <-full:
			case <-time.After(20 * time.Second):
				t.Fatal("a call waits for a peer that does not read")
			}
			if n == most {
				t.Fatal("the buffers are never full")
			}
			if c.Written() >= int64(n*size) {
				t.Errorf("%d bytes counted as written, of %d that were laid out", c.Written(), n*size)
			}
			packet := make([]byte, size)
			for i := range n {
				if _, err := io.ReadFull(broker, packet); err != nil {
					t.Fatal(err)
				}
				if got := int(binary.BigEndian.Uint32(packet)); got != i {
					t.Fatalf("packet %d came as number %d", got, i)
				}
			}
			if err := c.Drain(context.Background()); err != nil {
				t.Fatal(err)
			}
			if c.Written() != int64(n*size) {
				t.Errorf("%d bytes counted, want %d", c.Written(), n*size)
			}
			for deadline := time.Now().Add(5 * time.Second); told.Load() != int64(n*size); {
				if time.Now().After(deadline) {
					t.Fatalf("told of %d bytes, want %d", told.Load(), n*size)
				}
			}
		})
	}
}

// TestUncorkWritesOnce lays many packets out between Cork and Uncork: they are one write, on the goroutine that laid them out.
func TestUncorkWritesOnce(t *testing.T) {
	c, broker, writes := socket(t, Options{}, false)
	c.Cork()
	c.Cork()
	for i := range 20 {
		numbered(t, c, i, 100)
	}
	c.Uncork()
	if c.Written() != 0 || writes.Load() != 0 {
		t.Errorf("%d bytes went out though somebody still holds them back", c.Written())
	}
	c.Uncork()
	if c.Written() != 2000 || writes.Load() != 1 {
		t.Errorf("%d bytes in %d writes when Uncork returned, want 2000 in one", c.Written(), writes.Load())
	}
	if _, err := io.ReadFull(broker, make([]byte, 2000)); err != nil {
		t.Error(err)
	}
	// What is held back is bounded.
	c.Cork()
	defer c.Uncork()
	for i := range corkLimit/1000 + 1 {
		numbered(t, c, i, 1000)
	}
	if _, err := io.ReadFull(broker, make([]byte, 1000)); err != nil {
		t.Error(err)
	}
}

// TestManyCorks lets many goroutines cork, append and uncork beside each other: all arrives, each one's in order.
func TestManyCorks(t *testing.T) {
	const many, each, size = 8, 500, 64
	c, broker, _ := socket(t, Options{}, false)
	for g := range many {
		go func() {
			for i := range each {
				if i%7 == 0 {
					c.Cork()
					defer c.Uncork()
				}
				c.Cork()
				numbered(t, c, g<<16|i, size)
				c.Uncork()
				if c.Room(context.Background()) != nil {
					return
				}
			}
		}()
	}
	var next [many]int
	packet := make([]byte, size)
	for range many * each {
		if _, err := io.ReadFull(broker, packet); err != nil {
			t.Fatal(err)
		}
		n := int(binary.BigEndian.Uint32(packet))
		if g, i := n>>16, n&0xFFFF; i != next[g] {
			t.Fatalf("packet %d of goroutine %d came, want %d", i, g, next[g])
		}
		next[n>>16]++
	}
}

// TestCorkedGoodbye says goodbye, and asks whether the broker is there, while somebody holds the connection back who does not
// come to an end.
func TestCorkedGoodbye(t *testing.T) {
	c, broker, _ := socket(t, Options{}, false)
	c.Cork()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := c.Control(0xC0, 0); err != nil {
		t.Fatal(err)
	}
	if c.Press(); c.Drain(ctx) != nil {
		t.Fatal("what is pressing was held back")
	}
	if _, err := c.Control(0xD0, 0); err != nil {
		t.Fatal(err)
	}
	if c.Written() != 2 {
		t.Error("one press serves what comes after it")
	}
	if err := c.Goodbye(0xE0, 0); err != nil || c.Drain(ctx) != nil {
		t.Fatalf("the goodbye was held back: %v", err)
	}
	got := make([]byte, 6)
	if _, err := io.ReadFull(broker, got); err != nil || !bytes.Equal(got, []byte{0xC0, 0, 0xD0, 0, 0xE0, 0}) {
		t.Errorf("%x %v", got, err)
	}
	c.Uncork()
}

// TestUncorkAfterTheEnd breaks the connection while its packets are held back, and while a write has been taken over.
func TestUncorkAfterTheEnd(t *testing.T) {
	c, broker, writes := socket(t, Options{}, false)
	c.Cork()
	numbered(t, c, 1, 100)
	_ = c.Close()
	c.Uncork()
	<-c.Flushed()
	if writes.Load() != 0 {
		t.Error("something was written after the end")
	}
	_ = broker.Close()

	c, broker, _ = socket(t, Options{}, false)
	for n := 0; c.HasRoom(); n++ {
		c.Cork()
		numbered(t, c, n, 1000)
		c.Uncork()
	}
	_ = broker.Close()
	select {
	case <-c.Flushed():
	case <-time.After(10 * time.Second):
		t.Error("the end was not noticed")
	}
	if err := c.Drain(context.Background()); err == nil {
		t.Error("all counts as written")
	}
}

// late is a connection whose Read gives a CONNACK only once the connection is closed, as happens when both come at once.
type late struct {
	net.Conn
	read chan struct{}
}

func (l *late) Read(p []byte) (int, error) {
	<-l.read
	return copy(p, []byte{0x20, 3, 0, 0, 0}), nil
}

// TestNothingStirsAfterRest ends a connection while its reader is under way: what it finds then must not make anybody hold
// back what they have to send, for nobody would let it go.
func TestNothingStirsAfterRest(t *testing.T) {
	ours, theirs := net.Pipe()
	defer func() { _ = theirs.Close() }()
	came := 0
	nc := &late{Conn: ours, read: make(chan struct{})}
	c := New(nc, Options{MaxPacket: 1000, OnRead: func(bool) { came++ }})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = c.Read(make([]byte, 1))
	}()
	_ = c.Close()
	c.Rest()
	close(nc.read)
	<-done
	<-c.Flushed()
	if came != 0 {
		t.Errorf("told %d times that something came after the end", came)
	}
}

// TestAckIsFree acknowledges without garbage.
func TestAckIsFree(t *testing.T) {
	c, broker := ends(t, Options{})
	go func() { _, _ = io.Copy(io.Discard, broker) }()
	one := func() {
		c.Cork()
		for id := range uint16(50) {
			ticket, err := c.Owe(id+1, 1)
			if err != nil {
				t.Fatal(err)
			}
			c.Ack(ticket)
		}
		c.Uncork()
		if err := c.Room(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		one()
	}
	if n := testing.AllocsPerRun(200, one); n > 1 {
		t.Errorf("%v allocations for 50 acknowledgements", n)
	}
}
