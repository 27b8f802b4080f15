package bridge

import (
	"context"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/generic"
	"cloudbridge/platforms/generic/generictest"
)

// twoBridges runs two bridges between the same two real brokers and returns a listener on each.
func twoBridges(t *testing.T, rules func(l *lab)) (here, there *client) {
	t.Helper()
	a, b := mqtttest.Mosquitto(t), mqtttest.Mosquitto(t)
	here, there = join(t, mqtt.Options{URL: a.URL}, "home/#"), join(t, mqtt.Options{URL: b.URL}, "home/#")
	for _, name := range []string{"one", "two"} {
		l := newLab(t, name, a.URL).cloud("far", generic.Kind, anyBroker(b.URL, "5"))
		l.cfg.Local.Session.Protocol = mqtt.V5
		rules(l)
		br, _ := l.run()
		online(t, br)
	}
	return here, there
}

// quiet waits until nobody has heard anything for a second.
func quiet(clients ...*client) {
	last, since := -1, time.Now()
	for time.Since(since) < time.Second {
		n := 0
		for _, c := range clients {
			n += len(c.messages())
		}
		if n != last {
			last, since = n, time.Now()
		}
		sleep(context.Background(), 20*time.Millisecond)
	}
}

// TestTwoBridgesTwoway publishes once between two bridges that map the same topics both ways: one message on the
// publisher's side, at most two on the other, and then silence.
func TestTwoBridgesTwoway(t *testing.T) {
	here, there := twoBridges(t, func(l *lab) {
		l.up("home/{rest...}", "far", topic("home/{rest}"), func(u *Uplink) { u.Twoway = true })
		l.down("far", topic("home/{rest...}"), "home/{rest}", func(d *Downlink) { d.Twoway, d.MaxHops = true, 0 })
	})
	here.publish("home/lamp", "ON")
	there.wait(1)
	quiet(here, there)
	if n := len(here.messages()); n != 1 {
		t.Errorf("%d messages on the publisher's side, want 1: %s", n, spell(here.messages()))
	}
	if n := len(there.messages()); n > 2 {
		t.Errorf("%d messages on the other side, want at most 2: %s", n, spell(there.messages()))
	}
}

// TestTwoBridgesUpAndDown does the same with an uplink and a downlink, whose limits on hops differ: a bounded few.
func TestTwoBridgesUpAndDown(t *testing.T) {
	here, there := twoBridges(t, func(l *lab) {
		l.up("home/{rest...}", "far", topic("home/{rest}"))
		l.down("far", topic("home/{rest...}"), "home/{rest}")
	})
	there.publish("home/lamp", "ON")
	here.wait(1)
	quiet(here, there)
	if n, m := len(here.messages()), len(there.messages()); n > 6 || m > 6 {
		t.Errorf("%d and %d messages, want a few: %s / %s", n, m, spell(here.messages()), spell(there.messages()))
	}
}

// TestCircleIsBroken lets a message run in a circle where nothing marks it: two bridges on MQTT 3.1.1. The breaker trips within
// ten seconds and says so; the circle stands still, and one message a minute later may try again.
func TestCircleIsBroken(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.broker("far:1883")
		var labs []*lab
		var stops []func()
		for _, name := range []string{"one", "two"} {
			l := b.lab()
			l.cfg.Name, l.cfg.Local.Session.ClientID = name, name+"-0001"
			l.cfg.Local.Session.Protocol = mqtt.V311
			l.cloud("far", generic.Kind, anyBroker("mqtt://far:1883", "3.1.1"))
			l.up("home/{rest...}", "far", topic("home/{rest}"))
			l.down("far", topic("home/{rest...}"), "home/{rest}")
			br, stop := l.run()
			online(b.T, br)
			labs, stops = append(labs, l), append(stops, stop)
		}
		board := join(b.T, mqtt.Options{URL: "mqtt://house:1883", DialContext: b.net.DialContext}, "home/#")
		board.publish("home/lamp", "ON")
		time.Sleep(10 * time.Second)
		tripped := 0
		for _, l := range labs {
			if l.log.has("is there a loop?") {
				tripped++
			}
		}
		if tripped == 0 {
			b.Errorf("no breaker tripped within 10 s; %d messages so far", len(board.messages()))
		}
		n := len(board.messages())
		time.Sleep(30 * time.Second)
		if m := len(board.messages()); m != n {
			b.Errorf("the circle went on after the breaker: %d messages, then %d", n, m)
		}
		for _, stop := range stops {
			stop()
		}
	})
}

