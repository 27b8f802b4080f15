package scale

import (
	"slices"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
)

// mostStart is how long it may take from the start of the program to its first message at the cloud. The figure that is
// wanted is 50 ms; a busy machine gets more in the test.
const mostStart = 500 * time.Millisecond

// TestStart measures how long a message waits for the bridge that is being started: it is in the bridge's session with the
// local broker already.
func TestStart(t *testing.T) {
	together(t)
	near, far := mqtttest.Mosquitto(t), mqtttest.Mosquitto(t)
	config := write(t, between(near, far))
	arrived := make(chan time.Time, 1)
	listen(t, far.URL, "far/#", func(*mqtt.Message) { arrived <- time.Now() })
	first := run(t, config)
	first.says(": connected to ", 2)
	first.stop()
	times := 5
	if full {
		times = 30
	}
	var took []time.Duration
	b := newBoard(t, near.URL)
	for range times {
		b.publish("lab/temp", []byte("21.5"))
		b.flush()
		p := run(t, config)
		select {
		case at := <-arrived:
			took = append(took, at.Sub(p.began))
		case <-time.After(10 * time.Second):
			t.Fatal("the message that waited has not come")
		}
		p.stop()
	}
	slices.Sort(took)
	t.Logf("start to first message: median %v, least %v, most %v of %d", took[len(took)/2], took[0], took[len(took)-1], times)
	if took[len(took)/2] > mostStart {
		t.Errorf("from the start to the first message it takes %v, want less than %v", took[len(took)/2], mostStart)
	}
}
