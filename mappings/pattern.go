package mappings

import (
	"strings"
	"unicode/utf8"
)

// Pattern says which topics a rule reads, and what it captures from them.
//
// A pattern is an MQTT topic filter in which {name} captures one non-empty level or a part of one, and {name...} one or
// more levels, never an empty text. Where several divisions are possible each capture, from the left, takes as little as
// it can.
type Pattern struct {
	src    string
	levels []level
	names  []string
	multi  []bool // by capture: written with dots
	filter string
}

type levelKind byte

const (
	literalLevel levelKind = iota // text alone
	partsLevel                    // text and captures, or one capture alone
	plusLevel                     // +
	multiLevel                    // {name...}
	hashLevel                     // #, the last one
)

// level is one level of a pattern. A partsLevel is texts[0] capture texts[1] capture ... texts[n]: one text more than it
// has captures, of which the first and the last may be empty.
type level struct {
	kind   levelKind
	text   string
	texts  []string
	source string
}

// ParsePattern reads a pattern; {bridge} in it is the literal name. A fault is a *SyntaxError.
func ParsePattern(s, bridge string) (*Pattern, error) {
	p := &Pattern{src: s}
	if s == "" {
		return nil, &SyntaxError{Text: "the topic is empty", Hint: "write a topic such as iot/+/temp, or # for every topic"}
	}
	if err := checkTopicText(s); err != nil {
		return nil, err
	}
	offset := 0
	for _, text := range splitLevels(s) {
		l, err := p.parseLevel(text, offset, bridge)
		if err != nil {
			return nil, err
		}
		p.levels = append(p.levels, l)
		offset += len(text) + 1
	}
	p.filter = p.makeFilter()
	return p, nil
}

// checkTopicText refuses what no topic may hold.
func checkTopicText(s string) error {
	if len(s) > 65535 {
		return &SyntaxError{Source: s, Text: "a topic has at most 65,535 bytes"}
	}
	if i := strings.IndexByte(s, 0); i >= 0 {
		return &SyntaxError{Source: s, Offset: i, Text: "a topic cannot hold the character NUL", Hint: "remove it"}
	}
	for i, r := range s {
		if r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD") {
			return &SyntaxError{Source: s, Offset: i, Text: "a topic is UTF-8, and this is not", Hint: "save the file as UTF-8"}
		}
	}
	if strings.HasPrefix(s, "$share/") || s == "$share" {
		return &SyntaxError{Source: s, Text: "$share is not a topic", Hint: `write share = "group" in [local], and the topic alone here`}
	}
	return nil
}

// splitLevels splits at slashes outside braces: a slash inside braces is a fault that is told as a bad name.
func splitLevels(s string) []string {
	var levels []string
	depth, start := 0, 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{':
			if strings.IndexByte(s[i:], '}') > 0 {
				depth = 1
			}
		case '}':
			depth = 0
		case '/':
			if depth == 0 {
				levels = append(levels, s[start:i])
				start = i + 1
			}
		}
	}
	return append(levels, s[start:])
}

// parseLevel reads one level that starts at offset.
func (p *Pattern) parseLevel(text string, offset int, bridge string) (level, error) {
	fault := func(at int, text, hint string) (level, error) {
		return level{}, &SyntaxError{Source: p.src, Offset: at, Text: text, Hint: hint}
	}
	end := offset + len(text)
	switch text {
	case "+":
		return level{kind: plusLevel, source: text}, nil
	case "#":
		if end != len(p.src) {
			return fault(offset, "# must be the last level", "use {name...} or + where levels follow")
		}
		return level{kind: hashLevel, source: text}, nil
	}
	pieces, err := splitBraces(p.src, text, offset)
	if err != nil {
		return level{}, err
	}
	l := level{kind: literalLevel, source: text, texts: []string{""}}
	for _, piece := range pieces {
		last := &l.texts[len(l.texts)-1]
		if !piece.capture {
			if i := strings.IndexAny(piece.text, "+#"); i >= 0 {
				sign := piece.text[i : i+1]
				return fault(piece.offset+i, sign+" must stand alone in its level", "use {name} for a part of a level, as in dev-{id}")
			}
			*last += piece.text
			continue
		}
		if piece.text == "bridge" {
			if text, hint := checkBridge(bridge); text != "" {
				return fault(piece.offset, text, hint)
			}
			*last += bridge
			continue
		}
		name, many := strings.CutSuffix(piece.text, "...")
		if text, hint := checkName(name); text != "" {
			return fault(piece.offset, text, hint)
		}
		for _, other := range p.names {
			if other == name {
				return fault(piece.offset, "{"+name+"} is there twice", "give each capture a name of its own")
			}
		}
		if many && len(pieces) > 1 {
			return fault(piece.offset, "{"+name+"...} must stand alone in its level", "write {"+name+"} for a part of one level")
		}
		if *last == "" && len(l.texts) > 1 {
			return fault(piece.offset, "two captures need a text between them", "write {a}-{b}, for example")
		}
		p.names, p.multi = append(p.names, name), append(p.multi, many)
		l.kind = partsLevel
		if many {
			l.kind = multiLevel
		}
		l.texts = append(l.texts, "")
	}
	if l.kind == literalLevel {
		l.text, l.texts = l.texts[0], nil
	}
	if l.kind == partsLevel && offset == 0 && strings.HasPrefix(l.texts[0], "$") {
		return fault(0, "a first level that starts with $ must be written out", "brokers give such topics only to rules that name them in full")
	}
	return l, nil
}

