package bridge

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/mappings"
	"cloudbridge/platforms/adafruitio"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/generic"
	"cloudbridge/platforms/generic/generictest"
	"cloudbridge/platforms/hivemqcloud"
)

// TestHeldByHiveMQ has HiveMQ hold a QoS 1 command for us in a session that somebody with our client id once made to last:
// it never fires, however the bridge was away. That the cluster does hold it another client shows, whose session is kept.
func TestHeldByHiveMQ(t *testing.T) {
	for _, protocol := range []string{"5", "3.1.1"} {
		t.Run(protocol, func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				_, table, phoneOptions := b.hive(map[string]string{"credentials": "phone p both #"})
				l := b.lab().cloud("hive", hivemqcloud.Kind, table(protocol))
				l.down("hive", topic("cmd/{rest...}"), "house/{rest}")
				line := &breakable{dial: b.net.DialContext}
				l.cfg.DialContext = line.dialContext
				valve := join(b.T, mqtt.Options{URL: "mqtt://house:1883", DialContext: b.net.DialContext}, "house/#")
				phone := join(b.T, phoneOptions)
				witness := b.keep(phoneOptions, protocol, "witness", "cmd/#")
				b.keep(phoneOptions, protocol, "lab1-0001-hive", "cmd/#")

				phone.publish("cmd/valve", "OPEN 1") // before the bridge's first start
				br, stop := l.run()
				online(b.T, br)
				time.Sleep(5 * time.Second)
				stop()
				phone.publish("cmd/valve", "OPEN 2") // after a clean stop
				time.Sleep(time.Second)
				br, stop = l.run()
				online(b.T, br)
				line.set(true)
				eventually(b.T, "the loss to be noticed", func() bool { return br.Status().Clouds[0].State != stateOnline })
				phone.publish("cmd/valve", "OPEN 3") // while the line is down
				time.Sleep(5 * time.Second)
				line.set(false)
				time.Sleep(time.Minute) // A public cloud is tried again every half minute at least.
				online(b.T, br)
				time.Sleep(10 * time.Second)
				if got := valve.messages(); len(got) != 0 {
					b.Errorf("the valve heard %s: commands that the cloud had held", spell(got))
				}
				phone.publish("cmd/valve", "CLOSE")
				time.Sleep(time.Second)
				if got := spell(valve.messages()); got != "house/valve=CLOSE " {
					b.Errorf("the valve heard %s, want the new command alone", got)
				}
				stop()
				if got := b.kept(phoneOptions, protocol, witness); got != 4 {
					b.Errorf("the cluster held %d commands for a session that it keeps, want 4", got)
				}
			})
		})
	}
}

// keep makes a session that the broker keeps, subscribed, and leaves.
func (b *bubble) keep(o mqtt.Options, protocol, clientID, filter string) string {
	b.Helper()
	o.ClientID, o.SessionExpiry, o.Protocol, o.PacketIDs = clientID, time.Hour, mqtt.V5, mqtt.NewPacketIDs()
	if protocol == "3.1.1" {
		o.Protocol = mqtt.V311
	}
	o.OnMessage = func(in *mqtt.Inbound) { in.Ack() }
	s, err := mqtt.Dial(context.Background(), o)
	if err != nil {
		b.Fatal(err)
	}
	if refused, err := s.Subscribe(context.Background(), mqtt.Subscription{Filter: filter, QoS: 1}); err != nil || refused[0] != nil {
		b.Fatalf("subscribe: %v %v", refused, err)
	}
	if err := s.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
	return clientID
}

// kept counts what the broker has held for such a session.
func (b *bubble) kept(o mqtt.Options, protocol, clientID string) int {
	b.Helper()
	var n atomic.Int64
	o.ClientID, o.SessionExpiry, o.Protocol, o.PacketIDs = clientID, time.Hour, mqtt.V5, mqtt.NewPacketIDs()
	if protocol == "3.1.1" {
		o.Protocol = mqtt.V311
	}
	o.OnMessage = func(in *mqtt.Inbound) { n.Add(1); in.Ack() }
	s, err := mqtt.Dial(context.Background(), o)
	if err != nil {
		b.Fatal(err)
	}
	time.Sleep(5 * time.Second)
	hangUp(s)
	return int(n.Load())
}

