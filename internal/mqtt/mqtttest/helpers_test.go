package mqtttest_test

import (
	"context"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
)

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// dialled keeps the connections it makes, to cut them.
type dialled struct {
	mu  sync.Mutex
	all []net.Conn
}

func (d *dialled) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err == nil {
		d.mu.Lock()
		d.all = append(d.all, c)
		d.mu.Unlock()
	}
	return c, err
}

func (d *dialled) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.all {
		_ = c.Close()
	}
}

// slowPipe pauses before each write.
type slowPipe struct{ pause atomic.Int64 }

type slowConn struct {
	net.Conn
	p *slowPipe
}

func (c slowConn) Write(b []byte) (int, error) {
	<-time.After(time.Duration(c.p.pause.Load()))
	return c.Conn.Write(b)
}

type dialContext = func(context.Context, string, string) (net.Conn, error)

func (p *slowPipe) dial(over dialContext) dialContext {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := over(ctx, network, address)
		return slowConn{c, p}, err
	}
}

// faulty runs a test in each version, over TCP and over a pipe.
func faulty(t *testing.T, script mqtttest.Script, test func(t *testing.T, f *mqtttest.Fake, o mqtt.Options)) {
	t.Helper()
	both(t, func(t *testing.T, v mqtt.Protocol) {
		for _, how := range []string{"tcp", "pipe"} {
			t.Run(how, func(t *testing.T) {
				f := mqtttest.NewFake(script)
				o := mqtt.Options{URL: "mqtt://fake", Protocol: v, CleanStart: true, ClientID: "bridge"}
				if how == "tcp" {
					o.URL = f.Listen(t)
				} else {
					o.DialContext = f.Dial
					t.Cleanup(f.Close)
				}
				test(t, f, o)
			})
		}
	})
}

// ended waits for the end of a session and gives its error.
func ended(t testing.TB, s *mqtt.Session) error {
	t.Helper()
	select {
	case <-s.Done():
	case <-soon(t).Done():
		t.Fatal("the session does not end")
	}
	return s.Err()
}

// results counts what publishes came to.
type results struct {
	mu    sync.Mutex
	order []int
	errs  map[int][]error
}

func (r *results) of(i int) func(mqtt.Result) {
	return func(result mqtt.Result) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.errs == nil {
			r.errs = map[int][]error{}
		}
		r.order = append(r.order, i)
		r.errs[i] = append(r.errs[i], result.Err)
	}
}

func (r *results) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.order)
}
