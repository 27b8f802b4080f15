package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloudbridge/bridge"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// downlinkTable are the keys of a [[downlink]] that are the engine's.
type downlinkTable struct {
	Cloud          string                `toml:"cloud"`
	Local          string                `toml:"local"`
	Value          expression            `toml:"value"`
	Values         map[string]expression `toml:"values"`
	When           expression            `toml:"when"`
	QoS            *int                  `toml:"qos"`
	Retain         bool                  `toml:"retain"`
	AcceptRetained bool                  `toml:"accept_retained"`
	MaxAge         age                   `toml:"max_age"`
	MaxHops        int                   `toml:"max_hops"`
	OnConnect      string                `toml:"on_connect"`
}

// The defaults of what comes down: a command that is older must not move anything, and one bridge on the way is allowed,
// so that site A reaches site B through a cloud.
const (
	commandAge  = 30 * time.Second
	commandHops = 1
	commandQoS  = 1
)

func defaultDownlink() downlinkTable {
	return downlinkTable{MaxAge: age{d: commandAge}, MaxHops: commandHops, OnConnect: "nothing"}
}

// twowayTable are the keys of a [[twoway]].
type twowayTable struct {
	Local          string `toml:"local"`
	Cloud          string `toml:"cloud"`
	QoS            *int   `toml:"qos"`
	Retain         *bool  `toml:"retain"`
	Retained       *bool  `toml:"retained"`
	AcceptRetained bool   `toml:"accept_retained"`
	MaxAge         age    `toml:"max_age"`
	MaxHops        int    `toml:"max_hops"`
}

func defaultTwoway() twowayTable { return twowayTable{MaxAge: age{d: commandAge}} }

// downlink is a compiled rule, with what the forecast asks of it.
type downlink struct {
	*rule
	bridge.Downlink
}

func (l *loader) readDownlink(n *node) {
	t := defaultDownlink()
	r := l.newRule("downlink", n, nil)
	place := l.place(r, n, &t)
	local := l.text(n, "local", "the topic of the local broker to write")
	l.hops(n, t.MaxHops)
	l.choice(n, "on_connect", t.OnConnect, "nothing", "restore")
	qos := l.qos(n, t.QoS, 2, "the local broker", commandQoS)
	if r.first() == nil {
		return
	}
	source, err := r.kind.Source(r.first(), place, l.scope)
	if err != nil {
		l.blameAll(n, "", err)
		var inside *mappings.SyntaxError
		if !errors.As(err, &inside) {
			// The rest of the rule is checked as if the source had captured what it seems to.
			l.downlinkRest(n, &t, local, l.guessed(r, n))
		}
		return
	}
	l.checkRestore(n, r, &t, source)
	d := downlink{rule: r, Downlink: bridge.Downlink{
		Label: r.label, AcceptRetained: t.AcceptRetained, MaxAge: t.MaxAge.d, MaxHops: t.MaxHops, Restore: t.OnConnect == "restore",
	}}
	d.Downlink.Downlink = l.downlinkRest(n, &t, local, source.Name.Names())
	d.Cloud, d.Source, d.QoS, d.Retain = r.clouds[0].name, source, qos, t.Retain
	if d.Local == nil {
		return
	}
	l.down = append(l.down, d)
	l.file.Bridge.Downlinks = append(l.file.Bridge.Downlinks, d.Downlink)
}

// checkRestore refuses to ask a cloud that cannot answer.
func (l *loader) checkRestore(n *node, r *rule, t *downlinkTable, source *mappings.Source) {
	c, ok := n.child["on_connect"]
	if !ok || t.OnConnect != "restore" {
		return
	}
	restorer, ok := r.first().(platforms.Restorer)
	switch {
	case !ok && r.kind.TakesAnyTopic:
		l.wrong(n, "on_connect", c, title(r.kind)+" keeps retained messages instead", "write accept_retained = true")
	case !ok:
		l.wrong(n, "on_connect", c, title(r.kind)+" cannot be asked for the last value", "leave it out")
	case restorer.Restore(*source) == nil:
		l.wrong(n, "on_connect", c, "only a place that is named whole can be asked for its last value", "write a rule for each, without captures")
	}
}

