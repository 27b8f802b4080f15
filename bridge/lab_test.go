package bridge

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// lab builds a bridge's configuration in code, for package config stands above this one.
type lab struct {
	t   testing.TB
	cfg Config
	log *lockedLog
}

func newLab(t testing.TB, name, localURL string) *lab {
	l := &lab{t: t, log: &lockedLog{}}
	l.cfg.Name = name
	l.cfg.Local.Session = mqtt.Options{URL: localURL, ClientID: name + "-0001", Protocol: mqtt.Auto}
	l.cfg.Queue.MaxSize = 64 << 20
	return l
}

// cloud adds a cloud; set fills the platform's own table.
func (l *lab) cloud(name string, kind platforms.Kind, set func(cloud any)) *lab {
	l.t.Helper()
	c := kind.NewCloud()
	set(c)
	p, err := kind.Open(c)
	if err != nil {
		l.t.Fatalf("open %s: %v", name, err)
	}
	l.cfg.Clouds = append(l.cfg.Clouds, Cloud{Name: name, Kind: &kind, Platform: p})
	return l
}

func (l *lab) find(name string) *Cloud {
	l.t.Helper()
	for i := range l.cfg.Clouds {
		if l.cfg.Clouds[i].Name == name {
			return &l.cfg.Clouds[i]
		}
	}
	l.t.Fatalf("no cloud %s", name)
	return nil
}

// up adds an uplink with QoS 1; more changes it.
func (l *lab) up(local, cloud string, set func(place any), more ...func(*Uplink)) *lab {
	l.t.Helper()
	c := l.find(cloud)
	pattern, err := mappings.ParsePattern(local, l.cfg.Name)
	l.must(err)
	scope := mappings.Scope{Bridge: l.cfg.Name, Names: pattern.Names()}
	place := c.Kind.NewPlace()
	if set != nil {
		set(place)
	}
	target, err := c.Kind.Target(c.Platform, place, scope)
	l.must(err)
	name, err := scope.Template(cloud)
	l.must(err)
	u := Uplink{Label: "up " + local, Uplink: mappings.Uplink{Local: pattern, Cloud: name, Target: target, QoS: c.Platform.Limits().DefaultQoS}}
	for _, f := range more {
		f(&u)
	}
	l.cfg.Uplinks = append(l.cfg.Uplinks, u)
	return l
}

// down adds a downlink with QoS 1 and the usual max_age; more changes it.
func (l *lab) down(cloud string, set func(place any), local string, more ...func(*Downlink)) *lab {
	l.t.Helper()
	c := l.find(cloud)
	place := c.Kind.NewPlace()
	set(place)
	source, err := c.Kind.Source(c.Platform, place, mappings.Scope{Bridge: l.cfg.Name})
	l.must(err)
	topic, err := mappings.Scope{Bridge: l.cfg.Name, Names: source.Name.Names()}.Template(local)
	l.must(err)
	d := Downlink{
		Label: "down " + local, MaxAge: 30 * time.Second, MaxHops: 1,
		Downlink: mappings.Downlink{Cloud: cloud, Source: source, Local: topic, QoS: 1},
	}
	for _, f := range more {
		f(&d)
	}
	l.cfg.Downlinks = append(l.cfg.Downlinks, d)
	return l
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// run starts the bridge; it stops with the test, or when the returned function is called.
func (l *lab) run() (*Bridge, func()) {
	l.t.Helper()
	b, err := New(l.cfg, slog.New(slog.NewTextHandler(l.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	l.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.Run(ctx); err != nil {
			l.t.Errorf("run: %v", err)
		}
	}()
	stop := sync.OnceFunc(func() {
		cancel()
		<-done
		if l.t.Failed() {
			l.t.Logf("log of %s:\n%s", l.cfg.Name, l.log)
		}
	})
	l.t.Cleanup(stop)
	return b, stop
}

// lockedLog keeps what a bridge logs.
type lockedLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lockedLog) has(text string) bool { return strings.Contains(l.String(), text) }

// client is a plain MQTT client beside the bridge: a board, a phone.
type client struct {
	t    testing.TB
	s    *mqtt.Session
	mu   sync.Mutex
	got  []mqtt.Message
	more chan struct{}
}

// join connects a client that hears the filters.
func join(t testing.TB, o mqtt.Options, filters ...string) *client {
	t.Helper()
	c := &client{t: t, more: make(chan struct{}, 1)}
	if o.Protocol == mqtt.Auto {
		o.Protocol = mqtt.V5
	}
	o.CleanStart = true
	o.OnMessage = func(in *mqtt.Inbound) {
		c.mu.Lock()
		m := in.Message
		m.Payload = bytes.Clone(m.Payload)
		c.got = append(c.got, m)
		c.mu.Unlock()
		in.Ack()
		poke(c.more)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := mqtt.Dial(ctx, o)
	if err != nil {
		t.Fatalf("join %s: %v", o.URL, err)
	}
	c.s = s
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.Close(ctx)
	})
	for _, f := range filters {
		if refused, err := s.Subscribe(ctx, mqtt.Subscription{Filter: f, QoS: 1, SendRetained: true, RetainAsPublished: true}); err != nil || refused[0] != nil {
			t.Fatalf("subscribe %s: %v %v", f, refused, err)
		}
	}
	return c
}

func (c *client) publish(topic, payload string, more ...func(*mqtt.Message)) {
	c.t.Helper()
	m := &mqtt.Message{Topic: topic, Payload: []byte(payload), QoS: 1}
	for _, f := range more {
		f(m)
	}
	done := make(chan error, 1)
	if err := c.s.Publish(context.Background(), m, func(r mqtt.Result) { done <- r.Err }); err != nil {
		c.t.Fatalf("publish %s: %v", topic, err)
	}
	if err := <-done; err != nil {
		c.t.Fatalf("publish %s: %v", topic, err)
	}
}

// messages copies out what came so far.
func (c *client) messages() []mqtt.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]mqtt.Message(nil), c.got...)
}

// wait waits until n messages have come.
func (c *client) wait(n int) []mqtt.Message {
	c.t.Helper()
	deadline := time.After(15 * time.Second)
	for {
		if got := c.messages(); len(got) >= n {
			return got
		}
		select {
		case <-c.more:
		case <-deadline:
			c.t.Fatalf("waited for %d messages, got %v", n, spell(c.messages()))
		}
	}
}

func spell(messages []mqtt.Message) string {
	var b strings.Builder
	for i, m := range messages {
		if i == 20 {
			b.WriteString("…")
			break
		}
		b.WriteString(m.Topic + "=" + string(m.Payload) + " ")
	}
	return b.String()
}

// online waits until the local broker and all clouds are connected.
func online(t testing.TB, b *Bridge) {
	t.Helper()
	eventually(t, "all links online", func() bool {
		s := b.Status()
		ok := s.Local.State == stateOnline
		for _, c := range s.Clouds {
			ok = ok && c.State == stateOnline
		}
		return ok
	})
}

// eventually polls with a deadline.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		sleep(context.Background(), 5*time.Millisecond)
	}
}
