package wire

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"go.uber.org/goleak"

	"cloudbridge/internal/faketime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ends gives a connection and the broker's end of it.
func ends(t testing.TB, o Options) (*Conn, net.Conn) {
	t.Helper()
	if o.MaxPacket == 0 {
		o.MaxPacket = 1 << 20
	}
	if o.OnPublish == nil {
		o.OnPublish = func(byte, []byte) error { return nil }
	}
	ours, theirs := net.Pipe()
	c := New(ours, o)
	t.Cleanup(func() {
		_ = c.Close()
		_ = theirs.Close()
		<-c.Flushed()
	})
	return c, theirs
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func u16(v uint16) *uint16 { return &v }
func u32(v uint32) *uint32 { return &v }
func num(v int) *int       { return &v }

func TestOutgoingPacketsInBothVersions(t *testing.T) {
	connect := func() *packets.Connect {
		return &packets.Connect{
			ProtocolName: "MQTT", ProtocolVersion: 5, KeepAlive: 30, ClientID: "c", CleanStart: true,
			UsernameFlag: true, Username: "u", PasswordFlag: true, Password: []byte("p"),
			Properties: &packets.Properties{ReceiveMaximum: u16(9), SessionExpiryInterval: u32(5)},
		}
	}
	will := connect()
	will.WillFlag, will.WillTopic, will.WillMessage, will.WillQOS = true, "w", []byte("gone"), 1
	will.WillProperties = &packets.Properties{User: []packets.User{{Key: "k", Value: "v"}}}
	tests := map[string]struct {
		packet       io.WriterTo
		five, three1 string
	}{
		"CONNECT": {
			connect(),
			"101c 00044d515454 05 c2 001e 08 2100091100000005 000163 000175 000170",
			"1013 00044d515454 04 c2 001e 000163 000175 000170",
		},
		"CONNECT with a will": {
			will,
			"1029 00044d515454 05 ce 001e 08 2100091100000005 000163 03 aabbcc 000177 0004676f6e65 000175 000170",
			"101c 00044d515454 04 ce 001e 000163 000177 0004676f6e65 000175 000170",
		},
		"SUBSCRIBE": {
			&packets.Subscribe{
				PacketID: 7, Properties: &packets.Properties{SubscriptionIdentifier: num(300)},
				Subscriptions: []packets.SubOptions{
					{Topic: "a/+", QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 2}, {Topic: "b"},
				},
			},
			"8210 0007 03 0bac02 0003612f2b 2d 000162 00", "820c 0007 0003612f2b 01 000162 00",
		},
		"UNSUBSCRIBE": {
			&packets.Unsubscribe{PacketID: 7, Topics: []string{"a", "b"}, Properties: &packets.Properties{}},
			"a209 0007 00 000161 000162", "a208 0007 000161 000162",
		},
		"PUBLISH, QoS 0": {
			&packets.Publish{Topic: "a", Payload: []byte("x"), Properties: &packets.Properties{ContentType: "t"}},
			"3009 000161 04 03000174 78", "3004 000161 78",
		},
		"PUBLISH, QoS 1": {
			&packets.Publish{Topic: "a", PacketID: 9, QoS: 1, Payload: []byte("x"), Properties: &packets.Properties{}},
			"3207 000161 0009 00 78", "3206 000161 0009 78",
		},
		"PUBACK": {
			&packets.Puback{PacketID: 9, ReasonCode: 0x87, Properties: &packets.Properties{}}, "4004 0009 87 00", "4002 0009",
		},
		"DISCONNECT": {&packets.Disconnect{ReasonCode: 4, Properties: &packets.Properties{}}, "e002 04 00", "e000"},
		"PINGREQ":    {&packets.Pingreq{}, "c000", "c000"},
	}
	for name, test := range tests {
		for _, v311 := range []bool{false, true} {
			c, broker := ends(t, Options{V311: v311, WillProperties: unhex(t, "aabbcc")})
			if _, err := test.packet.WriteTo(c); err != nil {
				t.Fatal(err)
			}
			want := unhex(t, map[bool]string{false: test.five, true: test.three1}[v311])
			got := make([]byte, len(want))
			if _, err := io.ReadFull(broker, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, 3.1.1 %v: %v\n got %x\nwant %x", name, v311, err, got, want)
			}
			if err := c.Drain(context.Background()); err != nil {
				t.Error(err)
			}
			if c.Written() != int64(len(want)) {
				t.Errorf("%s, 3.1.1 %v: %d bytes written, want %d", name, v311, c.Written(), len(want))
			}
		}
	}
}

func TestIncomingPacketsInBothVersions(t *testing.T) {
	type in struct{ raw, want string }
	tests := map[string]struct {
		five, three1 in
		code         int
	}{
		"CONNACK":            {in{"200b 01 00 08 210009 2700000100", ""}, in{"2002 01 00", "2007 01 00 04 2900 2a00"}, 0},
		"CONNACK, refused":   {in{"2003 00 87 00", ""}, in{"2002 00 05", "2003 00 87 00"}, -1},
		"CONNACK, Adafruit":  {in{"2003 00 05 00", "2003 00 80 00"}, in{"2002 00 06", "2003 00 9f 00"}, -1},
		"CONNACK, banned":    {in{"2002 00 01", "2003 00 84 00"}, in{"2002 00 07", "2003 00 8a 00"}, -1},
		"CONNACK, made up":   {in{"2002 00 00", "2003 00 84 00"}, in{"2002 00 2a", "2003 00 80 00"}, -1},
		"SUBACK":             {in{"9005 0007 00 01 80", ""}, in{"9004 0007 01 80", "9005 0007 00 01 80"}, 0},
		"UNSUBACK":           {in{"b004 0007 00 11", ""}, in{"b002 0007", "b003 0007 00"}, 0},
		"PUBACK":             {in{"4002 0007", ""}, in{"4002 0007", ""}, 0},
		"PUBREC with reason": {in{"5008 0007 97 04 1f000178", ""}, in{"5002 0007", ""}, 0},
		"DISCONNECT":         {in{"e000", "e001 00"}, in{}, 0},
		"PINGRESP":           {in{"d000", ""}, in{"d000", ""}, 0},
	}
	for name, test := range tests {
		for v311, in := range map[bool]in{false: test.five, true: test.three1} {
			if in.raw == "" {
				continue
			}
			if in.want == "" {
				in.want = in.raw
			}
			c, broker := ends(t, Options{V311: v311})
			raw := unhex(t, in.raw)
			c.greeted = raw[0] != 0x20
			go func() { _, _ = broker.Write(raw) }()
			want := unhex(t, in.want)
			got := make([]byte, len(want))
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, 3.1.1 %v: %v\n got %x\nwant %x", name, v311, err, got, want)
				continue
			}
			if _, err := packets.ReadPacket(bytes.NewReader(got)); err != nil {
				t.Errorf("%s, 3.1.1 %v: the library cannot read it: %v", name, v311, err)
			}
			if code, _, seen := c.Connack(); seen != (raw[0] == 0x20) || seen && code != raw[3] {
				t.Errorf("%s, 3.1.1 %v: raw code %d, seen %v", name, v311, code, seen)
			}
		}
	}
}

