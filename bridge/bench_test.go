package bridge

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/platforms/generic"
)

const (
	// benchBatch is how many messages one iteration of BenchmarkCarry carries: what is allocated once for many messages
	// shows in their sum, where an average of one would be rounded off.
	benchBatch = 1000
	// benchAhead is how many of them are on their way at once, well inside of the window of either session.
	benchAhead = 250
	// benchTopics is how many boards send.
	benchTopics = 100
)

// BenchmarkCarry is the whole way of a thousand messages: from the local broker's socket through table, lane and queue to
// the cloud's socket, and with QoS 1 the acknowledgements of both sides. The far ends are bare sockets that allocate
// nothing, so allocations are the bridge's alone.
func BenchmarkCarry(b *testing.B) {
	for _, c := range []struct {
		name       string
		qos        byte
		cloud      string
		durability string // empty is a queue in memory alone
	}{
		{"QoS0", 0, "5", ""},
		{"QoS1", 1, "5", ""},
		{"QoS1-3.1.1", 1, "3.1.1", ""},
		{"QoS1-when-behind", 1, "5", "when-behind"},
		{"QoS1-always", 1, "5", always},
	} {
		b.Run(c.name, func(b *testing.B) {
			near, far := newFarEnd(b), newFarEnd(b)
			l := newLab(b, "bench", "mqtt://"+near.address()).cloud("school", generic.Kind, anyBroker("mqtt://"+far.address(), c.cloud))
			l.cfg.Local.Session.Protocol = mqtt.V5
			if c.durability != "" {
				l.cfg.Queue.Dir, l.cfg.Queue.Durability = b.TempDir(), c.durability
			}
			l.up("iot/#", "school", topic("school/{topic}"), func(u *Uplink) { u.QoS = c.qos })
			online(b, quietly(b, l))
			load := newLoad(c.qos)
			load.carry(b, near, far) // Buffers and lanes come with the first messages.
			b.ReportAllocs()
			for b.Loop() {
				load.carry(b, near, far)
			}
			b.ReportMetric(benchBatch*float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// BenchmarkTakeIn is the middle of that way for one message with QoS 1, without any socket: rules, lane and queue, until
// the acknowledgement is free because the cloud is said to have it.
func BenchmarkTakeIn(b *testing.B) {
	for _, name := range []string{"memory", "disk"} {
		b.Run(name, func(b *testing.B) {
			l := newLab(b, "bench", "mqtt://127.0.0.1:1").cloud("school", generic.Kind, anyBroker("mqtt://127.0.0.1:1", "5"))
			if name == "disk" {
				l.cfg.Queue.Dir, l.cfg.Queue.Durability = b.TempDir(), "when-behind"
			}
			l.up("iot/#", "school", topic("school/{topic}"))
			br, err := New(l.cfg, slog.New(slog.DiscardHandler))
			l.must(err)
			var acknowledged atomic.Int64
			ring := make([]*mqtt.Inbound, 256)
			for i := range ring {
				m := mqtt.Message{Topic: "iot/class1/dev" + strconv.Itoa(i%benchTopics) + "/temp", Payload: make([]byte, 200), QoS: 1}
				ring[i] = mqtt.NewInbound(m, func() { acknowledged.Add(1) })
				ring[i].PacketID = uint16(i + 1)
			}
			br.local.main.receive(ring[0])
			q, _ := br.clouds["school"].all()[0].line()
			b.Cleanup(func() { _ = q.Close() })
			took := 1
			b.ReportAllocs()
			for b.Loop() {
				br.local.main.receive(ring[took%len(ring)])
				if took++; took%64 == 0 {
					l.must(q.Commit(uint64(took)))
				}
			}
			l.must(q.Commit(uint64(took)))
			eventually(b, "all acknowledgements", func() bool { return acknowledged.Load() == int64(took) })
		})
	}
}

// quietly runs a bridge that logs nothing.
func quietly(b *testing.B, l *lab) *Bridge {
	b.Helper()
	br, err := New(l.cfg, slog.New(slog.DiscardHandler))
	l.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- br.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Errorf("run: %v", err)
		}
	})
	return br
}

// load is what boards send, one message after the other.
type load struct {
	qos    byte
	topics [][]byte
	body   []byte
	sent   int64
	next   int
	id     uint16
	limit  *time.Timer
}

func newLoad(qos byte) *load {
	l := &load{qos: qos, limit: time.NewTimer(time.Hour)}
	for i := range benchTopics {
		name := "iot/class1/dev" + strconv.Itoa(i) + "/temp"
		l.topics = append(l.topics, append(binary.BigEndian.AppendUint16(nil, uint16(len(name))), name...))
	}
	return l
}

// carry sends a thousand messages and waits until the cloud has them and the local broker all acknowledgements.
func (l *load) carry(b *testing.B, near, far *farEnd) {
	l.limit.Reset(30 * time.Second)
	for i := 0; i < benchBatch; i += benchAhead {
		if l.qos == 0 {
			far.arrived.await(b, l.sent-benchAhead, l.limit)
		} else {
			near.acknowledged.await(b, l.sent-benchAhead, l.limit)
		}
		l.send(b, near, benchAhead)
	}
	far.arrived.await(b, l.sent, l.limit)
	if l.qos > 0 {
		near.acknowledged.await(b, l.sent, l.limit)
	}
}

// send writes messages as a broker does that knows the subscription's identifier.
func (l *load) send(b *testing.B, near *farEnd, n int) {
	near.mu.Lock()
	defer near.mu.Unlock()
	for range n {
		topic := l.topics[l.next]
		l.next = (l.next + 1) % len(l.topics)
		l.body = append(l.body[:0], topic...)
		if l.qos > 0 {
			if l.id++; l.id == 0 {
				l.id = 1
			}
			l.body = binary.BigEndian.AppendUint16(l.body, l.id)
		}
		l.body = append(l.body, near.subscription...)
		l.body = append(l.body, benchPayload[:]...)
		if err := near.frame(0x30|l.qos<<1, l.body); err != nil {
			b.Fatal(err)
		}
	}
	if err := near.w.Flush(); err != nil {
		b.Fatal(err)
	}
	l.sent += int64(n)
}

var benchPayload [200]byte

// farEnd is the least that a bridge takes for a broker: it welcomes one client, confirms all it sends, and counts.
type farEnd struct {
	l            net.Listener
	arrived      *milestone // readings, not the bridge's own state
	acknowledged *milestone

	mu           sync.Mutex // guards what is written
	w            *bufio.Writer
	subscription []byte // the properties of the client's SUBSCRIBE: the identifier, alone
}

func newFarEnd(b *testing.B) *farEnd {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	e := &farEnd{l: l, arrived: newMilestone(), acknowledged: newMilestone()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		e.w = bufio.NewWriterSize(c, 64<<10)
		e.serve(bufio.NewReaderSize(c, 64<<10))
		_ = c.Close()
	}()
	b.Cleanup(func() {
		// The bridge ended before this, and with it the connection.
		_ = l.Close()
		<-done
	})
	return e
}

func (e *farEnd) address() string { return e.l.Addr().String() }

// frame writes one packet of less than 16 KiB. mu is held.
func (e *farEnd) frame(first byte, body []byte) error {
	_ = e.w.WriteByte(first) // A bufio.Writer repeats its error.
	if len(body) > 127 {
		_ = e.w.WriteByte(byte(len(body)) | 0x80)
		_ = e.w.WriteByte(byte(len(body) >> 7))
	} else {
		_ = e.w.WriteByte(byte(len(body)))
	}
	_, err := e.w.Write(body)
	return err
}

// serve answers until the client hangs up.
func (e *farEnd) serve(r *bufio.Reader) {
	body := make([]byte, 64<<10)
	answer := make([]byte, 0, 16)
	five := false
	for {
		first, err := r.ReadByte()
		if err != nil {
			return
		}
		n, err := binary.ReadUvarint(r)
		if err != nil || n > uint64(len(body)) {
			return
		}
		if _, err := io.ReadFull(r, body[:n]); err != nil {
			return
		}
		kind, answers := byte(0), true
		switch first >> 4 {
		case 1: // CONNECT; the answer of MQTT 5 allows 1,000 messages in flight
			five = body[6] == 5
			kind, answer = 0x20, append(answer[:0], 0, 0)
			if five {
				answer = append(answer, 3, 0x21, 1000>>8, 1000&0xFF)
			}
		case 3:
			length := int(binary.BigEndian.Uint16(body))
			if string(body[2:8]) == "school" {
				e.arrived.add()
			}
			kind, answer = 0x40, append(answer[:0], body[2+length:4+length]...)
			answers = first&6 != 0
		case 4:
			e.acknowledged.add()
			answers = false
		case 8:
			kind, answer = 0x90, append(answer[:0], body[:2]...)
			if five {
				e.mu.Lock()
				e.subscription = bytes.Clone(body[2 : 3+body[2]])
				e.mu.Unlock()
				answer = append(answer, 0)
			}
			answer = append(answer, 1)
		case 12:
			kind, answer = 0xD0, answer[:0]
		default:
			answers = false
		}
		e.reply(kind, answer, answers, r.Buffered() == 0)
	}
}

// reply writes an answer, and what was answered before once no further packet is at hand.
func (e *farEnd) reply(kind byte, answer []byte, answers, last bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if answers {
		_ = e.frame(kind, answer)
	}
	if last {
		_ = e.w.Flush()
	}
}

// milestone counts, and wakes the one who waits for a number.
type milestone struct {
	n, want atomic.Int64
	reached chan struct{}
}

func newMilestone() *milestone { return &milestone{reached: make(chan struct{}, 1)} }

func (c *milestone) add() {
	if c.n.Add(1) >= c.want.Load() {
		poke(c.reached)
	}
}

func (c *milestone) await(b *testing.B, n int64, limit *time.Timer) {
	c.want.Store(n)
	for c.n.Load() < n {
		select {
		case <-c.reached:
		case <-limit.C:
			b.Fatalf("%d messages came, %d are awaited", c.n.Load(), n)
		}
	}
}
