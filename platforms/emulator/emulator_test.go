package emulator

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"go.uber.org/goleak"

	"cloudbridge/internal/faketime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open lets everybody in, except clients called "banned".
type open struct {
	mochi.HookBase
	server string
}

func (*open) ID() string { return "open" }
func (*open) Provides(b byte) bool {
	return b == mochi.OnConnect || b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}

func (o *open) OnConnect(cl *mochi.Client, _ packets.Packet) error {
	o.server = ServerName(cl)
	if cl.ID == "banned" {
		WriteConnack(cl, 7)
		return packets.ErrBanned
	}
	return nil
}
func (*open) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }
func (*open) OnACLCheck(*mochi.Client, string, bool) bool              { return true }

// client is a bare MQTT client, so that these tests see the bytes.
type client struct {
	t testing.TB
	net.Conn
	in *bufio.Reader
}

func dialed(t testing.TB, c net.Conn, err error) *client {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	return &client{t: t, Conn: c, in: bufio.NewReader(c)}
}

func (c *client) send(b ...byte) {
	c.t.Helper()
	if _, err := c.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) want(b ...byte) {
	c.t.Helper()
	got := make([]byte, len(b))
	n, err := io.ReadFull(c.in, got)
	if err != nil || !bytes.Equal(got, b) {
		c.t.Fatalf("read % x, %v; want % x", got[:n], err, b)
	}
}

func (c *client) wantEnd() {
	c.t.Helper()
	if b, err := c.in.ReadByte(); err == nil {
		c.t.Fatalf("read %x; want the end of the connection", b)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatal("the connection is still open")
	}
}

// connect logs in with MQTT 3.1.1, keepalive 60 s.
func (c *client) connect(id string) {
	p := append([]byte{0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, byte(len(id))}, id...)
	c.send(append([]byte{0x10, byte(len(p))}, p...)...)
}

func start(t testing.TB, o Options, s Setup) *Broker {
	t.Helper()
	b := New(o)
	if s.Hook == nil {
		s.Hook = &open{}
	}
	if err := b.Serve(s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *Broker) address() string {
	_, a, _ := strings.Cut(b.url, "://")
	return a
}

func (b *Broker) dial(t testing.TB) *client {
	c, err := net.Dial("tcp", b.address())
	return dialed(t, c, err)
}

func TestPublishAndSubscribe(t *testing.T) {
	b := start(t, Options{}, Setup{})
	c := b.dial(t)
	c.connect("a")
	c.want(0x20, 2, 0, 0)
	c.send(0x82, 6, 0, 9, 0, 1, 't', 1)
	c.want(0x90, 3, 0, 9, 1)
	// The same identifier as the broker's own first message, which stays unanswered: mochi alone would mix them up.
	if err := b.Publish("t", []byte("x"), 1, false); err != nil {
		t.Fatal(err)
	}
	c.want(0x32, 6, 0, 1, 't', 0, 1, 'x')
	c.send(0x32, 6, 0, 1, 'u', 0, 1, 'y')
	c.want(0x40, 2, 0, 1)
	c.send(0x82, 6, 0, 1, 0, 1, 'v', 0)
	c.want(0x90, 3, 0, 1, 0)
	cl, _ := b.Server.Clients.Get("a")
	if n := cl.State.Inflight.Len(); n != 1 {
		t.Errorf("%d messages wait for the client, want 1", n)
	}
}

func TestInABubble(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		n := NewNetwork()
		l, err := n.Listen("cloud.test:1883")
		if err != nil {
			t.Fatal(err)
		}
		h, err := n.Listen("cloud.test:80")
		if err != nil {
			t.Fatal(err)
		}
		api := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
		b := start(t, Options{Listener: l, HTTPListener: h, Delay: 300 * time.Millisecond}, Setup{API: api})
		if b.URL() != "mqtt://cloud.test:1883" || b.APIURL() != "http://cloud.test:80" {
			t.Errorf("URLs %s and %s", b.URL(), b.APIURL())
		}
		began := time.Now()
		conn, err := n.DialContext(t.Context(), "tcp", "cloud.test:1883")
		c := dialed(t, conn, err)
		_ = c.SetDeadline(time.Time{})
		c.connect("a")
		c.want(0x20, 2, 0, 0)
		if d := time.Since(began); d > 300*time.Millisecond {
			t.Errorf("logged in after %v", d)
		}

		web := &http.Client{Transport: &http.Transport{DialContext: n.DialContext, DisableKeepAlives: true}}
		r, err := web.Get(b.APIURL())
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(r.Body); string(body) != "hello" {
			t.Errorf("the API says %q", body)
		}
		_ = r.Body.Close()

		// Time passes by itself: nothing of the broker's holds it up, and the keepalive of 60 s runs out after 90.
		began = time.Now()
		c.wantEnd()
		if d := time.Since(began); d < 89*time.Second || d > 91*time.Second {
			t.Errorf("the silent client was dropped after %v, want 90 s", d)
		}
		ran := make(chan struct{})
		b.After(time.Hour, func() { close(ran) })
		<-ran
		b.After(time.Hour, func() { t.Error("ran after Close") })
	})
}

