package mappings

import (
	"fmt"
	"strings"
)

// WhyNot says in words why a topic does not match; empty where it does. It names the difference that people most likely
// overlooked.
func (p *Pattern) WhyNot(topic string) string {
	if _, ok := p.Match(topic, nil); ok {
		return ""
	}
	if why := topicFault(topic); why != "" {
		return why
	}
	if topic[0] == '$' && p.levels[0].kind != literalLevel {
		return "your topic starts with $, which wildcards at the start never match"
	}
	// A small repair that makes it match is the best explanation.
	for _, r := range p.repairs(topic) {
		if _, ok := p.Match(r.topic, nil); ok && r.topic != topic {
			return r.why
		}
	}
	if first := p.levels[0]; topic[0] == '/' && len(topic) > 1 && !first.isEmpty() && (first.kind == literalLevel || first.kind == partsLevel) {
		return "your topic starts with / and the rule does not; besides, " + p.WhyNot(topic[1:])
	}
	levels := strings.Split(topic, "/")
	if p.hasMulti() {
		return p.whyMulti(levels)
	}
	for i, l := range p.levels {
		if l.kind == hashLevel {
			break
		}
		if i >= len(levels) {
			return p.whyCount(len(levels))
		}
		if _, ok := l.match(levels[i], nil); !ok {
			if len(p.levels) != len(levels) && !p.endsWithHash() {
				return p.whyCount(len(levels)) + "; " + whyLevel(i, levels[i], l)
			}
			return whyLevel(i, levels[i], l)
		}
	}
	return p.whyCount(len(levels))
}

// repair is a small change to a topic, and what it means if it helps.
type repair struct{ topic, why string }

func (p *Pattern) repairs(topic string) []repair {
	all := []repair{
		{strings.TrimSpace(topic), "your topic has a space at its start or end"},
		{strings.ReplaceAll(topic, " ", ""), "your topic has spaces and the rule does not"},
	}
	if p.levels[0].isEmpty() {
		all = append(all, repair{"/" + topic, "the rule starts with / and your topic does not"})
	} else {
		all = append(all, repair{strings.TrimPrefix(topic, "/"), "your topic starts with / and the rule does not"})
	}
	if p.levels[len(p.levels)-1].isEmpty() {
		return append(all, repair{topic + "/", "the rule ends with / and your topic does not"})
	}
	return append(all, repair{strings.TrimSuffix(topic, "/"), "your topic ends with / and the rule does not"})
}

// topicFault says why no message can have the topic.
func topicFault(topic string) string {
	switch {
	case topic == "":
		return "the topic is empty"
	case strings.ContainsAny(topic, "+#"):
		return "a message's topic has no + or #: write a topic that a board really uses"
	case strings.ContainsAny(topic, "{}") && !strings.Contains(topic, " "):
		return "your topic has braces: write a topic that a board really uses"
	}
	return ""
}

func (p *Pattern) hasMulti() bool {
	for _, l := range p.levels {
		if l.kind == multiLevel {
			return true
		}
	}
	return false
}

func (p *Pattern) endsWithHash() bool { return p.levels[len(p.levels)-1].kind == hashLevel }

// whyCount compares how many levels there are.
func (p *Pattern) whyCount(got int) string {
	want, atLeast := len(p.levels), p.hasMulti()
	if p.endsWithHash() {
		want, atLeast = want-1, true
	}
	text := "the rule wants " + counted(want)
	if atLeast {
		text = "the rule wants at least " + counted(want)
	}
	return text + fmt.Sprintf(", the topic has %d", got)
}

func counted(n int) string {
	if n == 1 {
		return "1 level"
	}
	return fmt.Sprintf("%d levels", n)
}

// whyMulti explains a pattern with {name...}: what stands before it is compared level by level, what stands after it from
// the end.
func (p *Pattern) whyMulti(levels []string) string {
	least := len(p.levels)
	if p.endsWithHash() {
		least--
	}
	if len(levels) < least {
		return p.whyCount(len(levels))
	}
	for i, l := range p.levels {
		if l.kind == multiLevel {
			break
		}
		if _, ok := l.match(levels[i], nil); !ok {
			return whyLevel(i, levels[i], l)
		}
	}
	for i := len(p.levels) - 1; i >= 0; i-- {
		l := p.levels[i]
		if l.kind == multiLevel {
			return "{" + p.nameAt(i) + "...} wants at least one level that is not empty"
		}
		if l.kind == hashLevel {
			break
		}
		at := len(levels) - len(p.levels) + i
		if _, ok := l.match(levels[at], nil); !ok {
			return whyLevel(at, levels[at], l)
		}
	}
	return "no way to divide the topic's levels fits the rule"
}

// nameAt is the capture of the multi-level at index i.
func (p *Pattern) nameAt(i int) string {
	return strings.TrimSuffix(strings.Trim(p.levels[i].source, "{}"), "...")
}

// whyLevel compares one level.
func whyLevel(i int, got string, want level) string {
	where := fmt.Sprintf("level %d is %s, the rule wants ", i+1, levelText(got))
	if want.kind == literalLevel {
		text := where + levelText(want.text)
		switch {
		case got == want.text:
		case strings.EqualFold(got, want.text):
			text += ": capital letters differ"
		case strings.TrimSpace(got) == want.text:
			text += ": there is a space at its start or end"
		case strings.EqualFold(squeeze(got), squeeze(want.text)):
			text += ": spaces, dashes or underscores differ"
		}
		return text
	}
	if got == "" {
		return fmt.Sprintf("level %d is empty, and %s wants at least one character", i+1, want.source)
	}
	text := where + want.source
	if _, ok := want.match(strings.ToLower(got), nil); ok {
		text += ": capital letters differ"
	}
	return text
}

func squeeze(s string) string { return strings.NewReplacer(" ", "", "-", "", "_", "").Replace(s) }

// levelText shows a level in a sentence.
func levelText(s string) string {
	if s == "" {
		return "empty"
	}
	if strings.ContainsAny(s, " \t") {
		return shown(s)
	}
	return s
}

// Nearest finds the uplink whose pattern comes closest to matching a topic, and says why it does not; rule is -1 where
// one matches, or where there are none.
func (t *Table) Nearest(topic string) (rule int, why string) {
	rule = -1
	best := 0
	for i := range t.up {
		p := t.up[i].Local
		why := p.WhyNot(topic)
		if why == "" {
			return -1, ""
		}
		if d := distance(strings.ToLower(p.src), strings.ToLower(topic)) - p.common(topic); rule < 0 || d < best {
			rule, best = i, d
		}
	}
	if rule >= 0 {
		why = t.up[rule].Local.WhyNot(topic)
	}
	return rule, why
}

// common weighs how many levels, counted from the start without a leading slash, a topic shares with the pattern: a level
// that fits is worth a few letters of difference elsewhere.
func (p *Pattern) common(topic string) int {
	levels := strings.Split(strings.TrimPrefix(topic, "/"), "/")
	wanted := p.levels
	if wanted[0].kind == literalLevel && wanted[0].text == "" {
		wanted = wanted[1:]
	}
	weight := 0
	for i := 0; i < len(wanted) && i < len(levels); i++ {
		if wanted[i].kind == hashLevel || wanted[i].kind == multiLevel {
			break
		}
		if _, ok := wanted[i].match(levels[i], nil); ok {
			weight += len(levels[i]) + len(wanted[i].source)
		}
	}
	return weight
}
