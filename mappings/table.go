package mappings

import (
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"cloudbridge/internal/mqtt"
)

// Filter is one local subscription, and the uplinks that it serves.
type Filter struct {
	Filter string
	// ID is the subscription identifier, from 1.
	ID    int
	QoS   byte
	Rules []int
}

// Table is a set of compiled rules. It may be used from several goroutines.
type Table struct {
	bridge   string
	up       []Uplink
	down     []Downlink
	filters  []Filter
	filterOf []int // by uplink: the index of its filter
	tree     node
	byCloud  map[string]*node // the downlinks of each cloud, by what they read there
	readings sync.Pool
}

// node is a level of the tree over the filters' levels: only the branches that a topic takes are visited, however many
// rules there are.
type node struct {
	text map[string]*node
	plus *node
	hash []int // uplinks whose filter ends with # here
	here []int // uplinks whose filter ends here
}

// highestID is the highest subscription identifier of MQTT 5.
const highestID = 268435455

// idOf makes the identifier of a filter from its text: a broker that kept messages for us while we were away delivers
// them under the identifier of that time, and the configuration may have changed since.
func idOf(filter string, taken map[int]bool) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(filter))
	id := int(h.Sum32()%highestID) + 1
	for taken[id] {
		id = id%highestID + 1
	}
	taken[id] = true
	return id
}

// NewTable arranges rules for use.
func NewTable(bridge string, up []Uplink, down []Downlink) *Table {
	t := &Table{bridge: bridge, up: up, down: down, byCloud: map[string]*node{}}
	t.readings.New = func() any { return &reading{bridge: bridge} }
	index, taken := map[string]int{}, map[int]bool{}
	for i := range up {
		filter := up[i].Local.Filter()
		n, ok := index[filter]
		if !ok {
			n = len(t.filters)
			index[filter] = n
			t.filters = append(t.filters, Filter{Filter: filter, ID: idOf(filter, taken), QoS: 1})
		}
		t.filters[n].Rules = append(t.filters[n].Rules, i)
		t.filterOf = append(t.filterOf, n)
		t.tree.add(strings.Split(filter, "/"), i)
	}
	for i := range down {
		n := t.byCloud[down[i].Cloud]
		if n == nil {
			n = &node{}
			t.byCloud[down[i].Cloud] = n
		}
		n.add(strings.Split(down[i].Source.Name.Filter(), "/"), i)
	}
	return t
}

func (n *node) add(levels []string, rule int) {
	for i, level := range levels {
		switch {
		case level == "#" && i == len(levels)-1:
			n.hash = append(n.hash, rule)
			return
		case level == "+":
			if n.plus == nil {
				n.plus = &node{}
			}
			n = n.plus
		default:
			next := n.text[level]
			if next == nil {
				next = &node{}
				if n.text == nil {
					n.text = map[string]*node{}
				}
				n.text[level] = next
			}
			n = next
		}
	}
	n.here = append(n.here, rule)
}

// find appends the uplinks whose filter covers the rest of a topic.
func (n *node) find(topic string, at int, into []int) []int {
	into = append(into, n.hash...)
	if at > len(topic) {
		return append(into, n.here...)
	}
	end := levelEnd(topic, at)
	if next := n.text[topic[at:end]]; next != nil {
		into = next.find(topic, end+1, into)
	}
	if n.plus != nil {
		into = n.plus.find(topic, end+1, into)
	}
	return into
}

// Filters are the local subscriptions, one per different filter of the uplinks.
func (t *Table) Filters() []Filter { return t.filters }

// Up runs the uplinks whose pattern matches. With ids (the subscription identifiers of a received copy) only the rules of
// those filters run; they stand in ascending order. now is the time of arrival. Points without a value expression share the payload's memory.
func (t *Table) Up(m *mqtt.Message, ids []int, now time.Time, r *Result) {
	r.reset()
	rd := t.readings.Get().(*reading)
	rd.start(m.Topic, m.Payload, m.Properties, now)
	rd.matched = t.tree.find(m.Topic, 0, rd.matched)
	sort.Ints(rd.matched)
	for _, rule := range rd.matched {
		if len(ids) > 0 {
			if _, asked := slices.BinarySearch(ids, t.filters[t.filterOf[rule]].ID); !asked {
				continue
			}
		}
		u := &t.up[rule]
		if rd.match(u.Local, m.Topic) {
			u.run(rule, m, rd, r)
		}
	}
	rd.release()
	t.readings.Put(rd)
}

