package bridge

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/platforms/generic"
)

// cutter dials, and cuts what it dialled.
type cutter struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (d *cutter) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var nd net.Dialer
	c, err := nd.DialContext(ctx, network, address)
	if err == nil {
		d.mu.Lock()
		d.conns = append(d.conns, c)
		d.mu.Unlock()
	}
	return c, err
}

func (d *cutter) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.conns {
		_ = c.Close()
	}
	d.conns = nil
}

// cutOften cuts all connections five times, and waits each time until the bridge is back.
func (d *cutter) cutOften(t *testing.T, br *Bridge) {
	t.Helper()
	for range 5 {
		n := br.Status().Local.Logins
		d.cut()
		eventually(t, "the house online again", func() bool {
			s := br.Status().Local
			return s.State == stateOnline && s.Logins > n
		})
	}
}

// barrier waits until the local broker has delivered to the bridge all that was published before.
func barrier(t *testing.T, br *Bridge, board *client, topic string) {
	t.Helper()
	n := br.Status().Local.Received
	board.publish(topic, "end")
	eventually(t, "the last message to be received", func() bool { return br.Status().Local.Received > n })
}

// TestCutsDoNotDouble cuts the connection to the local broker while nothing can be acknowledged: the broker sends
// everything again each time, and the bridge knows it.
func TestCutsDoNotDouble(t *testing.T) {
	for _, protocol := range []mqtt.Protocol{mqtt.V5, mqtt.V311} {
		t.Run(protocol.String(), func(t *testing.T) {
			a := mqtttest.Mosquitto(t)
			var d cutter
			l := newLab(t, "lab1", a.URL).cloud("far", generic.Kind, anyBroker("mqtt://"+mqtttest.FreeAddr(t), "5"))
			l.cfg.Local.Session.Protocol = protocol
			l.cfg.DialContext = d.dial
			l.up("iot/#", "far", nil)
			br, _ := l.run()
			eventually(t, "the house online", func() bool { return br.Status().Local.State == stateOnline })
			board := join(t, mqtt.Options{URL: a.URL})
			const n = 10 // Below what makes the bridge acknowledge on 3.1.1.
			for i := range n {
				board.publish("iot/x", fmt.Sprint(i))
			}
			waiting := func() int { return int(br.Status().Clouds[0].Counts.Waiting) }
			eventually(t, "all readings to wait", func() bool { return waiting() == n })
			d.cutOften(t, br)
			barrier(t, br, board, "iot/x")
			eventually(t, "the last one to wait too", func() bool { return waiting() > n })
			if got := waiting(); got != n+1 {
				t.Errorf("%d readings wait after five cuts, want %d", got, n+1)
			}
		})
	}
}

// TestRetainedOnce sees that retained readings go up once, however often the connection is lost.
func TestRetainedOnce(t *testing.T) {
	for _, protocol := range []mqtt.Protocol{mqtt.V5, mqtt.V311} {
		t.Run(protocol.String(), func(t *testing.T) {
			a, far := mqtttest.Mosquitto(t), mqtttest.Mosquitto(t)
			var d cutter
			l := newLab(t, "lab1", a.URL).cloud("far", generic.Kind, anyBroker(far.URL, "5"))
			l.cfg.Local.Session.Protocol = protocol
			l.cfg.DialContext = d.dial
			l.up("iot/#", "far", nil)
			board := join(t, mqtt.Options{URL: a.URL})
			for i := range 10 {
				board.publish(fmt.Sprintf("iot/%d", i), "x", func(m *mqtt.Message) { m.Retain = true })
			}
			phone := join(t, mqtt.Options{URL: far.URL}, "#")
			br, _ := l.run()
			online(t, br)
			phone.wait(10)
			d.cutOften(t, br)
			online(t, br)
			board.publish("iot/end", "1")
			if got := phone.wait(11); len(got) != 11 || got[10].Topic != "iot/end" {
				t.Errorf("ten retained readings came as %s", spell(got))
			}
		})
	}
}