func TestAcknowledgementsLeaveInTheOrderOfArrival(t *testing.T) {
	var held []uint16
	c, broker := ends(t, Options{OnPubrec: func(id uint16) { held = append(held, id) }})
	var out bytes.Buffer
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(&out, broker) })
	var tickets []uint64
	for i := range 300 {
		ticket, err := c.Owe(uint16(i), byte(1+i%2))
		if err != nil {
			t.Fatal(err)
		}
		tickets = append(tickets, ticket)
	}
	// From the back, each twice: all wait for the first but one, which is left out.
	for i := len(tickets) - 1; i >= 0; i-- {
		if i != 1 {
			c.Ack(tickets[i])
			c.Ack(tickets[i])
		}
	}
	if err := c.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.Written() != 4 {
		t.Errorf("%d bytes went out before the second message was acknowledged, want one PUBACK", c.Written())
	}
	c.Ack(tickets[1])
	c.Ack(tickets[1])
	if err := c.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	reading.Wait()
	var want []byte
	for i := range 300 {
		want = append(want, []byte{0x40, 0x50}[i%2], 2, byte(i>>8), byte(i))
	}
	if !bytes.Equal(out.Bytes(), want) || len(held) != 150 {
		t.Errorf("%d held; sent % x", len(held), out.Bytes())
	}
	c.Ack(tickets[0]) // After the end, and long ago.
}

func TestNoMoreMessagesThanIdentifiers(t *testing.T) {
	c, _ := ends(t, Options{})
	var err error
	n := 0
	for ; err == nil; n++ {
		_, err = c.Owe(1, 1)
	}
	if n != maxUnacknowledged+1 {
		t.Errorf("%d messages were taken on one identifier", n-1)
	}
}

func TestManyPacketsGoOutInOneWrite(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		writes := &countedConn{release: make(chan struct{})}
		c := New(writes, Options{MaxPacket: 100})
		for range 1000 {
			if _, err := c.Control(0xC0, 0); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		close(writes.release)
		if err := c.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if writes.n > 2 || writes.bytes != 2000 {
			t.Errorf("%d bytes in %d writes", writes.bytes, writes.n)
		}
		_ = c.Close()
		<-c.Flushed()
	})
}

type countedConn struct {
	net.Conn
	n, bytes int
	release  chan struct{}
}

func (c *countedConn) Write(p []byte) (int, error) {
	<-c.release
	c.n++
	c.bytes += len(p)
	return len(p), nil
}
func (c *countedConn) Close() error                    { return nil }
func (c *countedConn) SetReadDeadline(time.Time) error { return nil }

func TestNothingFollowsTheGoodbye(t *testing.T) {
	c, broker := ends(t, Options{})
	ticket, _ := c.Owe(1, 1)
	if err := c.Goodbye(0xE0, 0); err != nil {
		t.Fatal(err)
	}
	c.Ack(ticket)
	if _, err := c.Control(0xC0, 0); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a packet behind the goodbye gave %v", err)
	}
	if _, err := c.Append(func(dst []byte) []byte { return append(dst, 0xC0, 0) }); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a packet behind the goodbye gave %v", err)
	}
	if _, err := packets.NewControlPacket(packets.PINGREQ).WriteTo(c); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a packet behind the goodbye gave %v", err)
	}
	got := make([]byte, 2)
	if _, err := io.ReadFull(broker, got); err != nil || got[0] != 0xE0 {
		t.Errorf("the broker got % x, %v", got, err)
	}
	if err := c.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if c.Written() != 2 {
		t.Errorf("%d bytes went out", c.Written())
	}
}

func TestWhoHasToWaitIsToldOfTheEnd(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		c, broker := ends(t, Options{})
		big := func(dst []byte) []byte { return append(dst, make([]byte, batchLimit)...) }
		for range 2 { // One is on its way, one waits.
			if _, err := c.Append(big); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for name, wait := range map[string]func(context.Context) error{"Room": c.Room, "Drain": c.Drain} {
			if err := wait(short); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
		}
		waits := make(chan error, 2)
		go func() { waits <- c.Room(t.Context()) }()
		go func() { waits <- c.Drain(t.Context()) }()
		synctest.Wait()
		_ = broker.Close()
		for range 2 {
			if err := <-waits; !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("got %v", err)
			}
		}
	})
}
