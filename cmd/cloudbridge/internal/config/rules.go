package config

import (
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// rawNode is a field whose table the rule reads by itself.
type rawNode struct{ n *node }

var rawType = reflect.TypeFor[rawNode]()

// rule is what uplinks, downlinks and two-way rules have in common while they are read.
type rule struct {
	// sort is uplink, downlink or twoway.
	sort  string
	table *node
	label string
	// clouds are those that the rule may mean: one, but for an uplink whose cloud is a template.
	clouds []*cloud
	kind   *platforms.Kind
}

// first is the cloud whose platform compiles the places; nil where it has faults.
func (r *rule) first() platforms.Platform {
	if len(r.clouds) == 0 {
		return nil
	}
	return r.clouds[0].platform
}

// readRules reads all rules, each sort in the order of the files.
func (l *loader) readRules() {
	for _, n := range l.tables("uplink") {
		l.readUplink(n)
	}
	for _, n := range l.tables("downlink") {
		l.readDownlink(n)
	}
	for _, n := range l.tables("twoway") {
		l.readTwoway(n)
	}
	l.setHistory()
	l.checkShare()
}

// tables gives the tables of one sort of rule.
func (l *loader) tables(sort string) []*node {
	n, ok := l.root.child[sort]
	switch {
	case !ok || n.kind == broken:
		return nil
	case n.table():
		l.fault(n.src, n.key, sort, "a rule is written with two brackets, for there may be many", "write [["+sort+"]]")
		l.damaged = true
		return nil
	case n.kind != listKind || slices.ContainsFunc(n.list, func(m *node) bool { return !m.table() }):
		l.fault(n.src, n.key, sort, sort+" must be a table, not "+n.kind.String(), "write [["+sort+"]] and its keys below")
		return nil
	}
	return n.list
}

// newRule finds the cloud of a rule.
func (l *loader) newRule(sort string, n *node, names []string) *rule {
	r := &rule{sort: sort, table: n}
	line, _ := n.src.position(n.key.from)
	r.label = fmt.Sprintf("%s:%d", filepath.Base(n.src.name), line)
	if c, ok := n.child["local"]; ok && c.kind == textKind {
		r.label += " " + c.text.value
	}
	c := l.text(n, "cloud", "the name of a [cloud.<name>] table")
	if c == nil {
		return r
	}
	if one, ok := l.clouds[c.text.value]; ok {
		r.clouds, r.kind = []*cloud{one}, one.kind
		return r
	}
	if strings.Contains(c.text.value, "{") {
		l.manyClouds(r, c, names)
		return r
	}
	if !l.damaged {
		hint := "write a table [cloud." + cloudKeyOf(c.text.value) + "] with its platform"
		if near, ok := nearest(c.text.value, l.cloudNames()); ok {
			hint = fmt.Sprintf("did you mean %q?", near)
		} else if known := l.cloudNames(); len(known) > 0 {
			hint = "known are " + listed(known)
		}
		l.wrong(n, "cloud", c, fmt.Sprintf("there is no cloud %q", c.text.value), hint)
	}
	return r
}

func (l *loader) cloudNames() []string {
	var names []string
	if c := l.root.child["cloud"]; c != nil {
		names = append(names, c.names...)
	}
	return names
}

// manyClouds finds the clouds that a template may name. All must be of one platform, for the place is written in its words.
func (l *loader) manyClouds(r *rule, c *node, names []string) {
	if r.sort != "uplink" {
		l.wrong(r.table, "cloud", c, "a rule of [["+r.sort+"]] needs one cloud, by its name", "write a rule for each cloud")
		return
	}
	scope := l.scope
	scope.Names = names
	t, err := scope.Template(c.text.value)
	if err != nil {
		l.syntax(r.table, "cloud", c, err)
		return
	}
	r.clouds = l.could(t)
	if len(r.clouds) == 0 && !l.damaged {
		l.wrong(r.table, "cloud", c, fmt.Sprintf("no cloud has a name like %q", c.text.value), "known are "+listed(l.cloudNames()))
		return
	}
	for _, one := range r.clouds {
		if one.kind == nil {
			continue
		}
		if r.kind == nil {
			r.kind = one.kind
		} else if r.kind != one.kind {
			l.wrong(r.table, "cloud", c, fmt.Sprintf("clouds %q (%s) and %q (%s) fit, and are of different platforms",
				r.clouds[0].name, r.kind.Name, one.name, one.kind.Name), "choose names that tell the platforms apart")
			r.clouds, r.kind = nil, nil
			return
		}
	}
}

// text gives a key that must be there and hold text; nil where it is not.
func (l *loader) text(n *node, key, what string) *node {
	c, ok := n.child[key]
	switch {
	case !ok:
		if _, near := nearest(key, n.names); !l.damaged && !near {
			l.blame(n, key)
			l.fault(n.src, n.key, "", fmt.Sprintf("%s is missing: %s", key, what), fmt.Sprintf("add %s = \"...\"", key))
		}
		return nil
	case c.kind != textKind:
		return nil // fill complains of it
	case c.text.value == "":
		l.wrong(n, key, c, "is empty: "+what, "")
		return nil
	}
	return c
}

// captures lists what a pattern seems to capture, for a rule whose pattern has a fault: its templates are then checked
// all the same.
var captureName = regexp.MustCompile(`\{([^{}.]+)(\.\.\.)?\}`)

func capturesOf(text string) []string {
	var names []string
	for _, m := range captureName.FindAllStringSubmatch(text, -1) {
		if m[1] != "bridge" && !slices.Contains(names, m[1]) {
			names = append(names, m[1])
		}
	}
	return names
}

// pattern compiles a pattern; with a fault it still gives the names that templates may use.
func (l *loader) pattern(n *node, key string, c *node) (*mappings.Pattern, []string) {
	if c == nil {
		return nil, nil
	}
	p, err := mappings.ParsePattern(c.text.value, l.scope.Bridge)
	if err != nil {
		l.syntax(n, key, c, err)
		return nil, capturesOf(c.text.value)
	}
	return p, p.Names()
}

// expr compiles an expression, where the rule has one.
func (l *loader) expr(n *node, key string, src expression, names []string, want mappings.Want) *mappings.Expr {
	c, ok := n.child[key]
	if !ok || l.blamed[n][key] {
		return nil
	}
	scope := l.scope
	scope.Names = names
	e, err := scope.Expr(string(src), want)
	if err != nil {
		l.syntax(n, key, c, err)
		return nil
	}
	return e
}

// place fills the place keys of a rule together with the rule's own.
func (l *loader) place(r *rule, n *node, own ...any) any {
	var place any
	into := own
	if r.kind != nil {
		place = r.kind.NewPlace()
		into = append(slices.Clone(own), place)
	}
	l.fill(n, into, l.unknownInRule(r.sort, r.kind))
	return place
}

// setPlace sets a text key of a place that the file does not.
func setPlace(place any, key, value string) {
	for _, f := range fieldsOf(place) {
		if f.key == key && f.value.Kind() == reflect.String && f.value.String() == "" {
			f.value.SetString(value)
		}
	}
}

// qos checks a rule's QoS against what one side takes.
func (l *loader) qos(n *node, given *int, most byte, who string, otherwise byte) byte {
	c, ok := n.child["qos"]
	if given == nil || !ok {
		return otherwise
	}
	switch {
	case *given < 0 || *given > 2:
		l.wrong(n, "qos", c, "QoS is 0, 1 or 2", "write qos = 1")
		return otherwise
	case *given > int(most):
		l.wrong(n, "qos", c, fmt.Sprintf("%s takes QoS %d at most", who, most), fmt.Sprintf("write qos = %d, or leave it out", most))
		return otherwise
	}
	return byte(*given)
}

// hops checks max_hops.
func (l *loader) hops(n *node, hops int) {
	if c, ok := n.child["max_hops"]; ok && !l.blamed[n]["max_hops"] && (hops < 0 || hops > 100) {
		l.wrong(n, "max_hops", c, "must be between 0 and 100", "it is how many bridges a message may have passed; more let messages circle")
	}
}

// checkShare refuses what needs one process where several share the local subscriptions.
func (l *loader) checkShare() {
	if l.file.Bridge.Local.Share == "" {
		return
	}
	const hint = "leave [local] share out, or let another bridge, without share, do this"
	refuse := func(n *node, key string) {
		if c, ok := n.child[key]; ok {
			l.wrong(n, key, c, "cannot be kept by several bridges that share a subscription", hint)
		}
	}
	for _, name := range l.cloudNames() {
		c := l.clouds[name]
		if c == nil || c.platform == nil {
			continue
		}
		if lim := c.platform.Limits(); lim.Interval > 0 || lim.PerMinute > 0 {
			p := c.table.child["platform"]
			l.wrong(c.table, "platform", p, title(c.kind)+" limits the rate of an account, which several bridges that share a subscription cannot keep", hint)
		}
	}
	for _, u := range l.up {
		if u.Retained != nil && *u.Retained {
			refuse(u.table, "retained")
		}
		refuse(u.table, "aggregate")
		if u.Keep == "latest" {
			refuse(u.table, "keep")
		}
	}
	for _, d := range l.down {
		if !d.kind.TakesAnyTopic {
			refuse(d.table, "cloud")
		}
	}
}
