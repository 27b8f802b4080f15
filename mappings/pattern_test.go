package mappings

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func mustPattern(t testing.TB, s string) *Pattern {
	t.Helper()
	p, err := ParsePattern(s, "lab1")
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return p
}

func TestPatternMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, topic string
		want           string // captures with |, or "no"
	}{
		{"a/b", "a/b", ""},
		{"a/b", "a/b/c", "no"},
		{"a/b", "a", "no"},
		{"a/b", "/a/b", "no"},
		{"/sensors/temperature", "/sensors/temperature", ""},
		{"+", "a", ""},
		{"+", "/a", "no"},
		{"+/+", "/a", ""},
		{"a/+", "a/", ""},
		{"a/+", "a", "no"},
		{"#", "a/b", ""},
		{"#", "/", ""},
		{"a/#", "a", ""},
		{"a/#", "a/", ""},
		{"a/#", "a/b/c", ""},
		{"a/#", "ab", "no"},
		{"iot/{device}/temp", "iot/pico/temp", "pico"},
		{"iot/{device}/temp", "iot//temp", "no"},
		{"iot/dev-{id}", "iot/dev-7", "7"},
		{"iot/dev-{id}", "iot/dev-", "no"},
		{"iot/dev-{id}", "iot/deb-7", "no"},
		{"{a}-{b}", "x-y", "x|y"},
		{"{a}-{b}", "x-y-z", "x|y-z"},
		{"{a}-{b}", "--y", "-|y"},
		{"{a}-{b}", "-y", "no"},
		{"{a}-{b}", "x-", "no"},
		{"{a}-x", "1-x-x", "1-x"},
		{"v{a}.{b}c", "v1.2.3c", "1|2.3"},
		{"{a}度{b}", "溫度度計", "溫|度計"},
		{"{x...}", "a", "a"},
		{"{x...}", "/a/b", "/a/b"},
		{"a/{x...}", "a", "no"},
		{"a/{x...}", "a/", "no"},
		{"a/{x...}", "a//b", "/b"},
		{"a/{x...}", "a/b/c", "b/c"},
		{"a/{x...}/b", "a/b", "no"},
		{"a/{x...}/b", "a/b/b", "b"},
		{"a/{x...}/b", "a/b/b/b", "b/b"},
		{"a/{x...}/b", "a/x/y/b", "x/y"},
		{"a/{x...}/b", "a//b", "no"},
		{"{x...}/b/{y...}", "a/b/b/c", "a|b/c"},
		{"{x...}/b/{y...}", "b/b", "no"},
		{"{x...}/b/{y...}", "b/b/b", "b|b"},
		{"{x...}/b/{y...}", "b/c/b/d", "b/c|d"},
		{"a/{x...}/#", "a/b", "b"},
		{"a/{x...}/#", "a/b/c", "b"},
		{"a/{x...}/+/c", "a/b/c/c/c", "b/c"},
		{"$SYS/#", "$SYS/broker/uptime", ""},
		{"#", "$SYS/broker", "no"},
		{"+/broker", "$SYS/broker", "no"},
		{"{a}/broker", "$SYS/broker", "no"},
		{"{a...}", "$SYS/broker", "no"},
		{"{a}-x", "$-x", "no"},
		{"a/+", "a/$x", ""},
		{"{bridge}/cmd", "lab1/cmd", ""},
		{"to-{bridge}-{id}", "to-lab1-9", "9"},
		{"教室/{房間}/溫度", "教室/三/溫度", "三"},
		{"a", "", "no"},
		{"#", "", "no"},
	} {
		p := mustPattern(t, c.pattern)
		captures, ok := p.Match(c.topic, []string{"kept"})
		got := "no"
		if ok {
			got = strings.Join(captures[1:], "|")
		} else if len(captures) != 1 {
			t.Errorf("%s on %s: no match left captures %q", c.pattern, c.topic, captures)
		}
		if got != c.want || captures[0] != "kept" {
			t.Errorf("%s on %s: got %q, want %q", c.pattern, c.topic, got, c.want)
		}
		if why := p.WhyNot(c.topic); (why == "") != ok {
			t.Errorf("%s on %s: WhyNot says %q", c.pattern, c.topic, why)
		}
	}
}

