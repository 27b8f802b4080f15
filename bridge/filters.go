package bridge

import (
	"slices"
	"strings"

	"cloudbridge/mappings"
)

// narrow splits filters into groups, one for each session, so that within a group no two overlap: a broker that knows
// no subscription identifiers would send a message once or twice for two that do, and nobody could tell. Overlapping
// filters are replaced by the narrowest common one; where that would take in everything, the second goes to a session
// of its own.
func narrow(list []mappings.Filter) []filterGroup {
	var groups []filterGroup
	for _, f := range list {
		if !slices.ContainsFunc(groups, func(g filterGroup) bool { return g.take(f.ID, f.Filter) }) {
			g := filterGroup{set: &filterSet{}}
			g.take(f.ID, f.Filter)
			groups = append(groups, g)
		}
	}
	for i := range groups {
		g := &groups[i]
		g.filters, g.ids = g.set.list(), g.set.ids
		slices.Sort(g.ids)
		g.set = nil
	}
	return groups
}

// filterGroup is what one session subscribes to, and the identifiers of the filters whose rules it serves, in ascending
// order.
type filterGroup struct {
	filters []string
	ids     []int
	// set is what the group is made in.
	set *filterSet
}

// take puts a filter into the group, if that does not widen it to everything.
func (g *filterGroup) take(id int, filter string) bool {
	merged, gone := filter, map[int]bool{}
	// A wider filter may overlap one that the narrow one did not, so the search begins again after each merge.
	for again := true; again; {
		again = false
		fits := g.set.overlapping(merged, func(at int) bool {
			h := g.set.filters[at]
			if gone[at] {
				return true
			}
			wide := common(merged, h)
			if (wide == "#" || strings.HasPrefix(wide, "+/#")) && wide != merged && wide != h {
				return false
			}
			gone[at] = true
			again = again || wide != merged
			merged = wide
			return true
		})
		if !fits {
			return false
		}
	}
	for at := range gone {
		g.set.remove(at)
	}
	g.set.add(merged)
	g.set.ids = append(g.set.ids, id)
	return true
}

// filterSet finds which of many filters overlap one, without comparing it with each: a school has thousands of them, and
// a Pi on MQTT 3.1.1 would compare for minutes.
type filterSet struct {
	tree    filterNode
	filters []string // in the order in which they came; empty is one that was taken out
	ids     []int
}

// filterNode is a level of the tree over the filters' levels. Order is kept, so that one configuration always gives the
// same filters: the session knows them by their list.
type filterNode struct {
	next  map[string]*filterNode
	order []string
	ends  int // one more than the place of the filter that ends here; 0 is none
}

func (s *filterSet) add(filter string) {
	n := &s.tree
	for level := range strings.SplitSeq(filter, "/") {
		below := n.next[level]
		if below == nil {
			below = &filterNode{}
			if n.next == nil {
				n.next = make(map[string]*filterNode)
			}
			n.next[level] = below
			n.order = append(n.order, level)
		}
		n = below
	}
	s.filters = append(s.filters, filter)
	n.ends = len(s.filters)
}

// remove takes a filter out. Its branch stays: a wider filter that is in the set now has its place beside it.
func (s *filterSet) remove(at int) {
	n := &s.tree
	for level := range strings.SplitSeq(s.filters[at], "/") {
		n = n.next[level]
	}
	n.ends = 0
	s.filters[at] = ""
}

func (s *filterSet) list() []string {
	return slices.DeleteFunc(s.filters, func(f string) bool { return f == "" })
}

// overlapping calls visit with the place of each filter that overlaps one, until it says false.
func (s *filterSet) overlapping(filter string, visit func(at int) bool) (all bool) {
	return s.tree.overlapping(strings.Split(filter, "/"), true, visit)
}

func (n *filterNode) overlapping(levels []string, first bool, visit func(at int) bool) bool {
	any := len(levels) > 0 && levels[0] == "#"
	if (len(levels) == 0 || any) && n.ends > 0 && !visit(n.ends-1) {
		return false
	}
	if len(levels) == 0 {
		below := n.next["#"]
		return below == nil || below.ends == 0 || visit(below.ends-1)
	}
	level, rest := levels[0], levels[1:]
	if any {
		rest = levels
	}
	if any || level == "+" {
		for _, name := range n.order {
			if first && dollar(name) {
				continue // A leading wildcard does not match $SYS.
			}
			if !n.next[name].meet(name, rest, visit) {
				return false
			}
		}
		return true
	}
	for _, name := range [...]string{level, "+", "#"} {
		if first && dollar(level) && wild(name) {
			continue
		}
		if below := n.next[name]; below != nil && !below.meet(name, rest, visit) {
			return false
		}
	}
	return true
}

// meet goes on below a level that fits. A filter that ends with # takes in all the rest.
func (n *filterNode) meet(name string, rest []string, visit func(at int) bool) bool {
	if name == "#" {
		return n.ends == 0 || visit(n.ends-1)
	}
	return n.overlapping(rest, false, visit)
}

// filtersOverlap says whether some topic matches both filters.
func filtersOverlap(a, b string) bool {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	for i := 0; ; i++ {
		endA, endB := i == len(as), i == len(bs)
		switch {
		case endA && endB:
			return true
		case endA:
			return bs[i] == "#"
		case endB:
			return as[i] == "#"
		case i == 0 && dollar(as[i]) != dollar(bs[i]) && (wild(as[i]) || wild(bs[i])):
			return false // A leading wildcard does not match $SYS.
		case as[i] == "#" || bs[i] == "#":
			return true
		case as[i] != bs[i] && as[i] != "+" && bs[i] != "+":
			return false
		}
	}
}

// common is the narrowest filter that matches everything that a or b matches.
func common(a, b string) string {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	var out []string
	for i := 0; ; i++ {
		endA, endB := i == len(as), i == len(bs)
		switch {
		case endA && endB:
			return strings.Join(out, "/")
		case endA || endB || as[i] == "#" || bs[i] == "#":
			return strings.Join(append(out, "#"), "/")
		case as[i] == bs[i]:
			out = append(out, as[i])
		default:
			out = append(out, "+")
		}
	}
}

func wild(level string) bool   { return level == "+" || level == "#" }
func dollar(level string) bool { return strings.HasPrefix(level, "$") }
