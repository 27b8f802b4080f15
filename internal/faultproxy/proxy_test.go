package faultproxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon is how long a test waits for what must happen, and quiet how long for what must not.
const (
	soon  = 10 * time.Second
	quiet = 80 * time.Millisecond
)

// echo is a target that sends back what it gets, and keeps its ends of the connections for the test.
type echo struct {
	l     net.Listener
	conns chan *net.TCPConn
	heard sync.Map // *net.TCPConn -> error with which reading ended
	wg    sync.WaitGroup
}

func newEcho(t *testing.T, answer bool) *echo {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{l: l, conns: make(chan *net.TCPConn, 100)}
	e.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			tcp := c.(*net.TCPConn)
			e.conns <- tcp
			if answer {
				e.wg.Go(func() {
					_, err := io.Copy(tcp, tcp)
					e.heard.Store(tcp, err)
					_ = tcp.Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		e.wg.Wait()
		close(e.conns)
		for c := range e.conns {
			_ = c.Close()
		}
	})
	return e
}

// start is a proxy before a target.
func start(t *testing.T, answer bool) (*Proxy, *echo) {
	t.Helper()
	e := newEcho(t, answer)
	p, err := Listen(e.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p, e
}

func dial(t *testing.T, p *Proxy) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", p.Addr(), soon)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	_ = c.SetWriteDeadline(time.Now().Add(soon))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatalf("write %q: %v", text, err)
	}
}

func hear(t *testing.T, c net.Conn, want string) {
	t.Helper()
	buf := make([]byte, len(want))
	_ = c.SetReadDeadline(time.Now().Add(soon))
	if n, err := io.ReadFull(c, buf); err != nil || string(buf) != want {
		t.Fatalf("heard %q, %v, want %q", buf[:n], err, want)
	}
}

// silent holds that nothing comes, not even an end.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(quiet))
	if n, err := c.Read(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("heard %d bytes and %v through a hole", n, err)
	}
}

// ends gives the error with which reading ends.
func ends(t *testing.T, c net.Conn) error {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(soon))
	_, err := io.Copy(io.Discard, c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection does not end")
	}
	return err
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(soon); !ok(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestPassesAndCounts(t *testing.T) {
	p, _ := start(t, true)
	c := dial(t, p)
	say(t, c, "temperature=27")
	hear(t, c, "temperature=27")
	if s := p.Stats(); s != (Stats{Accepted: 1, Open: 1, Up: 14, Down: 14}) {
		t.Errorf("the counters are %+v", s)
	}
	// A half-closed connection still carries what comes back.
	say(t, c, "bye")
	_ = c.CloseWrite()
	hear(t, c, "bye")
	if err := ends(t, c); err != nil {
		t.Errorf("a proper end came as %v", err)
	}
	eventually(t, "the connection to be forgotten", func() bool { return p.Stats().Open == 0 })
}

// TestLargeTransfer sends more than any buffer holds, both ways at once, and half-closes at the end.
func TestLargeTransfer(t *testing.T) {
	p, _ := start(t, true)
	c := dial(t, p)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
	_ = c.SetDeadline(time.Now().Add(soon))
	go func() {
		_, _ = c.Write(sent)
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes came back, %v", len(got), len(sent), err)
	}
}

func TestCut(t *testing.T) {
	p, e := start(t, true)
	a, b := dial(t, p), dial(t, p)
	for _, c := range []net.Conn{a, b} {
		say(t, c, "x")
		hear(t, c, "x")
	}
	p.Cut()
	for _, c := range []net.Conn{a, b} {
		if err := ends(t, c); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client saw %v, want a reset", err)
		}
	}
	for range 2 {
		c := <-e.conns
		eventually(t, "the target to see it", func() bool { _, ok := e.heard.Load(c); return ok })
		if err, _ := e.heard.Load(c); !errors.Is(err.(error), syscall.ECONNRESET) {
			t.Errorf("the target saw %v, want a reset", err)
		}
	}
	c := dial(t, p)
	say(t, c, "again")
	hear(t, c, "again")
	if s := p.Stats(); s.Accepted != 3 || s.Cut != 2 || s.Open != 1 {
		t.Errorf("the counters are %+v", s)
	}
}

