package mappings

import (
	"cmp"
	"strings"
	"time"

	"cloudbridge/internal/mqtt"
)

// Explanation is what one rule does with a message, for people.
type Explanation struct {
	Rule     int
	Matches  bool
	Why      string // why it does not match, or is skipped, or fails
	Captures [][2]string
	Value    string
	Points   []Point
	// Commands are what a downlink would publish.
	Commands []Publish
	// Notes say what was replaced on the way, such as a time that cannot be right.
	Notes []string
}

// Explain runs all uplinks on a message, and says of each what it does.
func (t *Table) Explain(m *mqtt.Message, now time.Time) []Explanation {
	var all []Explanation
	rd := &reading{bridge: t.bridge}
	rd.start(m.Topic, m.Payload, m.Properties, now)
	for rule := range t.up {
		u, e, r := &t.up[rule], Explanation{Rule: rule}, Result{}
		if e.match(rd, u.Local, m.Topic) {
			u.run(rule, m, rd, &r)
			e.take(&r, "skipped: ")
			e.Value = pointsText(r.Points)
		}
		all = append(all, e)
	}
	return all
}

// ExplainDown is the same for the downlinks.
func (t *Table) ExplainDown(c *Command, now time.Time) []Explanation {
	var all []Explanation
	rd := &reading{bridge: t.bridge}
	rd.start(c.Address.Name, c.Payload, c.Properties, now)
	for rule := range t.down {
		d, e, r := &t.down[rule], Explanation{Rule: rule}, Result{}
		switch {
		case d.Cloud != c.Cloud:
			e.Why = "the rule reads the cloud " + d.Cloud + ", not " + c.Cloud
		case d.Source.Part != c.Address.Part:
			e.Why = partsDiffer(d.Source.Part, c.Address.Part)
		case !strings.Contains(d.Source.Name.src+c.Address.Name, "/") && !rd.match(d.Source.Name, c.Address.Name):
			// Feeds and channels have no levels to speak of.
			e.Why = "the rule reads " + d.Source.Name.src + ", this is " + c.Address.Name
		case e.match(rd, d.Source.Name, c.Address.Name):
			d.run(rule, c, rd, &r)
			e.take(&r, "dropped: ")
			for _, p := range r.Commands {
				e.Value = string(p.Message.Payload)
			}
		}
		all = append(all, e)
	}
	return all
}

func partsDiffer(want, got string) string {
	switch "" {
	case want:
		return "the rule reads the whole, this is " + got
	case got:
		return "the rule reads " + want + ", this is the whole"
	}
	return "the rule reads " + want + ", this is " + got
}

// match notes the captures, or why there are none.
func (e *Explanation) match(rd *reading, p *Pattern, topic string) bool {
	if !rd.match(p, topic) {
		e.Why = p.WhyNot(topic)
		return false
	}
	e.Matches = true
	for i, name := range p.names {
		e.Captures = append(e.Captures, [2]string{name, rd.values[i]})
	}
	return true
}

// take notes what a rule made. passed is the word for what it passes by, the one under which the bridge counts it: a
// reading that a rule does not want is skipped, a command that nobody gets is dropped.
func (e *Explanation) take(r *Result, passed string) {
	e.Points, e.Commands = r.Points, r.Commands
	var why []string
	for _, s := range r.Skips {
		why = append(why, passed+s.Why)
	}
	for _, p := range r.Problems {
		why = append(why, p.Err.Error())
	}
	e.Why = strings.Join(why, "; ")
	for _, n := range r.Notes {
		e.Notes = append(e.Notes, n.Text)
	}
}

// pointsText writes values as people read them: the value alone, or each with its name where there are several. The value of
// a feed has no name of its own beside the names of its location.
func pointsText(points []Point) string {
	var out []string
	for _, p := range points {
		for _, part := range p.Parts {
			text := part.Value.String()
			if len(p.Parts) > 1 {
				text = cmp.Or(part.Name, "value") + " = " + text
			}
			out = append(out, text)
		}
	}
	return strings.Join(out, ", ")
}
