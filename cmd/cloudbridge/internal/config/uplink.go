package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"cloudbridge/bridge"
	"cloudbridge/mappings"
)

// uplinkTable are the keys of an [[uplink]] that are the engine's.
type uplinkTable struct {
	Local        string        `toml:"local"`
	Cloud        string        `toml:"cloud"`
	Each         rawNode       `toml:"each"`
	Value        expression    `toml:"value"`
	When         expression    `toml:"when"`
	Time         expression    `toml:"time"`
	Every        time.Duration `toml:"every"`
	Aggregate    string        `toml:"aggregate"`
	MinChange    float64       `toml:"min_change"`
	AtLeastEvery time.Duration `toml:"at_least_every"`
	Keep         string        `toml:"keep"`
	MaxAge       age           `toml:"max_age"`
	History      *bool         `toml:"history"`
	QoS          *int          `toml:"qos"`
	Retain       *bool         `toml:"retain"`
	Retained     *bool         `toml:"retained"`
	MaxHops      int           `toml:"max_hops"`
	Mix          bool          `toml:"mix"`
}

// uplink is a compiled rule, with what the forecast asks of it.
type uplink struct {
	*rule
	bridge.Uplink
	// mix says that several topics may end in one place.
	mix bool
}

func (l *loader) readUplink(n *node) {
	var t uplinkTable
	local := l.text(n, "local", "the topic of the local broker to read")
	pattern, names := l.pattern(n, "local", local)
	r := l.newRule("uplink", n, names)
	place := l.place(r, n, &t)
	u := uplink{rule: r, Uplink: bridge.Uplink{
		Label: r.label, Every: t.Every, Aggregate: t.Aggregate, MinChange: t.MinChange, AtLeastEvery: t.AtLeastEvery,
		Keep: t.Keep, MaxAge: t.MaxAge.d, History: t.History, Retained: t.Retained, MaxHops: t.MaxHops,
	}, mix: t.Mix}
	u.Local = pattern
	u.Value = l.expr(n, "value", t.Value, names, mappings.WantAny)
	u.When = l.expr(n, "when", t.When, names, mappings.WantBool)
	u.Time = l.expr(n, "time", t.Time, names, mappings.WantTime)
	u.Uplink.Retain = t.Retain
	l.checkRate(n, &t, r)
	l.hops(n, t.MaxHops)
	if r.first() == nil || local == nil {
		return
	}
	l.uplinkTarget(&u, &t, place, names)
	l.uplinkLimits(&u, &t)
	l.addUplink(u)
}

// addUplink keeps a rule that is whole.
func (l *loader) addUplink(u uplink) {
	if u.Local == nil || u.Cloud == nil || u.Target == nil && u.Each == nil {
		return
	}
	if lost := u.Mixes(); len(lost) > 0 && !u.mix {
		c := u.table.child["local"]
		l.fault(c.src, c.val, c.src.shown(c.val), "local: several topics would end in one place, because nothing there differs by "+strings.Join(lost, ", "),
			"use the capture in the place or the cloud, name one topic, or write mix = true if they belong together")
		return
	}
	l.up = append(l.up, u)
	l.file.Bridge.Uplinks = append(l.file.Bridge.Uplinks, u.Uplink)
}

// uplinkTarget compiles where a rule writes to.
func (l *loader) uplinkTarget(u *uplink, t *uplinkTable, place any, names []string) {
	scope := l.scope
	scope.Names = names
	cloud, err := scope.Template(t.Cloud)
	if err != nil {
		l.syntax(u.table, "cloud", u.table.child["cloud"], err)
		return
	}
	u.Cloud = cloud
	each := t.Each.n
	if each == nil {
		u.Target = l.target(u.rule, u.table, place, scope)
		return
	}
	own := keysOf(&uplinkTable{})
	for _, name := range u.table.names {
		if !slices.Contains(own, name) && !l.blamed[u.table][name] {
			l.wrong(u.table, name, u.table.child[name], "a rule with each has its places there", "write it into each entry of each, or leave each out")
		}
	}
	l.readEach(u, each, scope)
}

