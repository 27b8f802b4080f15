package mqtttest_test

import (
	"context"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
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
