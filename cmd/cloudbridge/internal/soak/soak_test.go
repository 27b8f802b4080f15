package soak

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"cloudbridge/cmd/cloudbridge/internal/trial"
	"cloudbridge/internal/mqtt/mqtttest"
)

// The environment; doc.go says what it means.
const (
	lengthVariable = "CLOUDBRIDGE_SOAK"
	seedVariable   = "CLOUDBRIDGE_SOAK_SEED"
	outVariable    = "CLOUDBRIDGE_SOAK_OUT"
)

// patience is how long the bridge may take to be at rest after a fault. A dial into a hole takes 30 s at most, and a public
// cloud may have to wait for its next login.
const patience = 2 * time.Minute

// plan is the times of a run.
type plan struct {
	length time.Duration
	// unit is the measure of the faults: half of it to twice as long. calm is how long the bridge is watched between them.
	unit, calm time.Duration
	// every is the time between samples, end how long the bridge is watched when nothing is sent any more.
	every, end time.Duration
	keepAlive  time.Duration
}

func newPlan(length time.Duration) plan {
	p := plan{length: length}
	p.unit = min(max(length/90, 500*time.Millisecond), 20*time.Second)
	p.calm = max(p.unit, time.Second)
	p.every = min(max(length/1800, 200*time.Millisecond), time.Second)
	p.end = max(2*time.Second, 10*p.every)
	p.keepAlive = min(max(p.unit/2, 2*time.Second), 10*time.Second).Truncate(time.Second)
	return p
}

func TestPlan(t *testing.T) {
	for _, length := range []time.Duration{time.Second, 30 * time.Second, 5 * time.Minute, 30 * time.Minute, 24 * time.Hour} {
		p := newPlan(length)
		for name, d := range map[string]time.Duration{"calm": p.calm, "end": p.end} {
			if d < fewestQuiet*p.every {
				t.Errorf("%v: %s lasts %v, too short for %d samples every %v", length, name, d, fewestQuiet, p.every)
			}
		}
		if p.keepAlive < 2*time.Second || p.keepAlive%time.Second != 0 || 2*p.unit < p.keepAlive && length >= 5*time.Minute {
			t.Errorf("%v: the keepalive is %v, and faults last %v to %v", length, p.keepAlive, p.unit/2, 2*p.unit)
		}
	}
}

// environment reads the length and the seed.
func environment(t *testing.T) (length time.Duration, seed uint64) {
	t.Helper()
	length, seed = 30*time.Second, rand.Uint64N(1_000_000)
	var err error
	if v := os.Getenv(lengthVariable); v != "" {
		if length, err = time.ParseDuration(v); err != nil {
			t.Fatalf("%s: %v", lengthVariable, err)
		}
	}
	if v := os.Getenv(seedVariable); v != "" {
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
	}
	return length, seed
}

// TestSoak breaks things at random for a long time. Nothing may be lost, and nothing may grow.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("takes more than half a minute")
	}
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc, which is Linux's")
	}
	mqtttest.Program(t, "mosquitto")
	length, seed := environment(t)
	t.Logf("%s=%s %s=%d", lengthVariable, length, seedVariable, seed)
	p := newPlan(length)
	l := newLoad()
	w := newWorld(t, trial.Build(t, false), p.keepAlive, l.told)
	l.listen(w)
	w.bridge.Start()
	s := run(w, l, p, rand.New(rand.NewPCG(seed, 0)))
	w.bridge.Judge()
	s.write(t, os.Getenv(outVariable))
	s.judge(t)
}

// fewestRounds is how often something is broken even in the shortest run: after each round some quiet samples are taken, and
// fewer than so many tell nothing.
const fewestRounds, fewestQuiet = 3, 5

// story is what happened in a run.
type story struct {
	plan
	began   time.Time
	samples []sample
	faults  []fault
	// before and after are samples of calm times before the faults at random and after them; drained came when nothing was
	// sent any more and all had arrived.
	before, after, drained []sample
	// from and to bound the faults at random.
	from, to time.Duration
}

// run is the whole of a run, with the judgement of what arrived.
func run(w *world, l *load, p plan, r *rand.Rand) *story {
	w.Helper()
	s := &story{plan: p}
	watcher := newSampler(w, l)
	mqtttest.Eventually(w, "the bridge and all its links to be there", watcher.up)
	l.start(w)
	watcher.start(p.every)
	s.began = watcher.began
	rest := func(d time.Duration) []sample {
		w.Helper()
		calm, err := watcher.rested(d, patience+d)
		if err != nil {
			w.Fatal(err)
		}
		return calm
	}
	b := &breaker{w: w, s: watcher, r: r, unit: p.unit, keepAlive: p.keepAlive, struck: make(map[*line]int)}
	watcher.breaking(true)
	b.fillQueues()
	watcher.breaking(false)
	s.before = rest(3 * p.calm)
	s.from = time.Since(s.began)
	for b.round < fewestRounds || time.Since(s.began) < p.length-6*p.calm {
		watcher.breaking(true)
		b.strike()
		watcher.breaking(false)
		rest(p.calm)
	}
	s.to = time.Since(s.began)
	watcher.breaking(true)
	b.storm()
	watcher.breaking(false)
	s.faults = b.done
	s.after = rest(3 * p.calm)
	w.Log(b.summary())
	l.end()
	healed := time.Now()
	for _, f := range []flow{l.plant, l.phone} {
		sent := f.End()
		s.arrivals(w, f.name, trial.Count(sent, f.Settle(sent, 20*time.Second), healed, trial.Span{}))
	}
	s.drained = rest(p.end)
	w.Logf("%d commands sent, %d came down; %d rows at ThingSpeak, %d points at Adafruit IO; %d messages of QoS 0 arrived",
		l.asked.Load(), l.done.Load(), len(w.weather.Feed(1001))+len(w.weather.Feed(1002)), points(w), l.quick.Load())
	l.judge(w)
	var err error
	if s.samples, err = watcher.end(); err != nil {
		w.Fatal(err)
	}
	w.bridge.Stop()
	return s
}

func points(w *world) (n int) {
	for _, key := range w.home.Feeds(w.home.Username()) {
		n += len(w.home.Points(w.home.Username(), key))
	}
	return n
}

// arrivals judges what became of the messages of one flow.
func (s *story) arrivals(w *world, name string, o trial.Outcome) {
	w.Helper()
	w.Logf("%s: %v", name, o)
	if o.Sent == 0 || o.Lost > 0 || o.Disordered > 0 || o.Strange > 0 {
		w.Errorf("%s: %v, strange %d; want none lost, out of order or strange", name, o, o.Strange)
	}
}

// write puts the samples and their plot into a folder.
func (s *story) write(t *testing.T, dir string) {
	t.Helper()
	if dir == "" {
		return
	}
	for name, data := range map[string][]byte{"soak.csv": table(s.samples), "soak.svg": s.plot()} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil { // They are for everybody.
			t.Error(err)
		}
	}
}

// judge holds that nothing has grown.
func (s *story) judge(t *testing.T) {
	t.Helper()
	second, last := s.thirds()
	for name, samples := range map[string][]sample{
		"in the second third": second, "in the last third": last, "before": s.before, "after": s.after, "at the end": s.drained,
	} {
		if len(samples) < fewestQuiet {
			t.Errorf("%d quiet samples %s, want at least %d", len(samples), name, fewestQuiet)
		}
	}
	for _, c := range s.comparisons() {
		t.Log(c)
		if why := c.grown(); why != "" {
			t.Errorf("%s: %s", c.name, why)
		}
	}
}
