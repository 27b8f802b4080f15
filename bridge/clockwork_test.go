package bridge

import (
	"testing"
	"time"

	"cloudbridge/internal/clock"
	"cloudbridge/internal/faketime"
	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/generic"
)

// bootClock is the clock of a computer that starts now; synchronised says whether the system vouches for it.
func bootClock(boot string, synchronised func() bool) *clock.Source {
	began := time.Now()
	return clock.With(clock.System{
		BootID:       func() (string, error) { return boot, nil },
		SinceBoot:    func() time.Duration { return time.Since(began) },
		Synchronised: func() (bool, string, error) { return synchronised(), "as the test says", nil },
	})
}

// inBubbleToday is inBubble in a year that a clock may show: a bubble begins in 2000, which no rule takes for the time of a
// reading.
func inBubbleToday(t *testing.T, f func(b *bubble)) {
	t.Helper()
	faketime.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)))
		b := &bubble{T: t, net: emulator.NewNetwork()}
		b.broker("house:1883")
		f(b)
	})
}

// timeOf is the time that a message says it has; empty where it says none.
func timeOf(m mqtt.Message) string {
	if m.Properties != nil {
		for _, p := range m.Properties.User {
			if p.Key == mappings.TimeProperty {
				return p.Value
			}
		}
	}
	return ""
}

// TestWrongClockTellsNoTime has a plain cloud away while the clock is wrong, over a boot in which it becomes right: what came
// before goes up without the time of that clock, but with its own if it has one.
func TestWrongClockTellsNoTime(t *testing.T) {
	inBubbleToday(t, func(b *bubble) {
		b.broker("near:1883")
		neighbour := join(b.T, mqtt.Options{URL: "mqtt://near:1883", DialContext: b.net.DialContext}, "#")
		dir := t.TempDir()
		start := func(boot string, right bool) (stop func()) {
			l := b.lab().cloud("far", generic.Kind, anyBroker("mqtt://far:1883", "5")).up("iot/#", "far", nil)
			l.cloud("near", generic.Kind, anyBroker("mqtt://near:1883", "5"))
			l.up("iot/#", "near", nil, func(u *Uplink) { u.MaxAge = time.Minute })
			l.cfg.Queue.Dir = dir
			l.cfg.Clock = bootClock(boot, func() bool { return right })
			br, stop := l.run()
			eventually(b.T, "the house and the near cloud online", func() bool {
				st := br.Status()
				return st.Local.State == stateOnline && st.Clouds[1].State == stateOnline
			})
			return stop
		}
		stop := start("boot-1", false)
		board := b.board()
		own := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339Nano)
		board.publish("iot/a", "untimed")
		time.Sleep(time.Second) // There is a lane now, and what comes goes straight.
		board.publish("iot/a", "untimed")
		board.publish("iot/a", "timed by the board", func(m *mqtt.Message) {
			m.Properties = &mqtt.Properties{User: []mqtt.UserProperty{{Key: mappings.TimeProperty, Value: own}}}
		})
		time.Sleep(5 * time.Second)
		stop()

		stop = start("boot-2", true)
		board.publish("iot/a", "timed by the clock")
		came := time.Now()
		time.Sleep(5 * time.Second)
		b.broker("far:1883")
		phone := join(b.T, mqtt.Options{URL: "mqtt://far:1883", DialContext: b.net.DialContext}, "#")
		time.Sleep(time.Minute)
		if fresh := neighbour.messages(); len(fresh) != 3 {
			b.Errorf("a cloud that is there, with a rule for fresh readings alone, got %d messages, want 3: one was an hour old", len(fresh))
		}
		got := phone.messages()
		if len(got) != 4 {
			b.Fatalf("the cloud got %d messages, want 4", len(got))
		}
		for _, m := range got[:2] {
			if at := timeOf(m); at != "" {
				b.Errorf("what came by a wrong clock that nobody can correct any more has the time %s", at)
			}
		}
		if at := timeOf(got[2]); at != own {
			b.Errorf("the time of the board is %q, want %q", at, own)
		}
		if at, err := time.Parse(time.RFC3339Nano, timeOf(got[3])); err != nil || at.Sub(came).Abs() > time.Second {
			b.Errorf("what came by a right clock has the time %v (%v), want %v", at, err, came)
		}
		stop()
	})
}