// TestQueuedUnderOldRules changes the rules while the broker holds messages for the bridge: they still reach the rule
// that wants them, also those that their boards published with the retain flag.
func TestQueuedUnderOldRules(t *testing.T) {
	for _, retain := range []bool{false, true} {
		t.Run(fmt.Sprint("retain ", retain), func(t *testing.T) {
			a, far := mqtttest.Mosquitto(t), mqtttest.Mosquitto(t)
			dir := t.TempDir()
			no := false
			make := func(more bool) *lab {
				l := newLab(t, "lab1", a.URL).cloud("far", generic.Kind, anyBroker(far.URL, "5"))
				l.cfg.Queue.Dir = dir
				if more {
					l.up("other/#", "far", nil)
				}
				// As on clouds that plot over time, retained readings found at subscribing do not count.
				return l.up("iot/#", "far", nil, func(u *Uplink) { u.Retained = &no })
			}
			br, stop := make(false).run()
			online(t, br)
			stop()
			board := join(t, mqtt.Options{URL: a.URL})
			for i := range 5 {
				board.publish("iot/x", fmt.Sprint(i), func(m *mqtt.Message) { m.Retain = retain })
			}
			phone := join(t, mqtt.Options{URL: far.URL}, "#")
			br, _ = make(true).run()
			if got := phone.wait(5); string(got[4].Payload) != "4" {
				t.Errorf("the cloud got %s", spell(got))
			}
			_ = br
		})
	}
}

// TestLinkEndsUnderPublish drops the link while a publish waits for room: no reading is taken for refused.
func TestLinkEndsUnderPublish(t *testing.T) {
	for range 20 {
		a := mqtttest.Mosquitto(t)
		var logins atomic.Int64
		f := mqtttest.NewFake(mqtttest.Script{
			Properties: [][]byte{{0x21, 0, 10}}, // Receive Maximum 10
			Login:      func(n int, _ *mqtttest.Connect) byte { logins.Store(int64(n)); return 0 },
			OnPacket: func(_ *mqtttest.Conn, p mqtttest.Packet) bool {
				return p.Kind == mqtttest.PUBLISH && logins.Load() <= 1
			},
		})
		l := newLab(t, "lab1", a.URL).cloud("far", generic.Kind, anyBroker(f.Listen(t), "5"))
		l.up("iot/#", "far", nil)
		br, stop := l.run()
		online(t, br)
		board := join(t, mqtt.Options{URL: a.URL})
		const n = 50
		for i := range n {
			board.publish("iot/x", fmt.Sprint(i))
		}
		first := f.Accepted()
		eventually(t, "the window to be full", func() bool { return len(f.Received(mqtttest.PUBLISH)) >= 10 })
		first.Drop()
		eventually(t, "all confirmed", func() bool { return br.Status().Clouds[0].Counts.Waiting == 0 })
		s := br.Status().Clouds[0]
		stop()
		if s.Counts.Confirmed != n || s.Counts.Refused != 0 {
			t.Fatalf("counted %+v, refused %+v: want all confirmed", s.Counts, s.Rejected)
		}
	}
}

// TestMinChangeIsSafe sees that a reading that passes a deadband is acknowledged when the cloud has it, not before.
func TestMinChangeIsSafe(t *testing.T) {
	a := mqtttest.Mosquitto(t)
	make := func(url string) *lab {
		l := newLab(t, "lab1", a.URL).cloud("far", generic.Kind, anyBroker(url, "5"))
		return l.up("iot/#", "far", nil, func(u *Uplink) { u.MinChange = 0.5 })
	}
	br, stop := make("mqtt://" + mqtttest.FreeAddr(t)).run()
	eventually(t, "the house online", func() bool { return br.Status().Local.State == stateOnline })
	board := join(t, mqtt.Options{URL: a.URL})
	for i := range 5 {
		board.publish("iot/x", fmt.Sprint(i))
	}
	eventually(t, "all readings to wait", func() bool { return br.Status().Clouds[0].Counts.Waiting == 5 })
	stop()
	far := mqtttest.Mosquitto(t)
	phone := join(t, mqtt.Options{URL: far.URL}, "#")
	_, _ = make(far.URL).run()
	phone.wait(5)
}

