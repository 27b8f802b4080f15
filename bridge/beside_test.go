package bridge

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/platforms/generic"
)

// secondOnline waits until the session beside the main one is there.
func secondOnline(t testing.TB, br *Bridge) {
	t.Helper()
	eventually(t, "the second session", func() bool {
		list := br.local.sessions()
		return len(list) == 2 && list[1].link.status(time.Now()).State == stateOnline
	})
}

// kept says whether a broker has a session of this name; it leaves it as it was.
func kept(t testing.TB, o mqtt.Options, id string) bool {
	t.Helper()
	o.ClientID, o.Protocol, o.OnMessage = id, mqtt.V311, func(*mqtt.Inbound) {}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := mqtt.Dial(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(ctx)
	return s.Capabilities().SessionPresent
}

// TestSessionOfEarlierRules changes the rules while the bridge is away, so that one session is enough where there were two:
// what waited in the second reaches the cloud, and the broker keeps it no more.
func TestSessionOfEarlierRules(t *testing.T) {
	a, far := mqtttest.Mosquitto(t), mqtttest.Mosquitto(t)
	dir := t.TempDir()
	rules := func(filters ...string) *lab {
		l := newLab(t, "lab1", a.URL).cloud("far", generic.Kind, anyBroker(far.URL, "5"))
		l.cfg.Local.Session.Protocol = mqtt.V311
		l.cfg.Queue.Dir, l.cfg.Scale = dir, 0.1
		for _, f := range filters {
			l.up(f, "far", nil)
		}
		return l
	}
	br, stop := rules("+/b", "a/#").run()
	online(t, br)
	secondOnline(t, br)
	stop()
	board := join(t, mqtt.Options{URL: a.URL})
	const n = 100 // More than the broker sends without an answer.
	for i := range n {
		board.publish("a/x", fmt.Sprint(i))
	}
	phone := join(t, mqtt.Options{URL: far.URL}, "#")
	l := rules("a/#")
	br, stop = l.run()
	for i, m := range phone.wait(n) {
		if string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("reading %d is %s", i, m.Payload)
		}
	}
	eventually(t, "the second session to end", func() bool { return l.log.has("session lab1-0001-2 has ended: 100 readings") })
	if n := len(br.local.sessions()); n != 1 {
		t.Errorf("%d sessions are left, want the main one", n)
	}
	if kept(t, mqtt.Options{URL: a.URL}, "lab1-0001-2") {
		t.Error("the broker still keeps the second session")
	}
	board.publish("a/x", "end")
	if got := phone.wait(n + 1); len(got) != n+1 || string(got[n].Payload) != "end" {
		t.Errorf("the cloud heard %s", spell(got))
	}
	stop()
	// What has ended is not ended again: that would be a login in vain.
	l = rules("a/#")
	br, stop = l.run()
	online(t, br)
	stop()
	if l.log.has("lab1-0001-2") {
		t.Error("a session that has ended is ended again")
	}
}

// TestSecondSessionNeededAgain stops a bridge that has not emptied its second session yet, and goes back to the rules that
// need it: it serves them again.
func TestSecondSessionNeededAgain(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.broker("far:1883")
		line := &breakable{dial: b.net.DialContext}
		dir := t.TempDir()
		rules := func(filters ...string) *lab {
			l := b.lab().cloud("far", generic.Kind, anyBroker("mqtt://far:1883", "5"))
			l.cfg.DialContext = line.dialContext
			l.cfg.Local.Session.Protocol = mqtt.V311
			l.cfg.Queue.Dir = dir
			for _, f := range filters {
				l.up(f, "far", nil)
			}
			return l
		}
		br, stop := rules("+/b", "a/#").run()
		online(b.T, br)
		secondOnline(b.T, br)
		stop()
		board := b.board()
		board.publish("a/x", "1")
		line.set(true)
		l := rules("a/#")
		br, stop = l.run()
		secondOnline(b.T, br)
		stop()
		if l.log.has("has ended") {
			b.Error("a session has ended that was not known to be empty")
		}
		board.publish("a/x", "2")
		line.set(false)
		phone := join(b.T, mqtt.Options{URL: "mqtt://far:1883", DialContext: b.net.DialContext}, "#")
		br, stop = rules("+/b", "a/#").run()
		online(b.T, br)
		secondOnline(b.T, br)
		time.Sleep(time.Minute)
		board.publish("a/x", "3")
		board.publish("c/b", "4")
		time.Sleep(time.Minute)
		stop()
		count := map[string]int{}
		for _, m := range phone.messages() {
			count[string(m.Payload)]++
		}
		// The second reading came to the main session alone, under the rules of the day between.
		if want := "map[1:1 2:1 3:1 4:1]"; fmt.Sprint(count) != want {
			b.Errorf("the cloud heard %v, want %s", count, want)
		}
	})
}