// readEach reads each.<capture>.<value> = { place }.
func (l *loader) readEach(u *uplink, each *node, scope mappings.Scope) {
	if !each.table() {
		l.wrong(u.table, "each", each, "must name a capture", "write each.device.picow = { ... }")
		return
	}
	if len(each.names) != 1 {
		if len(each.names) > 1 {
			l.wrong(u.table, "each", each.child[each.names[1]], "only one capture can select the place", "write one rule for each capture")
		} else {
			l.wrong(u.table, "each", each, "names no capture", "write each.device.picow = { ... }")
		}
		return
	}
	capture := each.names[0]
	list := each.child[capture]
	if !slices.Contains(scope.Names, capture) && !l.blamed[u.table]["local"] {
		hint := "local captures nothing: write a level of it as {" + capture + "}"
		if len(scope.Names) > 0 {
			hint = "local captures " + listed(scope.Names)
		}
		l.blame(each, capture)
		l.fault(list.src, list.key, capture, fmt.Sprintf("each: {%s} is not captured by local", capture), hint)
		return
	}
	if !list.table() {
		l.wrong(each, capture, list, "must be a table of places", "write each."+capture+".picow = { ... }")
		return
	}
	if len(list.names) == 0 {
		l.warn(list, "each has no entry, so this rule never sends anything", "add each."+capture+".<value> = { ... }")
	}
	u.Each = &mappings.Each{Capture: capture, Targets: map[string]*mappings.Target{}}
	for _, value := range list.names {
		n := list.child[value]
		if !n.table() {
			l.wrong(list, value, n, "must be a place in braces, not "+n.kind.String(), "write each."+capture+"."+value+" = { ... }")
			continue
		}
		place := l.place(u.rule, n)
		if target := l.target(u.rule, n, place, scope); target != nil {
			u.Each.Targets[value] = target
		}
	}
}

// target compiles one place, for every cloud that the rule may mean.
func (l *loader) target(r *rule, n *node, place any, scope mappings.Scope) *mappings.Target {
	var out *mappings.Target
	for _, c := range r.clouds {
		if c.platform == nil {
			return nil
		}
		t, err := c.kind.Target(c.platform, place, scope)
		if err != nil {
			l.blameAll(n, "", err)
			return nil
		}
		if out == nil {
			out = t
		}
	}
	return out
}

// checkRate checks the keys that thin readings out.
func (l *loader) checkRate(n *node, t *uplinkTable, r *rule) {
	l.choice(n, "aggregate", t.Aggregate, "last", "mean", "min", "max", "sum", "count")
	l.choice(n, "keep", t.Keep, "all", "latest")
	limited := false
	if p := r.first(); p != nil {
		lim := p.Limits()
		limited = lim.Interval > 0 || lim.PerMinute > 0
	}
	for _, k := range []struct {
		key string
		d   time.Duration
	}{{"every", t.Every}, {"at_least_every", t.AtLeastEvery}} {
		if c, ok := n.child[k.key]; ok && !l.blamed[n][k.key] && k.d <= 0 {
			l.wrong(n, k.key, c, "must be more than nothing", "leave it out to send each reading")
		}
	}
	if c, ok := n.child["aggregate"]; ok && n.child["every"] == nil && !limited && r.first() != nil && !l.blamed[n]["aggregate"] {
		l.wrong(n, "aggregate", c, "needs every: the time over which to aggregate", "add every = \"15s\"")
	}
	if c, ok := n.child["min_change"]; ok && !l.blamed[n]["min_change"] && !(t.MinChange > 0) {
		l.wrong(n, "min_change", c, "must be more than 0", "leave it out to send each reading")
	}
	c, ok := n.child["at_least_every"]
	switch {
	case !ok:
	case n.child["min_change"] == nil:
		l.wrong(n, "at_least_every", c, "needs min_change beside it", "it sends a value that has hardly changed all the same, after this time")
	case t.AtLeastEvery > 0 && t.Every > t.AtLeastEvery:
		l.wrong(n, "at_least_every", c, "is shorter than every", "make it longer than every")
	}
}