func TestRefuse(t *testing.T) {
	p, _ := start(t, true)
	old := dial(t, p)
	say(t, old, "a")
	hear(t, old, "a")
	p.Refuse()
	p.Refuse() // Twice does no harm.
	if _, err := net.DialTimeout("tcp", p.Addr(), soon); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection got %v, want a refusal", err)
	}
	say(t, old, "b")
	hear(t, old, "b")
	for range 2 {
		if err := p.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	c := dial(t, p)
	say(t, c, "c")
	hear(t, c, "c")
}

// TestRefuseManyTimes is what a flapping line does.
func TestRefuseManyTimes(t *testing.T) {
	p, _ := start(t, true)
	for i := range 50 {
		p.Refuse()
		p.Cut()
		if err := p.Accept(); err != nil {
			t.Fatal(err)
		}
		c := dial(t, p)
		say(t, c, fmt.Sprint(i))
		hear(t, c, fmt.Sprint(i))
	}
}

func TestDelay(t *testing.T) {
	const delay = 60 * time.Millisecond
	p, _ := start(t, true)
	c := dial(t, p)
	say(t, c, "0")
	hear(t, c, "0")
	p.Delay(delay)
	began := time.Now()
	// Many small writes are all on their way at once: latency is no limit to throughput.
	go func() {
		for range 20 {
			_, _ = io.WriteString(c, "x")
			<-time.After(5 * time.Millisecond)
		}
	}()
	hear(t, c, "x")
	if took := time.Since(began); took < 2*delay {
		t.Errorf("there and back took %v, want at least %v", took, 2*delay)
	}
	hear(t, c, "xxxxxxxxxxxxxxxxxxx")
	if took := time.Since(began); took > 10*2*delay {
		t.Errorf("20 bytes took %v: they wait for each other", took)
	}
	p.Delay(0)
	say(t, c, "end")
	hear(t, c, "end")
}

func TestLimit(t *testing.T) {
	const rate, size = 100_000, 30_000
	p, e := start(t, false)
	p.Limit(rate)
	a, b := dial(t, p), dial(t, p)
	began := time.Now()
	var wg sync.WaitGroup
	for _, c := range []net.Conn{a, b} {
		say(t, c, string(make([]byte, size)))
		wg.Go(func() {
			target := <-e.conns
			_ = target.SetReadDeadline(time.Now().Add(soon))
			if _, err := io.ReadFull(target, make([]byte, size)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	if want := 2 * size * time.Second / rate; took < want*9/10 {
		t.Errorf("%d bytes took %v, want at least %v: two connections share one line", 2*size, took, want)
	}
	t.Logf("%d bytes at %d a second took %v", 2*size, rate, took)
}

func TestHole(t *testing.T) {
	tests := map[string]struct {
		holes    []Direction
		up, down bool // what comes through nevertheless
	}{
		"both ways":        {holes: []Direction{Up, Down}},
		"up, down is open": {holes: []Direction{Up}, down: true},
		"down, up is open": {holes: []Direction{Down}, up: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, e := start(t, false)
			c := dial(t, p)
			target := <-e.conns
			t.Cleanup(func() { _ = target.Close() })
			say(t, c, "1")
			hear(t, target, "1")
			p.Hole(tt.holes...)
			say(t, c, "up")
			say(t, target, "down")
			for _, side := range []struct {
				c    net.Conn
				open bool
				text string
			}{{target, tt.up, "up"}, {c, tt.down, "down"}} {
				if side.open {
					hear(t, side.c, side.text)
				} else {
					silent(t, side.c)
				}
			}
			if err := p.Resume(); err != nil {
				t.Fatal(err)
			}
			// What was held flows on, as TCP sends again what was not confirmed.
			if !tt.up {
				hear(t, target, "up")
			}
			if !tt.down {
				hear(t, c, "down")
			}
		})
	}
}

// TestHalfOpen: an end that closes its connection in a hole is not heard of by the other.
func TestHalfOpen(t *testing.T) {
	p, e := start(t, false)
	c := dial(t, p)
	target := <-e.conns
	t.Cleanup(func() { _ = target.Close() })
	p.Hole(Up, Down)
	_ = c.SetLinger(0)
	_ = c.Close()
	silent(t, target)
	if s := p.Stats(); s.Open != 1 {
		t.Errorf("the connection is forgotten while the target believes in it: %+v", s)
	}
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := ends(t, target); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the target saw %v, want the reset that the client made", err)
	}
}

// TestHoleThenCut is a line whose far end has forgotten the connection.
func TestHoleThenCut(t *testing.T) {
	p, e := start(t, false)
	c := dial(t, p)
	target := <-e.conns
	t.Cleanup(func() { _ = target.Close() })
	p.Hole(Up)
	say(t, c, "lost")
	p.Cut()
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	_ = target.SetReadDeadline(time.Now().Add(soon))
	if n, err := target.Read(make([]byte, 10)); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the target read %d bytes and %v, want a reset alone", n, err)
	}
}

func TestDiallingIntoAHole(t *testing.T) {
	p, e := start(t, true)
	p.Hole(Down)
	given, kept := dial(t, p), dial(t, p)
	say(t, given, "hello")
	say(t, kept, "hello")
	silent(t, kept)
	if n := len(e.conns); n != 0 {
		t.Fatalf("%d connections came to the target through a hole", n)
	}
	_ = given.Close()
	eventually(t, "the one that gave up to be forgotten", func() bool { return p.Stats().Open == 1 })
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	hear(t, kept, "hello")
	if n := len(e.conns); n != 1 {
		t.Errorf("%d connections came to the target, want the one whose client had waited", n)
	}
}

func TestCutAfter(t *testing.T) {
	for _, n := range []int64{0, 1, 7, 9} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			p, e := start(t, false)
			c := dial(t, p)
			target := <-e.conns
			t.Cleanup(func() { _ = target.Close() })
			say(t, c, "before")
			hear(t, target, "before")
			p.CutAfter(Up, n)
			say(t, c, "0123456789")
			_ = target.SetReadDeadline(time.Now().Add(soon))
			got, _ := io.ReadAll(bufio.NewReader(target))
			if string(got) != "0123456789"[:n] {
				t.Errorf("%q came through, want %d bytes", got, n)
			}
			if err := ends(t, c); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client saw %v, want a reset", err)
			}
			if s := p.Stats(); s.Cut != 1 || s.Up != 6+n {
				t.Errorf("the counters are %+v", s)
			}
			// It happens once.
			again := dial(t, p)
			second := <-e.conns
			t.Cleanup(func() { _ = second.Close() })
			say(t, again, "0123456789")
			hear(t, second, "0123456789")
		})
	}
}

