package scale

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudbridge/internal/faultproxy"
	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
)

// ledger is what arrives, by topic: each message has its number in it.
type ledger struct {
	mu         sync.Mutex
	seen       map[int]bool
	newest     map[string]int
	disordered int
	twice      int
}

func (l *ledger) take(m *mqtt.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := strconv.Atoi(string(m.Payload))
	switch last, known := l.newest[m.Topic]; {
	case err != nil:
		l.disordered++
	case l.seen[n]:
		l.twice++
	case known && n < last:
		l.disordered++
		l.seen[n] = true
	default:
		l.seen[n], l.newest[m.Topic] = true, n
	}
}

func (l *ledger) arrived() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.seen)
}

// TestBacklog has a cloud come back after many messages have queued, while more arrive.
func TestBacklog(t *testing.T) {
	together(t)
	queued, rate := []int{3000}, 500
	if full {
		queued, rate = []int{5000, 50_000}, 2000
	}
	var drains []time.Duration
	for _, n := range queued {
		near := mqtttest.Mosquitto(t, "max_queued_messages 0", "max_inflight_messages 0")
		far := mqtttest.Mosquitto(t, "max_queued_messages 0", "max_inflight_messages 1000")
		line, err := faultproxy.Listen(far.Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = line.Close() })
		l := &ledger{seen: map[int]bool{}, newest: map[string]int{}}
		listen(t, far.URL, "far/#", l.take)
		text := strings.Replace(between(near, far), far.URL+"\"", "mqtt://"+line.Addr()+"\"\ndrain_rate = 0", 1)
		p := run(t, write(t, text))
		p.says(": connected to ", 2)
		line.Refuse()
		line.Cut()
		b, sent := newBoard(t, near.URL), 0
		publish := func() {
			b.publish(fmt.Sprintf("lab/%d", sent%8), strconv.AppendInt(nil, int64(sent), 10))
			sent++
		}
		for range n {
			publish()
		}
		b.flush()
		waiting := p.memory()
		if err := line.Accept(); err != nil {
			t.Fatal(err)
		}
		p.until(time.Minute, "the cloud to be back", func() bool { return l.arrived() > 0 })
		began, before := time.Now(), sent
		// While the queue drains, messages come at their rate; it is drained when hardly more than one moment's are missing.
		p.until(2*time.Minute, "the queue to be drained", func() bool {
			for due := before + int(time.Since(began).Seconds()*float64(rate)); sent < due; {
				publish()
			}
			return sent > before && sent-l.arrived() <= rate/20
		})
		drain := time.Since(began)
		drains = append(drains, drain)
		b.flush()
		p.until(time.Minute, "all that was sent", func() bool { return l.arrived() == sent })
		m := p.memory()
		t.Logf("%d queued and %d a second: drained in %v (%.0f messages a second); with the queue %v; peak %.1f MiB; lost 0, out of order %d, twice %d",
			n, rate, drain.Round(time.Millisecond), float64(sent)/drain.Seconds(), waiting, mib(m.peak), l.disordered, l.twice)
		if l.disordered > 0 {
			t.Errorf("%d messages came out of order", l.disordered)
		}
		if most := 64 * 1024; m.peak > most {
			t.Errorf("it took %d KiB, want at most %d", m.peak, most)
		}
		p.stop()
	}
	if full {
		t.Logf("slope %.2f", slope(queued[0], queued[1], float64(drains[0]), float64(drains[1])))
	}
}
