package thingspeaktest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cloudbridge/internal/faketime"
	"cloudbridge/platforms/emulator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is an emulator inside a bubble of false time, where 15 s pass in no time and are exactly 15 s.
type lab struct {
	t       *testing.T
	network *emulator.Network
	cloud   *Cloud
	web     *http.Client
}

// inBubble runs f with an emulator of two channels, 1001 with all fields and 1002 with the first only, and one device
// that may do all and one that may do little.
func inBubble(t *testing.T, set map[string]string, f func(*lab)) {
	t.Helper()
	faketime.Test(t, func(t *testing.T) {
		l := &lab{t: t, network: emulator.NewNetwork()}
		listen := func(address string) net.Listener {
			x, err := l.network.Listen(address)
			if err != nil {
				t.Fatal(err)
			}
			return x
		}
		var err error
		l.cloud, err = New(Options{
			Options: emulator.Options{Listener: listen("thingspeak.test:1883"), HTTPListener: listen("thingspeak.test:80"), Set: set},
			Channels: []Channel{
				{ID: 1001, Name: "weather", WriteKey: "WRITE1001", ReadKey: "READ1001"},
				{ID: 1002, Name: "lamp", WriteKey: "WRITE1002", ReadKey: "READ1002", Fields: []int{1}, Public: true},
			},
			Devices: []Device{
				{ClientID: "bridge", Username: "bridge", Password: "secret"},
				{ClientID: "board", Username: "board", Password: "secret", Publish: []int64{1001}, Subscribe: []int64{1002}},
			},
			TalkBacks: []TalkBack{{ID: 7, Key: "TALK7"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{DialContext: l.network.DialContext}
		l.web = &http.Client{Transport: transport}
		defer func() {
			transport.CloseIdleConnections()
			if err := l.cloud.Close(); err != nil {
				t.Error(err)
			}
		}()
		f(l)
	})
}

// last is the newest event of a kind.
func (l *lab) last(what string) emulator.Event {
	l.t.Helper()
	events := l.cloud.Events()
	for i := len(events) - 1; i >= 0; i-- {
		if events[i].What == what {
			return events[i]
		}
	}
	l.t.Fatalf("no %s was recorded", what)
	return emulator.Event{}
}

// do makes a request and gives status and body. A body of JSON or of a form is sent as such.
func (l *lab) do(method, path, body string, header ...string) (int, string) {
	l.t.Helper()
	req, err := http.NewRequestWithContext(l.t.Context(), method, "http://thingspeak.test"+path, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	switch {
	case strings.HasPrefix(body, "{"):
		req.Header.Set("Content-Type", "application/json")
	case body != "":
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := l.web.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return res.StatusCode, strings.TrimSpace(string(b))
}

// want makes a request and compares its answer; an empty body is not compared.
func (l *lab) want(status int, body, method, path, form string) {
	l.t.Helper()
	gotStatus, got := l.do(method, path, form)
	if gotStatus != status || (body != "" && got != body) {
		l.t.Errorf("%s %s %.200s\ngot  %d %s\nwant %d %s", method, path, form, gotStatus, got, status, body)
	}
}

// client is a bare MQTT client, so that the tests see each code and each close as it is.
type client struct {
	t testing.TB
	net.Conn
	in *bufio.Reader
}

func (l *lab) dial() *client {
	l.t.Helper()
	c, err := l.network.DialContext(l.t.Context(), "tcp", "thingspeak.test:1883")
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = c.Close() })
	return &client{t: l.t, Conn: c, in: bufio.NewReader(c)}
}

// login connects as the device that may do all.
func (l *lab) login() *client {
	l.t.Helper()
	return l.loginAs("bridge")
}

func (l *lab) loginAs(name string) *client {
	l.t.Helper()
	c := l.dial()
	if code := c.connect(connect{id: name, user: name, password: "secret"}); code != 0 {
		l.t.Fatalf("CONNACK code %d", code)
	}
	return c
}

// connect is a CONNECT packet: level 4, clean and with a keepalive of 60 s where nothing else is said.
type connect struct {
	level              byte
	kept, will         bool
	keepalive          uint16
	id, user, password string
}

func lengthOf(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }

func str(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

func (c *client) send(first byte, parts ...[]byte) {
	c.t.Helper()
	body := bytes.Join(parts, nil)
	if _, err := c.Write(bytes.Join([][]byte{{first}, lengthOf(len(body)), body}, nil)); err != nil {
		c.t.Fatal(err)
	}
}

// read takes one packet; ok is false when the connection is closed.
func (c *client) read() (first byte, body []byte, ok bool) {
	c.t.Helper()
	first, err := c.in.ReadByte()
	if err != nil {
		return 0, nil, false
	}
	n, err := binary.ReadUvarint(c.in)
	if err != nil {
		return 0, nil, false
	}
	body = make([]byte, n)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return 0, nil, false
	}
	return first, body, true
}

func (c *client) connect(o connect) byte {
	c.t.Helper()
	if o.level == 0 {
		o.level = 4
	}
	if o.keepalive == 0 {
		o.keepalive = 60
	}
	flags := byte(0xC2)
	if o.kept {
		flags &^= 2
	}
	var properties, will []byte
	if o.level == 5 {
		properties = []byte{0}
	}
	if o.will {
		flags |= 4
		will = bytes.Join([][]byte{properties, str("status/lab1"), str("offline")}, nil)
	}
	name := "MQTT"
	if o.level == 3 {
		name = "MQIsdp"
	}
	c.send(0x10, str(name), []byte{o.level, flags}, binary.BigEndian.AppendUint16(nil, o.keepalive), properties, str(o.id), will,
		str(o.user), str(o.password))
	first, body, ok := c.read()
	if !ok || first != 0x20 || len(body) < 2 {
		c.t.Fatalf("no CONNACK but %x % x %v", first, body, ok)
	}
	return body[1]
}

// publish sends at QoS 0, and waits until the broker is through with it.
func (c *client) publish(topic, payload string) {
	c.t.Helper()
	c.send(0x30, str(topic), []byte(payload))
	c.ping()
}

func (c *client) ping() {
	c.t.Helper()
	c.send(0xC0)
	if first, _, ok := c.read(); !ok || first != 0xD0 {
		c.t.Fatalf("no PINGRESP but %x %v", first, ok)
	}
}

func (c *client) subscribe(filter string, qos byte) byte {
	c.t.Helper()
	c.send(0x82, []byte{0, 9}, str(filter), []byte{qos})
	first, body, ok := c.read()
	if !ok || first != 0x90 || len(body) != 3 {
		c.t.Fatalf("no SUBACK but %x % x %v", first, body, ok)
	}
	return body[2]
}

// message takes one PUBLISH, as "topic payload".
func (c *client) message() string {
	c.t.Helper()
	first, body, ok := c.read()
	if !ok || first != 0x30 {
		return fmt.Sprintf("no PUBLISH but %x % x %v", first, body, ok)
	}
	n := binary.BigEndian.Uint16(body)
	return string(body[2:2+n]) + " " + string(body[2+n:])
}

// ended waits for the broker to close the connection, which must come within d.
func (c *client) ended(d time.Duration) bool {
	c.t.Helper()
	start := time.Now()
	_ = c.SetReadDeadline(start.Add(d))
	for {
		if _, _, ok := c.read(); !ok {
			return time.Since(start) < d
		}
	}
}