func TestMalformedSubscribe(t *testing.T) {
	b := start(t, Options{}, Setup{})
	changed := b.Changed()
	bad := b.dial(t)
	bad.send(0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 60, 0, 0, 1, 'm')
	if _, err := bad.in.Peek(2); err != nil {
		t.Fatal(err)
	}
	_, _ = bad.in.Discard(2 + int(must(bad.in.Peek(2))[1]))
	bad.send(0x82, 6, 0, 1, 0, 0, 1, 't') // The options byte is missing.
	bad.wantEnd()
	good := b.dial(t)
	good.connect("g")
	good.want(0x20, 2, 0, 0)
	select {
	case <-changed:
	case <-time.After(5 * time.Second):
	}
	if b.Count("packet", false) != 1 {
		t.Errorf("events %+v", b.Events())
	}
	if _, ok := b.Server.Clients.Get("m"); ok {
		t.Error("the session of the broken client is still there")
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestTakeOver(t *testing.T) {
	b := start(t, Options{}, Setup{})
	for i := range 20 {
		id := string(rune('a' + i))
		older := b.dial(t)
		older.connect(id)
		older.want(0x20, 2, 0, 0)
		newer := b.dial(t)
		newer.connect(id)
		newer.want(0x20, 2, 0, 0)
		older.wantEnd() // and no DISCONNECT before it: this is 3.1.1
		newer.send(0x82, 6, 0, 9, 0, 1, 't', 0)
		newer.want(0x90, 3, 0, 9, 0)
		if err := b.Publish("t", []byte("x"), 0, false); err != nil {
			t.Fatal(err)
		}
		newer.want(0x30, 4, 0, 1, 't', 'x')
		newer.send(0xE0, 0)
		newer.wantEnd()
	}
	if n := b.Count("takeover", false); n != 20 {
		t.Errorf("%d take-overs, want 20", n)
	}
}

func TestRawConnack(t *testing.T) {
	b := start(t, Options{}, Setup{})
	c := b.dial(t)
	c.connect("banned")
	c.want(0x20, 2, 0, 7)
	c.wantEnd()
}

func TestTLSAndServerName(t *testing.T) {
	cert, err := NewCertificate("cloud.test", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	path, err := cert.File()
	if err != nil {
		t.Fatal(err)
	}
	if on, err := os.ReadFile(path); err != nil || !bytes.Equal(on, cert.PEM) {
		t.Errorf("read %s: %v", path, err)
	}
	hook := &open{}
	b := start(t, Options{}, Setup{Hook: hook, WebSocket: "/mqtt", TLS: &tls.Config{Certificates: []tls.Certificate{cert.TLS}}})
	b.AtClose(func() {
		if err := cert.Remove(); err != nil {
			t.Error(err)
		}
	})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert.PEM)
	conn, err := tls.Dial("tcp", b.address(), &tls.Config{RootCAs: roots, ServerName: "cloud.test"})
	c := dialed(t, conn, err)
	c.connect("a")
	c.want(0x20, 2, 0, 0)
	if hook.server != "cloud.test" {
		t.Errorf("SNI %q", hook.server)
	}
	if !strings.HasPrefix(b.WebSocketURL(), "wss://127.0.0.1:") || !strings.HasSuffix(b.WebSocketURL(), "/mqtt") {
		t.Errorf("WebSocket URL %s", b.WebSocketURL())
	}
}

func TestCloseEndsSilentConnections(t *testing.T) {
	b := start(t, Options{}, Setup{WebSocket: "/mqtt"})
	c := b.dial(t) // never sends a CONNECT
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	c.wantEnd()
}

func TestNobodyListens(t *testing.T) {
	n := NewNetwork()
	if _, err := n.DialContext(t.Context(), "tcp", "cloud.test:1"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %v", err)
	}
	l, err := n.Listen("cloud.test:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Listen("cloud.test:1"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("listen twice: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.DialContext(ended, "tcp", "cloud.test:1"); !errors.Is(err, context.Canceled) {
		t.Errorf("dial with an ended context: %v", err)
	}
	c, err := n.DialContext(t.Context(), "tcp", "cloud.test:1")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a connection that was never accepted: %v", err)
	}
	if _, err := n.DialContext(t.Context(), "tcp", "cloud.test:1"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial after Close: %v", err)
	}
}

func TestRecord(t *testing.T) {
	var told int
	r := NewRecord(Options{Log: func(Event) { told++ }})
	changed := r.Changed()
	for i := range remembered + 5 {
		r.Add(Event{What: "publish", Accepted: i%2 == 0, Payload: string(rune('a' + i%26))})
	}
	<-changed
	if told != remembered+5 || len(r.Events()) != remembered {
		t.Errorf("told %d, remembered %d", told, len(r.Events()))
	}
	if got := r.Count("publish", true) + r.Count("publish", false); got != remembered+5 {
		t.Errorf("counted %d", got)
	}
	first := r.Events()[0]
	if want := string(rune('a' + 5%26)); first.Payload != want {
		t.Errorf("the oldest event is %q, want %q", first.Payload, want)
	}
}

func TestSettings(t *testing.T) {
	o := Options{Scale: 0.01, Set: map[string]string{"n": "3", "b": "true", "d": "3s", "w": "two", "s": "x y"}}
	s := o.Settings()
	if d, other := s.Duration("d", time.Hour), s.Duration("other", 15*time.Second); d != 3*time.Second || other != 150*time.Millisecond {
		t.Errorf("durations %v and %v", d, other)
	}
	if n, other := s.Int("n", 1), s.Int("m", 4); n != 3 || other != 4 {
		t.Errorf("numbers %d and %d", n, other)
	}
	if b, other := s.Bool("b", false), s.Bool("c", true); !b || !other {
		t.Errorf("bools %v and %v", b, other)
	}
	if w, other := s.Word("w", "one", "two"), s.Word("v", "one", "two"); w != "two" || other != "one" {
		t.Errorf("words %q and %q", w, other)
	}
	if err := s.Err(); err == nil || err.Error() != "no such setting: s (there is d, other, n, m, b, c, w, v)" {
		t.Errorf("error %v", err)
	}
	if text, other := s.Text("s", ""), s.Text("r", "z"); text != "x y" || other != "z" || s.Err() != nil {
		t.Errorf("texts %q and %q, %v", text, other, s.Err())
	}
	bad := Options{Set: map[string]string{"n": "-1", "b": "x", "d": "-3s", "w": "six"}}.Settings()
	bad.Int("n", 0)
	bad.Bool("b", false)
	bad.Duration("d", 0)
	bad.Word("w", "one", "two")
	want := `n: "-1" is not a whole number
b: "x" is neither true nor false
d: "-3s" is not a time such as 15s
w: "six" is none of one, two`
	if err := bad.Err(); err == nil || err.Error() != want {
		t.Errorf("error\n%v\nwant\n%s", err, want)
	}
	if got, want := Table("cloud.x", "url", `a"b`), "[cloud.x]\nurl = \"a\\\"b\"\n"; got != want {
		t.Errorf("table %q, want %q", got, want)
	}
}
