package emulator

import (
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// silence is how long a connection may stay without a CONNECT.
const silence = 10 * time.Second

// goodbye is how long the last packet to a client may take.
const goodbye = time.Second

// door is a listener as mochi wants one. Mochi's own leave a goroutine behind for each connection that never logged in,
// open the network themselves, and let one malformed packet end the process.
type door struct {
	id       string
	broker   *Broker
	listener net.Listener
	wrap     func(net.Conn) net.Conn
	path     string // of WebSockets; empty for plain MQTT

	mu     sync.Mutex
	conns  map[*conn]struct{}
	closed bool
	open   sync.WaitGroup
	web    *http.Server
}

var _ listeners.Listener = (*door)(nil)

func (d *door) ID() string       { return d.id }
func (d *door) Address() string  { return d.listener.Addr().String() }
func (d *door) Protocol() string { return d.id }

// Init makes the web server here and not in Serve, which runs on a goroutine of its own and may come after Close.
func (d *door) Init(*slog.Logger) error {
	d.conns = map[*conn]struct{}{}
	if d.path != "" {
		d.web = &http.Server{ReadHeaderTimeout: silence, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	}
	return nil
}

func (d *door) Serve(establish listeners.EstablishFn) {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return
	}
	d.open.Add(1)
	d.mu.Unlock()
	defer d.open.Done()
	if d.web != nil {
		d.serveWeb(establish)
		return
	}
	for {
		c, err := d.listener.Accept()
		if err != nil {
			return
		}
		go d.enter(c, c, establish)
	}
}

func (d *door) serveWeb(establish listeners.EstablishFn) {
	up := websocket.Upgrader{Subprotocols: []string{"mqtt"}, CheckOrigin: func(*http.Request) bool { return true }}
	mux := http.NewServeMux()
	mux.HandleFunc(d.path, func(w http.ResponseWriter, r *http.Request) {
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return // The upgrader has answered.
		}
		d.enter(&webConn{Conn: ws.NetConn(), ws: ws}, ws.NetConn(), establish)
	})
	d.web.Handler = mux
	_ = d.web.Serve(d.listener)
}

// enter lives as long as the connection. lowest is the connection that TLS is on.
func (d *door) enter(raw, lowest net.Conn, establish listeners.EstablishFn) {
	if d.wrap != nil {
		raw = d.wrap(raw)
	}
	c := &conn{Conn: raw, lowest: lowest, done: make(chan struct{})}
	if !d.admit(c) {
		_ = raw.Close()
		return
	}
	defer d.leave(c)
	defer func() {
		if r := recover(); r != nil {
			d.crashed(c, r)
		}
	}()
	_ = c.SetDeadline(time.Now().Add(silence))
	_ = establish(d.id, c)
}

func (d *door) admit(c *conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.conns[c] = struct{}{}
	d.open.Add(1)
	return true
}

func (d *door) leave(c *conn) {
	_ = c.Close()
	d.mu.Lock()
	delete(d.conns, c)
	d.mu.Unlock()
	close(c.done)
	d.open.Done()
}

// crashed takes up a panic of mochi's decoder, which trusts lengths that a client sent (mochi-mqtt/server issue 501).
// Any other panic is a fault of ours and goes on.
func (d *door) crashed(c *conn, r any) {
	if _, ok := r.(runtime.Error); !ok || !strings.Contains(string(debug.Stack()), "/packets.(*") {
		panic(r)
	}
	e := Event{What: "packet", Why: "malformed packet: the connection is closed"}
	for _, cl := range d.broker.Server.Clients.GetAll() {
		if cl.Net.Conn == c {
			e.ClientID = cl.ID
			d.broker.forget(cl)
		}
	}
	d.broker.Add(e)
}

// Close comes from mochi's Close. Clients hear the goodbye first, then everything is closed, and waited for. The goodbyes
// are said here: mochi's own function for them takes one read lock twice, and waits for ever when a client leaves between.
func (d *door) Close(listeners.CloseFn) {
	d.mu.Lock()
	d.closed = true
	for c := range d.conns { // A client that reads nothing must not hold up the goodbyes.
		_ = c.SetWriteDeadline(time.Now().Add(goodbye))
	}
	d.mu.Unlock()
	_ = d.listener.Close()
	for _, cl := range d.broker.Server.Clients.GetAll() {
		if cl.Net.Listener == d.id && !cl.Closed() {
			_ = d.broker.Server.DisconnectClient(cl, packets.ErrServerShuttingDown)
		}
	}
	d.mu.Lock()
	for c := range d.conns {
		_ = c.Close()
	}
	d.mu.Unlock()
	if d.web != nil {
		_ = d.web.Close()
	}
	d.open.Wait()
}

// conn is a connection as the broker sees it.
type conn struct {
	net.Conn
	lowest net.Conn
	// old is set for MQTT 3, whose brokers never send a DISCONNECT.
	old  atomic.Bool
	done chan struct{}
}

// Write leaves out the DISCONNECT that mochi writes to MQTT 3 clients too: there the broker just closes.
func (c *conn) Write(p []byte) (int, error) {
	if len(p) == 2 && p[0] == 0xE0 && c.old.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// webConn is a WebSocket as a stream of bytes.
type webConn struct {
	net.Conn // for Close, deadlines and addresses
	ws       *websocket.Conn
	rest     interface{ Read([]byte) (int, error) }
}

func (w *webConn) Read(p []byte) (int, error) {
	for {
		if w.rest == nil {
			kind, r, err := w.ws.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, listeners.ErrInvalidMessage
			}
			w.rest = r
		}
		n, err := w.rest.Read(p)
		if err != nil {
			w.rest = nil // The end of one WebSocket message says nothing about the stream.
		}
		if n > 0 {
			return n, nil
		}
	}
}

func (w *webConn) Write(p []byte) (int, error) {
	if err := w.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// forget removes a client and its session.
func (b *Broker) forget(cl *mochi.Client) {
	cl.Stop(nil)
	cl.ClearInflights()
	b.Server.UnsubscribeClient(cl)
	b.Server.Clients.Delete(cl.ID)
}