// checkBridge says why a bridge's name cannot stand in a topic; empty text means that it can.
func checkBridge(bridge string) (text, hint string) {
	switch {
	case bridge == "":
		return "{bridge} is used, but this bridge has no name", "set name in [bridge]"
	case strings.ContainsAny(bridge, "/+#\x00"):
		return "{bridge} is " + shown(bridge) + ", which cannot stand in one level of a topic", "set a name without / + # in [bridge]"
	}
	return "", ""
}

// piece is a run of text, or the inside of a pair of braces, at an offset of the source.
type piece struct {
	capture bool
	text    string
	offset  int
}

// splitBraces divides a text that stands at offset of source into pieces.
func splitBraces(source, text string, offset int) ([]piece, error) {
	var pieces []piece
	for i := 0; i < len(text); {
		j := strings.IndexAny(text[i:], "{}")
		if j < 0 {
			return append(pieces, piece{text: text[i:], offset: offset + i}), nil
		}
		if j > 0 {
			pieces = append(pieces, piece{text: text[i : i+j], offset: offset + i})
			i += j
		}
		if text[i] == '}' {
			return nil, &SyntaxError{Source: source, Offset: offset + i, Text: "} without a { before it", Hint: "write {name}"}
		}
		end := strings.IndexAny(text[i+1:], "{}")
		if end < 0 || text[i+1+end] == '{' {
			return nil, &SyntaxError{Source: source, Offset: offset + i, Text: "{ without a } after it", Hint: "write {name}"}
		}
		pieces = append(pieces, piece{capture: true, text: text[i+1 : i+1+end], offset: offset + i})
		i += end + 2
	}
	return pieces, nil
}

// makeFilter writes the MQTT filter: a capture becomes +, and {name...} with what follows it becomes #. Of iot/{rest...}
// iot/+/# would be narrower by one topic, but brokers have been met that do not match it with iot/a, as the standard
// asks, and iot/# is what people find again in their broker's log and write into permissions.
func (p *Pattern) makeFilter() string {
	var out []string
	for _, l := range p.levels {
		switch l.kind {
		case literalLevel:
			out = append(out, l.text)
		case hashLevel:
			out = append(out, "#")
		case multiLevel:
			out = append(out, "#")
			return strings.Join(out, "/")
		default:
			out = append(out, "+")
		}
	}
	return strings.Join(out, "/")
}

// Filter is the MQTT topic filter that covers the pattern.
func (p *Pattern) Filter() string { return p.filter }

// Names are the captures, in order.
func (p *Pattern) Names() []string { return p.names }

// String is the source text.
func (p *Pattern) String() string { return p.src }

// MatchesOne says whether the pattern is a single topic.
func (p *Pattern) MatchesOne() bool {
	for _, l := range p.levels {
		if l.kind != literalLevel {
			return false
		}
	}
	return true
}

// Match appends the captured texts to into, in the order of Names. The texts share the topic's memory.
func (p *Pattern) Match(topic string, into []string) ([]string, bool) {
	base := len(into)
	if topic == "" || topic[0] == '$' && p.levels[0].kind != literalLevel {
		return into, false
	}
	// The last {name...} seen and the captures before it: where a later level fails it takes one level more. Earlier
	// ones need not be tried again, because more levels for them leave less for the rest.
	var retry struct {
		on                 bool
		level, start, next int
		captures           int
	}
	i, at := 0, 0 // pattern level, and where the next topic level starts; at > len(topic) means that none is left
	for {
		ok := false
		switch {
		case i == len(p.levels):
			if at > len(topic) {
				return into, true
			}
		case p.levels[i].kind == hashLevel:
			return into, true
		case at <= len(topic):
			l := &p.levels[i]
			end := levelEnd(topic, at)
			if l.kind == multiLevel {
				if end == at && end < len(topic) { // one empty level alone would be an empty text
					end = levelEnd(topic, end+1)
				}
				if end > at {
					retry.on, retry.level, retry.start, retry.next, retry.captures = true, i, at, end+1, len(into)
					into = append(into, topic[at:end])
					i, at, ok = i+1, end+1, true
				}
				break
			}
			if into, ok = l.match(topic[at:end], into); ok {
				i, at = i+1, end+1
			}
		}
		if ok {
			continue
		}
		if !retry.on || retry.next > len(topic) {
			return into[:base], false
		}
		end := levelEnd(topic, retry.next)
		into = append(into[:retry.captures], topic[retry.start:end])
		i, at, retry.next = retry.level+1, end+1, end+1
	}
}

// levelEnd is where the level that starts at i ends.
func levelEnd(topic string, i int) int {
	if n := strings.IndexByte(topic[i:], '/'); n >= 0 {
		return i + n
	}
	return len(topic)
}

// match tests one level of a topic and appends what it captures.
func (l *level) match(s string, into []string) ([]string, bool) {
	switch l.kind {
	case literalLevel:
		return into, s == l.text
	case plusLevel:
		return into, true
	}
	base := len(into)
	first, last := l.texts[0], l.texts[len(l.texts)-1]
	if len(s) < len(first)+len(last)+1 || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return into, false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, text := range l.texts[1 : len(l.texts)-1] {
		if s == "" {
			return into[:base], false
		}
		_, width := utf8.DecodeRuneInString(s)
		n := strings.Index(s[width:], text)
		if n < 0 {
			return into[:base], false
		}
		n += width
		into = append(into, s[:n])
		s = s[n+len(text):]
	}
	if s == "" {
		return into[:base], false
	}
	return append(into, s), true
}