// guessed gathers the captures of all place keys.
func (l *loader) guessed(r *rule, n *node) []string {
	var names []string
	for _, k := range placeKeys(r.kind) {
		if c, ok := n.child[k]; ok && c.kind == textKind {
			names = append(names, capturesOf(c.text.value)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// downlinkRest compiles what a rule does with what it reads.
func (l *loader) downlinkRest(n *node, t *downlinkTable, local *node, names []string) mappings.Downlink {
	scope := l.scope
	scope.Names = names
	d := mappings.Downlink{
		Value: l.expr(n, "value", t.Value, names, mappings.WantAny),
		When:  l.expr(n, "when", t.When, names, mappings.WantBool),
	}
	if t.Values != nil {
		d.Values = map[string]string{}
		for k, v := range t.Values {
			d.Values[k] = string(v)
		}
		l.restAsItIs(n, d.Values)
		if c := n.child["values"]; len(t.Values) == 0 {
			l.wrong(n, "values", c, "lists nothing, so that every command would be dropped", `write values = { ON = "1", OFF = "0" }`)
		}
	}
	if local == nil {
		return d
	}
	topic, err := scope.Topic(local.text.value)
	if err != nil {
		l.syntax(n, "local", local, err)
		return d
	}
	d.Local = topic
	return d
}

// restAsItIs warns of a text beside "*", which looks as if everything else became that text.
func (l *loader) restAsItIs(n *node, values map[string]string) {
	to, ok := values["*"]
	if !ok || to == "" || to == "*" {
		return
	}
	l.warn(n.child["values"], fmt.Sprintf("values: \"*\" lets the rest through as it is; %q is not sent", to),
		fmt.Sprintf("write \"*\" = \"*\", or for %q instead of the rest value = 'text == \"ON\" ? \"1\" : %q', for example", to, to))
}

func (l *loader) readTwoway(n *node) {
	t := defaultTwoway()
	local := l.text(n, "local", "the topic of the local broker")
	pattern, names := l.pattern(n, "local", local)
	r := l.newRule("twoway", n, nil)
	place := l.place(r, n, &t)
	l.hops(n, t.MaxHops)
	if r.kind != nil && !r.kind.TakesAnyTopic {
		l.wrong(n, "cloud", n.child["cloud"], "a rule of [[twoway]] needs a cloud that takes any topic, and "+title(r.kind)+" does not",
			"write an [[uplink]] and a [[downlink]]")
		return
	}
	if r.first() == nil || local == nil || pattern == nil {
		return
	}
	lim := r.first().Limits()
	qos := l.qos(n, t.QoS, lim.MaxQoS, title(r.kind), lim.DefaultQoS)
	setPlace(place, "topic", local.text.value)
	if !l.alike(n, local) {
		return
	}
	scope := l.scope
	scope.Names = names
	if _, err := scope.Topic(local.text.value); err != nil {
		l.syntax(n, "local", local, err)
		return
	}
	target := l.target(r, n, place, scope)
	source, err := r.kind.Source(r.first(), place, l.scope)
	if target == nil || err != nil {
		l.blameAll(n, "", err)
		return
	}
	scope.Names = source.Name.Names()
	topic, err := scope.Topic(local.text.value)
	if err != nil {
		l.syntax(n, "local", local, err)
		return
	}
	cloudName, err := scope.Template(t.Cloud)
	if err != nil {
		l.syntax(n, "cloud", n.child["cloud"], err)
		return
	}
	retained := r.kind.Retains
	if t.Retained != nil {
		retained = *t.Retained
	}
	l.addUplink(uplink{rule: r, Uplink: bridge.Uplink{
		Uplink: mappings.Uplink{Local: pattern, Cloud: cloudName, Target: target, QoS: qos, Retain: t.Retain},
		Label:  r.label, Retained: &retained, MaxHops: t.MaxHops, Twoway: true,
	}})
	d := downlink{rule: r, Downlink: bridge.Downlink{
		Downlink: mappings.Downlink{
			Cloud: t.Cloud, Source: source, Local: topic, QoS: l.qos(n, t.QoS, 2, "the local broker", commandQoS),
			Retain: t.Retain != nil && *t.Retain,
		},
		Label: r.label, AcceptRetained: t.AcceptRetained, MaxAge: t.MaxAge.d, MaxHops: t.MaxHops, Twoway: true,
	}}
	l.down = append(l.down, d)
	l.file.Bridge.Downlinks = append(l.file.Bridge.Downlinks, d.Downlink)
}

// alike checks that both sides of a two-way rule, where each is pattern and template at once, name the same captures in the
// same way.
func (l *loader) alike(n, local *node) bool {
	cloud, ok := n.child["topic"]
	if !ok || cloud.kind != textKind {
		return !ok
	}
	written := func(s string) []string {
		var out []string
		for _, m := range captureName.FindAllString(s, -1) {
			if m != "{bridge}" {
				out = append(out, m)
			}
		}
		slices.Sort(out)
		return out
	}
	a, b := written(local.text.value), written(cloud.text.value)
	if slices.Equal(a, b) {
		return true
	}
	l.wrong(n, "topic", cloud, "both topics of a rule of [[twoway]] must have the same captures, written alike",
		"local has "+orNone(a)+", topic has "+orNone(b))
	return false
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
