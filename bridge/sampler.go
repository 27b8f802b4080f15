package bridge

import (
	"container/heap"
	"slices"
	"time"

	"cloudbridge/mappings"
)

// samplePolicy is what a rule says about rates. Every is in scaled time.
type samplePolicy struct {
	Every        time.Duration
	Aggregate    string // "last" where empty
	MinChange    float64
	AtLeastEvery time.Duration
}

// sampleFateKind is what became of a reading at the sampler.
type sampleFateKind int

// The fates of a reading.
const (
	samplePassed   sampleFateKind = iota // it goes out as it is, now
	sampleTaken                          // it is part of its open interval
	sampleReplaced                       // so is it, and one of two readings for the same place goes no further
	sampleSkipped                        // by the rule, see Why
	sampleProblem                        // it cannot be aggregated, see Why
)

// sampleFate is what became of a reading, and why.
type sampleFate struct {
	Kind sampleFateKind
	Why  string
}

// mostSampled bounds the addresses that a sampler remembers beyond those with an open interval. One that is forgotten starts a new interval with its next
// reading, and that one passes min_change: nothing is lost by it.
const mostSampled = 10_000

// sampler makes one point per interval and address of many readings. An interval goes by the readings' own time, counted
// from the first reading of its address, and ends with the first reading of a later one, or when as much time has gone by
// here as was left of it: so a board with a wrong clock is sampled like any other, and a quiet one is not held for ever.
// A reading from before the open interval goes out by itself.
type sampler struct {
	states map[sampleKey]*sampleState
	// joined says that the readings of one address fill different parts of it.
	joined bool
	// open counts the open intervals, and ends has the one that ends first on top, so that neither a message nor an end need
	// look at all addresses. It may name intervals that a reading has ended.
	open int
	ends intervalEnds
	// crowd is how many addresses there may be before it is looked again which of them can be forgotten.
	crowd int
	// skips are points that an aggregate made and min_change then held back, since they were last asked for.
	skips []mappings.Skip
}

type sampleKey struct {
	rule int
	name string
}

type sampleState struct {
	key     sampleKey
	anchor  time.Time
	index   int64 // of the open interval
	open    *gathering
	pol     samplePolicy
	ends    time.Time // of the open interval, by our clock
	changes changes
	touched time.Time
}

func newSampler() *sampler { return &sampler{states: make(map[sampleKey]*sampleState)} }

// add takes a reading in. out is what goes out because of it: the reading itself where it passed, or the interval that it
// ended. The reading may be acknowledged when out is in its lane.
func (s *sampler) add(p mappings.Point, pol samplePolicy, now time.Time) (out []mappings.Point, fate sampleFate) {
	if why := unfit(&p, pol.Aggregate); why != "" {
		return nil, sampleFate{sampleProblem, why}
	}
	st := s.state(sampleKey{p.Rule, p.Name}, p.Time, now)
	// A summary is compared when it is made: comparing its readings would leave the steady ones out of the mean.
	if pol.Every <= 0 || !summarises(pol.Aggregate) {
		if why, ok := st.changes.pass(&p, pol, now); !ok {
			return nil, sampleFate{sampleSkipped, why}
		}
	}
	if pol.Every <= 0 {
		return []mappings.Point{p}, sampleFate{Kind: samplePassed}
	}
	index := floorDiv(p.Time.Sub(st.anchor), pol.Every)
	if st.open != nil && index < st.index {
		single := gathering{aggregate: pol.Aggregate, joined: s.joined}
		single.add(p)
		return []mappings.Point{single.point()}, sampleFate{Kind: samplePassed}
	}
	if st.open != nil && index > st.index {
		out = s.end(st, now)
	}
	if st.open == nil {
		left := st.anchor.Add(time.Duration(index+1) * pol.Every).Sub(p.Time)
		st.open, st.index, st.pol, st.ends = &gathering{aggregate: pol.Aggregate, joined: s.joined}, index, pol, now.Add(left)
		s.open++
		s.ends.note(st, s.open)
	}
	if st.open.add(p) {
		return out, sampleFate{Kind: sampleReplaced}
	}
	return out, sampleFate{Kind: sampleTaken}
}

