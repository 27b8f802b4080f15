package soak

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
)

// comparison is a figure at one time and at a later one in the same state, and by how much it may have grown: by neither
// more than the share nor more than the difference.
type comparison struct {
	name    string
	was, is float64
	share   float64
	most    float64
	unit    string
}

// grown says in words that the figure has grown, or nothing.
func (c comparison) grown() string {
	switch by := c.is - c.was; {
	case by > c.most:
		return fmt.Sprintf("%.1f more%s, want at most %.1f more", by, c.unit, c.most)
	case c.share > 0 && by > c.was*c.share:
		return fmt.Sprintf("%.0f %% more, want at most %.0f %% more", by/c.was*100, c.share*100)
	}
	return ""
}

func (c comparison) String() string {
	return fmt.Sprintf("%s: %.1f%s, later %.1f%s", c.name, c.was, c.unit, c.is, c.unit)
}

const megabyte = 1 << 20

// What is measured, for medians.
func rss(s sample) float64        { return float64(s.rss) / megabyte }
func goroutines(s sample) float64 { return float64(s.goroutines) }
func files(s sample) float64      { return float64(s.files) }
func queueFiles(s sample) float64 { return float64(s.queueFiles) }
func queueSize(s sample) float64  { return float64(s.queueBytes) / megabyte }

// comparisons are all that is held to be flat.
func (s *story) comparisons() []comparison {
	second, last := s.thirds()
	thirds := func(name, unit string, of func(sample) float64, share, most float64) comparison {
		return comparison{name: name + ", second third", was: median(second, of), is: median(last, of), share: share, most: most, unit: unit}
	}
	since := func(name, unit string, later []sample, of func(sample) float64, most float64) comparison {
		return comparison{name: name, was: median(s.before, of), is: median(later, of), most: most, unit: unit}
	}
	// An idle connection to a REST side is two goroutines and a file, and stays open for a while; there are two such sides.
	const idle, idleFiles = 6, 4
	// Whatever is sent while the longest fault lasts, and until the bridge has connected again, may lie in the queue at once,
	// with one file for each lane.
	largest := sample{}
	for _, one := range s.samples {
		largest.queueBytes = max(largest.queueBytes, one.queueBytes)
	}
	longest := time.Minute
	for _, f := range s.faults {
		longest = max(longest, f.to.Sub(f.from)+time.Minute)
	}
	bound := longest.Seconds()*(plantRate+phoneRate+boardsRate)*1024/megabyte + 4
	return []comparison{
		thirds("memory", " MB", rss, 0.10, 4),
		thirds("goroutines", "", goroutines, 0, idle),
		thirds("open files", "", files, 0, idleFiles),
		since("goroutines before the faults", "", s.after, goroutines, idle),
		since("open files before the faults", "", s.after, files, idleFiles),
		since("queue files before the faults, and when all has arrived", "", s.drained, queueFiles, 2),
		since("queue before the faults, and when all has arrived", " MB", s.drained, queueSize, 1),
		since("queue before the faults, and at its largest", " MB", []sample{largest}, queueSize, bound),
	}
}

// thirds are the second and the last third of the quiet samples in the time of the faults. They are split by their number and
// not by the clock, for one long fault may leave a third of a short run without any.
func (s *story) thirds() (second, last []sample) {
	var quiet []sample
	for _, one := range s.samples {
		if one.quiet && one.at >= s.from && one.at <= s.to {
			quiet = append(quiet, one)
		}
	}
	n := len(quiet)
	return quiet[n/3 : 2*n/3], quiet[2*n/3:]
}

