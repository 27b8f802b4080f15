package bridge

import (
	"fmt"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/platforms/adafruitio"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/generic"
	"cloudbridge/platforms/generic/generictest"
)

// TestDeadCloudsTouchNobody has one cloud that is down, one that accepts connections and never answers, one that does
// not know the password, and one that works: that one gets everything, in both versions of MQTT.
func TestDeadCloudsTouchNobody(t *testing.T) {
	for _, protocol := range []mqtt.Protocol{mqtt.V5, mqtt.V311} {
		t.Run(protocol.String(), func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				good, err := generictest.Start(emulator.Options{Listener: b.listen("good:1883")})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = good.Close() })
				locked, err := generictest.Start(emulator.Options{Listener: b.listen("locked:1883"), Set: map[string]string{"username": "u", "password": "p"}})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = locked.Close() })
				hole := b.listen("hole:1883")
				b.Cleanup(func() { _ = hole.Close() })
				l := b.lab()
				l.cfg.Local.Session.Protocol = protocol
				for _, name := range []string{"down", "hole", "locked", "good"} {
					l.cloud(name, generic.Kind, anyBroker("mqtt://"+name+":1883", "5"))
					l.up("iot/#", name, nil)
				}
				br, stop := l.run()
				phone := join(b.T, mqtt.Options{URL: "mqtt://good:1883", DialContext: b.net.DialContext}, "iot/#")
				eventually(b.T, "the good cloud and the house online", func() bool {
					s := br.Status()
					return s.Local.State == stateOnline && s.Clouds[3].State == stateOnline
				})
				board := b.board()
				const n = 5000
				for i := range n {
					board.publish("iot/x", fmt.Sprint(i))
				}
				time.Sleep(5 * time.Second)
				got := phone.messages()
				if len(got) != n {
					b.Errorf("the good cloud has %d of %d readings while the others are dead", len(got), n)
				}
				for i, c := range br.Status().Clouds[:3] {
					if c.Counts.Waiting != n {
						b.Errorf("dead cloud %d holds %d readings, want %d", i, c.Counts.Waiting, n)
					}
					if c.Why == "" && c.State != stateConnecting {
						b.Errorf("dead cloud %s does not say why", c.Name)
					}
				}
				// The cloud that was down comes up, and gets all of it in order.
				late, err := generictest.Start(emulator.Options{Listener: b.listen("down:1883")})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = late.Close() })
				time.Sleep(time.Minute)
				if c := br.Status().Clouds[0]; c.Counts.Confirmed != n {
					b.Errorf("after its return the cloud confirmed %d of %d: %+v", c.Counts.Confirmed, n, c)
				}
				stop()
			})
		})
	}
}

// TestNoAcknowledgementBeforeTheCloud sees that a message stays the local broker's while nobody else has it.
func TestNoAcknowledgementBeforeTheCloud(t *testing.T) {
	inBubble(t, func(b *bubble) {
		l := b.lab().cloud("far", generic.Kind, anyBroker("mqtt://far:1883", "5"))
		l.up("iot/#", "far", nil)
		br, stop := l.run()
		eventually(b.T, "the house online", func() bool { return br.Status().Local.State == stateOnline })
		board := b.board()
		for i := range 100 {
			board.publish("iot/x", fmt.Sprint(i))
		}
		time.Sleep(5 * time.Second)
		stop() // The cloud never was there: nothing was acknowledged, so nothing is lost.
		b.broker("far:1883")
		phone := join(b.T, mqtt.Options{URL: "mqtt://far:1883", DialContext: b.net.DialContext}, "#")
		br, stop = l.run()
		online(b.T, br)
		time.Sleep(5 * time.Second)
		if got := phone.messages(); len(got) != 100 {
			b.Errorf("after a restart the cloud got %d of 100 readings that nobody had acknowledged", len(got))
		}
		stop()
	})
}

// TestWrongKeyPacesLogins lets a bridge knock with a wrong key for an hour.
func TestWrongKeyPacesLogins(t *testing.T) {
	inBubble(t, func(b *bubble) {
		aio := b.adafruit(nil)
		l := b.lab().cloud("home", adafruitio.Kind, func(c any) {
			a := c.(*adafruitio.Cloud)
			a.URL, a.Username, a.Key = "mqtt://aio:1883", aio.Username(), "aio_wrong"
		})
		l.up("iot/{device}/temp", "home", feed("{device}"))
		br, stop := l.run()
		time.Sleep(time.Hour)
		s := br.Status().Clouds[0]
		stop()
		logins := aio.Count("login", false)
		if logins < 3 || logins > 30 {
			b.Errorf("%d logins with a wrong key in an hour, want a few", logins)
		}
		if s.State != stateRefused || s.Why == "" {
			b.Errorf("the state is %s (%s), want refused with a reason", s.State, s.Why)
		}
		for _, e := range aio.Events() {
			if e.Why == "banned" {
				b.Errorf("banned: %+v", e)
			}
		}
		b.Logf("%d logins in an hour: %s", logins, s.Why)
	})
}

// TestReturnIsFound lets a public cloud be unreachable for an hour: attempts that reach nobody are no logins, and its
// return is found within the pace of a public address.
func TestReturnIsFound(t *testing.T) {
	inBubble(t, func(b *bubble) {
		l := b.lab().cloud("home", adafruitio.Kind, func(c any) {
			a := c.(*adafruitio.Cloud)
			a.URL, a.Username, a.Key = "mqtt://aio:1883", "learner", aioKey
		})
		l.up("iot/{device}/temp", "home", feed("{device}"))
		br, stop := l.run()
		time.Sleep(time.Hour)
		b.adafruit(nil)
		time.Sleep(31 * time.Second)
		if s := br.Status().Clouds[0]; s.State != stateOnline {
			b.Errorf("31 s after its return the cloud is %s: %s, next attempt %v", s.State, s.Why, s.Next.Sub(s.Since))
		}
		stop()
	})
}

// TestThrottleIsObeyed has somebody else spend the account's points: the bridge waits as it is told and loses nothing.
func TestThrottleIsObeyed(t *testing.T) {
	inBubble(t, func(b *bubble) {
		aio := b.adafruit(nil)
		l := b.lab().cloud("home", adafruitio.Kind, func(c any) {
			a := c.(*adafruitio.Cloud)
			a.URL, a.Username, a.Key = "mqtt://aio:1883", aio.Username(), aioKey
		})
		l.up("iot/{device}/temp", "home", feed("{device}"))
		br, stop := l.run()
		online(b.T, br)
		other := join(b.T, mqtt.Options{
			URL: "mqtt://aio:1883", DialContext: b.net.DialContext, Protocol: mqtt.V311,
			Username: aio.Username(), Password: aioKey, ClientID: "other",
		})
		for range 30 {
			other.publish(aio.Username()+"/feeds/other", "1")
		}
		board := b.board()
		board.publish("iot/dev/temp", "42")
		time.Sleep(5 * time.Second)
		s := br.Status().Clouds[0]
		if s.State != stateThrottled {
			b.Errorf("the state is %s (%s), want throttled", s.State, s.Why)
		}
		time.Sleep(2 * time.Minute)
		if v, _ := aio.Last("dev"); v != "42" {
			b.Errorf("the feed has %q after the pause, want 42", v)
		}
		if s := br.Status().Clouds[0]; s.Counts.Confirmed != 1 || s.Counts.Retried < 1 {
			b.Errorf("counted %+v, want one retried and confirmed", s.Counts)
		}
		stop()
		if !l.log.has("home: Adafruit IO asks to slow down: waiting") {
			b.Errorf("the log does not say so in words: %s", l.log)
		}
	})
}