// match takes the captures of a pattern, and the topic after them for {topic}.
func (r *reading) match(p *Pattern, topic string) bool {
	var ok bool
	if r.values, ok = p.Match(topic, r.values[:0]); ok {
		r.values = append(r.values, topic)
	}
	return ok
}

func (r *Result) reset() {
	clear(r.Points)
	clear(r.Commands)
	clear(r.parts)
	r.parts = r.parts[:0]
	r.Points, r.Commands = r.Points[:0], r.Commands[:0]
	r.Skips, r.Problems, r.Notes = r.Skips[:0], r.Problems[:0], r.Notes[:0]
}

func (r *Result) skip(rule int, why string) { r.Skips = append(r.Skips, Skip{rule, why}) }
func (r *Result) problem(rule int, err error) {
	r.Problems = append(r.Problems, Problem{rule, err})
}

const whenFalse = "when is false"

// run makes the point of one uplink; the reading holds its captures.
func (u *Uplink) run(rule int, m *mqtt.Message, rd *reading, r *Result) {
	target := u.Target
	if u.Each != nil {
		at := indexOf(u.Local.names, u.Each.Capture)
		if at < 0 {
			r.problem(rule, &keyError{"each", fmt.Errorf("the topic has no {%s}", u.Each.Capture)})
			return
		}
		selected := rd.values[at]
		if target = u.Each.Targets[selected]; target == nil {
			r.skip(rule, "no place for "+u.Each.Capture+" = "+shown(selected))
			return
		}
	}
	rd.at = rd.made
	if u.When != nil {
		ok, err := u.When.truth(rd)
		if err != nil {
			r.problem(rule, &keyError{"when", err})
			return
		}
		if !ok {
			r.skip(rule, because(whenFalse, rd.missing))
			return
		}
	}
	note := rd.note
	if u.Time != nil {
		rd.at, note = u.Time.stamp(rd) // What the rule says counts, whatever the properties tell.
	}
	if note != "" {
		r.Notes = append(r.Notes, Note{rule, note})
	}
	parts, why := u.parts(rule, target, rd, r)
	if parts == nil {
		if why != "" {
			r.skip(rule, why)
		}
		return
	}
	r.name = target.Name.append(r.name[:0], rd.values)
	name, fixed := r.names.Text(r.name), false
	if target.Fix != nil {
		mended, err := target.Fix(name)
		if err != nil {
			r.problem(rule, err)
			return
		}
		name, fixed = mended, mended != name
	}
	p := Point{
		Rule: rule, Cloud: u.Cloud.Expand(rd.values), Name: name, Parts: parts,
		Time: rd.at, Arrived: rd.arrived, QoS: u.QoS, Retain: m.Retain, Properties: m.Properties, Local: m.Topic, Fixed: fixed,
	}
	if u.Retain != nil {
		p.Retain = *u.Retain
	}
	r.Points = append(r.Points, p)
}

// parts evaluates what the target wants. Without any part that makes a point it is nil, and why says what was missing,
// unless a problem says it already.
func (u *Uplink) parts(rule int, target *Target, rd *reading, r *Result) (parts []Part, why string) {
	var own Value
	asked, counts, failed, first := false, false, false, len(r.parts)
	for i := range target.Parts {
		spec := &target.Parts[i]
		var v Value
		var err error
		switch {
		case spec.Value != nil:
			if v, err = spec.Value.value(rd); err != nil {
				err = &keyError{spec.Name, err}
			}
		case asked:
			v = own
		default:
			asked = true
			own, err = u.own(rd)
			v = own
		}
		if err != nil {
			r.problem(rule, err)
			failed = failed || !spec.Optional
			continue
		}
		if v.Kind == NoValue {
			if why == "" && !spec.Optional && rd.missing != "" {
				why = rd.missing
			}
			continue
		}
		r.parts = append(r.parts, Part{spec.Name, v})
		counts = counts || !spec.Optional
	}
	switch {
	case counts:
		n := len(r.parts)
		return r.parts[first:n:n], ""
	case failed:
		return nil, ""
	case why == "":
		why = "the value is nil"
	}
	return nil, why
}