// TestKeepLatest keeps only the newest reading of each topic while the cloud is away.
func TestKeepLatest(t *testing.T) {
	a, far := mqtttest.Mosquitto(t), mqtttest.Mosquitto(t)
	far.Stop()
	l := newLab(t, "lab1", a.URL).cloud("far", generic.Kind, anyBroker(far.URL, "5"))
	l.up("iot/#", "far", nil, func(u *Uplink) { u.Keep = "latest" })
	br, _ := l.run()
	eventually(t, "the house online", func() bool { return br.Status().Local.State == stateOnline })
	board := join(t, mqtt.Options{URL: a.URL})
	for i := range 50 {
		board.publish(fmt.Sprintf("iot/%d", i%2), fmt.Sprint(i))
	}
	eventually(t, "the older ones to be replaced", func() bool { return br.Status().Clouds[0].Counts.Replaced == 48 })
	far.Start()
	phone := join(t, mqtt.Options{URL: far.URL}, "#")
	online(t, br)
	eventually(t, "both to be confirmed", func() bool { return br.Status().Clouds[0].Counts.Confirmed == 2 })
	board.publish("iot/0", "last")
	got := phone.wait(1)
	if last := got[len(got)-1]; string(last.Payload) != "last" {
		phone.wait(len(got) + 1)
	}
	for _, m := range phone.messages() {
		if p := string(m.Payload); p != "48" && p != "49" && p != "last" {
			t.Errorf("%s = %s reached the cloud, want the newest alone", m.Topic, p)
		}
	}
}

// TestStopWithADeafBroker stops a bridge whose local broker answers pings and confirms nothing, its window full.
func TestStopWithADeafBroker(t *testing.T) {
	f := mqtttest.NewFake(mqtttest.Script{
		Properties: [][]byte{{0x21, 0, 1}},
		OnPacket:   func(_ *mqtttest.Conn, p mqtttest.Packet) bool { return p.Kind == mqtttest.PUBLISH },
	})
	far := mqtttest.Mosquitto(t)
	l := newLab(t, "lab1", f.Listen(t)).cloud("far", generic.Kind, anyBroker(far.URL, "5"))
	l.down("far", topic("cmd/{rest...}"), "cmd/{rest}")
	br, stop := l.run()
	online(t, br)
	join(t, mqtt.Options{URL: far.URL}).publish("cmd/lamp", "ON")
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(2 * stopTime):
		t.Fatal("the stop does not end")
	}
}

// TestCommandTooOldInTheWindow lets a command wait for room in the local broker's window until it is too old.
func TestCommandTooOldInTheWindow(t *testing.T) {
	release := make(chan struct{})
	f := mqtttest.NewFake(mqtttest.Script{
		Properties: [][]byte{{0x21, 0, 2}},
		OnPacket: func(c *mqtttest.Conn, p mqtttest.Packet) bool {
			if p.Kind != mqtttest.PUBLISH {
				return false
			}
			select {
			case <-release:
				return false
			default:
				go func() {
					<-release
					c.Confirm(p)
				}()
				return true
			}
		},
	})
	far := mqtttest.Mosquitto(t)
	l := newLab(t, "lab1", f.Listen(t)).cloud("far", generic.Kind, anyBroker(far.URL, "5"))
	l.down("far", topic("cmd/{rest...}"), "cmd/{rest}", func(d *Downlink) { d.MaxAge = 300 * time.Millisecond })
	br, _ := l.run()
	online(t, br)
	phone := join(t, mqtt.Options{URL: far.URL})
	for i := range 4 {
		phone.publish(fmt.Sprintf("cmd/lamp%d", i), "ON")
	}
	counts := func() Counts { return br.Status().Rules[0].Counts }
	eventually(t, "commands to be too old", func() bool { return counts().Dropped >= 2 })
	close(release)
	eventually(t, "every command to have its fate", func() bool { c := counts(); return c.Dropped+c.Confirmed == 4 })
	if c := counts(); c.Confirmed > 2 {
		t.Errorf("%d commands fired, want at most the two that were in the window: %v", c.Confirmed, c.Reasons)
	}
}

// TestRetainedCommandIsNew sees that a live command fires which its app publishes with the retain flag.
func TestRetainedCommandIsNew(t *testing.T) {
	for _, protocol := range []string{"5", "3.1.1"} {
		t.Run(protocol, func(t *testing.T) {
			a, far := mqtttest.Mosquitto(t), mqtttest.Mosquitto(t)
			l := newLab(t, "lab1", a.URL).cloud("far", generic.Kind, anyBroker(far.URL, protocol))
			l.down("far", topic("cmd/{rest...}"), "cmd/{rest}")
			lamp := join(t, mqtt.Options{URL: a.URL}, "cmd/#")
			br, _ := l.run()
			online(t, br)
			join(t, mqtt.Options{URL: far.URL}).publish("cmd/lamp", "ON", func(m *mqtt.Message) { m.Retain = true })
			lamp.wait(1)
		})
	}
}
