package bridge

import (
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
		placed := false
		for g := range groups {
			if groups[g].take(f) {
				placed = true
				break
			}
		}
		if !placed {
			groups = append(groups, filterGroup{filters: []string{f.Filter}, ids: []int{f.ID}})
		}
	}
	return groups
}

// filterGroup is what one session subscribes to, and the identifiers of the filters whose rules it serves.
type filterGroup struct {
	filters []string
	ids     []int
}

// take puts a filter into the group, if that does not widen it to everything.
func (g *filterGroup) take(f mappings.Filter) bool {
	merged := f.Filter
	kept := make([]string, 0, len(g.filters)+1)
	rest := g.filters
	// A wider filter may overlap one that the narrow one did not, so the search begins again after each merge.
	for again := true; again; {
		again = false
		kept = kept[:0]
		for _, h := range rest {
			if !filtersOverlap(merged, h) {
				kept = append(kept, h)
				continue
			}
			wide := common(merged, h)
			if wide == "#" || strings.HasPrefix(wide, "+/#") {
				if wide != merged && wide != h {
					return false
				}
			}
			if wide != merged {
				again = true
			}
			merged = wide
		}
		rest = append([]string(nil), kept...)
	}
	g.filters = append(rest, merged)
	g.ids = append(g.ids, f.ID)
	return true
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
