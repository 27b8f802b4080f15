package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"cloudbridge/cmd/cloudbridge/internal/terminal"
)

// answer is what explain says about one message; it is also its JSON.
type answer struct {
	Topic   string       `json:"topic,omitempty"`
	Cloud   string       `json:"cloud,omitempty"`
	Address string       `json:"address,omitempty"`
	Payload string       `json:"payload"`
	Taken   int          `json:"taken"`
	Nearest string       `json:"nearest,omitempty"`
	Note    string       `json:"note,omitempty"`
	Rules   []ruleAnswer `json:"rules"`
}

// ruleAnswer is what one rule does with the message.
type ruleAnswer struct {
	Rule     string       `json:"rule"`
	From     string       `json:"from"`
	To       string       `json:"to"`
	Matches  bool         `json:"matches"`
	Why      string       `json:"why,omitempty"`
	Captures []capture    `json:"captures,omitempty"`
	Value    string       `json:"value,omitempty"`
	Sends    []sendAnswer `json:"sends,omitempty"`
	Limit    string       `json:"limit,omitempty"`
	Notes    []string     `json:"notes,omitempty"`
}

type capture struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// sendAnswer is one message or request that would go out.
type sendAnswer struct {
	Local bool `json:"local,omitempty"`
	// By is the rule that carries a command on to another cloud.
	By      string `json:"by,omitempty"`
	Cloud   string `json:"cloud,omitempty"`
	Topic   string `json:"topic,omitempty"`
	QoS     byte   `json:"qos"`
	Retain  bool   `json:"retain"`
	Method  string `json:"method,omitempty"`
	URL     string `json:"url,omitempty"`
	Payload string `json:"payload"`
}

func (a *answer) add(r ruleAnswer) {
	if len(r.Sends) > 0 {
		a.Taken++
	}
	a.Rules = append(a.Rules, r)
}

// closeEnough is from where on a rule may have been meant.
const closeEnough = 3

// nearest finds the rule that was most likely meant where none matches.
func (a *answer) nearest(topic string) {
	best := closeEnough
	for _, r := range a.Rules {
		if r.Matches {
			a.Nearest = ""
			return
		}
		if score := closeness(topic, r.From); score > best {
			best = score
			a.Nearest = fmt.Sprintf("%s %s: %s", r.Rule, r.From, r.Why)
		}
	}
}

func (a *answer) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(a)
}

func (a *answer) write(w terminal.Stream) {
	if a.Cloud != "" {
		fmt.Fprintf(w, "%s %s gets %s\n", a.Cloud, terminal.Printable(a.Address), shown(a.Payload))
	} else {
		fmt.Fprintf(w, "%s gets %s\n", terminal.Printable(a.Topic), shown(a.Payload))
	}
	// What goes up is limited by how often, what comes down by its age.
	limitName := "how often"
	if a.Cloud != "" {
		limitName = "how old"
	}
	var others [][]string
	for _, r := range a.Rules {
		if r.Matches {
			r.write(w, limitName)
			continue
		}
		others = append(others, []string{r.Rule, r.From, r.Why})
	}
	writeTable(w, "rules that do not match", others)
	fmt.Fprintln(w)
	switch {
	case len(a.Rules) == 0:
		fmt.Fprintln(w, "there is no rule for this direction")
	case a.Taken == 0:
		fmt.Fprintf(w, "%s by any of %s\n", w.Paint(terminal.Yellow, "nothing would be sent"), plural(len(a.Rules), "rule"))
	default:
		fmt.Fprintf(w, "%s by %d of %s\n", w.Paint(terminal.Green, "it would be sent"), a.Taken, plural(len(a.Rules), "rule"))
	}
	if a.Nearest != "" {
		fmt.Fprintf(w, "the nearest is %s\n", a.Nearest)
	}
}

// write shows what a rule that matches does.
func (r *ruleAnswer) write(w terminal.Stream, limitName string) {
	fmt.Fprintf(w, "\n%s  %s -> %s\n", w.Paint(terminal.Faint, r.Rule), r.From, r.To)
	line := func(name string, style terminal.Style, text string) {
		for l := range strings.Lines(text) {
			fmt.Fprintf(w, "  %s  %s\n", terminal.Pad(name, 9), w.Paint(style, strings.TrimRight(l, "\n")))
			name = ""
		}
	}
	for _, c := range r.Captures {
		line("capture", terminal.Plain, "{"+c.Name+"} is "+terminal.Printable(c.Value))
	}
	if len(r.Sends) == 0 && r.Why != "" {
		line("nothing", terminal.Yellow, terminal.Printable(r.Why))
	} else if r.Why != "" {
		line("but", terminal.Yellow, terminal.Printable(r.Why))
	}
	if r.Value != "" {
		line("value", terminal.Plain, shown(r.Value))
	}
	for _, s := range r.Sends {
		line("sends", terminal.Green, s.target())
		line("", terminal.Bold, shown(s.Payload))
		if s.Method == "" {
			line("", terminal.Faint, fmt.Sprintf("QoS %d, %s", s.QoS, retained(s.Retain)))
		}
	}
	if r.Limit != "" {
		line(limitName, terminal.Plain, r.Limit)
	}
	for _, n := range r.Notes {
		line("note", terminal.Yellow, wrap(terminal.Printable(n), 90))
	}
}

// target is where a message or request would go.
func (s *sendAnswer) target() string {
	switch {
	case s.Method != "":
		return s.Method + " " + s.URL + " (the key is not shown)"
	case s.Local:
		return terminal.Printable(s.Topic) + " on the local broker"
	}
	to := terminal.Printable(s.Topic) + " at " + s.Cloud
	if s.By != "" {
		to += ", by " + s.By
	}
	return to
}

func retained(r bool) string {
	if r {
		return "retained"
	}
	return "not retained"
}

// shown is a payload as a person can read it.
func shown(payload string) string {
	if payload == "" {
		return "(an empty payload)"
	}
	return terminal.Cut(terminal.Printable(payload), 400)
}
