package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// kind is what a node holds.
type kind int

const (
	// broken stands for a value that could not be read and was complained of; it is good for anything.
	broken kind = iota
	tableKind
	listKind
	textKind
	intKind
	floatKind
	boolKind
	timeKind
)

// String names the kind as people do.
func (k kind) String() string {
	return [...]string{"something else", "a table", "a list", "text", "a whole number", "a number", "true or false", "a date"}[k]
}

// origin is how a table or a list came to be, which decides what may be added to it.
type origin int

const (
	implied origin = iota // [a.b] implies a
	headed                // [a], [[a]]
	dotted                // a.b = 1 makes a
	inline                // a = { }, a = [ ]
)

// node is a value of the file, with its place.
type node struct {
	kind kind
	src  *source
	// key is where its key or header stands, val where its value does.
	key, val span
	how      origin
	// raw is a number, date or boolean as it was written.
	raw  string
	text text
	list []*node
	// names are the keys of a table in the order of the file.
	names []string
	child map[string]*node
}

func (n *node) table() bool { return n.kind == tableKind }

// put adds a child and says whether there was none.
func (n *node) put(name string, c *node) bool {
	if n.child == nil {
		n.child = map[string]*node{}
	}
	if _, ok := n.child[name]; ok {
		return false
	}
	n.child[name] = c
	n.names = append(n.names, name)
	return true
}

// remove takes a key away, as if it had not been written.
func (n *node) remove(name string) {
	delete(n.child, name)
	for i, k := range n.names {
		if k == name {
			n.names = append(n.names[:i:i], n.names[i+1:]...)
			return
		}
	}
}

// find walks down a dotted key as far as it goes, through [] of a list too.
func (n *node) find(dotted string) (found *node, whole bool) {
	for dotted != "" {
		if c, ok := n.child[dotted]; ok {
			return c, true
		}
		step, rest, more := strings.Cut(dotted, ".")
		c, ok := n.child[step]
		if !ok {
			return n, false
		}
		if !more {
			return c, true
		}
		n, dotted = c, rest
	}
	return n, true
}

// tree builds the nodes of all files of a configuration.
type tree struct {
	report *report
	env    Environment
	root   *node
	// damaged is true where a part of a file could not be read, so that nothing may be said to be missing.
	damaged bool
	sources []*source
}

// part is one step of a dotted key.
type part struct {
	name string
	at   span
}

// read adds a file to the tree.
func (t *tree) read(src *source) {
	bad, ok := t.mend(src)
	if !ok {
		return
	}
	b := &builder{tree: t, src: src, bad: bad, defined: map[*node]bool{}, current: t.root}
	var p unstable.Parser
	p.Reset(src.data)
	b.parser = &p
	for p.NextExpression() {
		b.expression(p.Expression())
	}
	t.sources = append(t.sources, src)
}

// verify has the library read again what nobody complained of, for it checks what the parser alone does not, such as
// dates. Its text is not shown, for it may quote the lines around.
func (t *tree) verify() {
	if len(t.report.faults) > 0 {
		return
	}
	for _, src := range t.sources {
		var all map[string]any
		err := toml.Unmarshal(src.data, &all)
		if err == nil {
			continue
		}
		f := Fault{File: src.name, Line: 1, Column: 1, Message: "this is not valid TOML"}
		var de *toml.DecodeError
		if errors.As(err, &de) {
			f.Line, f.Column = de.Position()
		}
		t.report.faults = append(t.report.faults, f)
	}
}

// fault reports something at a stretch of a source.
func (t *tree) fault(src *source, at span, shown, message, hint string) {
	line, column := src.position(at.from)
	t.report.faults = append(t.report.faults, Fault{
		File: src.name, Line: line, Column: column, Text: shown, Message: message, Hint: hint,
	})
}

// builder adds the expressions of one file to the tree.
type builder struct {
	*tree
	src    *source
	parser *unstable.Parser
	// bad are the offsets of keys whose values could not be read.
	bad map[int]bool
	// defined are the tables that this file has a header for: a second one is a fault, one in another file is not.
	defined map[*node]bool
	current *node
	// again is true below a header that was complained of because it stands twice: its keys need not be told too.
	again bool
}

func (b *builder) expression(e *unstable.Node) {
	switch e.Kind {
	case unstable.Table:
		b.header(b.parts(e), false)
	case unstable.ArrayTable:
		b.header(b.parts(e), true)
	case unstable.KeyValue:
		b.keyValue(b.current, e, dotted)
	}
}

func (b *builder) parts(e *unstable.Node) []part {
	var ps []part
	for it := e.Key(); it.Next(); {
		k := it.Node()
		from := int(k.Raw.Offset)
		ps = append(ps, part{name: string(k.Data), at: span{from, from + int(k.Raw.Length)}})
	}
	return ps
}