// median is that of a figure in samples; of none it is 0.
func median(samples []sample, of func(sample) float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	var all []float64
	for _, s := range samples {
		all = append(all, of(s))
	}
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

// judge holds that the small flows did what they are for. What of them a fault takes is not counted here: nothing is
// promised for QoS 0, samples and commands.
func (l *load) judge(w *world) {
	w.Helper()
	for what, n := range map[string]int{
		"message of QoS 0 arrived": int(l.quick.Load()), "command came down": int(l.done.Load()),
		"row came to ThingSpeak": len(w.weather.Feed(1001)), "point came to Adafruit IO": points(w),
	} {
		if n == 0 {
			w.Errorf("no %s", what)
		}
	}
	l.judgeRetained(w)
}

// judgeRetained holds that the far Mosquitto keeps of each state the newest that was acknowledged, or a newer one.
func (l *load) judgeRetained(w *world) {
	w.Helper()
	newest := make(map[string]int)
	for n, m := range l.boards.End() {
		if strings.HasPrefix(m.Topic, "state/") && !m.Acked.IsZero() {
			newest[m.Topic] = n
		}
	}
	var mu sync.Mutex
	kept := make(map[string]int)
	o := w.farAway("archivist")
	o.CleanStart = true
	o.OnMessage = func(in *mqtt.Inbound) {
		mu.Lock()
		defer mu.Unlock()
		kept[strings.TrimPrefix(in.Topic, "far/")] = number(string(in.Payload))
		in.Ack()
	}
	s, err := mqtt.Dial(w.Context(), o)
	if err != nil {
		w.Fatal(err)
	}
	defer func() { _ = s.Close(context.Background()) }() // All has been heard.
	if _, err := s.Subscribe(w.Context(), mqtt.Subscription{Filter: "far/state/#", QoS: 1, SendRetained: true}); err != nil {
		w.Fatal(err)
	}
	mqtttest.Eventually(w, "the newest states to be kept by the cloud", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for topic, n := range newest {
			if got, ok := kept[topic]; !ok || got < n {
				return false
			}
		}
		return len(newest) > 0
	})
}

// TestComparisons holds that a leak is found, and that noise is none.
func TestComparisons(t *testing.T) {
	second := time.Second
	base := sample{quiet: true, rss: 20 * megabyte, goroutines: 40, files: 15, queueFiles: 6, queueBytes: megabyte}
	tests := map[string]struct {
		change func(i int, s *sample)
		want   string
	}{
		"flat":  {change: func(int, *sample) {}},
		"noise": {change: func(i int, s *sample) { s.rss += int64(i%7) * 200 << 10; s.goroutines += i % 4; s.files += i % 3 }},
		"what is not quiet does not count": {change: func(i int, s *sample) {
			if i > 100 && i < 290 && i%3 > 0 {
				s.quiet, s.rss, s.goroutines, s.queueFiles = false, 3*s.rss, 2*s.goroutines, 100
			}
		}},
		"memory":                     {want: "memory", change: func(i int, s *sample) { s.rss += int64(i) * 32 << 10 }},
		"much memory, a small share": {want: "memory", change: func(i int, s *sample) { s.rss = 100*megabyte + int64(i)*60<<10 }},
		"goroutines":                 {want: "goroutines", change: func(i int, s *sample) { s.goroutines += i / 10 }},
		"goroutines, slowly":         {want: "goroutines before", change: func(i int, s *sample) { s.goroutines += i / 30 }},
		"open files":                 {want: "open files", change: func(i int, s *sample) { s.files += i / 20 }},
		"queue files":                {want: "queue files", change: func(i int, s *sample) { s.queueFiles += i / 50 }},
		"queue without bounds": {want: "queue before the faults, and at", change: func(i int, s *sample) {
			if i > 280 && i < 290 {
				s.queueBytes += 40 * megabyte
			}
		}},
		"queue": {want: "queue before", change: func(i int, s *sample) { s.queueBytes += int64(i) * 8 << 10 }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := &story{plan: newPlan(30 * time.Minute), from: 10 * second, to: 290 * second}
			for i := range 310 {
				one := base
				one.at = time.Duration(i) * second
				tt.change(i, &one)
				s.samples = append(s.samples, one)
			}
			s.before, s.after, s.drained = s.samples[:10], s.samples[290:300], s.samples[300:]
			var found []string
			for _, c := range s.comparisons() {
				if c.grown() != "" {
					found = append(found, c.name)
				}
			}
			if (tt.want == "") != (len(found) == 0) || len(found) > 0 && !strings.HasPrefix(found[0], tt.want) {
				t.Errorf("grown are %q, want %q", found, tt.want)
			}
		})
	}
}
