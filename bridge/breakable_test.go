package bridge

import (
	"context"
	"net"
	"strings"
	"sync"
	"syscall"
)

// breakable is a way to the clouds that can be away; the house is always there.
type breakable struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu    sync.Mutex
	away  bool
	conns []net.Conn
}

func (l *breakable) dialContext(ctx context.Context, network, address string) (net.Conn, error) {
	l.mu.Lock()
	away := l.away
	l.mu.Unlock()
	local := strings.HasPrefix(address, "house:")
	if away && !local {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ENETUNREACH}
	}
	c, err := l.dial(ctx, network, address)
	if err == nil && !local {
		l.mu.Lock()
		l.conns = append(l.conns, c)
		l.mu.Unlock()
	}
	return c, err
}

// set breaks the way, and what goes over it, or mends it.
func (l *breakable) set(away bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = away
	if away {
		for _, c := range l.conns {
			_ = c.Close()
		}
		l.conns = nil
	}
}