// own is the rule's value: the payload as it is where there is no expression.
func (u *Uplink) own(rd *reading) (Value, error) {
	if u.Value == nil {
		return Value{Kind: Raw, Bytes: rd.payload}, nil
	}
	v, err := u.Value.value(rd)
	if err != nil {
		return v, &keyError{"value", err}
	}
	return v, nil
}

// keyError says which key of a rule failed.
type keyError struct {
	key string
	err error
}

func (e *keyError) Error() string { return e.key + ": " + e.err.Error() }
func (e *keyError) Unwrap() error { return e.err }

func because(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + why
}

// Down runs the downlinks whose source matches.
func (t *Table) Down(c *Command, now time.Time, r *Result) {
	r.reset()
	rd := t.readings.Get().(*reading)
	rd.start(c.Address.Name, c.Payload, c.Properties, now)
	if n := t.byCloud[c.Cloud]; n != nil {
		rd.matched = n.find(c.Address.Name, 0, rd.matched)
	}
	sort.Ints(rd.matched)
	for _, rule := range rd.matched {
		d := &t.down[rule]
		if d.Source.Part == c.Address.Part && rd.match(d.Source.Name, c.Address.Name) {
			d.run(rule, c, rd, r)
		}
	}
	rd.release()
	t.readings.Put(rd)
}

// Reads says whether an uplink reads a local topic.
func (t *Table) Reads(topic string) bool {
	return slices.ContainsFunc(t.tree.find(topic, 0, nil), func(rule int) bool {
		_, ok := t.up[rule].Local.Match(topic, nil)
		return ok
	})
}

// ReadsBack says whether a downlink of a cloud's reads what is written to one of its addresses.
func (t *Table) ReadsBack(cloud, name string) bool {
	n := t.byCloud[cloud]
	return n != nil && slices.ContainsFunc(n.find(name, 0, nil), func(rule int) bool {
		_, ok := t.down[rule].Source.Name.Match(name, nil)
		return ok
	})
}

var errTopic = errors.New("cannot be published to")

// run makes the local message of one downlink; the reading holds its captures.
func (d *Downlink) run(rule int, c *Command, rd *reading, r *Result) {
	if d.When != nil {
		ok, err := d.When.truth(rd)
		if err != nil {
			r.problem(rule, &keyError{"when", err})
			return
		}
		if !ok {
			r.skip(rule, because(whenFalse, rd.missing))
			return
		}
	}
	payload, why, err := d.payload(c, rd)
	switch {
	case err != nil:
		r.problem(rule, err)
		return
	case why != "":
		r.skip(rule, why)
		return
	}
	topic := d.Local.Expand(rd.values)
	if topic == "" || mqtt.OnlyInFilters(topic) {
		r.problem(rule, &keyError{"local", &evalError{shown(topic), errTopic.Error(), errTopic}})
		return
	}
	if rd.note != "" {
		r.Notes = append(r.Notes, Note{rule, rd.note})
	}
	p := Publish{Rule: rule, Message: mqtt.Message{
		Topic: topic, Payload: payload, QoS: d.QoS, Retain: d.Retain, Properties: c.Properties,
	}}
	if rd.told {
		p.Made = rd.made
	}
	r.Commands = append(r.Commands, p)
}

// payload is what the downlink publishes, a copy; why says that it publishes nothing.
func (d *Downlink) payload(c *Command, rd *reading) (payload []byte, why string, err error) {
	payload = append(payload, c.Payload...)
	if d.Value != nil {
		v, err := d.Value.value(rd)
		switch {
		case err != nil:
			return nil, "", &keyError{"value", err}
		case v.Kind == NoValue:
			return nil, because("the value is nil", rd.missing), nil
		}
		payload = v.AppendText(payload[:0])
	}
	if d.Values == nil {
		return payload, "", nil
	}
	if to, ok := d.Values[string(payload)]; ok && string(payload) != "*" {
		return []byte(to), "", nil
	}
	if _, rest := d.Values["*"]; !rest {
		return nil, "values does not list " + shown(string(payload)), nil
	}
	return payload, "", nil
}
