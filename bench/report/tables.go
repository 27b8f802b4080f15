package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// column is one column of a workload's table.
type column struct {
	title  string
	figure figure
	digits int
	// ratio adds the ratio to the baseline in brackets.
	ratio bool
	// worst shows the worst round instead of the median.
	worst bool
	// only names the workloads that have the column; empty is all.
	only string
}

var columns = []column{
	{title: "msg/s", figure: perSecond, ratio: true},
	{title: "CPU s/100k", figure: cpu, digits: 2, ratio: true},
	{title: "p50 ms", figure: p50, digits: 2, ratio: true},
	{title: "p99 ms", figure: p99, digits: 2, ratio: true},
	{title: "down p50 ms", figure: downP50, digits: 2, ratio: true, only: "W7"},
	{title: "down p99 ms", figure: downP99, digits: 2, ratio: true, only: "W7"},
	{title: "idle MiB", figure: idle, digits: 1, ratio: true},
	{title: "peak MiB", figure: peak, digits: 1, ratio: true},
	{title: "reconnect s", figure: reconnect, digits: 2, ratio: true, only: "W5 W6"},
	{title: "lost", figure: lost, worst: true},
	{title: "doubled", figure: doubled, worst: true},
	{title: "out of order", figure: order, worst: true},
}

// markdown is the whole of what stands between the markers.
func (m measured) markdown() string {
	var b strings.Builder
	m.about(&b)
	m.metTable(&b)
	b.WriteString("\n## Results\n\nMedians of the rounds; lost, doubled and out of order show the worst round. In brackets: the median of the ratios to\n" +
		"`mosquitto` within each round. CPU is user and system time of the bridge for 100,000 messages.\n")
	if m.all != nil {
		for _, w := range slices.Sorted(maps.Keys(m.all.Workloads)) {
			m.all.section(&b, w, m.all.Workloads[w])
		}
	}
	if m.old != nil {
		m.old.section(&b, "W8", m.old.Workloads["W8"]+"; cloudbridge with `protocol = \"3.1.1\"`"+m.when(m.old))
	}
	if m.always != nil {
		for _, w := range slices.Sorted(maps.Keys(m.always.Workloads)) {
			m.always.section(&b, w, m.always.Workloads[w]+"; cloudbridge with `durability = \"always\"`"+m.when(m.always))
		}
	}
	return b.String()
}

// first is the part that the head of the report is about.
func (m measured) first() *results { return cmp.Or(m.all, m.old, m.always) }

// when tells of a part that was measured on another day than the first.
func (m measured) when(r *results) string {
	day := r.Created.Format(time.DateOnly)
	if day == m.first().Created.Format(time.DateOnly) {
		return ""
	}
	return "; measured on " + day
}

// about says when, where and with what was measured.
func (m measured) about(b *strings.Builder) {
	first := m.first()
	fmt.Fprintf(b, "Measured on %s: %s, %d cores, %d MiB, %s, Linux %s.\n", first.Created.Format(time.DateOnly),
		first.Machine.CPU, first.Machine.Cores, first.Machine.MemoryMB, first.Machine.OS, first.Machine.Kernel)
	fmt.Fprintf(b, "%s, built with %s", m.version, first.Machine.Go)
	said := map[string]bool{"": true}
	for _, name := range slices.Sorted(maps.Keys(first.Versions)) {
		if v := first.Versions[name]; !said[v] {
			said[v] = true
			fmt.Fprintf(b, "; %s", v)
		}
	}
	fmt.Fprintf(b, ".\nRounds: %d; at full speed %s messages, at fixed rates %d s.\n", first.rounds(), thousands(first.Sizes.Messages), first.Sizes.Seconds)
	for _, name := range slices.Sorted(maps.Keys(first.Skipped)) {
		fmt.Fprintf(b, "\n`%s` was left out: %s\n", name, first.Skipped[name])
	}
}

// rounds is the number of the last round.
func (r *results) rounds() int {
	n := 0
	for _, x := range r.Results {
		n = max(n, x.Run)
	}
	return n
}

