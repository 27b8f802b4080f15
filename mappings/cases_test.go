package mappings

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"cloudbridge/internal/mqtt"
)

var update = flag.Bool("update", false, "write the results of the cases into their files")

// TestCases runs testdata/cases/*.txtar. The sections up and down hold rules, an empty line between them; each section
// "message TOPIC" or "command CLOUD ADDRESS" holds a payload, and the section "want" after it what must come of it.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/cases/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { runCases(t, file) })
	}
}

func runCases(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var up []Uplink
	var down []Downlink
	got := ""
	for i, f := range archive.Files {
		kind, rest, _ := strings.Cut(f.Name, " ")
		data := strings.TrimSuffix(string(f.Data), "\n")
		switch kind {
		case "up":
			for _, block := range strings.Split(data, "\n\n") {
				up = append(up, parseUplink(t, block))
			}
		case "down":
			for _, block := range strings.Split(data, "\n\n") {
				down = append(down, parseDownlink(t, block))
			}
		case "message":
			m := &mqtt.Message{Topic: rest, Payload: []byte(data), Retain: strings.Contains(string(archive.Comment), "retained")}
			got = describe(t, NewTable("lab1", up, down), m, nil)
		case "command":
			cloud, name, _ := strings.Cut(rest, " ")
			name, part, _ := strings.Cut(name, " ")
			c := &Command{Cloud: cloud, Address: Address{name, part}, Payload: []byte(data)}
			got = describe(t, NewTable("lab1", up, down), nil, c)
		case "want":
			if *update {
				archive.Files[i].Data = []byte(got)
			} else if diff := cmp.Diff(string(f.Data), got); diff != "" {
				t.Errorf("%s: section %d (-want +got):\n%s", file, i+1, diff)
			}
		default:
			t.Fatalf("%s: unknown section %s", file, f.Name)
		}
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// describe runs a message or a command and writes all that came of it. It also holds Explain to the same answer.
func describe(t *testing.T, table *Table, m *mqtt.Message, c *Command) string {
	t.Helper()
	var r Result
	var explained []Explanation
	if m != nil {
		table.Up(m, nil, noon, &r)
		explained = table.Explain(m, noon)
	} else {
		table.Down(c, noon, &r)
		explained = table.ExplainDown(c, noon)
	}
	var b strings.Builder
	for _, p := range r.Points {
		fmt.Fprintf(&b, "point %d: %s %s:", p.Rule, p.Cloud, p.Name)
		for _, part := range p.Parts {
			fmt.Fprintf(&b, " %s=%s", part.Name, part.Value)
		}
		if !p.Time.Equal(p.Arrived) {
			fmt.Fprintf(&b, " at %s", p.Time.Format("2006-01-02T15:04:05.999Z07:00"))
		}
		if p.Retain {
			b.WriteString(" retain")
		}
		b.WriteByte('\n')
		if diff := cmp.Diff([]Point{p}, explained[p.Rule].Points); diff != "" {
			t.Errorf("Explain differs from Up:\n%s", diff)
		}
	}
	for _, p := range r.Commands {
		fmt.Fprintf(&b, "publish %d: %s %s\n", p.Rule, p.Message.Topic, p.Message.Payload)
		if diff := cmp.Diff([]Publish{p}, explained[p.Rule].Commands); diff != "" {
			t.Errorf("ExplainDown differs from Down:\n%s", diff)
		}
	}
	for _, s := range r.Skips {
		fmt.Fprintf(&b, "skip %d: %s\n", s.Rule, s.Why)
	}
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "problem %d: %v\n", p.Rule, p.Err)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note %d: %s\n", n.Rule, n.Text)
	}
	for _, e := range explained {
		if !e.Matches {
			fmt.Fprintf(&b, "no %d: %s\n", e.Rule, e.Why)
		}
	}
	return b.String()
}

// eachLine calls f with the key and value of each line of a rule.
func eachLine(t *testing.T, block string, f func(key, value string)) {
	t.Helper()
	for _, line := range strings.Split(block, "\n") {
		key, value, ok := strings.Cut(line, " = ")
		if !ok {
			t.Fatalf("not a line of a rule: %q", line)
		}
		f(strings.TrimSpace(key), strings.TrimSpace(value))
	}
}

// parseUplink reads a rule: local, cloud, name, value, when, time, retain, each.CAPTURE.TEXT, fix, and any other key as a
// part, with ? before optional ones and . for the rule's own value.
func parseUplink(t *testing.T, block string) Uplink {
	t.Helper()
	u := Uplink{Target: &Target{}}
	var scope Scope
	expr := func(src string, want Want) *Expr {
		e, err := scope.Expr(src, want)
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		return e
	}
	template := func(src string) *Template {
		tm, err := scope.Template(src)
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		return tm
	}
	eachLine(t, block, func(key, value string) {
		switch key {
		case "local":
			u.Local = mustPattern(t, value)
			scope = Scope{Bridge: "lab1", Names: u.Local.Names()}
		case "cloud":
			u.Cloud = template(value)
		case "name":
			u.Target.Name = template(value)
		case "fix":
			u.Target.Fix = func(s string) (string, error) {
				if strings.Contains(s, "!") {
					return "", errors.New("no feed key: " + s)
				}
				return strings.ToLower(s), nil
			}
		case "value":
			u.Value = expr(value, WantAny)
		case "when":
			u.When = expr(value, WantBool)
		case "time":
			u.Time = expr(value, WantTime)
		case "retain":
			yes := value == "true"
			u.Retain = &yes
		default:
			if names, ok := strings.CutPrefix(key, "each."); ok {
				capture, text, _ := strings.Cut(names, ".")
				if u.Each == nil {
					u.Each, u.Target = &Each{Capture: capture, Targets: map[string]*Target{}}, nil
				}
				name, part, _ := strings.Cut(value, " ")
				u.Each.Targets[text] = &Target{Name: template(name), Parts: []PartSpec{{Name: part}}}
				return
			}
			spec := PartSpec{Name: strings.TrimPrefix(key, "?"), Optional: strings.HasPrefix(key, "?")}
			if value != "." {
				spec.Value = expr(value, WantAny)
			}
			u.Target.Parts = append(u.Target.Parts, spec)
		}
	})
	return u
}

func parseDownlink(t *testing.T, block string) Downlink {
	t.Helper()
	d := Downlink{Source: &Source{}}
	var scope Scope
	eachLine(t, block, func(key, value string) {
		var err error
		switch key {
		case "cloud":
			d.Cloud = value
		case "source":
			d.Source.Name = mustPattern(t, value)
			scope = Scope{Bridge: "lab1", Names: d.Source.Name.Names()}
		case "part":
			d.Source.Part = value
		case "local":
			d.Local, err = scope.Topic(value)
		case "value":
			d.Value, err = scope.Expr(value, WantAny)
		case "when":
			d.When, err = scope.Expr(value, WantBool)
		default:
			from, ok := strings.CutPrefix(key, "values.")
			if !ok {
				t.Fatalf("unknown key %s", key)
			}
			if d.Values == nil {
				d.Values = map[string]string{}
			}
			d.Values[from] = value
		}
		if err != nil {
			t.Fatalf("%s: %v", value, err)
		}
	})
	return d
}
