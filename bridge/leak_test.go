package bridge

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/platforms/generic"
)

// TestNoMarkOutlivesItsCommand has a command that is lost with the line, and too old when it is back: the bridge forgets its
// echo too, or flapping lines would fill the memory.
func TestNoMarkOutlivesItsCommand(t *testing.T) {
	var connected atomic.Int64
	f := mqtttest.NewFake(mqtttest.Script{
		SessionPresent: true,
		Login:          func(n int, _ *mqtttest.Connect) byte { connected.Store(int64(n)); return 0 },
		OnPacket: func(c *mqtttest.Conn, p mqtttest.Packet) bool {
			if p.Kind != mqtttest.PUBLISH || connected.Load() > 1 || !strings.Contains(string(p.Body), "house/lamp") {
				return false
			}
			time.AfterFunc(500*time.Millisecond, c.Drop)
			return true
		},
	})
	far := mqtttest.Mosquitto(t)
	l := newLab(t, "lab1", f.Listen(t)).cloud("far", generic.Kind, anyBroker(far.URL, "5"))
	l.cfg.Local.Session.Protocol = mqtt.V311
	l.up("house/{rest...}", "far", topic("up/{rest}"))
	l.down("far", topic("cmd/{rest...}"), "house/{rest}", func(d *Downlink) { d.MaxAge = 400 * time.Millisecond })
	br, _ := l.run()
	online(t, br)
	join(t, mqtt.Options{URL: far.URL}).publish("cmd/lamp", "ON")
	eventually(t, "the command to have its fate", func() bool { c := br.Status().Rules[1].Counts; return c.Dropped+c.Confirmed == 1 })
	br.local.tokens.Range(func(key, _ any) bool {
		t.Errorf("the echo of %s is remembered for ever", key.(*mqtt.Message).Topic)
		return true
	})
}
