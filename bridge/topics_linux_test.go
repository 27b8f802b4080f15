package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/mappings"
	"cloudbridge/platforms/adafruitio"
	"cloudbridge/platforms/adafruitio/adafruitiotest"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/generic"
)

// TestScaleTopics has many topics flow through one rule, once each, and weighs what the bridge remembers of each afterwards.
func TestScaleTopics(t *testing.T) {
	topics := 2000
	if fullScale {
		topics = 100_000
	}
	for _, c := range []struct {
		name string
		// most is how many bytes a topic may hold, and bound after how many topics nothing more may be held.
		most, bound int
		protocol    string
		rule        func(*Uplink)
	}{
		{"each reading", 32, 0, "5", nil},
		{"echoes of 3.1.1", 700, mostEchoes, "3.1.1", nil},
		{"keep = latest", 64, 0, "5", func(u *Uplink) { u.Keep = "latest" }},
		{"min_change", 2000, mostSampled, "5", func(u *Uplink) { u.MinChange = 0.5 }},
		{"every, last", 2500, mostSampled, "5", func(u *Uplink) { u.Every = 50 * time.Millisecond }},
		{"every, mean", 2500, mostSampled, "5", func(u *Uplink) { u.Every, u.Aggregate = 50*time.Millisecond, "mean" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, "lab1", mqtttest.Mosquitto(t, "log_type none").URL)
			far := mqtttest.Mosquitto(t, "max_inflight_messages 1000", "max_queued_messages 0", "log_type none")
			l.cloud("far", generic.Kind, anyBroker(far.URL, c.protocol))
			if c.protocol == "3.1.1" {
				l.down("far", func(p any) { topic("iot/#")(p) }, "cmd/x")
			}
			l.up("iot/#", "far", nil, func(u *Uplink) {
				if c.rule != nil {
					c.rule(u)
				}
			})
			weigh(t, l, topics, c.most, c.bound)
		})
	}
	t.Run("Adafruit IO", func(t *testing.T) {
		em, err := adafruitiotest.Start(emulator.Options{Set: map[string]string{"plan": "plus"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = em.Close() })
		l := newLab(t, "lab1", mqtttest.Mosquitto(t, "log_type none").URL)
		l.cloud("home", adafruitio.Kind, func(c any) {
			a := c.(*adafruitio.Cloud)
			a.Username, a.Key, a.Plan, a.URL = "learner", "aio_emulator", "plus", em.URL()
		})
		l.up("iot/{n}", "home", func(p any) { p.(*adafruitio.Place).Feed = "{n}" })
		weigh(t, l, topics, 1200, mostLatest)
	})
}

// weigh carries one message for each topic and says how many bytes are held for each when nothing more is on its way.
func weigh(t *testing.T, l *lab, topics, most, bound int) {
	t.Helper()
	b, err := New(l.cfg, slog.New(slog.DiscardHandler))
	l.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	online(t, b)
	var res mappings.Result
	carry := func(from, to int) {
		for i := from; i < to; i++ {
			m := &mqtt.Message{Topic: fmt.Sprintf("iot/t%d", i), Payload: fmt.Append(nil, i), QoS: 1}
			b.carry(m, nil, nil, time.Now(), &res, nil)
			for l.cfg.Clouds[0].Name == "far" && i%200 == 0 && b.order[0].waiting() > 400 {
				sleep(ctx, time.Millisecond)
			}
		}
	}
	settled := func() float64 {
		if l.cfg.Clouds[0].Name == "far" {
			eventually(t, "nothing to wait", func() bool { return b.order[0].waiting() == 0 })
		}
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	carry(0, 500) // Buffers grow to their size.
	before := settled()
	began := cpuTime(t)
	carry(500, 500+topics)
	after := settled()
	each := (after - before) / float64(topics)
	t.Logf("%d topics: %.0f bytes held for each, %.2f MiB in all, %v a message", topics, each, (after-before)/(1<<20), (cpuTime(t)-began)/time.Duration(topics))
	if bound == 0 || bound > topics {
		bound = topics
	}
	if held := after - before; held > float64(most*bound)+(1<<20) {
		t.Errorf("%d topics hold %.0f bytes, want at most %d for each of %d, and a MiB", topics, held, most, bound)
	}
	runtime.KeepAlive(b)
}