// TestLocalBrokerAwayByTopic takes the local broker away and brings commands for three topics, some early, some late, one
// that its sender lets expire: of each topic the newest fires, unless that is too old.
func TestLocalBrokerAwayByTopic(t *testing.T) {
	for _, protocol := range []string{"5", "3.1.1"} {
		t.Run(protocol, func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				b.broker("far:1883")
				second, err := generictest.Start(emulator.Options{Listener: b.listen("second:1883")})
				if err != nil {
					b.Fatal(err)
				}
				phone := join(b.T, mqtt.Options{URL: "mqtt://far:1883", DialContext: b.net.DialContext})
				l := b.lab().cloud("far", generic.Kind, anyBroker("mqtt://far:1883", protocol))
				l.cfg.Local.Session.URL = "mqtt://second:1883"
				if protocol == "3.1.1" {
					l.cfg.Local.Session.Protocol = mqtt.V311
				}
				l.down("far", topic("cmd/{rest...}"), "house/{rest}")
				l.down("far", topic("data/{rest...}"), "data/{rest}", func(d *Downlink) { d.MaxAge = 0 })
				br, stop := l.run()
				online(b.T, br)
				_ = second.Close()
				time.Sleep(time.Second)
				phone.publish("cmd/old", "1")
				phone.publish("cmd/lamp", "1")
				phone.publish("data/x", "1")
				time.Sleep(25 * time.Second)
				phone.publish("cmd/lamp", "2")
				phone.publish("cmd/valve", "1")
				phone.publish("cmd/lamp", "3")
				phone.publish("data/x", "2")
				short := func(m *mqtt.Message) { m.Properties = &mqtt.Properties{Expiry: 5 * time.Second} }
				phone.publish("cmd/short", "1", short)
				time.Sleep(10 * time.Second)
				second, err = generictest.Start(emulator.Options{Listener: b.listen("second:1883")})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = second.Close() })
				lamp := join(b.T, mqtt.Options{URL: "mqtt://second:1883", DialContext: b.net.DialContext}, "house/#", "data/#")
				online(b.T, br)
				time.Sleep(5 * time.Second)
				want := "data/x=1 house/valve=1 house/lamp=3 data/x=2 "
				if protocol == "3.1.1" {
					want += "house/short=1 " // There a message cannot say when it expires.
				}
				if got := spell(lamp.messages()); got != want {
					b.Errorf("the house heard %q, want %q", got, want)
				}
				stop()
			})
		})
	}
}

// TestInFlightTooOld loses the local line after a command has gone out and before it is confirmed, for longer than the
// command may live: it does not go out again.
func TestInFlightTooOld(t *testing.T) {
	var connected atomic.Int64
	f := mqtttest.NewFake(mqtttest.Script{
		SessionPresent: true,
		Login:          func(n int, _ *mqtttest.Connect) byte { connected.Store(int64(n)); return 0 },
		OnPacket: func(c *mqtttest.Conn, p mqtttest.Packet) bool {
			if p.Kind != mqtttest.PUBLISH || connected.Load() > 1 || !strings.Contains(string(p.Body), "house/lamp") {
				return false
			}
			go func() {
				<-time.After(500 * time.Millisecond)
				c.Drop()
			}()
			return true
		},
	})
	far := mqtttest.Mosquitto(t)
	l := newLab(t, "lab1", f.Listen(t)).cloud("far", generic.Kind, anyBroker(far.URL, "5"))
	l.down("far", topic("cmd/{rest...}"), "house/{rest}", func(d *Downlink) { d.MaxAge = 400 * time.Millisecond })
	br, _ := l.run()
	online(t, br)
	join(t, mqtt.Options{URL: far.URL}).publish("cmd/lamp", "ON")
	eventually(t, "the command to have its fate", func() bool { c := br.Status().Rules[0].Counts; return c.Dropped+c.Confirmed == 1 })
	n := 0
	for _, p := range f.Received(mqtttest.PUBLISH) {
		if strings.Contains(string(p.Body), "house/lamp") {
			n++
		}
	}
	if n != 1 {
		t.Errorf("the command went out %d times, the last time too old", n)
	}
}

