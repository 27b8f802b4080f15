package emulator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
)

// Broker is the embedded MQTT broker below an emulator, with its record and its HTTP side. An emulator embeds it and
// adds Config: the rest of the interface Emulator is here.
type Broker struct {
	*Record
	// Server is there after Serve.
	Server *mochi.Server

	options Options
	url     string
	wsURL   string
	apiURL  string
	api     *http.Server
	serving sync.WaitGroup

	mu     sync.Mutex
	closed bool
	timers map[*time.Timer]struct{}
	after  []func() // undone at Close, last first
}

// Setup is what the broker of one platform needs.
type Setup struct {
	// Hook decides for the platform: OnConnect, OnConnectAuthenticate, OnACLCheck, OnPublish and the rest. Without a
	// hook that says yes to OnConnectAuthenticate and OnACLCheck nobody may do anything. Hooks see what the inline
	// client publishes too: leave alone what has cl.Net.Inline set.
	Hook mochi.Hook
	// Capabilities are mochi's defaults where nil.
	Capabilities *mochi.Capabilities
	// TLS, where set, makes the listeners speak TLS alone.
	TLS *tls.Config
	// WebSocket is the path at which WebSockets are taken on a listener of their own; empty takes none.
	WebSocket string
	// API answers HTTP; nil for a platform without.
	API http.Handler
	// Wrap, where set, stands between the broker and each connection.
	Wrap func(net.Conn) net.Conn
}

// largestPacket bounds what one packet may make the broker allocate, where a platform sets no bound of its own.
const largestPacket = 16 << 20

// New returns a broker that is not yet started, so that an emulator can hold it while it builds its hook.
func New(o Options) *Broker {
	return &Broker{Record: NewRecord(o), options: o, timers: map[*time.Timer]struct{}{}}
}

// Serve starts the broker and, where there is one, the HTTP side. After an error nothing runs.
func (b *Broker) Serve(s Setup) (err error) {
	defer func() {
		if err != nil {
			_ = b.Close()
		}
	}()
	caps := s.Capabilities
	if caps == nil {
		caps = mochi.NewDefaultServerCapabilities()
	}
	if caps.MaximumPacketSize == 0 {
		caps.MaximumPacketSize = largestPacket
	}
	caps.Compatibilities.NoInheritedPropertiesOnAck = true
	b.Server = mochi.New(&mochi.Options{
		Capabilities: caps,
		Logger:       slog.New(slog.DiscardHandler),
		InlineClient: true,
		// No platform shows $SYS topics, and the default of once a second is work for nobody.
		SysTopicResendInterval:  1 << 30,
		ClientNetReadBufferSize: 16 << 10,
	})
	if err := b.Server.AddHook(&guard{broker: b}, nil); err != nil {
		return err
	}
	if s.Hook != nil {
		if err := b.Server.AddHook(s.Hook, nil); err != nil {
			return err
		}
	}
	if err := b.openMQTT(s); err != nil {
		return err
	}
	if err := b.openWebSocket(s); err != nil {
		return err
	}
	if err := b.openAPI(s); err != nil {
		return err
	}
	return b.Server.Serve()
}

func (b *Broker) openMQTT(s Setup) error {
	l, err := listen(b.options.Listener, b.options.Listen)
	if err != nil {
		return fmt.Errorf("listen for MQTT: %w", err)
	}
	b.url = schemed(s.TLS, "mqtt", "mqtts") + l.Addr().String()
	return b.Server.AddListener(&door{id: "mqtt", broker: b, listener: b.secure(l, s), wrap: s.Wrap})
}

func (b *Broker) openWebSocket(s Setup) error {
	if s.WebSocket == "" || b.inMemory() && b.options.WSListener == nil {
		return nil // A socket of the machine's would stop the clock of a bubble.
	}
	l, err := listen(b.options.WSListener, b.options.ListenWS)
	if err != nil {
		return fmt.Errorf("listen for WebSockets: %w", err)
	}
	b.wsURL = schemed(s.TLS, "ws", "wss") + l.Addr().String() + s.WebSocket
	return b.Server.AddListener(&door{id: "websocket", broker: b, listener: b.secure(l, s), wrap: s.Wrap, path: s.WebSocket})
}

func (b *Broker) openAPI(s Setup) error {
	if s.API == nil {
		return nil
	}
	if b.inMemory() && b.options.HTTPListener == nil {
		return errors.New("listen for HTTP: Listener is in memory, so HTTPListener must be set too")
	}
	l, err := listen(b.options.HTTPListener, b.options.ListenHTTP)
	if err != nil {
		return fmt.Errorf("listen for HTTP: %w", err)
	}
	b.apiURL = "http://" + l.Addr().String()
	b.api = &http.Server{Handler: s.API, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	l = delayed(l, b.options.Delay)
	b.serving.Go(func() { _ = b.api.Serve(l) })
	return nil
}

// inMemory says whether the clients are on a Network.
func (b *Broker) inMemory() bool {
	_, ok := b.options.Listener.(*memoryListener)
	return ok
}

// secure puts the delay below TLS, where a network's is.
func (b *Broker) secure(l net.Listener, s Setup) net.Listener {
	l = delayed(l, b.options.Delay)
	if s.TLS != nil {
		l = tls.NewListener(l, s.TLS)
	}
	return l
}

func schemed(c *tls.Config, plain, secure string) string {
	if c == nil {
		return plain + "://"
	}
	return secure + "://"
}

// URL is where MQTT clients connect.
func (b *Broker) URL() string { return b.url }

// WebSocketURL is where MQTT clients connect over WebSockets, or empty.
func (b *Broker) WebSocketURL() string { return b.wsURL }

// APIURL is where HTTP clients connect, or empty.
func (b *Broker) APIURL() string { return b.apiURL }

// Options are those that the broker was made with.
func (b *Broker) Options() Options { return b.options }

// Publish sends a message to all who are subscribed, as the platform itself.
func (b *Broker) Publish(topic string, payload []byte, qos byte, retain bool) error {
	return b.Server.Publish(topic, payload, retain, qos)
}

// After runs f once after d, unless the broker is closed before. With d of zero it runs at once, before After returns.
func (b *Broker) After(d time.Duration, f func()) {
	if d <= 0 {
		f()
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	var t *time.Timer
	b.serving.Add(1)
	t = time.AfterFunc(d, func() {
		defer b.serving.Done()
		b.mu.Lock()
		_, due := b.timers[t]
		delete(b.timers, t)
		b.mu.Unlock()
		if due {
			f()
		}
	})
	b.timers[t] = struct{}{}
}

// AtClose runs f when the broker has closed, the last given first.
func (b *Broker) AtClose(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.after = append(b.after, f)
}

// Close ends every connection and returns when no goroutine of the broker's is left. It may be called twice.
func (b *Broker) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	for t := range b.timers {
		if t.Stop() {
			b.serving.Done()
		}
	}
	clear(b.timers)
	after := b.after
	b.mu.Unlock()

	var err error
	if b.api != nil {
		err = b.closeAPI()
	}
	if b.Server != nil {
		err = errors.Join(err, b.Server.Close())
	}
	b.serving.Wait()
	for i := len(after) - 1; i >= 0; i-- {
		after[i]()
	}
	return err
}

// closeAPI lets answers that are being written be written, for a moment.
func (b *Broker) closeAPI() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if b.api.Shutdown(ctx) == nil {
		return nil
	}
	return b.api.Close()
}
