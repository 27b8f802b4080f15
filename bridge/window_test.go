package bridge

import (
	"fmt"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/mappings"
	"cloudbridge/platforms/generic"
)

// TestOtherBridgesBacklogAges has such a command wait here: its age goes on from when it was made, not from when it came.
func TestOtherBridgesBacklogAges(t *testing.T) {
	a, far := mqtttest.Mosquitto(t), mqtttest.Mosquitto(t)
	l := newLab(t, "lab1", a.URL).cloud("far", generic.Kind, anyBroker(far.URL, "5"))
	l.down("far", topic("cmd/{rest...}"), "house/{rest}", func(d *Downlink) { d.MaxAge = 4 * time.Second })
	br, _ := l.run()
	online(t, br)
	a.Stop()
	eventually(t, "the house away", func() bool { return br.Status().Local.State != stateOnline })
	at := time.Now().Add(-3 * time.Second)
	join(t, mqtt.Options{URL: far.URL}).publish("cmd/lamp", "ON", func(m *mqtt.Message) {
		m.Properties = &mqtt.Properties{User: []mqtt.UserProperty{{Key: mappings.TimeProperty, Value: at.UTC().Format(time.RFC3339Nano)}}}
	})
	eventually(t, "the command to be too old", func() bool { return time.Since(at) > 4500*time.Millisecond })
	a.Start()
	eventually(t, "the command to have its fate", func() bool { c := br.Status().Rules[0].Counts; return c.Dropped+c.Confirmed == 1 })
	if c := br.Status().Rules[0].Counts; c.Confirmed > 0 {
		t.Errorf("a command fired that was made %v before, with max_age 4 s", time.Since(at))
	}
}

// TestCommandsBehindAFullWindow keeps the local broker away while commands for more topics come than the cloud sends ahead. What
// it holds back must not fire later as if it were new: nobody can tell then how old it is.
func TestCommandsBehindAFullWindow(t *testing.T) {
	a, far := mqtttest.Mosquitto(t), mqtttest.Mosquitto(t)
	l := newLab(t, "lab1", a.URL).cloud("far", generic.Kind, anyBroker(far.URL, "3.1.1"))
	l.down("far", topic("cmd/{rest...}"), "house/{rest}", func(d *Downlink) { d.MaxAge = time.Second })
	br, _ := l.run()
	online(t, br)
	a.Stop()
	eventually(t, "the house away", func() bool { return br.Status().Local.State != stateOnline })
	phone := join(t, mqtt.Options{URL: far.URL})
	const n = 25 // A Mosquitto sends 20 ahead.
	for i := range n {
		phone.publish(fmt.Sprint("cmd/", i), "ON")
	}
	last := time.Now()
	eventually(t, "all to be too old", func() bool { return time.Since(last) > 1500*time.Millisecond })
	a.Start()
	counts := func() Counts { return br.Status().Rules[0].Counts }
	eventually(t, "each command to have its fate", func() bool { c := counts(); return c.Dropped+c.Confirmed == n })
	if c := counts(); c.Confirmed > 0 {
		t.Errorf("%d of %d commands fired that were too old", c.Confirmed, n)
	}
}
