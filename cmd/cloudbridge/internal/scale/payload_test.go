package scale

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/platforms/adafruitio/adafruitiotest"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/thingspeak/thingspeaktest"
)

// mostOfLarge is the most memory that a burst of payloads of 1 MB may take, however many they are.
const mostOfLarge = 160 * 1024 // KiB

// TestLargePayloads sends payloads of 1 MB up and down between plain brokers, and to clouds that take no such thing.
func TestLargePayloads(t *testing.T) {
	together(t)
	bursts := []int{20}
	if full {
		bursts = []int{10, 100, 400}
	}
	for _, n := range bursts {
		near := mqtttest.Mosquitto(t, "max_queued_messages 0", "max_inflight_messages 0")
		far := mqtttest.Mosquitto(t, "max_queued_messages 0")
		text := between(near, far)
		for name, kind := range map[string]emulator.Kind{"weather": thingspeaktest.Emulator, "home": adafruitiotest.Emulator} {
			em, err := kind.Start(emulator.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = em.Close() })
			text += "\n" + strings.TrimSpace(em.Config(name)) + "\n"
		}
		text += `
[[uplink]]
local = "lab/once"
cloud = "weather"
channel = 1001
status = "text"
[[uplink]]
local = "lab/once"
cloud = "home"
feed = "large"
[[downlink]]
cloud = "far"
topic = "cmd/{rest...}"
local = "cmd/{rest}"
max_age = "none"
`
		payload := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		var up, down, changed atomic.Int64
		count := func(n *atomic.Int64) func(*mqtt.Message) {
			return func(m *mqtt.Message) {
				if n.Add(1); !bytes.Equal(m.Payload, payload) {
					changed.Add(1)
				}
			}
		}
		listen(t, far.URL, "far/#", count(&up))
		listen(t, near.URL, "cmd/#", count(&down))
		p := run(t, write(t, text))
		p.says(": connected to ", 4)
		if full {
			<-time.After(time.Until(p.began.Add(givenBack)))
		}
		idle := p.memory()
		local, remote := newBoard(t, near.URL), newBoard(t, far.URL)
		for range n {
			local.publish("lab/large", payload)
		}
		p.until(2*time.Minute, "all to go up", func() bool { return up.Load() >= int64(n) })
		peakUp := p.memory().peak
		for range n {
			remote.publish("cmd/large", payload)
		}
		p.until(2*time.Minute, "all to come down", func() bool { return down.Load() >= int64(n) })
		local.publish("lab/once", payload)
		p.until(time.Minute, "the large status to go up", func() bool { return up.Load() > int64(n) })
		m := p.memory()
		t.Logf("%3d payloads of 1 MB up and down: idle %v; peak %.1f MiB going up, %.1f in all", n, idle, mib(peakUp), mib(m.peak))
		p.until(time.Minute, "the refusals", func() bool { return len(refusals(p)) >= 2 })
		for _, why := range refusals(p) {
			t.Log(why)
		}
		if m.peak > mostOfLarge {
			t.Errorf("%d payloads of 1 MB took %d KiB, want at most %d", n, m.peak, mostOfLarge)
		}
		if changed.Load() > 0 {
			t.Errorf("%d payloads did not arrive as they were", changed.Load())
		}
		p.stop()
	}
}

// refusals asks the status for what the clouds would not take, and why.
func refusals(p *process) (list []string) {
	p.Helper()
	_, rest, ok := strings.Cut(p.written(), "status: ")
	if !ok {
		p.Fatal("the log names no address of the status")
	}
	url, _, _ := strings.Cut(rest, "\n")
	resp, err := http.Get(strings.TrimSpace(url))
	if err != nil {
		p.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.Fatal(err)
	}
	var status struct {
		Clouds []struct {
			Name   string `json:"name"`
			Counts struct {
				Reasons map[string]uint64 `json:"reasons"`
			} `json:"counts"`
		} `json:"clouds"`
	}
	if err := json.Unmarshal(body, &status); err != nil {
		p.Fatal(err)
	}
	for _, c := range status.Clouds {
		for why := range c.Counts.Reasons {
			if strings.HasPrefix(why, "refused: ") || strings.HasPrefix(why, "dropped: ") {
				list = append(list, c.Name+": "+why)
			}
		}
	}
	return list
}