func TestPatternFilter(t *testing.T) {
	for _, c := range []struct {
		pattern, filter string
		names           string
		one             bool
	}{
		{"a/b", "a/b", "", true},
		{"/a", "/a", "", true},
		{"a/+/#", "a/+/#", "", false},
		{"iot/{device}/temp", "iot/+/temp", "device", false},
		{"iot/dev-{id}", "iot/+", "id", false},
		{"{rest...}", "#", "rest", false},
		{"iot/{rest...}", "iot/#", "rest", false},
		{"a/{x...}/b", "a/#", "x", false},
		{"{x...}/b", "#", "x", false},
		{"{x...}/#", "#", "x", false},
		{"a/{x...}/#", "a/#", "x", false},
		{"{a}/{b...}/{c}-{d}", "+/#", "a b c d", false},
		{"{bridge}/cmd", "lab1/cmd", "", true},
	} {
		p := mustPattern(t, c.pattern)
		if got := p.Filter(); got != c.filter {
			t.Errorf("%s: filter %s, want %s", c.pattern, got, c.filter)
		}
		if got := strings.Join(p.Names(), " "); got != c.names {
			t.Errorf("%s: names %s, want %s", c.pattern, got, c.names)
		}
		if p.MatchesOne() != c.one || p.String() != c.pattern {
			t.Errorf("%s: MatchesOne %v, String %s", c.pattern, p.MatchesOne(), p)
		}
	}
}

func TestPatternSyntax(t *testing.T) {
	for _, c := range []struct {
		pattern    string
		offset     int
		text, hint string
	}{
		{"", 0, "the topic is empty", "iot/+/temp"},
		{"a/#/b", 2, "# must be the last level", "{name...}"},
		{"a/b#", 3, "# must stand alone", "dev-{id}"},
		{"a/b+/c", 3, "+ must stand alone", "dev-{id}"},
		{"a/{x}+", 5, "+ must stand alone", ""},
		{"a/{x", 2, "{ without a }", "{name}"},
		{"a/{x/b/{y}", 2, "{ without a }", ""},
		{"a/x}", 3, "} without a {", ""},
		{"a/{}", 2, "a capture needs a name", "{device}"},
		{"a/{my-id}", 2, "{my-id} is no name", "{my_id}"},
		{"a/{b/c}", 2, "{b/c} is no name", "{bc}"},
		{"a/{1x}", 2, "{1x} is no name", "{x}"},
		{"{x}/{x}", 4, "{x} is there twice", ""},
		{"{x}/{x...}", 4, "{x} is there twice", ""},
		{"a/{x}{y}", 5, "two captures need a text between them", "{a}-{b}"},
		{"a/b{x...}", 3, "{x...} must stand alone", "{x}"},
		{"a/{text}", 2, "{text} would hide text", "{text1}"},
		{"a/{json...}", 2, "{json} would hide json", ""},
		{"a/{number}", 2, "{number} would hide number", ""},
		{"a/{in}", 2, "a word of the expression language", "{in1}"},
		{"a/{bridge...}", 2, "{bridge} is the name of this bridge", "{bridge}"},
		{"a\x00b", 1, "NUL", ""},
		{"溫/a\x00b", 5, "NUL", ""},
		{"a/\xff", 2, "UTF-8", ""},
		{"$share/g/a", 0, "$share is not a topic", "[local]"},
		{"$x{a}/b", 0, "a first level that starts with $", ""},
		{strings.Repeat("x", 65536), 0, "65,535", ""},
	} {
		_, err := ParsePattern(c.pattern, "lab1")
		var e *SyntaxError
		if !errors.As(err, &e) {
			t.Errorf("%q: error %v, want a *SyntaxError", c.pattern, err)
			continue
		}
		if e.Offset != c.offset || !strings.Contains(e.Text, c.text) || !strings.Contains(e.Hint, c.hint) || e.Source != c.pattern {
			t.Errorf("%q: got %d %q, hint %q; want %d %q %q", c.pattern, e.Offset, e.Text, e.Hint, c.offset, c.text, c.hint)
		}
	}
	for _, bridge := range []string{"", "a/b", "a+"} {
		if _, err := ParsePattern("x/{bridge}", bridge); err == nil {
			t.Errorf("{bridge} = %q is taken", bridge)
		}
	}
	if _, err := ParsePattern("a/{type}/{count}", ""); err != nil {
		t.Errorf("names of built-in functions are free: %v", err)
	}
}

