package mappings

import "strings"

// Overlaps says whether some topic matches both.
func (p *Pattern) Overlaps(q *Pattern) bool {
	if p.avoidsDollar(q) || q.avoidsDollar(p) {
		return false
	}
	a, b := p.levels, q.levels
	for len(a) > 0 && len(b) > 0 && a[0].kind < multiLevel && b[0].kind < multiLevel {
		// Most pairs differ in a level before any {name...}: that is found without memory of what was tried.
		if !a[0].meets(&b[0]) {
			return false
		}
		a, b = a[1:], b[1:]
	}
	return restsMeet(rest{levels: a}, rest{levels: b}, map[meeting]bool{})
}

// avoidsDollar says that q reads only topics that start with $, and p none of them.
func (p *Pattern) avoidsDollar(q *Pattern) bool {
	return q.levels[0].kind == literalLevel && strings.HasPrefix(q.levels[0].text, "$") && p.levels[0].kind != literalLevel
}

// rest is what a pattern still has to match. taken is how much its first level, a {name...}, has taken already.
type rest struct {
	levels []level
	taken  taken
}

// taken tells a {name...} that may end from one that may not: its text must not be empty, and one empty level alone is.
type taken byte

const (
	nothing taken = iota
	oneEmpty
	enough
)

// meeting is a pair of rests, by which it is known what was tried.
type meeting struct {
	a, b           int
	takenA, takenB taken
}

// restsMeet walks both patterns, one level of an imagined topic at a time.
func restsMeet(a, b rest, seen map[meeting]bool) bool {
	if a.isHash() || b.isHash() || len(a.levels) == 0 && len(b.levels) == 0 {
		// # takes any number of levels, none too, so it meets whatever the other has left.
		return true
	}
	key := meeting{len(a.levels), len(b.levels), a.taken, b.taken}
	if len(a.levels) == 0 || len(b.levels) == 0 || seen[key] {
		return false
	}
	seen[key] = true
	x, y := &a.levels[0], &b.levels[0]
	if x.kind == multiLevel || y.kind == multiLevel || x.meets(y) {
		empty := x.isEmpty() || y.isEmpty()
		for _, nextA := range a.after(empty) {
			for _, nextB := range b.after(empty) {
				if restsMeet(nextA, nextB, seen) {
					return true
				}
			}
		}
	}
	return false
}

func (r rest) isHash() bool { return len(r.levels) > 0 && r.levels[0].kind == hashLevel }

// after lists what may be left when the first level has taken one level of a topic, an empty one or not.
func (r rest) after(empty bool) []rest {
	next := rest{levels: r.levels[1:]}
	if r.levels[0].kind != multiLevel {
		return []rest{next}
	}
	if empty && r.taken == nothing {
		return []rest{{r.levels, oneEmpty}}
	}
	return []rest{next, {r.levels, enough}}
}

func (l *level) isEmpty() bool { return l.kind == literalLevel && l.text == "" }

// meets says whether some text matches both levels.
func (l *level) meets(m *level) bool {
	if l.kind == plusLevel || m.kind == plusLevel {
		// + matches anything, and every level matches something.
		return true
	}
	if l.kind == literalLevel {
		_, ok := m.match(l.text, nil)
		return ok
	}
	if m.kind == literalLevel {
		_, ok := l.match(m.text, nil)
		return ok
	}
	return tokensMeet(l.tokens(), m.tokens(), map[[2]int]bool{})
}

// tokens are the bytes of a level with -1 for each capture: any text, but not an empty one.
func (l *level) tokens() []int {
	var out []int
	for i, text := range l.texts {
		if i > 0 {
			out = append(out, -1)
		}
		for _, c := range []byte(text) {
			out = append(out, int(c))
		}
	}
	return out
}

// tokensMeet is restsMeet for the bytes of one level.
func tokensMeet(a, b []int, failed map[[2]int]bool) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	at := [2]int{len(a), len(b)}
	if failed[at] {
		return false
	}
	manyA, manyB := a[0] < 0, b[0] < 0
	if manyA || manyB || a[0] == b[0] {
		if tokensMeet(a[1:], b[1:], failed) || manyA && tokensMeet(a, b[1:], failed) || manyB && tokensMeet(a[1:], b, failed) {
			return true
		}
	}
	failed[at] = true
	return false
}