func TestCutAfterDown(t *testing.T) {
	p, _ := start(t, true)
	c := dial(t, p)
	p.CutAfter(Down, 3)
	say(t, c, "12345")
	hear(t, c, "123")
	_ = ends(t, c)
}

// TestTargetIsAway: a client of a target that is down is hung up on.
func TestTargetIsAway(t *testing.T) {
	p, e := start(t, true)
	_ = e.l.Close()
	// The hang-up may come so soon that dialling itself sees it.
	if c, err := net.DialTimeout("tcp", p.Addr(), soon); err == nil {
		defer func() { _ = c.Close() }()
		_ = ends(t, c)
	}
	eventually(t, "the connection to be forgotten", func() bool { s := p.Stats(); return s.Accepted == 1 && s.Open == 0 })
}

// TestCloseInEachFault: whatever goes on, Close ends all of it; TestMain holds that no goroutine stays.
func TestCloseInEachFault(t *testing.T) {
	faults := map[string]func(*Proxy){
		"none":  func(*Proxy) {},
		"hole":  func(p *Proxy) { p.Hole(Up, Down) },
		"delay": func(p *Proxy) { p.Delay(time.Hour) },
		"limit": func(p *Proxy) { p.Limit(1) },
		"refused": func(p *Proxy) {
			p.Refuse()
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			e := newEcho(t, true)
			p, err := Listen(e.l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			c := dial(t, p)
			say(t, c, "1")
			hear(t, c, "1")
			fault(p)
			say(t, c, "on its way")
			if name != "refused" {
				say(t, dial(t, p), "new")
			}
			for range 2 {
				if err := p.Close(); err != nil {
					t.Fatal(err)
				}
			}
			_ = ends(t, c)
			if err := p.Accept(); err != nil {
				t.Fatal(err)
			}
			if _, err := net.DialTimeout("tcp", p.Addr(), soon); err == nil {
				t.Error("a closed proxy takes connections")
			}
		})
	}
}