// TestCommandReachesOtherClouds takes a command from one cloud into the house and on to another cloud, and not back.
func TestCommandReachesOtherClouds(t *testing.T) {
	for _, protocol := range []mqtt.Protocol{mqtt.V5, mqtt.V311} {
		t.Run(protocol.String(), func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				l := b.lab()
				l.cfg.Local.Session.Protocol = protocol
				phones := map[string]*client{}
				for _, name := range []string{"alpha", "beta"} {
					far, err := generictest.Start(emulator.Options{Listener: b.listen(name + ":1883")})
					if err != nil {
						b.Fatal(err)
					}
					b.Cleanup(func() { _ = far.Close() })
					l.cloud(name, generic.Kind, anyBroker("mqtt://"+name+":1883", protocol.String()))
					l.up("house/{rest...}", name, topic("up/{rest}"))
					phones[name] = join(b.T, mqtt.Options{URL: "mqtt://" + name + ":1883", DialContext: b.net.DialContext}, "#")
				}
				l.down("alpha", topic("cmd/{rest...}"), "house/{rest}")
				br, stop := l.run()
				online(b.T, br)
				lamp := join(b.T, mqtt.Options{URL: "mqtt://house:1883", DialContext: b.net.DialContext}, "house/#")
				phones["alpha"].publish("cmd/lamp", "ON")
				time.Sleep(5 * time.Second)
				if got := spell(lamp.messages()); got != "house/lamp=ON " {
					b.Errorf("the house heard %s, want house/lamp=ON once", got)
				}
				if got := spell(phones["beta"].messages()); got != "up/lamp=ON " {
					b.Errorf("the other cloud heard %s, want up/lamp=ON once", got)
				}
				if got := spell(phones["alpha"].messages()); got != "cmd/lamp=ON " {
					b.Errorf("the cloud that sent the command heard %s, want only its own", got)
				}
				stop()
			})
		})
	}
}

// TestStaleCommandsNeverFire sends commands that nobody knows the age of.
func TestStaleCommandsNeverFire(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.broker("far:1883")
		phone := join(b.T, mqtt.Options{URL: "mqtt://far:1883", DialContext: b.net.DialContext})
		phone.publish("cmd/valve", "OPEN", func(m *mqtt.Message) { m.Retain = true })
		l := b.lab().cloud("far", generic.Kind, anyBroker("mqtt://far:1883", "5"))
		l.down("far", topic("cmd/{rest...}"), "house/{rest}")
		br, stop := l.run()
		online(b.T, br)
		valve := join(b.T, mqtt.Options{URL: "mqtt://house:1883", DialContext: b.net.DialContext}, "house/#")
		time.Sleep(time.Second)
		stop()
		// While the bridge is away the cloud gets a command with QoS 1; a kept session would hold it.
		phone.publish("cmd/valve", "CLOSE")
		time.Sleep(time.Minute)
		br, stop = l.run()
		online(b.T, br)
		time.Sleep(10 * time.Second)
		if got := valve.messages(); len(got) != 0 {
			b.Errorf("the valve heard %s: old commands", spell(got))
		}
		phone.publish("cmd/valve", "HALF")
		time.Sleep(time.Second)
		if got := spell(valve.messages()); got != "house/valve=HALF " {
			b.Errorf("the valve heard %s, want the new command", got)
		}
		stop()
	})
}

// TestLocalBrokerAway holds the newest command per topic while the local broker is away, and drops what is too old.
func TestLocalBrokerAway(t *testing.T) {
	for name, c := range map[string]struct {
		away time.Duration
		want string
	}{
		"shortly": {10 * time.Second, "house/lamp=3 "},
		"long":    {40 * time.Second, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				b.broker("far:1883")
				second, err := generictest.Start(emulator.Options{Listener: b.listen("second:1883")})
				if err != nil {
					b.Fatal(err)
				}
				phone := join(b.T, mqtt.Options{URL: "mqtt://far:1883", DialContext: b.net.DialContext})
				l := b.lab().cloud("far", generic.Kind, anyBroker("mqtt://far:1883", "5"))
				l.cfg.Local.Session.URL = "mqtt://second:1883"
				l.down("far", topic("cmd/{rest...}"), "house/{rest}")
				br, stop := l.run()
				online(b.T, br)
				_ = second.Close()
				time.Sleep(time.Second)
				for _, v := range []string{"1", "2", "3"} {
					phone.publish("cmd/lamp", v)
				}
				time.Sleep(c.away)
				second, err = generictest.Start(emulator.Options{Listener: b.listen("second:1883")})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = second.Close() })
				// The lamp is there before the bridge finds its way back.
				lamp := join(b.T, mqtt.Options{URL: "mqtt://second:1883", DialContext: b.net.DialContext}, "house/#")
				online(b.T, br)
				time.Sleep(5 * time.Second)
				if got := spell(lamp.messages()); got != c.want {
					b.Errorf("the lamp heard %q, want %q", got, c.want)
				}
				counts := br.Status().Rules[0].Counts
				if counts.Replaced+counts.Dropped+counts.Confirmed != 3 {
					b.Errorf("three commands were counted as %+v", counts)
				}
				stop()
			})
		})
	}
}
