package hivemqcloudtest

import (
	"net"
	"sync"
	"time"
)

// window is a connection that counts the messages a client has sent and not yet seen confirmed.
//
// The broker below answers each message before it reads the next one, and so would never see two unconfirmed. HiveMQ
// stores a message first. Here a PUBACK waits until everything that had arrived is read, or as long as ack_delay says.
type window struct {
	net.Conn
	delay time.Duration
	after func(time.Duration, func())

	mu     sync.Mutex
	held   []byte
	timed  bool
	qos1   int
	qos2   map[uint16]struct{}
	broken error
}

func (s *Server) wrap(c net.Conn) net.Conn {
	return &window{Conn: c, delay: s.ackDelay, after: s.After, qos2: map[uint16]struct{}{}}
}

// began notes a message and says how many are unconfirmed with it.
func (w *window) began(id uint16, qos byte) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch qos {
	case 0:
		return 0
	case 1:
		w.qos1++
	case 2:
		w.qos2[id] = struct{}{}
	}
	return w.qos1 + len(w.qos2)
}

// ended notes the end of a QoS 2 handshake.
func (w *window) ended(id uint16) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.qos2, id)
}

// Read first lets the acknowledgements go: everything that arrived before has been taken in.
func (w *window) Read(p []byte) (int, error) {
	if w.delay == 0 {
		w.flush()
	}
	return w.Conn.Read(p)
}

const puback = 0x40

func (w *window) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return 0, w.broken
	}
	if len(p) == 0 || p[0] != puback {
		return w.Conn.Write(p)
	}
	w.held = append(w.held, p...)
	if w.delay > 0 && !w.timed {
		w.timed = true
		w.after(w.delay, w.flush)
	}
	return len(p), nil
}

func (w *window) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timed = false
	if len(w.held) == 0 {
		return
	}
	_, w.broken = w.Conn.Write(w.held)
	w.held, w.qos1 = nil, 0
}
