package mqtttest

import (
	"bufio"
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

// Script says how a [Fake] behaves. The zero value is a broker that lets everybody in and confirms everything. It
// speaks both versions, as each client asks.
type Script struct {
	// Refuse is the code of the CONNACK, raw; 0 lets in. Text goes with it in MQTT 5.
	Refuse byte
	Text   string
	// Login, where set, gives the code of the CONNACK for each login, counted from 1.
	Login func(login int, c *Connect) byte
	// OldOnly answers an MQTT 5 CONNECT as a broker does that knows only 3.1.1: with code 1 in the old format.
	OldOnly bool
	// CloseEarly hangs up when the CONNECT has come, CutConnack after the first byte of the answer.
	CloseEarly, CutConnack bool
	// Delay comes before the CONNACK.
	Delay time.Duration
	// SessionPresent says so in the CONNACK, and Properties are added to it in MQTT 5.
	SessionPresent bool
	Properties     [][]byte
	// OnPacket sees each packet after the CONNECT and says whether it has dealt with it; if not, or without OnPacket,
	// the packet gets its usual answer. It runs on the goroutine that reads the connection.
	OnPacket func(c *Conn, p Packet) (handled bool)
}

// Fake is a broker that behaves as its script says. It talks over TCP after [Fake.Listen] and over pipes through
// [Fake.Dial]; with pipes alone it makes no system call, for tests with synthetic time.
type Fake struct {
	script   Script
	accepted chan *Conn
	closing  chan struct{}

	mu       sync.Mutex
	logins   int
	packets  []Packet
	conns    map[net.Conn]struct{}
	listener net.Listener
	closed   bool
	running  sync.WaitGroup
}

// NewFake makes a broker that waits for [Fake.Listen] or [Fake.Dial].
func NewFake(s Script) *Fake {
	return &Fake{script: s, accepted: make(chan *Conn, 1024), closing: make(chan struct{}), conns: map[net.Conn]struct{}{}}
}

// Listen accepts connections on a free loopback port until the end of the test, and gives the URL.
func (f *Fake) Listen(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.listener = l
	f.mu.Unlock()
	f.running.Add(1)
	go func() {
		defer f.running.Done()
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			f.serve(nc)
		}
	}()
	t.Cleanup(f.Close)
	return "mqtt://" + l.Addr().String()
}

// Dial is a pipe to the broker, for DialContext; every address is the broker's.
func (f *Fake) Dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	f.serve(ours)
	return theirs, nil
}

// Close cuts all connections and waits until the broker's goroutines are gone.
func (f *Fake) Close() {
	f.mu.Lock()
	if !f.closed {
		f.closed = true
		close(f.closing)
	}
	if f.listener != nil {
		_ = f.listener.Close()
	}
	for nc := range f.conns {
		_ = nc.Close()
	}
	f.mu.Unlock()
	f.running.Wait()
}

// Logins counts the CONNECT packets so far.
func (f *Fake) Logins() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.logins
}

// Received gives the packets so far of one kind, over all connections, in order.
func (f *Fake) Received(kind byte) []Packet {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []Packet
	for _, p := range f.packets {
		if p.Kind == kind {
			all = append(all, p)
		}
	}
	return all
}

// Accepted gives the next connection that was let in.
func (f *Fake) Accepted() *Conn { return <-f.accepted }

func (f *Fake) serve(nc net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		_ = nc.Close()
		return
	}
	f.conns[nc] = struct{}{}
	f.running.Add(1)
	go func() {
		defer f.running.Done()
		c := &Conn{fake: f, nc: nc, gone: make(chan struct{}), broken: make(chan struct{})}
		c.run()
		f.mu.Lock()
		delete(f.conns, nc)
		f.mu.Unlock()
	}()
}

func (f *Fake) note(p Packet) (logins int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.packets = append(f.packets, p)
	if p.Kind == CONNECT {
		f.logins++
	}
	return f.logins
}

// Conn is the broker's end of one connection.
type Conn struct {
	fake *Fake
	nc   net.Conn
	v5   bool
	gone chan struct{}

	mu     sync.Mutex // one packet at a time
	silent bool
	cut    bool
	broken chan struct{}
}

func (c *Conn) run() {
	defer close(c.gone)
	defer func() { _ = c.nc.Close() }()
	r := bufio.NewReader(c.nc)
	p, err := readPacket(r, func() bool { return false })
	if err != nil || p.Kind != CONNECT {
		return
	}
	c.v5 = p.Connect.Level == 5
	if !c.greet(c.fake.note(p), p.Connect) {
		return
	}
	for {
		p, err := readPacket(r, func() bool { return c.v5 })
		if err != nil {
			return
		}
		c.fake.note(p)
		if c.fake.script.OnPacket != nil && c.fake.script.OnPacket(c, p) {
			continue
		}
		if p.Kind == DISCONNECT {
			return
		}
		c.Confirm(p)
	}
}

