package bridge

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"cloudbridge/mappings"
)

// activeSpan is how long an address counts as active after it was last heard of or sent. Boards that are switched off
// stop taking their share of the budget after it; those that are quiet for a lesson's break keep theirs.
const activeSpan = 10 * time.Minute

// mostLatest bounds the addresses whose points wait for their turn. At sixty points a minute the last of so many waits for
// three hours already; names that never repeat would fill the memory.
const mostLatest = 10_000

// latest holds the newest point of each address, for lanes that keep only that, and picks whose turn it is: the address
// that was sent longest ago.
//
// Turns are spread evenly over the time that all addresses need for one turn each. Were the whole budget spent in one
// go, ten of twenty feeds would then wait for a minute. Only an address that speaks more rarely than its turn comes,
// like a switch or a door, goes at once: it takes a place in the budget, but nobody's turn.
type latest struct {
	span    time.Duration
	entries map[string]*latestEntry
	waiting int
	// step is the time between turns at the last pick, and turn when the last turn was.
	step time.Duration
	turn time.Time
}

type latestEntry struct {
	name  string
	point mappings.Point
	held  bool
	// since is when the point, or one that it replaced, began to wait.
	since time.Time
	heard time.Time
	last  time.Time // sent
	// gap is the shortest time between the readings that led to the point that waits, where gapped says that there were
	// two.
	gap    time.Duration
	gapped bool
	// newest is the arrival of the newest point that was put in, so that an older one is not put back over it.
	newest time.Time
}

func newLatest(scale float64) *latest {
	return &latest{span: scaleTime(activeSpan, scale), entries: make(map[string]*latestEntry)}
}

func (l *latest) entry(name string) *latestEntry {
	e := l.entries[name]
	if e == nil {
		e = &latestEntry{name: name}
		l.entries[name] = e
	}
	return e
}

// room says whether a point of this address may be put in.
func (l *latest) room(name string) bool {
	if l.waiting < mostLatest {
		return true
	}
	return l.holds(name)
}

// put makes p the point that waits for its address, and says whether one of the two was replaced: the waiting one or,
// where p is the older reading, p itself.
func (l *latest) put(p mappings.Point, now time.Time) (replaced bool) {
	e := l.entry(p.Name)
	if !e.heard.IsZero() {
		gap := now.Sub(e.heard)
		if !e.held || !e.gapped || gap < e.gap {
			e.gap, e.gapped = gap, true
		}
	}
	e.heard = now
	if p.Arrived.After(e.newest) {
		e.newest = p.Arrived
	}
	if e.held {
		if !p.Time.Before(e.point.Time) {
			e.point = p
		}
		return true
	}
	e.point, e.held, e.since = p, true, now
	l.waiting++
	return false
}

// oldest is since when the longest waiting address waits for its turn.
func (l *latest) oldest() (since time.Time, ok bool) {
	for _, e := range l.entries {
		if e.held && (!ok || e.since.Before(since)) {
			since, ok = e.since, true
		}
	}
	return since, ok
}

// putBack lets a point that was picked wait again, unless a newer one came meanwhile.
func (l *latest) putBack(p mappings.Point) bool {
	e := l.entry(p.Name)
	if e.held || e.newest.After(p.Arrived) {
		return false
	}
	e.point, e.held, e.since = p, true, p.Arrived
	l.waiting++
	return true
}

// pick takes out the point whose turn it is, where perAddress is the fair time between two points of one address. When
// nobody's turn has come, wait is when the next one comes; it is zero when nothing waits at all.
func (l *latest) pick(now time.Time, perAddress time.Duration) (p mappings.Point, ok bool, wait time.Time) {
	l.step = perAddress / time.Duration(max(l.active(now), 1))
	var best *latestEntry
	for _, e := range l.entries {
		if !e.held {
			continue
		}
		at := l.ready(e, perAddress)
		if at.After(now) {
			if wait.IsZero() || at.Before(wait) {
				wait = at
			}
			continue
		}
		if best == nil || e.before(best) {
			best = e
		}
	}
	if best == nil {
		return mappings.Point{}, false, wait
	}
	p = best.point
	best.point, best.held = mappings.Point{}, false
	l.waiting--
	return p, true, time.Time{}
}

// ready is when an address may go.
func (l *latest) ready(e *latestEntry, perAddress time.Duration) time.Time {
	var at time.Time
	if !e.last.IsZero() {
		at = e.last.Add(perAddress)
	}
	if e.rare(perAddress) || l.turn.IsZero() {
		return at
	}
	if turn := l.turn.Add(l.step); turn.After(at) {
		return turn
	}
	return at
}

// rare says whether an address speaks more rarely than its turn comes.
func (e *latestEntry) rare(perAddress time.Duration) bool { return e.gapped && e.gap > perAddress }

// before orders addresses: never sent first, then sent longest ago, then waiting longest.
func (e *latestEntry) before(f *latestEntry) bool {
	if c := e.last.Compare(f.last); c != 0 {
		return c < 0
	}
	if c := e.since.Compare(f.since); c != 0 {
		return c < 0
	}
	return e.name < f.name
}

// sent notes that a point of this address was written. It is called before the next pick.
func (l *latest) sent(name string, now time.Time) {
	e := l.entry(name)
	e.last = now
	// A turn that is a little late does not delay all that follow: the timetable stays, unless a whole turn was missed.
	switch due := l.turn.Add(l.step); {
	case l.turn.IsZero() || now.Sub(due) >= l.step:
		l.turn = now
	case !now.Before(due):
		l.turn = due
	}
}

// active is the number of addresses among which the budget is shared now. It forgets what is not active, so that
// topics which come and go take no memory for ever.
func (l *latest) active(now time.Time) int {
	n := 0
	for name, e := range l.entries {
		switch {
		case e.held || now.Sub(e.heard) <= l.span || now.Sub(e.last) <= l.span:
			n++
		default:
			delete(l.entries, name)
		}
	}
	return n
}

// len is the number of points that wait.
func (l *latest) len() int { return l.waiting }

// names lists the addresses whose points wait, in alphabetical order.
func (l *latest) names() []string {
	names := make([]string, 0, l.waiting)
	for name, e := range l.entries {
		if e.held {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// points copies out the points that wait, by name: the snapshot.
func (l *latest) points() []mappings.Point {
	points := make([]mappings.Point, 0, l.waiting)
	for _, e := range l.entries {
		if e.held {
			points = append(points, e.point)
		}
	}
	slices.SortFunc(points, func(a, b mappings.Point) int { return strings.Compare(a.Name, b.Name) })
	return points
}

// holds says whether a point of this address waits.
func (l *latest) holds(name string) bool {
	e := l.entries[name]
	return e != nil && e.held
}

// keepLatest holds a point until its address has its turn. Its message is acknowledged now, or when the point is on disk.
// mu is held.
func (l *budgetLane) keepLatest(p mappings.Point, r *receipt, now time.Time) {
	if !l.latest.room(p.Name) {
		l.c.count(&p, fateDropped, fmt.Sprintf("%d feeds wait for their turn already", mostLatest))
		return
	}
	l.file.unsaved = true
	if r != nil && l.c.b.always() {
		l.owed = append(l.owed, l.debts.take(r))
	}
	if l.latest.put(p, now) {
		l.c.count(&p, fateReplaced, "a newer value came before its turn")
	}
}
