package bridge

import (
	"slices"
	"strings"
	"time"

	"cloudbridge/mappings"
)

// mostLate is how many late rows may be open at once; the oldest goes out when there is one more.
const mostLate = 256

// rows joins the points of all rules for one channel into one row per interval, whether or not the cloud is up, so that
// history has the same shape as live data.
//
// After quiet the first row closes when settle has passed since its first reading, for the other boards are about to
// speak too; while readings keep coming, rows close one per interval. Readings from long before the open row, which a
// board kept while it was away, make late rows: one for each interval of their own time.
type rows struct {
	interval, settle time.Duration
	open             *row
	late             map[int64]*row
	// closed is when the last row closed, by our clock.
	closed time.Time
	// seconds are those that rows of the channel have, from whichever table.
	seconds *seconds
	// sampler serves the rules whose every is longer than the interval of the channel.
	sampler *sampler
	// changes are the deadbands of the rules.
	changes map[int]*changes
	skips   []mappings.Skip
}

// row is what one interval holds, by rule.
type row struct {
	opened, ends time.Time
	by           []*ruleRow
}

type ruleRow struct {
	gathering
	rule int
	pol  samplePolicy
}

// newRows makes a joiner for one channel. Both times are scaled.
func newRows(interval, settle time.Duration) *rows {
	r := &rows{interval: interval, settle: settle, late: make(map[int64]*row), changes: make(map[int]*changes), seconds: newSeconds()}
	r.sampler = newSampler()
	r.sampler.joined = true
	return r
}

// add takes a reading in. late is what must go out at once to make room, and is nearly always empty: late rows come with
// due, like all others.
func (r *rows) add(p mappings.Point, pol samplePolicy, now time.Time) (late []mappings.Point, fate sampleFate) {
	if why := unfit(&p, pol.Aggregate); why != "" {
		return nil, sampleFate{sampleProblem, why}
	}
	if pol.Every > r.interval {
		out, fate := r.sampler.add(p, pol, now)
		return r.joinAll(out, now), fate
	}
	if !summarises(pol.Aggregate) {
		if why, ok := r.changesOf(p.Rule).pass(&p, pol, now); !ok {
			return nil, sampleFate{sampleSkipped, why}
		}
	}
	late, replaced := r.join(p, pol, now)
	if replaced {
		return late, sampleFate{Kind: sampleReplaced}
	}
	return late, sampleFate{Kind: sampleTaken}
}

// joinAll puts points that the sampler has finished into their rows.
func (r *rows) joinAll(points []mappings.Point, now time.Time) (late []mappings.Point) {
	for _, p := range points {
		out, _ := r.join(p, samplePolicy{}, now)
		late = append(late, out...)
	}
	return late
}

func (r *rows) changesOf(rule int) *changes {
	c := r.changes[rule]
	if c == nil {
		c = new(changes)
		r.changes[rule] = c
	}
	return c
}

// join puts a point into its row, which it opens where there is none.
func (r *rows) join(p mappings.Point, pol samplePolicy, now time.Time) (late []mappings.Point, replaced bool) {
	began := now
	if r.open != nil {
		began = r.open.opened
	}
	if p.Time.Before(began.Add(-r.interval)) {
		return r.joinLate(p, pol, now)
	}
	if r.open == nil {
		ends := now.Add(r.settle)
		if !r.closed.IsZero() {
			if t := r.closed.Add(r.interval); t.After(ends) {
				ends = t
			}
		}
		r.open = &row{opened: now, ends: ends}
	}
	return nil, r.open.add(p, pol)
}

func (r *rows) joinLate(p mappings.Point, pol samplePolicy, now time.Time) (late []mappings.Point, replaced bool) {
	index := floorDiv(time.Duration(p.Time.UnixNano()), r.interval)
	w := r.late[index]
	if w == nil {
		if len(r.late) >= mostLate {
			oldest := index
			for i := range r.late {
				oldest = min(oldest, i)
			}
			if oldest == index {
				// It is the oldest itself.
				w = &row{}
				w.add(p, pol)
				return r.finish(w, now), false
			}
			late = r.finish(r.late[oldest], now)
			delete(r.late, oldest)
		}
		w = &row{opened: now, ends: now.Add(r.settle)}
		r.late[index] = w
	}
	return late, w.add(p, pol)
}

