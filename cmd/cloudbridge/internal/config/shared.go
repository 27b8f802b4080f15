package config

import (
	"fmt"
	"strings"

	"cloudbridge/mappings"
)

// spot is where a value ends: a field of a channel, a feed. A text with captures stands for itself, so that only what is
// written alike counts as one.
type spot struct {
	cloud string
	mappings.Address
}

// forecastShared warns of two rules that read different topics and write to one field or feed: their values would mix in one
// line of a chart. It is no fault, for one board may be meant to take another's place. Clouds that take any topic are left
// out: there a reader sees from each message what it is.
func (l *loader) forecastShared() {
	first := map[spot]*uplink{}
	for i := range l.up {
		u := &l.up[i]
		if u.kind.TakesAnyTopic {
			continue
		}
		told := map[*uplink]bool{}
		for _, s := range u.spots() {
			other := first[s]
			switch {
			case other == nil:
				first[s] = u
			case other.Local.String() != u.Local.String() && !(other.mix && u.mix) && !told[other]:
				told[other] = true
				l.warnShared(u, other, s)
			}
		}
	}
}

func (l *loader) warnShared(u, other *uplink, s spot) {
	ends := "ends"
	if strings.Contains(s.Name, "{") {
		ends = "may end"
	}
	l.warn(u.table, fmt.Sprintf("what this rule reads from %s %s in the same place as what %s reads: %s of cloud %q",
		u.Local, ends, other.label, s.Address, u.Cloud), "give one of them a place of its own, or write mix = true into both if they belong together")
}

// spots lists where a rule writes to, in the order of the file.
func (u *uplink) spots() []spot {
	c := u.clouds[0]
	cloud := c.platform.Account()
	if _, one := u.Cloud.Constant(); !one {
		cloud = u.Cloud.String() // Which of the accounts it is, only the captures tell.
	}
	var list []spot
	for _, t := range u.inOrder() {
		name, ok := constant(t)
		if !ok {
			name = t.Name.String()
		}
		if strings.Contains(name, "{topic}") || c.fillsNone(name, t) {
			continue
		}
		for _, p := range t.Parts {
			if !p.Optional {
				list = append(list, spot{cloud, mappings.Address{Name: name, Part: p.Name}})
			}
		}
	}
	return list
}

// inOrder lists the targets of a rule as the file does.
func (u *uplink) inOrder() []*mappings.Target {
	if u.Each == nil {
		return []*mappings.Target{u.Target}
	}
	var list []*mappings.Target
	for _, key := range u.table.child["each"].child[u.Each.Capture].names {
		if t := u.Each.Targets[key]; t != nil {
			list = append(list, t)
		}
	}
	return list
}
