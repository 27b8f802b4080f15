package faults

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloudbridge/cmd/cloudbridge/internal/trial"
	"cloudbridge/internal/faultproxy"
	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
)

// topics is over how many topics the messages are spread.
const topics = 8

// keepAlive is that of both connections of the bridge: the shortest that lets a half-open link be seen soon.
const keepAlive = 2 * time.Second

// world is a house with its broker, a bridge, and a broker far away; near and wan are the lines between them.
type world struct {
	*testing.T
	row   row
	house *mqtttest.Broker
	far   *mqtttest.Broker
	near  *faultproxy.Proxy
	wan   *faultproxy.Proxy
	board *trial.Publisher
	ear   *trial.Receiver

	bridge *trial.Program
	notes  []string
	// forgiven is when Mosquitto may have lost what it had acknowledged.
	forgiven trial.Span
	// healed is when the fault was over: the last call of mended, or when the fault's function returned.
	healed time.Time
}

func newWorld(t *testing.T, program string, r row) *world {
	t.Helper()
	w := &world{T: t, row: r}
	conf := []string{"max_queued_messages 0", "autosave_interval 1"}
	w.house = mqtttest.Mosquitto(t, conf...)
	if r.wide {
		conf = append(conf, "max_inflight_messages 1000")
	}
	w.far = mqtttest.Mosquitto(t, conf...)
	w.near, w.wan = trial.Line(t, w.house.Addr), trial.Line(t, w.far.Addr)
	w.bridge = trial.New(t, program, w.config())
	w.ear = trial.NewReceiver()
	trial.Listen(t, mqtt.Options{
		URL: w.far.URL, Protocol: mqtt.V5, ClientID: "witness", CleanStart: true, ReceiveMaximum: 65535, OnMessage: w.hear,
	}, "far/#")
	return w
}

// publish starts the board.
func (w *world) publish(rate int) {
	w.board = trial.Publish(w.house.URL, "board", rate, func(n int) mqtt.Message {
		return mqtt.Message{Topic: "fault/" + strconv.Itoa(n%topics), Payload: []byte(strconv.Itoa(n)), QoS: 1}
	})
}

// hear notes what comes to the far end.
func (w *world) hear(in *mqtt.Inbound) {
	n, err := strconv.Atoi(string(in.Payload))
	if err != nil {
		n = -1
	}
	w.ear.Take(trial.Arrival{Number: n, Topic: "fault/" + strings.TrimPrefix(in.Topic, "far/"), At: time.Now()})
	in.Ack()
}

func (w *world) config() string {
	protocol := w.row.protocol
	if protocol == "" {
		protocol = "auto"
	}
	return fmt.Sprintf(`[bridge]
name = "lab1"
[local]
url = "mqtt://%s"
client_id = "lab1-0001"
keepalive = "%s"
protocol = "%s"
[cloud.far]
platform = "mqtt"
url = "mqtt://%s"
client_id = "lab1-far"
keepalive = "%s"
protocol = "%s"
drain_rate = 0
[queue]
dir = "%s"
[web]
listen = "off"
[log]
level = "debug"
[[uplink]]
local = "fault/{rest...}"
cloud = "far"
topic = "far/{rest}"
qos = 1
`, w.near.Addr(), keepAlive, protocol, w.wan.Addr(), keepAlive, protocol, filepath.Join(w.TempDir(), "queue"))
}

// subscribed waits until the bridge has subscribed: what is published before is nobody's.
func (w *world) subscribed() {
	w.Helper()
	mqtttest.Eventually(w, "the bridge to subscribe", func() bool { return strings.Contains(w.house.Log(), " 1 fault/#\n") })
}

// stop stops the bridge, and notes it where that takes long.
func (w *world) stop() {
	w.Helper()
	if took := w.bridge.Stop(); took > 1500*time.Millisecond { // The race detector alone takes a second.
		w.note("stopped in %.1f s", took.Seconds())
	}
}

// note adds to the last column of the table.
func (w *world) note(format string, args ...any) {
	w.notes = append(w.notes, fmt.Sprintf(format, args...))
}

// resume makes a line good again.
func (w *world) resume(p *faultproxy.Proxy) {
	w.Helper()
	if err := p.Resume(); err != nil {
		w.Fatal(err)
	}
	w.mended()
}

// mended notes that nothing is broken any more, from now on.
func (w *world) mended() { w.healed = time.Now() }

// flow lets messages flow for a while.
func (w *world) flow(d time.Duration) { <-time.After(d) }

// noticed waits until the bridge gives a dead link up and dials anew, and notes how long that took since the hole began.
// The promise is one and a half keepalives.
func (w *world) noticed(p *faultproxy.Proxy, before int, since time.Time) {
	w.Helper()
	const slack = 300 * time.Millisecond // of a busy machine
	for deadline := time.Now().Add(5 * keepAlive); p.Stats().Accepted == before; {
		if time.Now().After(deadline) {
			w.Errorf("the bridge has not noticed a dead link after %v", time.Since(since))
			return
		}
		<-time.After(2 * time.Millisecond)
	}
	took := time.Since(since)
	w.note("noticed in %.2f keepalives", float64(took)/float64(keepAlive))
	if took > keepAlive*3/2+slack {
		w.Errorf("the bridge noticed a dead link after %v, want at most %v", took, keepAlive*3/2)
	}
}
