package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"cloudbridge/bridge"
	"cloudbridge/cmd/cloudbridge/internal/config"
	"cloudbridge/cmd/cloudbridge/internal/terminal"
	"cloudbridge/mappings"
	"cloudbridge/platforms/thingspeak"
)

type checkCommand struct {
	configFlag
}

// Help is the long text of "check --help".
func (checkCommand) Help() string {
	return "Connects to nothing. The exit code is 0 when the config can be run (warnings or not), 2 when it cannot."
}

// Run says what is wrong with the config, or what it would carry.
func (r *checkCommand) Run(c *console) error {
	f, err := c.load(r.Config)
	if err != nil {
		return err
	}
	// Some of it can be refused only where it is put together; nothing is connected by that.
	if _, err := newLogger(c.err, f.Log.Level, f.Log.Format); err != nil {
		return &failure{code: exitConfig, err: err}
	}
	if _, err := bridge.New(f.Bridge, slog.New(slog.DiscardHandler)); err != nil {
		return &failure{code: exitConfig, err: err}
	}
	for _, w := range f.Warnings {
		c.warning(w)
	}
	if ruleCount(&f.Bridge) == 0 {
		return &failure{code: exitConfig, err: errors.New("nothing to carry: a config that can be run has a rule")}
	}
	c.summary(f)
	for i := range f.Bridge.Uplinks {
		c.outdated(&f.Bridge, &f.Bridge.Uplinks[i])
	}
	return nil
}

// outdated warns of a rule that publishes to ThingSpeak's topics as if ThingSpeak were any broker, as old textbooks do.
func (c *console) outdated(cfg *bridge.Config, u *bridge.Uplink) {
	cl := cloudOf(cfg, u)
	if cl == nil || !cl.Kind.TakesAnyTopic {
		return
	}
	for _, t := range targets(u) {
		if advice := thingspeak.Advice(t.target.Name.String()); advice != "" {
			c.warn(where(u.Label) + ": " + advice)
		}
	}
}

// summary shows what the config would carry.
func (c *console) summary(f *config.File) {
	cfg := &f.Bridge
	fmt.Fprintf(c.out, "bridge %s beside %s\n", c.out.Paint(terminal.Bold, cfg.Name), cfg.Local.Session.URL)
	if f.TrustClock {
		fmt.Fprintln(c.out, "the clock of the computer that runs it is trusted")
	}
	var clouds [][]string
	for _, cl := range cfg.Clouds {
		where := "over HTTP"
		if o, ok := cl.Platform.Session(); ok {
			where = o.URL
		}
		clouds = append(clouds, []string{cl.Name, cl.Kind.Name, where})
	}
	c.table("clouds", clouds)

	var up, down [][]string
	for i := range cfg.Uplinks {
		up = append(up, upRows(cfg, &cfg.Uplinks[i])...)
	}
	for i := range cfg.Downlinks {
		down = append(down, downRow(&cfg.Downlinks[i]))
	}
	c.table("readings up", up)
	c.table("commands down", down)
	fmt.Fprintf(c.out, "\n%s: %s, %s, %s\n", c.out.Paint(terminal.Green, "ok"), plural(len(cfg.Clouds), "cloud"),
		plural(ruleCount(cfg), "rule"), plural(len(f.Warnings), "warning"))
}

// ruleCount counts the rules as they were written: a twoway rule is one.
func ruleCount(cfg *bridge.Config) int {
	n := len(cfg.Uplinks)
	for i := range cfg.Downlinks {
		if !cfg.Downlinks[i].Twoway {
			n++
		}
	}
	return n
}

// upRows is what check shows of an uplink: rule, from, to, how often. A rule with each has a row for each of its places.
func upRows(cfg *bridge.Config, u *bridge.Uplink) [][]string {
	var rows [][]string
	often := howOften(cfg, u)
	for i, t := range targets(u) {
		row := []string{"", "", "->", u.Cloud.String(), targetWords(t.target) + t.when, often}
		if i == 0 {
			row[0], row[1] = where(u.Label), u.Local.String()
		}
		rows = append(rows, row)
	}
	return rows
}

func downRow(d *bridge.Downlink) []string {
	age := "at any age"
	if d.MaxAge > 0 {
		age = "until " + span(d.MaxAge) + " old"
	}
	if n := len(d.Values); n > 0 {
		age += ", " + valueWords(d.Values)
	}
	return []string{where(d.Label), d.Cloud, mappings.Address{Name: d.Source.Name.String(), Part: d.Source.Part}.String(), "->", d.Local.String(), age}
}

func valueWords(values map[string]string) string {
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(values)) {
		if k != "*" {
			pairs = append(pairs, k+" as "+values[k])
		}
	}
	if _, rest := values["*"]; rest {
		pairs = append(pairs, "the rest as it is")
	}
	return strings.Join(pairs, ", ")
}

// place is one destination of a rule, and the capture that leads there.
type place struct {
	target *mappings.Target
	when   string
}

func targets(u *bridge.Uplink) []place {
	if u.Each == nil {
		return []place{{target: u.Target}}
	}
	var all []place
	for _, k := range slices.Sorted(maps.Keys(u.Each.Targets)) {
		all = append(all, place{u.Each.Targets[k], fmt.Sprintf(" (%s = %s)", u.Each.Capture, k)})
	}
	return all
}

// targetWords writes a destination: "1001 field1, field2".
func targetWords(t *mappings.Target) string {
	var parts []string
	for _, p := range t.Parts {
		if p.Name != "" {
			parts = append(parts, p.Name)
		}
	}
	return mappings.Address{Name: t.Name.String(), Part: strings.Join(parts, ", ")}.String()
}

// where is the file and line of a rule's label; the rest repeats its pattern.
func where(label string) string {
	at, _, _ := strings.Cut(label, " ")
	return at
}

func (c *console) table(heading string, rows [][]string) { writeTable(c.out, heading, rows) }