func TestPatternOverlaps(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"a/b", "a/b", true},
		{"a/b", "a/c", false},
		{"a/+", "a/b", true},
		{"a/#", "a", true},
		{"a/{x...}", "a", false},
		{"a/{x...}", "a/#", true},
		{"a/{x...}", "a/", false},
		{"a/{x...}", "a//b", true},
		{"a/{x...}/b", "a/b", false},
		{"a/{x...}/b", "a/+/b", true},
		{"a/{x...}/b", "a//b", false},
		{"a/{x...}/b", "{y...}/c", false},
		{"a/{x...}/b", "{y...}/b/c", false},
		{"a/{x...}/b", "+/c/{y...}", true},
		{"{x...}", "$SYS/a", false},
		{"#", "$SYS/#", false},
		{"$SYS/#", "$SYS/+", true},
		{"dev-{id}", "{a}-7", true},
		{"dev-{id}", "dev-", false},
		{"dev-{id}", "{a}x", true},
		{"a{x}b", "a{y}c", false},
		{"a{x}b", "ab", false},
		{"a{x}b", "a{x}{bridge}", false},
		{"{a}-{b}", "{c}_{d}", true},
		{"a/{x}", "a/", false},
		{"a/+", "a/", true},
		{"+/+", "/a", true},
		{"{x}/a", "/a", false},
		{"{x...}/a", "//a", true},
		{"{x...}/a", "/a", false},
		{"{x...}/{y...}", "//", false},
		{"{x...}/{y...}", "///", true},
	} {
		p, q := mustPattern(t, c.a), mustPattern(t, c.b)
		if got := p.Overlaps(q); got != c.want {
			t.Errorf("%s and %s: %v", c.a, c.b, got)
		}
		if got := q.Overlaps(p); got != c.want {
			t.Errorf("%s and %s: %v", c.b, c.a, got)
		}
	}
}

func TestPatternWhyNot(t *testing.T) {
	for _, c := range []struct{ pattern, topic, want string }{
		{"sensors/temp", "/sensors/temp", "your topic starts with / and the rule does not"},
		{"/sensors/+", "sensors/temp", "the rule starts with / and your topic does not"},
		{"a/b", "a/b/", "your topic ends with / and the rule does not"},
		{"a/b/", "a/b", "the rule ends with / and your topic does not"},
		{"a/b", " a/b", "your topic has a space at its start or end"},
		{"a/bc", "a/b c", "your topic has spaces and the rule does not"},
		{"iot/{d}/temp", "iot/pico/humidity", "level 3 is humidity, the rule wants temp"},
		{"iot/{d}/temp", "iot/pico/Temp", "level 3 is Temp, the rule wants temp: capital letters differ"},
		{"iot/{d}/soil-temp", "iot/pico/soil_temp", "level 3 is soil_temp, the rule wants soil-temp: spaces, dashes or underscores differ"},
		{"iot/{d}/temp", "iot//temp", "level 2 is empty, and {d} wants at least one character"},
		{"iot/dev-{id}", "iot/esp-7", "level 2 is esp-7, the rule wants dev-{id}"},
		{"iot/dev-{id}", "iot/DEV-7", "level 2 is DEV-7, the rule wants dev-{id}: capital letters differ"},
		{"a/b/c/d", "a/b/c", "the rule wants 4 levels, the topic has 3"},
		{"a/b", "a/b/c", "the rule wants 2 levels, the topic has 3"},
		{"a/b", "/a/b/c", "your topic starts with / and the rule does not; besides, the rule wants 2 levels, the topic has 3"},
		{"a/b/#", "a", "the rule wants at least 2 levels, the topic has 1"},
		{"a/{x...}", "a", "the rule wants at least 2 levels, the topic has 1"},
		{"a/{x...}/b", "a/x/y/c", "level 4 is c, the rule wants b"},
		{"a/{x...}/b", "c/x/y/b", "level 1 is c, the rule wants a"},
		{"a/{x...}", "a/", "{x...} wants at least one level that is not empty"},
		{"#", "$SYS/x", "your topic starts with $, which wildcards at the start never match"},
		{"a", "", "the topic is empty"},
		{"a/b", "a/+", "a message's topic has no + or #: write a topic that a board really uses"},
		{"a/b", "a/{x}", "your topic has braces: write a topic that a board really uses"},
		{"a", "b", "level 1 is b, the rule wants a"},
	} {
		got := mustPattern(t, c.pattern).WhyNot(c.topic)
		if got != c.want {
			t.Errorf("%s on %s: got %q, want %q", c.pattern, c.topic, got, c.want)
		}
	}
}

// naive matches by trying every division, the shortest first: it is the definition that Match must agree with.
func naive(p *Pattern, topic string) ([]string, bool) {
	if topic == "" || topic[0] == '$' && p.levels[0].kind != literalLevel {
		return nil, false
	}
	return naiveLevels(p.levels, strings.Split(topic, "/"))
}

