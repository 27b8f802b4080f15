package main

import (
	"fmt"
	"slices"
)

// measured is everything that one report is about. A part that was not measured is nil.
type measured struct {
	version string
	// all has every workload, old W8 with MQTT 3.1.1 at the cloud, always W2 to W6 with durability always.
	all, old, always *results
}

// The names under which bench/run measures cloudbridge.
const (
	program       = "cloudbridge"
	programOld    = "cloudbridge-3.1.1"
	programAlways = "cloudbridge-always"
)

// limit is how a figure is held against its target.
type limit int

const (
	atLeast limit = iota
	atMost
	below
)

// kind is what is made of the rounds.
type kind int

const (
	// byRatio is the median of the ratios to the baseline.
	byRatio kind = iota
	// byMedian is the median of the rounds.
	byMedian
	// byWorst is the worst round: what is lost once is lost.
	byWorst
	// byEvery is the median too, and counts only where every round has the figure: one round in which nothing came
	// back is not a quick one.
	byEvery
)

// target is one line of the table of targets.
type target struct {
	workload, what string
	old            bool // of the rounds with MQTT 3.1.1
	kind           kind
	figure         figure
	limit          limit
	want           float64
	unit           string
}

var targets = []target{
	{workload: "W1", what: "msg/s to mosquitto's", figure: perSecond, limit: atLeast, want: 1},
	{workload: "W1", what: "CPU to mosquitto's", figure: cpu, limit: atMost, want: 0.8},
	{workload: "W1P", what: "p99", kind: byMedian, figure: p99, limit: below, want: 1.5, unit: "ms"},
	{workload: "W1P", what: "lost", kind: byWorst, figure: lost, limit: atMost},
	{workload: "W2", what: "msg/s to mosquitto's", figure: perSecond, limit: atLeast, want: 1.2},
	{workload: "W2", what: "CPU to mosquitto's", figure: cpu, limit: atMost, want: 1},
	{workload: "W2", what: "memory when idle", kind: byMedian, figure: idle, limit: atMost, want: 14, unit: "MiB"},
	{workload: "W2", what: "memory at its peak", kind: byMedian, figure: peak, limit: atMost, want: 20, unit: "MiB"},
	{workload: "W3", what: "p99 to mosquitto's", figure: p99, limit: atMost, want: 1},
	{workload: "W3", what: "CPU to mosquitto's", figure: cpu, limit: atMost, want: 2},
	{workload: "W4", what: "msg/s to mosquitto's", figure: perSecond, limit: atLeast, want: 1.2},
	{workload: "W4", what: "CPU to mosquitto's", figure: cpu, limit: atMost, want: 1},
	{workload: "W5", what: "lost", kind: byWorst, figure: lost, limit: atMost},
	{workload: "W5", what: "out of order", kind: byWorst, figure: order, limit: atMost},
	{workload: "W5", what: "cloud's return to first message there", kind: byEvery, figure: reconnect, limit: below, want: 0.5, unit: "s"},
	{workload: "W6", what: "lost", kind: byWorst, figure: lost, limit: atMost},
	{workload: "W6", what: "out of order", kind: byWorst, figure: order, limit: atMost},
	{workload: "W6", what: "doubled", kind: byWorst, figure: doubledPercent, limit: below, want: 1, unit: "%"},
	{workload: "W6", what: "cloud's return to first message there", kind: byEvery, figure: reconnect, limit: below, want: 1, unit: "s"},
	{workload: "W7", what: "p99 of readings", kind: byMedian, figure: p99, limit: below, want: 1, unit: "ms"},
	{workload: "W7", what: "p99 of commands", kind: byMedian, figure: downP99, limit: below, want: 1, unit: "ms"},
	{workload: "W8", what: "msg/s to mosquitto's", figure: perSecond, limit: atLeast, want: 0.8},
	{workload: "W8", what: "out of order", kind: byWorst, figure: order, limit: atMost},
	{workload: "W8", what: "msg/s to mosquitto's, MQTT 3.1.1", old: true, figure: perSecond, limit: atLeast, want: 1},
	{workload: "W8", what: "out of order, MQTT 3.1.1", old: true, kind: byWorst, figure: order, limit: atMost},
}

// row is the target's line of the table.
func (t target) row(m measured) []string {
	from, bridge := m.all, program
	if t.old {
		from, bridge = m.old, programOld
	}
	line := []string{t.workload, t.what, t.wanted()}
	rounds, tried := from.of(t.workload, bridge)
	switch {
	case tried == 0:
		return append(line, "not measured", "-")
	case len(rounds) < tried:
		return append(line, fmt.Sprintf("%d of %d rounds failed", tried-len(rounds), tried), "**no**")
	}
	v, ok := t.reached(from, bridge, rounds)
	switch {
	case !ok && t.kind == byEvery:
		return append(line, "not in every round", "**no**")
	case !ok:
		return append(line, "no figures", "**no**")
	}
	return append(line, t.amount(v), t.met(v))
}

func (t target) reached(from *results, bridge string, rounds []result) (v float64, ok bool) {
	if t.kind == byRatio {
		return from.ratio(t.workload, bridge, t.figure)
	}
	all := values(rounds, t.figure)
	switch {
	case len(all) == 0, t.kind == byEvery && len(all) < len(rounds):
		return 0, false
	case t.kind == byWorst:
		return slices.Max(all), true
	}
	return median(all), true
}

// counts says whether the figure is a number of messages.
func (t target) counts() bool { return t.kind == byWorst && t.unit == "" }

func (t target) amount(v float64) string {
	if t.counts() {
		return fmt.Sprintf("%.0f", v)
	}
	return spaced(fmt.Sprintf("%.2f", v), t.unit)
}

func (t target) wanted() string {
	sign := map[limit]string{atLeast: "at least", atMost: "at most", below: "below"}[t.limit]
	if t.counts() {
		return fmt.Sprintf("%.0f", t.want)
	}
	return sign + " " + spaced(fmt.Sprintf("%.1f", t.want), t.unit)
}

func spaced(number, unit string) string {
	if unit == "" {
		return number
	}
	return number + " " + unit
}

// met says whether the target is met, and if not by how much.
func (t target) met(v float64) string {
	switch {
	case t.limit == atLeast && v >= t.want, t.limit == atMost && v <= t.want, t.limit == below && v < t.want:
		return "yes"
	case t.counts():
		return fmt.Sprintf("**no**, %.0f too many", v-t.want)
	case t.limit == atLeast:
		return fmt.Sprintf("**no**, %.1f %% short", 100*(t.want-v)/t.want)
	}
	return fmt.Sprintf("**no**, %.1f %% over", 100*(v-t.want)/t.want)
}
