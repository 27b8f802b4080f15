package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"
)

// results is what we need of a result file of the benchmark.
type results struct {
	Created  time.Time `json:"created"`
	Machine  machine   `json:"machine"`
	Baseline string    `json:"baseline"`
	Sizes    struct {
		Messages, Seconds int
	} `json:"sizes"`
	Workloads map[string]string `json:"workloads"`
	Order     []string          `json:"order"` // of the bridges
	Versions  map[string]string `json:"versions"`
	Skipped   map[string]string `json:"skipped"`
	Results   []result          `json:"results"`
}

type machine struct {
	OS       string `json:"os"`
	Kernel   string `json:"kernel"`
	CPU      string `json:"cpu"`
	Cores    int    `json:"cores"`
	MemoryMB int    `json:"memory_mb"`
	Go       string `json:"go"`
}

// result is one workload with one bridge in one round.
type result struct {
	Workload   string    `json:"workload"`
	Bridge     string    `json:"bridge"`
	Run        int       `json:"run"`
	Error      string    `json:"error"`
	TimedOut   bool      `json:"timed_out"`
	Uplink     delivery  `json:"uplink"`
	Downlink   *delivery `json:"downlink"`
	CPUPer100k float64   `json:"cpu_seconds_per_100k"`
	IdleRSS    int       `json:"idle_rss_kib"`
	PeakRSS    int       `json:"peak_rss_kib"`
	Outage     *struct {
		// ReconnectSeconds is zero where nothing arrived after the cloud's return.
		ReconnectSeconds float64 `json:"reconnect_seconds"`
		Restarts         int     `json:"restarts"`
	} `json:"outage"`
	OtherCores float64 `json:"other_cores"`
}

// delivery is what became of one direction's messages.
type delivery struct {
	Sent       int     `json:"sent"`
	Lost       int     `json:"lost"`
	Duplicates int     `json:"duplicates"`
	OutOfOrder int     `json:"out_of_order"`
	Corrupt    int     `json:"corrupt"`
	Misrouted  int     `json:"misrouted"`
	PerSecond  float64 `json:"per_second"`
	Latency    struct {
		P50 float64 `json:"p50"`
		P99 float64 `json:"p99"`
	} `json:"latency_ms"`
}

func read(path string) (*results, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r results
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(r.Results) == 0 {
		return nil, fmt.Errorf("%s: no results in it", path)
	}
	return &r, nil
}

// of gives the rounds of one bridge in one workload: those that came to an end, and how many were tried. A nil file has
// none.
func (r *results) of(workload, bridge string) (good []result, tried int) {
	if r == nil {
		return nil, 0
	}
	for _, x := range r.Results {
		if x.Workload != workload || x.Bridge != bridge {
			continue
		}
		tried++
		if x.Error == "" {
			good = append(good, x)
		}
	}
	return good, tried
}

// figure is one number of a round; ok is false where the round has no such number.
type figure func(result) (v float64, ok bool)

func mib(kib int) float64 { return float64(kib) / 1024 }

// The figures. Those of the way down are missing where nothing went down.
var (
	perSecond figure = func(r result) (float64, bool) { return r.Uplink.PerSecond, true }
	cpu       figure = func(r result) (float64, bool) { return r.CPUPer100k, true }
	p50       figure = func(r result) (float64, bool) { return r.Uplink.Latency.P50, true }
	p99       figure = func(r result) (float64, bool) { return r.Uplink.Latency.P99, true }
	idle      figure = func(r result) (float64, bool) { return mib(r.IdleRSS), true }
	peak      figure = func(r result) (float64, bool) { return mib(r.PeakRSS), true }
	downP50   figure = func(r result) (float64, bool) {
		if r.Downlink == nil {
			return 0, false
		}
		return r.Downlink.Latency.P50, true
	}
	downP99 figure = func(r result) (float64, bool) {
		if r.Downlink == nil {
			return 0, false
		}
		return r.Downlink.Latency.P99, true
	}
	reconnect figure = func(r result) (float64, bool) {
		if r.Outage == nil || r.Outage.ReconnectSeconds == 0 {
			return 0, false
		}
		return r.Outage.ReconnectSeconds, true
	}
	doubledPercent figure = func(r result) (float64, bool) {
		up, down := r.Uplink, r.down()
		if up.Sent == 0 {
			return 0, false
		}
		return 100 * float64(up.Duplicates+down.Duplicates) / float64(up.Sent+down.Sent), true
	}
	lost    = count(func(d delivery) int { return d.Lost })
	doubled = count(func(d delivery) int { return d.Duplicates })
	order   = count(func(d delivery) int { return d.OutOfOrder })
	damaged = count(func(d delivery) int { return d.Corrupt + d.Misrouted })
)

// down is the way down, or a direction without messages.
func (r result) down() delivery {
	if r.Downlink == nil {
		return delivery{}
	}
	return *r.Downlink
}

// count adds up both directions: a lost command is no better than a lost reading.
func count(f func(delivery) int) figure {
	return func(r result) (float64, bool) { return float64(f(r.Uplink) + f(r.down())), true }
}

// values are a figure's in all rounds that have it.
func values(rounds []result, f figure) []float64 {
	var all []float64
	for _, r := range rounds {
		if v, ok := f(r); ok {
			all = append(all, v)
		}
	}
	return all
}

// ratio is the median of the ratios to the baseline within one round each: a machine that others use is a slow one in one
// round for both.
func (r *results) ratio(workload, bridge string, f figure) (v float64, ok bool) {
	rounds, _ := r.of(workload, bridge)
	if len(rounds) == 0 || bridge == r.Baseline {
		return 0, false
	}
	bases, _ := r.of(workload, r.Baseline)
	var ratios []float64
	for _, x := range rounds {
		for _, base := range bases {
			if base.Run != x.Run {
				continue
			}
			v, has := f(x)
			b, hasBase := f(base)
			if has && hasBase && b > 0 {
				ratios = append(ratios, v/b)
			}
		}
	}
	if len(ratios) == 0 {
		return 0, false
	}
	return median(ratios), true
}

func median(all []float64) float64 {
	s := slices.Sorted(slices.Values(all))
	n := len(s)
	if n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[n/2]
}
