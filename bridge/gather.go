package bridge

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"cloudbridge/mappings"
)

// statusPart is the one part that is always text: under an aggregate of numbers it keeps the newest.
const statusPart = "status"

// gathering collects the readings of one rule within one interval, part by part.
type gathering struct {
	aggregate string
	// joined is for readings of which each fills some parts of one place, as in a row. Otherwise a newer reading replaces
	// an older one whole: an old position must not stand beside a new value.
	joined bool
	// newest is the reading with the latest time of its own; what is not a value is taken from it.
	newest mappings.Point
	parts  []gatheredPart
}

// gatheredPart is what one part has come to.
type gatheredPart struct {
	name  string
	value mappings.Value // last, min, max
	at    time.Time      // of value, for last
	n     int64
	whole bool // all were whole numbers and their sum is exact
	sum   int64
	float float64
}

// summarises says whether an aggregate makes one number of many readings, rather than keep one reading.
func summarises(aggregate string) bool { return aggregate != "" && aggregate != "last" }

// numberOf reads a value as a number.
func numberOf(v mappings.Value) (float64, bool) {
	switch v.Kind {
	case mappings.Int:
		return float64(v.Int), true
	case mappings.Float:
		return v.Float, true
	}
	return v.Number()
}

// unfit says why a reading cannot be aggregated, or nothing.
func unfit(p *mappings.Point, aggregate string) string {
	if !summarises(aggregate) || aggregate == "count" {
		return ""
	}
	for _, part := range p.Parts {
		if _, ok := numberOf(part.Value); !ok && part.Name != statusPart {
			return fmt.Sprintf("aggregate = %q wants numbers, not %q", aggregate, cut(part.Value.String()))
		}
	}
	return ""
}

// add takes a reading in. replaced says that an older reading of the same part, or this one, will never be sent.
func (g *gathering) add(p mappings.Point) (replaced bool) {
	newer := len(g.parts) == 0 || !p.Time.Before(g.newest.Time)
	if newer {
		g.newest = p
	}
	if len(g.parts) > 0 && !g.joined && !summarises(g.aggregate) {
		if !newer {
			return true
		}
		replaced, g.parts = true, g.parts[:0]
	}
	for _, part := range p.Parts {
		i := slices.IndexFunc(g.parts, func(q gatheredPart) bool { return q.name == part.Name })
		if i < 0 {
			g.parts = append(g.parts, gatheredPart{name: part.Name, whole: true})
			i = len(g.parts) - 1
		}
		q := &g.parts[i]
		keeps := !summarises(g.aggregate) || (part.Name == statusPart && g.aggregate != "count")
		if q.n > 0 && !summarises(g.aggregate) {
			replaced = true
		}
		if keeps {
			q.keep(part.Value, p.Time)
		} else {
			q.count(part.Value, g.aggregate)
		}
		q.n++
	}
	return replaced
}

func (q *gatheredPart) keep(v mappings.Value, at time.Time) {
	if q.n == 0 || !at.Before(q.at) {
		q.value, q.at = v, at
	}
}

func (q *gatheredPart) count(v mappings.Value, aggregate string) {
	f, _ := numberOf(v)
	if q.n == 0 {
		q.value = v
	} else if old, _ := numberOf(q.value); (aggregate == "min" && f < old) || (aggregate == "max" && f > old) {
		q.value = v
	}
	q.float += f
	sum := q.sum + v.Int
	overflow := (v.Int > 0 && sum < q.sum) || (v.Int < 0 && sum > q.sum)
	q.whole = q.whole && v.Kind == mappings.Int && !overflow
	q.sum = sum
}

// result is what the part's readings come to.
func (q *gatheredPart) result(aggregate string) mappings.Value {
	switch {
	case aggregate == "count":
		return mappings.Value{Kind: mappings.Int, Int: q.n}
	case q.name == statusPart:
		return q.value
	case aggregate == "sum" && q.whole:
		return mappings.Value{Kind: mappings.Int, Int: q.sum}
	case aggregate == "sum":
		return mappings.Value{Kind: mappings.Float, Float: finite(q.float)}
	case aggregate == "mean":
		return mappings.Value{Kind: mappings.Float, Float: q.mean()}
	}
	return q.value
}

func (q *gatheredPart) mean() float64 {
	if q.whole {
		return float64(q.sum) / float64(q.n)
	}
	return finite(q.float / float64(q.n))
}

// finite keeps a sum of huge numbers a number: infinity never goes up.
func finite(f float64) float64 {
	return max(min(f, math.MaxFloat64), -math.MaxFloat64)
}

// point is what the interval comes to.
func (g *gathering) point() mappings.Point {
	p := g.newest
	p.Parts = make([]mappings.Part, len(g.parts))
	for i := range g.parts {
		p.Parts[i] = mappings.Part{Name: g.parts[i].name, Value: g.parts[i].result(g.aggregate)}
	}
	return p
}

// changes is the deadband of one rule and address: what passed last, part by part.
type changes struct{ parts map[string]passedPart }

type passedPart struct {
	value     mappings.Value
	time, now time.Time
}

// pass says whether a point differs enough from the last that passed, or enough time has gone by; why is the reason
// where it does not. Several topics may fill different parts of one address, so each part has its own memory.
func (c *changes) pass(p *mappings.Point, pol samplePolicy, now time.Time) (why string, ok bool) {
	if pol.MinChange <= 0 {
		return "", true
	}
	if !slices.ContainsFunc(p.Parts, func(part mappings.Part) bool { return c.differs(part, p.Time, pol, now) }) {
		return fmt.Sprintf("changed by less than min_change = %v", pol.MinChange), false
	}
	if c.parts == nil {
		c.parts = make(map[string]passedPart)
	}
	for _, part := range p.Parts {
		part.Value.Bytes = slices.Clone(part.Value.Bytes)
		c.parts[part.Name] = passedPart{part.Value, p.Time, now}
	}
	return "", true
}

func (c *changes) differs(part mappings.Part, at time.Time, pol samplePolicy, now time.Time) bool {
	last, known := c.parts[part.Name]
	if !known {
		return true
	}
	// Readings that a board kept and sends all at once have only their own time to go by; a board with a wrong clock has
	// only ours.
	if d := pol.AtLeastEvery; d > 0 && (at.Sub(last.time) >= d || now.Sub(last.now) >= d) {
		return true
	}
	a, aok := numberOf(last.value)
	b, bok := numberOf(part.Value)
	if !aok || !bok {
		return last.value.Kind != part.Value.Kind || last.value.Int != part.Value.Int || last.value.Float != part.Value.Float ||
			string(last.value.Bytes) != string(part.Value.Bytes)
	}
	// 20.3 - 19.8 is a hair less than 0.5 in binary; people mean the decimal.
	return math.Abs(b-a) >= pol.MinChange*(1-1e-9)
}

// byTime orders points by their own time, and equal ones by name, so that what goes out does not depend on a map.
func byTime(a, b mappings.Point) int {
	if c := a.Time.Compare(b.Time); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}