// add puts a point into a row. replaced says that one of two values for the same field goes no further.
func (w *row) add(p mappings.Point, pol samplePolicy) (replaced bool) {
	i := slices.IndexFunc(w.by, func(g *ruleRow) bool { return g.rule == p.Rule })
	for j, g := range w.by {
		if j != i && g.shares(p.Parts) {
			replaced = true
		}
	}
	if i < 0 {
		w.by = append(w.by, &ruleRow{gathering: gathering{aggregate: pol.Aggregate, joined: true}, rule: p.Rule, pol: pol})
		i = len(w.by) - 1
	}
	return w.by[i].gathering.add(p) || replaced
}

func (g *ruleRow) shares(parts []mappings.Part) bool {
	return slices.ContainsFunc(g.parts, func(q gatheredPart) bool {
		return slices.ContainsFunc(parts, func(p mappings.Part) bool { return p.Name == q.name })
	})
}

// finish makes the one point of a row, or none where min_change holds all of it back. Where two rules fill one field the
// newer reading stays; the row's time is that of its newest reading.
func (r *rows) finish(w *row, now time.Time) []mappings.Point {
	slices.SortStableFunc(w.by, func(a, b *ruleRow) int { return a.newest.Time.Compare(b.newest.Time) })
	var out mappings.Point
	var parts []mappings.Part
	var rules []int
	for _, g := range w.by {
		p := g.point()
		if summarises(g.aggregate) {
			if why, ok := r.changesOf(g.rule).pass(&p, g.pol, now); !ok {
				r.skips = append(r.skips, mappings.Skip{Rule: g.rule, Why: why})
				continue
			}
		}
		out = p
		rules = append(rules, g.rule)
		for _, part := range p.Parts {
			parts = slices.DeleteFunc(parts, func(q mappings.Part) bool { return q.Name == part.Name })
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return nil
	}
	slices.SortFunc(parts, func(a, b mappings.Part) int { return strings.Compare(a.Name, b.Name) })
	out.Parts, out.Also = parts, rules[:len(rules)-1]
	return []mappings.Point{out}
}

// due gives the rows that have closed: late ones first, by time, and the live row, if it closed, as the last.
func (r *rows) due(now time.Time) []mappings.Point {
	late := r.joinAll(r.sampler.due(now), now)
	return append(late, r.closeRows(now, func(w *row) bool { return !w.ends.After(now) })...)
}

// close closes all rows, for a clean stop.
func (r *rows) close() []mappings.Point {
	now := r.closed
	if r.open != nil {
		now = r.open.opened
	}
	late := r.joinAll(r.sampler.close(), now)
	return append(late, r.closeRows(now, func(*row) bool { return true })...)
}

func (r *rows) closeRows(now time.Time, ended func(*row) bool) []mappings.Point {
	var out []mappings.Point
	for i, w := range r.late {
		if ended(w) {
			out = append(out, r.finish(w, now)...)
			delete(r.late, i)
		}
	}
	slices.SortFunc(out, byTime)
	for i := range out {
		out[i].Time = r.distinct(out[i].Time)
	}
	if r.open == nil || !ended(r.open) {
		return out
	}
	live := r.finish(r.open, now)
	r.open = nil
	for i := range live {
		r.closed = now
		live[i].Time = r.distinct(live[i].Time)
	}
	return append(out, live...)
}

// distinct gives a row a second of its own.
func (r *rows) distinct(t time.Time) time.Time {
	if r.interval < time.Second {
		return t
	}
	return r.seconds.free(t)
}

// len is the number of rows and points that are still open.
func (r *rows) len() int {
	n := len(r.late) + r.sampler.len()
	if r.open != nil {
		n++
	}
	return n
}

// next is when the next row closes.
func (r *rows) next() (at time.Time, ok bool) {
	at, ok = r.sampler.next()
	earlier := func(w *row) {
		if w != nil && (!ok || w.ends.Before(at)) {
			at, ok = w.ends, true
		}
	}
	earlier(r.open)
	for _, w := range r.late {
		earlier(w)
	}
	return at, ok
}

// skipped gives, once, the rules whose value min_change held back when a row closed.
func (r *rows) skipped() []mappings.Skip {
	skips := append(r.skips, r.sampler.skipped()...)
	r.skips = nil
	return skips
}