// uplinkLimits checks what the platform does not take, and sets what it does by default.
func (l *loader) uplinkLimits(u *uplink, t *uplinkTable) {
	lim := u.first().Limits()
	u.QoS = l.qos(u.table, t.QoS, lim.MaxQoS, title(u.kind), lim.DefaultQoS)
	if c, ok := u.table.child["retain"]; ok && t.Retain != nil && *t.Retain && !lim.Retain {
		l.wrong(u.table, "retain", c, title(u.kind)+" keeps no retained messages", "leave it out")
	}
	if u.Retained == nil {
		retained := u.kind.Retains
		u.Retained = &retained
	}
}

// reads is what the downlinks of one cloud read: by name, where they name one place, and else by pattern. Schools have
// thousands of rules, so that comparing each with each would take minutes.
type reads struct {
	exact    map[string][]*mappings.Source
	patterns []*mappings.Source
}

// setHistory decides which uplinks to clouds that plot over time are filled in after an outage: all, but for those whose
// place also brings commands, because old values would come down as new ones.
func (l *loader) setHistory() {
	down := map[string]*reads{}
	for i := range l.down {
		d := &l.down[i]
		r := down[d.Cloud]
		if r == nil {
			r = &reads{exact: map[string][]*mappings.Source{}}
			down[d.Cloud] = r
		}
		if name := d.Source.Name.String(); d.Source.Name.MatchesOne() && !strings.Contains(name, "{") {
			r.exact[name] = append(r.exact[name], d.Source)
		} else {
			r.patterns = append(r.patterns, d.Source)
		}
	}
	for i := range l.up {
		u := &l.up[i]
		if u.History != nil || u.kind.TakesAnyTopic {
			continue
		}
		history := !slices.ContainsFunc(u.clouds, func(c *cloud) bool {
			r := down[c.name]
			return r != nil && slices.ContainsFunc(u.targets(), func(t *mappings.Target) bool { return l.meets(t, r) })
		})
		u.History = &history
		l.file.Bridge.Uplinks[i].History = &history
	}
}

// targets lists where a rule writes to.
func (u *uplink) targets() []*mappings.Target {
	if u.Each == nil {
		return []*mappings.Target{u.Target}
	}
	var out []*mappings.Target
	for _, t := range u.Each.Targets {
		out = append(out, t)
	}
	return out
}

// meets says whether a target may be what a downlink reads.
func (l *loader) meets(t *mappings.Target, r *reads) bool {
	shares := func(s *mappings.Source) bool {
		return s.Part == "" || slices.ContainsFunc(t.Parts, func(p mappings.PartSpec) bool { return p.Name == s.Part })
	}
	if name, ok := constant(t); ok {
		return slices.ContainsFunc(r.exact[name], shares) || slices.ContainsFunc(r.patterns, func(s *mappings.Source) bool {
			_, match := s.Name.Match(name, nil)
			return match && shares(s)
		})
	}
	// What captures become is known only later; the same language reads templates as patterns.
	p, err := mappings.ParsePattern(t.Name.String(), l.scope.Bridge)
	if err != nil {
		return true
	}
	for name, sources := range r.exact {
		if _, match := p.Match(name, nil); match && slices.ContainsFunc(sources, shares) {
			return true
		}
	}
	return slices.ContainsFunc(r.patterns, func(s *mappings.Source) bool { return shares(s) && p.Overlaps(s.Name) })
}

// constant gives the name of a target that is always the same, as the platform writes it.
func constant(t *mappings.Target) (string, bool) {
	name, ok := t.Name.Constant()
	if ok && t.Fix != nil {
		if fixed, err := t.Fix(name); err == nil {
			name = fixed
		}
	}
	return name, ok
}