// header opens [a.b] or [[a.b]].
func (b *builder) header(ps []part, list bool) {
	at := span{ps[0].at.from, ps[len(ps)-1].at.to}
	b.again = false
	n := b.root
	for i, p := range ps[:len(ps)-1] {
		next, ok := b.step(n, p, at)
		if !ok {
			b.taken(next, p, joined(ps[:i+1]))
			b.current = b.nowhere()
			return
		}
		n = next
	}
	last := ps[len(ps)-1]
	b.current = &node{kind: tableKind, src: b.src, key: at, val: at, how: headed}
	old, exists := n.child[last.name]
	switch {
	case list && !exists:
		n.put(last.name, &node{kind: listKind, src: b.src, key: at, val: at, how: headed, list: []*node{b.current}})
	case list && old.kind == listKind && old.how == headed:
		old.list = append(old.list, b.current)
	case list:
		b.taken(old, part{last.name, at}, joined(ps))
	case !exists:
		n.put(last.name, b.current)
		b.defined[b.current] = true
	case old.table() && !b.defined[old] && (old.how == implied || old.how == headed):
		if old.how == implied {
			old.src, old.key, old.val, old.how = b.src, at, at, headed
		}
		b.defined[old] = true
		b.current = old
	default:
		b.taken(old, part{last.name, at}, joined(ps))
		if old.table() && old.how != inline {
			// What follows belongs there in its writer's mind, so its keys are checked there too.
			b.current, b.again = old, true
		}
	}
}

// nowhere takes the keys below a header that has no place.
func (b *builder) nowhere() *node { return &node{kind: tableKind, src: b.src} }

// step goes down one part of a header's path.
func (b *builder) step(n *node, p part, at span) (*node, bool) {
	c, ok := n.child[p.name]
	switch {
	case !ok:
		c = &node{kind: tableKind, src: b.src, key: at, val: at, how: implied}
		n.put(p.name, c)
	case c.kind == listKind && c.how == headed:
		return c.list[len(c.list)-1], true
	case !c.table() || c.how == inline:
		return c, false
	}
	return c, true
}

func joined(ps []part) string {
	names := make([]string, len(ps))
	for i, p := range ps {
		names[i] = p.name
	}
	return strings.Join(names, ".")
}

// taken complains of a name that is in use.
func (b *builder) taken(old *node, p part, name string) {
	b.damaged = true
	if old.kind == broken {
		return
	}
	where := b.where(old)
	switch {
	case old.table() && old.how != inline:
		b.fault(b.src, p.at, name, fmt.Sprintf("table [%s] is already at %s", name, where), "put its keys together below one header")
	case old.kind == listKind && old.how == headed:
		b.fault(b.src, p.at, name, fmt.Sprintf("[[%s]] is written with two brackets at %s", name, where), "write [["+name+"]]")
	default:
		b.fault(b.src, p.at, name, fmt.Sprintf("%q already has a value at %s", name, where), "keep one of the two")
	}
}

// where says where a node stands, by the line alone if it is in this file.
func (b *builder) where(n *node) string {
	line, _ := n.src.position(n.key.from)
	if n.src == b.src {
		return fmt.Sprintf("line %d", line)
	}
	return fmt.Sprintf("%s:%d", n.src.name, line)
}

// keyValue adds key = value to a table.
func (b *builder) keyValue(n *node, e *unstable.Node, how origin) {
	ps := b.parts(e)
	for i, p := range ps[:len(ps)-1] {
		c, ok := n.child[p.name]
		if !ok {
			c = &node{kind: tableKind, src: b.src, key: p.at, val: p.at, how: how}
			n.put(p.name, c)
		} else if !c.table() || c.how == inline || c.how == headed {
			b.taken(c, p, joined(ps[:i+1]))
			return
		}
		n = c
	}
	last := ps[len(ps)-1]
	c := b.value(e.Value(), last.at.to)
	c.key = span{ps[0].at.from, last.at.to}
	if b.bad[ps[0].at.from] {
		c = &node{kind: broken, src: b.src, key: c.key, val: c.key}
	}
	if !n.put(last.name, c) {
		old := n.child[last.name]
		if old.kind != broken && !b.again {
			b.fault(b.src, last.at, last.name, fmt.Sprintf("%q is already set at %s", last.name, b.where(old)), "keep one of the two")
		}
	}
}

// value makes a node of a value; after is an offset before it, for lists and tables whose own place is not known.
func (b *builder) value(v *unstable.Node, after int) *node {
	from := int(v.Raw.Offset)
	n := &node{src: b.src, val: span{from, from + int(v.Raw.Length)}, raw: string(v.Data)}
	switch v.Kind {
	case unstable.String:
		n.kind = textKind
		n.text = unquote(b.src.data[n.val.from:n.val.to], n.val.from)
	case unstable.Integer:
		n.kind = intKind
	case unstable.Float:
		n.kind = floatKind
	case unstable.Bool:
		n.kind = boolKind
	case unstable.Array, unstable.InlineTable:
		b.container(n, v, after)
	default:
		n.kind = timeKind
	}
	n.key = n.val
	return n
}

// container fills a list or an inline table.
func (b *builder) container(n *node, v *unstable.Node, after int) {
	for after < len(b.src.data) && b.src.data[after] != '[' && b.src.data[after] != '{' {
		after++
	}
	n.val, n.raw, n.how = span{after, after + 1}, "", inline
	n.kind = listKind
	if v.Kind == unstable.InlineTable {
		n.kind = tableKind
	}
	after++
	for it := v.Children(); it.Next(); {
		c := it.Node()
		switch {
		case c.Kind == unstable.Comment:
		case v.Kind == unstable.InlineTable:
			b.keyValue(n, c, dotted)
			after = int(c.Raw.Offset + c.Raw.Length)
		default:
			m := b.value(c, after)
			n.list = append(n.list, m)
			after = m.val.to
		}
	}
}