// upgraded is a local broker that knows no subscription identifiers until it is upgraded. It keeps every session.
type upgraded struct {
	old, new *mqtttest.Fake
	done     atomic.Bool

	mu    sync.Mutex
	conns []net.Conn
	steps []string // what the new version saw
}

func newUpgraded() *upgraded {
	u := &upgraded{}
	u.old = mqtttest.NewFake(mqtttest.Script{Properties: [][]byte{{41, 0}}})
	u.new = mqtttest.NewFake(mqtttest.Script{SessionPresent: true, Login: u.login, OnPacket: u.packet})
	return u
}

func (u *upgraded) dial(ctx context.Context, network, address string) (net.Conn, error) {
	f := u.old
	if u.done.Load() {
		f = u.new
	}
	c, err := f.Dial(ctx, network, address)
	if err == nil {
		u.mu.Lock()
		u.conns = append(u.conns, c)
		u.mu.Unlock()
	}
	return c, err
}

// upgrade cuts all connections: the next ones are to the new version.
func (u *upgraded) upgrade() {
	u.done.Store(true)
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, c := range u.conns {
		_ = c.Close()
	}
}

func (u *upgraded) login(_ int, c *mqtttest.Connect) byte {
	step := "login " + c.ClientID
	if c.Clean() {
		step += " clean"
	}
	u.note(step)
	return 0
}

func (u *upgraded) packet(c *mqtttest.Conn, p mqtttest.Packet) bool {
	switch p.Kind {
	case mqtttest.SUBSCRIBE:
		u.note("subscribe " + strings.Join(p.Filters, " "))
	case mqtttest.UNSUBSCRIBE:
		u.note("unsubscribe " + strings.Join(p.Filters, " "))
		c.Confirm(p)
		c.Publish(7, 1, "a/x", "waited")
		return true
	case mqtttest.PUBACK:
		u.note("acknowledged")
	}
	return false
}

func (u *upgraded) note(step string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.steps = append(u.steps, step)
}

func (u *upgraded) log() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return strings.Join(u.steps, ", ")
}

// TestSessionOfAnOlderBroker upgrades the local broker while a bridge without a disk runs, so that one session is enough. The
// second is given up when the first has its filters, and ended when the cloud has what waited in it, not before.
func TestSessionOfAnOlderBroker(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.broker("far:1883")
		house := newUpgraded()
		b.Cleanup(house.old.Close)
		b.Cleanup(house.new.Close)
		line := &breakable{dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "house") {
				return house.dial(ctx, network, address)
			}
			return b.net.DialContext(ctx, network, address)
		}}
		line.set(true)
		phone := join(b.T, mqtt.Options{URL: "mqtt://far:1883", DialContext: b.net.DialContext}, "a/#")
		l := b.lab().cloud("far", generic.Kind, anyBroker("mqtt://far:1883", "5"))
		l.cfg.DialContext = line.dialContext
		l.up("+/b", "far", nil).up("a/#", "far", nil)
		br, stop := l.run()
		eventually(b.T, "the house online", func() bool { return br.Status().Local.State == stateOnline })
		secondOnline(b.T, br)
		house.upgrade()
		time.Sleep(time.Hour)
		// The two sessions come back in any order, and the second may still be served when it does.
		before := house.log()
		if !strings.Contains(before, "login lab1-0001, ") || !strings.Contains(before, "subscribe +/b, ") ||
			!strings.HasSuffix(before, "subscribe a/#, login lab1-0001-2, unsubscribe a/#") {
			b.Errorf("the broker saw %s", before)
		}
		line.set(false)
		phone.wait(1)
		time.Sleep(time.Minute)
		if got, want := house.log(), before+", acknowledged, login lab1-0001-2 clean"; got != want {
			b.Errorf("the broker saw %s\nwant %s", got, want)
		}
		stop()
	})
}