// greet answers the CONNECT and says whether the client is in.
func (c *Conn) greet(login int, connect *Connect) bool {
	s := &c.fake.script
	if s.Delay > 0 {
		select {
		case <-time.After(s.Delay):
		case <-c.fake.closing:
		}
	}
	code := s.Refuse
	if s.Login != nil {
		code = s.Login(login, connect)
	}
	old := !c.v5
	if s.OldOnly && c.v5 {
		code, old = 1, true
	}
	present := byte(0)
	if s.SessionPresent && code == 0 {
		present = 1
	}
	answer := Frame(CONNACK<<4, []byte{present, code})
	if !old {
		properties := s.Properties
		if s.Text != "" {
			properties = append(properties[:len(properties):len(properties)], ReasonString(s.Text))
		}
		answer = Frame(CONNACK<<4, []byte{present, code}, Block(properties...))
	}
	switch {
	case s.CloseEarly:
		return false
	case s.CutConnack:
		c.Send(answer[:1])
		return false
	}
	c.Send(answer)
	if code != 0 {
		return false
	}
	c.fake.accepted <- c
	return true
}

// Confirm sends the usual answer to a packet.
func (c *Conn) Confirm(p Packet) { c.ConfirmWith(p, 0, "") }

// ConfirmWith answers a packet with a code and, in MQTT 5, a reason string. In 3.1.1 only a SUBACK has room for a code.
func (c *Conn) ConfirmWith(p Packet, code byte, text string) {
	tail := []byte(nil)
	if c.v5 && (code != 0 || text != "") {
		tail = append([]byte{code}, Block()...)
		if text != "" {
			tail = append([]byte{code}, Block(ReasonString(text))...)
		}
	}
	switch p.Kind {
	case PUBLISH:
		switch p.QoS {
		case 1:
			c.Send(Frame(PUBACK<<4, id(p.ID), tail))
		case 2:
			c.Send(Frame(PUBREC<<4, id(p.ID), tail))
		}
	case PUBREC:
		c.Send(Frame(PUBREL<<4|2, id(p.ID), tail))
	case PUBREL:
		c.Send(Frame(PUBCOMP<<4, id(p.ID), tail))
	case SUBSCRIBE:
		codes := make([]byte, len(p.Filters))
		for i := range codes {
			if codes[i] = p.Options[i] & 3; code != 0 {
				codes[i] = code
			}
		}
		c.Send(Frame(SUBACK<<4, id(p.ID), c.block(text), codes))
	case UNSUBSCRIBE:
		codes := make([]byte, len(p.Filters))
		for i := range codes {
			codes[i] = code
		}
		if !c.v5 {
			codes = nil
		}
		c.Send(Frame(UNSUBACK<<4, id(p.ID), c.block(text), codes))
	case PINGREQ:
		c.Send(Frame(PINGRESP << 4))
	}
}

func (c *Conn) block(text string) []byte {
	switch {
	case !c.v5:
		return nil
	case text == "":
		return Block()
	}
	return Block(ReasonString(text))
}

// Publish sends a message; the properties are left out in 3.1.1. With QoS 0 the identifier does not matter.
func (c *Conn) Publish(packetID uint16, qos byte, topic, payload string, properties ...[]byte) {
	c.publish(qos<<1, packetID, topic, payload, properties)
}

// Repeat sends a message once more, with the DUP flag.
func (c *Conn) Repeat(packetID uint16, qos byte, topic, payload string, properties ...[]byte) {
	c.publish(qos<<1|8, packetID, topic, payload, properties)
}

func (c *Conn) publish(flags byte, packetID uint16, topic, payload string, properties [][]byte) {
	parts := [][]byte{Text(topic)}
	if flags&6 != 0 {
		parts = append(parts, id(packetID))
	}
	if c.v5 {
		parts = append(parts, Block(properties...))
	}
	c.Send(Frame(PUBLISH<<4|flags, append(parts, []byte(payload))...))
}

// Goodbye sends a DISCONNECT, which only MQTT 5 brokers do, and hangs up.
func (c *Conn) Goodbye(code byte, text string) {
	if c.v5 {
		c.Send(Frame(DISCONNECT<<4, []byte{code}, c.block(text)))
	}
	c.Drop()
}

// Send writes bytes as they are, unless the broker has gone silent.
func (c *Conn) Send(raw []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.silent {
		return
	}
	if _, err := c.nc.Write(raw); err != nil && !c.cut {
		c.cut = true
		close(c.broken)
	}
}

// Broken is closed when a write has found the connection cut.
func (c *Conn) Broken() <-chan struct{} { return c.broken }

// Silence makes the broker take everything in and answer nothing, as a link does that is dead one way.
func (c *Conn) Silence() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = true
}

// Drop cuts the connection without a word.
func (c *Conn) Drop() { _ = c.nc.Close() }

// Gone is closed when the connection has ended.
func (c *Conn) Gone() <-chan struct{} { return c.gone }

// V5 says whether the client speaks MQTT 5.
func (c *Conn) V5() bool { return c.v5 }