// TestOtherBridgesBacklog has another bridge bring commands to the cloud that waited with it: what its sender says is older
// than max_age does not fire.
func TestOtherBridgesBacklog(t *testing.T) {
	a, far := mqtttest.Mosquitto(t), mqtttest.Mosquitto(t)
	l := newLab(t, "lab1", a.URL).cloud("far", generic.Kind, anyBroker(far.URL, "5"))
	l.down("far", topic("cmd/{rest...}"), "house/{rest}")
	l.down("far", topic("data/{rest...}"), "data/{rest}", func(d *Downlink) { d.MaxAge = 0 })
	br, _ := l.run()
	online(t, br)
	lamp, phone := join(t, mqtt.Options{URL: a.URL}, "house/#", "data/#"), join(t, mqtt.Options{URL: far.URL})
	made := func(age time.Duration) func(*mqtt.Message) {
		at := time.Now().Add(-age).UTC().Format(time.RFC3339Nano)
		return func(m *mqtt.Message) {
			m.Properties = &mqtt.Properties{User: []mqtt.UserProperty{{Key: mappings.TimeProperty, Value: at}, {Key: hopsProperty, Value: "other-0001"}}}
		}
	}
	phone.publish("cmd/a", "old", made(31*time.Second))
	phone.publish("cmd/b", "new", made(20*time.Second))
	phone.publish("cmd/c", "ahead", made(-5*time.Second)) // Its clock is a little ahead.
	phone.publish("data/d", "old", made(time.Hour))
	if got, want := spell(lamp.wait(3)), "house/b=new house/c=ahead data/d=old "; got != want {
		t.Errorf("the house heard %q, want %q", got, want)
	}
	if n := br.Status().Rules[0].Counts.Dropped; n != 1 {
		t.Errorf("%d commands were counted as dropped, want 1", n)
	}
}

// TestHistoryIsNoCommand has a feed both ways and its cloud away: what is filled in afterwards comes back as an echo, and
// is no command, whatever the rule says of history.
func TestHistoryIsNoCommand(t *testing.T) {
	yes := true
	for name, set := range map[string]func(*Uplink){
		"by default":     func(u *Uplink) {},
		"keep all":       func(u *Uplink) { u.Keep = "all" },
		"history wanted": func(u *Uplink) { u.Keep, u.History = "all", &yes },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				aio := b.adafruit(map[string]string{"feeds": "lamp"})
				line := &breakable{dial: b.net.DialContext}
				l := b.lab().cloud("home", adafruitio.Kind, withREST(aio))
				l.cfg.DialContext = line.dialContext
				l.cfg.Queue.Dir = t.TempDir()
				l.up("house/lamp", "home", feed("lamp"), func(u *Uplink) { u.Twoway = true }, set)
				l.down("home", feed("lamp"), "house/lamp", func(d *Downlink) { d.Twoway, d.MaxHops = true, 0 })
				br, stop := l.run()
				online(b.T, br)
				lamp := join(b.T, mqtt.Options{URL: "mqtt://house:1883", DialContext: b.net.DialContext}, "house/#")
				board := b.board()
				line.set(true)
				eventually(b.T, "the loss to be noticed", func() bool { return br.Status().Clouds[0].State != stateOnline })
				const n = 12
				for i := range n {
					board.publish("house/lamp", fmt.Sprint(i))
					time.Sleep(7 * time.Second)
				}
				line.set(false)
				time.Sleep(10 * time.Minute)
				if got := lamp.messages(); len(got) != n {
					b.Errorf("the lamp heard %s, want what its board said, %d values", spell(got), n)
				}
				if last, _ := aio.Last("lamp"); last != fmt.Sprint(n-1) {
					b.Errorf("the feed shows %q, want the newest value", last)
				}
				if u := (&Uplink{}); func() bool { set(u); return u.History != nil }() && len(aio.Points(aio.Username(), "lamp")) != n {
					b.Errorf("the feed has %d points, want all %d", len(aio.Points(aio.Username(), "lamp")), n)
				}
				// A person's toggle is still a command.
				if err := aio.Toggle("lamp", "0"); err != nil {
					b.Fatal(err)
				}
				time.Sleep(5 * time.Second)
				if got := lamp.messages(); len(got) != n+1 || string(got[n].Payload) != "0" {
					b.Errorf("after a toggle the lamp heard %s", spell(got))
				}
				stop()
			})
		})
	}
}

