package scale

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/platforms/adafruitio/adafruitiotest"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/hivemqcloud/hivemqcloudtest"
	"cloudbridge/platforms/thingspeak/thingspeaktest"
)

// What the program may take of a Raspberry Pi. The tests leave a margin, for a kernel may map more of a program's file
// than it needs.
const (
	mostBinary    = 16 << 20
	mostOneCloud  = 16 * 1024 // KiB
	mostFour      = 20 * 1024
	mostRests     = 5.0 // a second: one wake-up has several threads go to sleep again
	mostIdleShare = 0.005
)

// one is the config of a bridge with one cloud.
func one(t *testing.T) string {
	t.Helper()
	return between(mqtttest.Mosquitto(t), mqtttest.Mosquitto(t))
}

func between(near, far *mqtttest.Broker) string {
	return fmt.Sprintf(`[bridge]
name = "lab1"
[local]
url = %q
[cloud.far]
platform = "mqtt"
url = %q
[queue]
dir = "$DIR/queue"
[web]
listen = "127.0.0.1:0"
[[uplink]]
local = "lab/{rest...}"
cloud = "far"
topic = "far/{rest}"
qos = 1
`, near.URL, far.URL)
}

// four adds a pretend ThingSpeak, Adafruit IO and HiveMQ Cloud.
func four(t *testing.T) string {
	t.Helper()
	text := one(t)
	for name, kind := range map[string]emulator.Kind{
		"weather": thingspeaktest.Emulator, "home": adafruitiotest.Emulator, "hive": hivemqcloudtest.Emulator,
	} {
		em, err := kind.Start(emulator.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = em.Close() })
		text += "\n" + strings.TrimSpace(em.Config(name)) + "\n"
	}
	return text + `
[[uplink]]
local = "iot/picow/temp"
cloud = "weather"
channel = 1001
field = 1
value = 'after(text, "temperature=")'
[[uplink]]
local = "iot/{device}/status"
cloud = "home"
feed = "{device}-status"
[[downlink]]
cloud = "home"
feed = "lights"
local = "iot/lamp/set"
[[uplink]]
local = "iot/{rest...}"
cloud = "hive"
topic = "school/{bridge}/{rest}"
[[downlink]]
cloud = "hive"
topic = "school/{bridge}/cmd/{rest...}"
local = "cmd/{rest}"
`
}

// TestIdle measures a bridge to which nothing happens.
func TestIdle(t *testing.T) {
	together(t)
	for _, c := range []struct {
		name   string
		config func(*testing.T) string
		clouds int
		most   int
	}{
		{"one cloud", one, 1, mostOneCloud},
		{"four clouds", four, 4, mostFour},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := run(t, write(t, c.config(t)))
			p.says(": connected to ", 1+c.clouds)
			t.Logf("%s: after the start: %v", c.name, p.memory())
			<-time.After(time.Until(p.began.Add(givenBack))) // What the start needed is given back.
			m := p.settled()
			idle := p.quiet()
			t.Logf("%s: %v, %v", c.name, m, idle)
			if m.rss > c.most {
				t.Errorf("it takes %d KiB of memory, want at most %d", m.rss, c.most)
			}
			if idle.rests > mostRests {
				t.Errorf("its threads wake %.1f times a second while nothing happens", idle.rests)
			}
			if idle.share > mostIdleShare {
				t.Errorf("it takes %.2f %% of a processor while nothing happens", 100*idle.share)
			}
			p.stop()
		})
	}
}

// idleness is what a process does while nothing happens to it.
type idleness struct {
	rests float64 // a second: how often its threads went to sleep
	share float64 // of a processor
}

func (i idleness) String() string {
	return fmt.Sprintf("%.3f %% of a processor, threads go to sleep %.2f times a second", 100*i.share, i.rests)
}

func (i idleness) enough() bool { return i.rests <= mostRests && i.share <= mostIdleShare }

// quiet measures the process for a minute. The short version takes looks of three seconds until one shows what is wanted: the
// kernel counts it as sleep, too, when a thread waits for the disk or for another package's tests, and a program with a timer
// of its own would have no quiet look at all.
func (p *process) quiet() idleness {
	p.Helper()
	if full {
		return p.idleness(time.Minute)
	}
	idle := p.idleness(3 * time.Second)
	for looks := 1; !idle.enough() && looks < 10; looks++ {
		idle = p.idleness(3 * time.Second)
	}
	return idle
}

func (p *process) idleness(look time.Duration) idleness {
	p.Helper()
	rests, cpu, began := p.rests(), p.cpu(), time.Now()
	<-time.After(look)
	took := time.Since(began).Seconds()
	return idleness{rests: float64(p.rests()-rests) / took, share: (p.cpu() - cpu).Seconds() / took}
}

// TestSize holds the program to what an update over a telephone may cost.
func TestSize(t *testing.T) {
	for _, c := range [][2]string{{"", ""}, {"arm64", ""}, {"arm", "6"}, {"arm", "7"}} {
		if c[0] != "" && !full {
			continue
		}
		info, err := os.Stat(program(t, c[0], c[1]))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s%s: %.2f MiB", c[0], c[1], float64(info.Size())/(1<<20))
		if info.Size() >= mostBinary {
			t.Errorf("the program for %s%s is %d bytes long, want less than %d", c[0], c[1], info.Size(), mostBinary)
		}
	}
}
