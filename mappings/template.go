package mappings

import "strings"

// Template writes a topic, a feed key or a cloud's name from the captures of a rule. {bridge} stands for the bridge's name
// and {topic} for the whole topic that was read.
type Template struct {
	src    string
	pieces []span
	names  []string
	fixed  string // the text, where no capture is used
}

// span is a text, or the number of a value to write.
type span struct {
	text  string
	value int // -1 for a text
}

// Template compiles a template that may use the scope's names, {bridge} and {topic}. A fault is a *SyntaxError.
func (s Scope) Template(src string) (*Template, error) {
	t := &Template{src: src, names: s.Names}
	pieces, err := splitBraces(src, src, 0)
	if err != nil {
		return nil, err
	}
	for _, p := range pieces {
		if !p.capture {
			t.addText(p.text)
			continue
		}
		name := strings.TrimSuffix(p.text, "...")
		if name == "bridge" {
			t.addText(s.Bridge)
			continue
		}
		value := indexOf(s.Names, name)
		if value < 0 && name == "topic" {
			value = len(s.Names)
		}
		if value < 0 {
			return nil, s.unknownCapture(src, name, p.offset)
		}
		t.pieces = append(t.pieces, span{value: value})
	}
	if text, ok := t.Constant(); ok {
		t.fixed = text
	}
	return t, nil
}

// Topic compiles a template that becomes the topic of a message that is published: it refuses wildcards and what no topic
// may hold.
func (s Scope) Topic(src string) (*Template, error) {
	if src == "" {
		return nil, &SyntaxError{Text: "the topic is empty", Hint: "write a topic, such as school/{bridge}/temp"}
	}
	if err := checkTopicText(src); err != nil {
		return nil, err
	}
	if i := strings.IndexAny(src, "+#"); i >= 0 {
		return nil, &SyntaxError{
			Source: src, Offset: i, Text: "a message cannot be published to a topic with " + src[i:i+1],
			Hint: "name the level {name} on the side that is read and write {name} here, or {topic} for the whole topic",
		}
	}
	if strings.Contains(src, "{bridge}") {
		if text, hint := checkBridge(s.Bridge); text != "" {
			return nil, &SyntaxError{Source: src, Offset: strings.Index(src, "{bridge}"), Text: text, Hint: hint}
		}
	}
	return s.Template(src)
}

// unknownCapture tells which names there are.
func (s Scope) unknownCapture(src, name string, offset int) error {
	e := &SyntaxError{Source: src, Offset: offset, Text: "{" + name + "} is not captured by this rule"}
	var known []string
	for _, n := range s.Names {
		known = append(known, "{"+n+"}")
	}
	known = append(known, "{bridge}", "{topic}")
	e.Hint = "known are " + listed(known)
	if n := nearest("{"+name+"}", known); n != "" {
		e.Hint = "did you mean " + n + "? " + e.Hint
	}
	return e
}

func indexOf(names []string, name string) int {
	for i, n := range names {
		if n == name {
			return i
		}
	}
	return -1
}

func (t *Template) addText(s string) {
	if n := len(t.pieces); n > 0 && t.pieces[n-1].value < 0 {
		t.pieces[n-1].text += s
		return
	}
	t.pieces = append(t.pieces, span{text: s, value: -1})
}

// Expand writes the template with these captures, in the order of Scope.Names; one more value is what {topic} stands for.
func (t *Template) Expand(values []string) string {
	switch {
	case len(t.pieces) == 0:
		return ""
	case len(t.pieces) == 1 && t.pieces[0].value < 0:
		return t.fixed
	case len(t.pieces) == 1:
		return t.pieces[0].of(values)
	}
	return string(t.append(nil, values))
}

// append writes what Expand gives to dst.
func (t *Template) append(dst []byte, values []string) []byte {
	for i := range t.pieces {
		dst = append(dst, t.pieces[i].of(values)...)
	}
	return dst
}

// of is the text of the span with these values.
func (p *span) of(values []string) string {
	if p.value < 0 {
		return p.text
	}
	if p.value < len(values) {
		return values[p.value]
	}
	return ""
}

// Constant returns the text of a template that uses no capture.
func (t *Template) Constant() (string, bool) {
	switch {
	case len(t.pieces) == 0:
		return "", true
	case len(t.pieces) == 1 && t.pieces[0].value < 0:
		return t.pieces[0].text, true
	}
	return "", false
}

// Uses says whether the template's text depends on the capture: {topic} depends on all of them.
func (t *Template) Uses(name string) bool {
	value := indexOf(t.names, name)
	for _, p := range t.pieces {
		if p.value >= 0 && (p.value == value || p.value == len(t.names)) {
			return true
		}
	}
	return false
}

// usesTopic says whether the template writes the whole topic.
func (t *Template) usesTopic() bool {
	for _, p := range t.pieces {
		if p.value == len(t.names) {
			return true
		}
	}
	return false
}

// Could says whether the template could expand to text (to find the clouds that "aio-{student}" may name).
func (t *Template) Could(text string) bool {
	return could(t.pieces, text, map[int]string{})
}

// could tries each length for the first capture that is not bound yet; a capture that is written twice is the same text
// both times.
func could(pieces []span, text string, bound map[int]string) bool {
	if len(pieces) == 0 {
		return text == ""
	}
	p := pieces[0]
	known, ok := bound[p.value]
	if p.value < 0 {
		known, ok = p.text, true
	}
	if ok {
		rest, has := strings.CutPrefix(text, known)
		return has && could(pieces[1:], rest, bound)
	}
	for n := 1; n <= len(text); n++ {
		bound[p.value] = text[:n]
		if could(pieces[1:], text[n:], bound) {
			return true
		}
	}
	delete(bound, p.value)
	return false
}

// String is the source text.
func (t *Template) String() string { return t.src }