func naiveLevels(levels []level, topic []string) ([]string, bool) {
	if len(levels) == 0 {
		return nil, len(topic) == 0
	}
	l := levels[0]
	if l.kind == hashLevel {
		return nil, true
	}
	for n := 1; n <= len(topic); n++ {
		text := strings.Join(topic[:n], "/")
		if n > 1 && l.kind != multiLevel {
			break
		}
		var here []string
		ok := false
		switch l.kind {
		case literalLevel:
			ok = text == l.text
		case plusLevel:
			ok = true
		case multiLevel:
			here, ok = []string{text}, text != ""
		case partsLevel:
			here, ok = naiveParts(l.texts, text)
		}
		if !ok {
			continue
		}
		if rest, ok := naiveLevels(levels[1:], topic[n:]); ok {
			return append(here, rest...), true
		}
	}
	return nil, false
}

func naiveParts(texts []string, s string) ([]string, bool) {
	rest, ok := strings.CutPrefix(s, texts[0])
	if !ok {
		return nil, false
	}
	if len(texts) == 1 {
		return nil, rest == ""
	}
	for n := 1; n <= len(rest); n++ {
		if !utf8.ValidString(rest[:n]) {
			continue
		}
		if more, ok := naiveParts(texts[1:], rest[n:]); ok {
			return append([]string{rest[:n]}, more...), true
		}
	}
	return nil, false
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{
		"a/b|a/b", "a/{x...}/b|a/b/b", "{a}-{b}|x-y-z", "{x...}/b/{y...}|a/b/c", "+/#|/a", "dev-{id}/{r...}/#|dev-1/a/b", "{bridge}/{溫}|lab1/度",
	} {
		pattern, topic, _ := strings.Cut(s, "|")
		f.Add(pattern, topic)
	}
	f.Fuzz(func(t *testing.T, pattern, topic string) {
		p, err := ParsePattern(pattern, "lab1")
		if err != nil {
			var e *SyntaxError
			if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(pattern) || e.Text == "" {
				t.Fatalf("%q: error %#v", pattern, err)
			}
			return
		}
		if len(topic) > 60 || len(p.levels) > 12 || !utf8.ValidString(topic) {
			return // the naive matcher takes too long
		}
		got, ok := p.Match(topic, nil)
		want, wantOK := naive(p, topic)
		if ok != wantOK || !slices.Equal(got, want) {
			t.Fatalf("%q on %q: got %q %v, want %q %v", pattern, topic, got, ok, want, wantOK)
		}
		if why := p.WhyNot(topic); (why == "") != ok {
			t.Fatalf("%q on %q: matches %v, but WhyNot says %q", pattern, topic, ok, why)
		}
		if !ok {
			return
		}
		if len(got) != len(p.Names()) {
			t.Fatalf("%q on %q: %d captures for %d names", pattern, topic, len(got), len(p.Names()))
		}
		filter, err := ParsePattern(p.Filter(), "")
		if err != nil {
			t.Fatalf("%q: filter %q: %v", pattern, p.Filter(), err)
		}
		if _, covered := filter.Match(topic, nil); !covered {
			t.Fatalf("%q matches %q, but its filter %q does not", pattern, topic, p.Filter())
		}
		if !strings.ContainsAny(topic, "+#{}") && !strings.Contains(topic, "$share") {
			if q, err := ParsePattern(topic, ""); err == nil && (!p.Overlaps(q) || !q.Overlaps(p)) {
				t.Fatalf("%q matches %q, but does not overlap it", pattern, topic)
			}
		}
		checkRoundTrip(t, p, topic, got)
	})
}

// checkRoundTrip writes the topic again: a pattern without wildcards, used as a template, gives the topic that it read.
func checkRoundTrip(t *testing.T, p *Pattern, topic string, captures []string) {
	t.Helper()
	for _, l := range p.levels {
		if l.kind == plusLevel || l.kind == hashLevel {
			return
		}
	}
	template, err := Scope{Bridge: "lab1", Names: p.Names()}.Template(p.String())
	if err != nil {
		t.Fatalf("%q as a template: %v", p, err)
	}
	if back := template.Expand(captures); back != topic {
		t.Fatalf("%q on %q: written back as %q", p, topic, back)
	}
	if !template.Could(topic) {
		t.Fatalf("%q could not become %q", p, topic)
	}
}

func ExamplePattern() {
	p, _ := ParsePattern("iot/ece2026/{device}/temp", "lab1")
	captures, ok := p.Match("iot/ece2026/picow/temp", nil)
	fmt.Println(p.Filter(), captures, ok)
	fmt.Println(p.WhyNot("/iot/ece2026/picow/temp"))
	// Output:
	// iot/ece2026/+/temp [picow] true
	// your topic starts with / and the rule does not
}