// end closes an open interval.
func (s *sampler) end(st *sampleState, now time.Time) []mappings.Point {
	p := st.open.point()
	st.open = nil
	s.open--
	if summarises(st.pol.Aggregate) {
		if why, ok := st.changes.pass(&p, st.pol, now); !ok {
			s.skips = append(s.skips, mappings.Skip{Rule: p.Rule, Why: why})
			return nil
		}
	}
	return []mappings.Point{p}
}

// due gives the points of all intervals that have ended, by time.
func (s *sampler) due(now time.Time) []mappings.Point {
	var out []mappings.Point
	for st := s.ends.first(); st != nil && !st.ends.After(now); st = s.ends.first() {
		out = append(out, s.end(st, now)...)
		if len(s.states) > mostSampled && st.pol.MinChange <= 0 {
			delete(s.states, st.key) // There are many: nothing is lost by forgetting this one.
		}
	}
	slices.SortFunc(out, byTime)
	return out
}

// close ends all intervals, for a clean stop.
func (s *sampler) close() []mappings.Point {
	var out []mappings.Point
	for _, st := range s.states {
		if st.open != nil {
			out = append(out, s.end(st, time.Time{})...)
		}
	}
	slices.SortFunc(out, byTime)
	return out
}

// len is the number of open intervals: each will make a point.
func (s *sampler) len() int { return s.open }

// next is when to ask due again.
func (s *sampler) next() (at time.Time, ok bool) {
	if st := s.ends.first(); st != nil {
		return st.ends, true
	}
	return time.Time{}, false
}

// skipped gives the points that min_change held back after they were made, once.
func (s *sampler) skipped() []mappings.Skip {
	skips := s.skips
	s.skips = nil
	return skips
}

func (s *sampler) state(key sampleKey, first, now time.Time) *sampleState {
	st := s.states[key]
	if st == nil {
		if len(s.states) >= max(mostSampled, s.crowd) {
			s.forget(now)
			s.crowd = len(s.states) + len(s.states)/10 // Where all are open, not each new one looks at all.
		}
		st = &sampleState{key: key, anchor: first}
		s.states[key] = st
	}
	st.touched = now
	return st
}

// forget makes room: what was not touched for ten minutes goes, and if that is little, any that hold no interval.
func (s *sampler) forget(now time.Time) {
	for key, st := range s.states {
		if st.open == nil && now.Sub(st.touched) > 10*time.Minute {
			delete(s.states, key)
		}
	}
	for key, st := range s.states {
		if len(s.states) <= mostSampled*9/10 {
			return
		}
		if st.open == nil {
			delete(s.states, key)
		}
	}
}

// intervalEnds is a heap of intervals, that which ends first on top.
type intervalEnds []intervalEnd

type intervalEnd struct {
	at time.Time
	st *sampleState
}

// over says that the interval has been ended by a reading.
func (e intervalEnd) over() bool { return e.st.open == nil || !e.st.ends.Equal(e.at) }

// note adds an interval, of so many that are open. Where most that the heap names are over they go: a board that sends a
// day's readings at once ends intervals by the thousand.
func (h *intervalEnds) note(st *sampleState, open int) {
	if len(*h) > 1024+2*open {
		*h = slices.DeleteFunc(*h, intervalEnd.over)
		heap.Init(h)
	}
	heap.Push(h, intervalEnd{st.ends, st})
}

// first is the open interval that ends first, or nil.
func (h *intervalEnds) first() *sampleState {
	for len(*h) > 0 {
		if e := (*h)[0]; !e.over() {
			return e.st
		}
		heap.Pop(h)
	}
	return nil
}

func (h intervalEnds) Len() int           { return len(h) }
func (h intervalEnds) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h intervalEnds) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push and Pop are for package heap alone.
func (h *intervalEnds) Push(x any) { *h = append(*h, x.(intervalEnd)) }

// Pop takes the last one away.
func (h *intervalEnds) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = intervalEnd{}
	*h = (*h)[:last]
	return e
}

// floorDiv counts whole intervals, towards the past also for what lies before the first.
func floorDiv(d, every time.Duration) int64 {
	n := int64(d / every)
	if d%every < 0 {
		n--
	}
	return n
}