func (m measured) metTable(b *strings.Builder) {
	b.WriteString("\n## Targets\n\nCounts are those of the worst round, all else are medians.\n\n")
	rows := [][]string{{"workload", "what", "target", "reached", "met"}}
	met, judged := 0, 0
	for _, t := range targets {
		row := t.row(m)
		rows = append(rows, row)
		switch row[len(row)-1] {
		case "yes":
			met++
			judged++
		case "-":
		default:
			judged++
		}
	}
	table(b, rows)
	fmt.Fprintf(b, "\n%d of %d met", met, judged)
	if judged < len(targets) {
		fmt.Fprintf(b, ", %d not measured", len(targets)-judged)
	}
	b.WriteString(".\n")
}

// section is one workload: a table with a line for each bridge, and what is odd about the rounds.
func (r *results) section(b *strings.Builder, workload, title string) {
	fmt.Fprintf(b, "\n### %s: %s\n\n", workload, title)
	var shown []column
	header := []string{"bridge", "rounds"}
	for _, c := range columns {
		if c.only == "" || slices.Contains(strings.Fields(c.only), workload) {
			shown = append(shown, c)
			header = append(header, c.title)
		}
	}
	rows := [][]string{header}
	var notes []string
	for _, bridge := range r.Order {
		rounds, tried := r.of(workload, bridge)
		if tried == 0 {
			continue
		}
		notes = append(notes, r.notes(workload, bridge)...)
		if len(rounds) == 0 {
			continue
		}
		number := strconv.Itoa(tried)
		if len(rounds) < tried {
			number = fmt.Sprintf("%d of %d", len(rounds), tried)
		}
		row := []string{bridge, number}
		for _, c := range shown {
			row = append(row, r.cell(c, workload, bridge, rounds))
		}
		rows = append(rows, row)
	}
	table(b, rows)
	if len(notes) > 0 {
		b.WriteString("\n")
	}
	for _, n := range notes {
		fmt.Fprintf(b, "- %s\n", n)
	}
}

func (r *results) cell(c column, workload, bridge string, rounds []result) string {
	all := values(rounds, c.figure)
	if len(all) == 0 {
		return "-"
	}
	v := median(all)
	if c.worst {
		v = slices.Max(all)
	}
	text := strconv.FormatFloat(v, 'f', c.digits, 64)
	if c.ratio {
		if q, ok := r.ratio(workload, bridge, c.figure); ok {
			text += fmt.Sprintf(" (%.2f)", q)
		}
	}
	return text
}

// busy is from how many processors on, kept busy by others, a measurement is to be distrusted.
const busy = 0.5

// notes says what a reader has to know of a bridge's rounds beside the figures.
func (r *results) notes(workload, bridge string) []string {
	var notes []string
	others := 0.0
	for _, x := range r.Results {
		if x.Workload != workload || x.Bridge != bridge {
			continue
		}
		round := fmt.Sprintf("%s, round %d: ", bridge, x.Run)
		switch v, _ := damaged(x); {
		case x.Error != "":
			notes = append(notes, round+strings.Join(strings.Fields(x.Error), " "))
			continue
		case x.TimedOut:
			notes = append(notes, round+"ended by the time limit; what had not arrived by then counts as lost")
		case v > 0:
			notes = append(notes, round+fmt.Sprintf("%.0f messages with a wrong topic or payload", v))
		}
		if x.Outage != nil && x.Outage.Restarts > 0 {
			notes = append(notes, round+fmt.Sprintf("gave up %d times and was started again", x.Outage.Restarts))
		}
		if _, back := reconnect(x); x.Outage != nil && !back {
			notes = append(notes, round+"nothing arrived after the cloud's return")
		}
		others = max(others, x.OtherCores)
	}
	if others > busy {
		notes = append(notes, fmt.Sprintf("%s: other programs kept up to %.1f cores busy", bridge, others))
	}
	return notes
}

// table writes an aligned table; the first row is its header, and all columns but the first two are numbers or short words.
func table(b *strings.Builder, rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, s := range row {
			width[i] = max(width[i], utf8.RuneCountInString(s))
		}
	}
	for n, row := range rows {
		for i, s := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(s))
			fmt.Fprintf(b, "| %s%s ", s, pad)
		}
		b.WriteString("|\n")
		if n == 0 {
			for _, w := range width {
				b.WriteString("|" + strings.Repeat("-", w+2))
			}
			b.WriteString("|\n")
		}
	}
}

// thousands writes 100000 as 100,000.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