// stormRate is how many commands a second fly.
const stormRate = 1000

// TestCommandStorm sends 1,000 commands a second, while the local broker is up, while it is away, and while it takes and
// confirms nothing: what the bridge holds is bounded, and so is its memory.
func TestCommandStorm(t *testing.T) {
	seconds := 2
	if os.Getenv("CLOUDBRIDGE_FAULTS") == "full" {
		seconds = 30
	}
	for _, protocol := range []mqtt.Protocol{mqtt.V5, mqtt.V311} {
		for _, state := range []string{"up", "away", "deaf"} {
			t.Run(state+" "+protocol.String(), func(t *testing.T) {
				far := unbounded(t, wide)
				var url string
				var house *mqtttest.Broker
				if state == "deaf" {
					f := mqtttest.NewFake(mqtttest.Script{
						Properties: [][]byte{{0x21, 0, 10}},
						OnPacket: func(_ *mqtttest.Conn, p mqtttest.Packet) bool {
							return p.Kind == mqtttest.PUBLISH && strings.Contains(string(p.Body), "house/")
						},
					})
					url = f.Listen(t)
				} else {
					house = unbounded(t)
					url = house.URL
				}
				l := newLab(t, "lab1", url).cloud("far", generic.Kind, anyBroker(far.URL, "5"))
				l.cfg.Local.Session.Protocol = protocol
				l.down("far", topic("cmd/{rest...}"), "house/{rest}")
				// On 3.1.1 the echo of each command is remembered.
				l.up("house/{rest...}", "far", topic("up/{rest}"))
				br, stop := l.run()
				online(t, br)
				if state == "away" {
					house.Stop()
					eventually(t, "the house away", func() bool { return br.Status().Local.State != stateOnline })
				}
				before, after, most := storm(t, br, far.URL, seconds)
				counts := func() Counts { return br.Status().Rules[1].Counts } // the uplink is before it
				c := counts()
				t.Logf("%d s: the heap was %d kB after a third and %d kB at the end; at most %d commands waited; confirmed %d, replaced %d, dropped %d",
					seconds, before>>10, after>>10, most, c.Confirmed, c.Replaced, c.Dropped)
				if most > mostOrders+1 {
					t.Errorf("%d commands waited, want at most %d", most, mostOrders)
				}
				if after > before+(8<<20) {
					t.Errorf("the heap grew from %d to %d kB", before>>10, after>>10)
				}
				if house != nil {
					if state == "away" {
						house.Start()
					}
					online(t, br)
					eventually(t, "each command to have its fate", func() bool {
						c := counts()
						return int(c.Confirmed+c.Replaced+c.Dropped) == seconds*stormRate
					})
				}
				go stop() // It takes some seconds beside a deaf broker, and nobody's time meanwhile.
			})
		}
	}
}

// storm sends commands for 2,000 topics and looks how much the bridge holds.
func storm(t *testing.T, br *Bridge, url string, seconds int) (before, after uint64, most int) {
	t.Helper()
	phone := join(t, mqtt.Options{URL: url})
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	began, total := time.Now(), seconds*stormRate
	for i := range total {
		if i%10 == 0 {
			sleep(t.Context(), time.Until(began.Add(time.Duration(i)*time.Second/stormRate)))
			br.outbox.mu.Lock()
			most = max(most, len(br.outbox.list))
			br.outbox.mu.Unlock()
		}
		if i == total/3 {
			before = heap()
		}
		m := &mqtt.Message{Topic: fmt.Sprint("cmd/", i%2000), Payload: []byte(fmt.Sprint(i, strings.Repeat(" ", 200))), QoS: 1}
		if err := phone.s.Publish(t.Context(), m, func(mqtt.Result) {}); err != nil {
			t.Fatal(err)
		}
	}
	return before, heap(), most
}
