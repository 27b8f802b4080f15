package mappings

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"cloudbridge/internal/mqtt"
)

// docRows gives the rows of each table of a page that has these columns, with their code spans unwrapped.
func docRows(t *testing.T, columns ...string) [][]string {
	t.Helper()
	page, err := os.ReadFile("../docs/expressions.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	inside := false
	for _, line := range strings.Split(string(page), "\n") {
		if !strings.HasPrefix(line, "| ") {
			inside = inside && strings.HasPrefix(line, "|---")
			continue
		}
		var cells []string
		for _, cell := range strings.Split(strings.Trim(line, "|"), " | ") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		if strings.Join(cells, "|") == strings.Join(columns, "|") {
			inside = true
		} else if inside {
			rows = append(rows, cells)
		}
	}
	if len(rows) == 0 {
		t.Fatalf("no table with the columns %q", columns)
	}
	return rows
}

// code unwraps a cell that is one code span.
func code(cell string) string {
	if s, ok := strings.CutPrefix(cell, "``"); ok {
		return strings.TrimSpace(strings.TrimSuffix(s, "``"))
	}
	return strings.Trim(cell, "`")
}

func TestDocsPatterns(t *testing.T) {
	for _, row := range docRows(t, "Pattern", "Topic", "What is captured") {
		p := mustPattern(t, code(row[0]))
		captures, ok := p.Match(code(row[1]), nil)
		var out []string
		for i, name := range p.Names() {
			if ok {
				out = append(out, fmt.Sprintf("%s = `%s`", name, captures[i]))
			}
		}
		got := strings.Join(out, ", ")
		switch {
		case !ok:
			got = "does not match"
		case got == "":
			got = "nothing to capture"
		}
		if got != row[2] {
			t.Errorf("%v: %s", row, got)
		}
	}
}

func TestDocsTemplates(t *testing.T) {
	p := mustPattern(t, "iot/{device}/{rest...}")
	topic := "iot/picow/temp/air"
	values, ok := p.Match(topic, nil)
	if !ok {
		t.Fatal("the pattern of the page does not match")
	}
	for _, row := range docRows(t, "Template", "Text") {
		template, err := Scope{Bridge: "lab1", Names: p.Names()}.Template(code(row[0]))
		if err != nil {
			t.Errorf("%v: %v", row, err)
			continue
		}
		if got := template.Expand(append(values, topic)); got != code(row[1]) {
			t.Errorf("%v: %s", row, got)
		}
	}
}

func TestDocsValues(t *testing.T) {
	for _, row := range docRows(t, "Payload", "Expression", "Value") {
		got, err := evaluate(t, code(row[1]), code(row[0]))
		_, got, _ = strings.Cut(got, " ")
		want := code(row[2])
		switch {
		case err != nil:
			got = "error"
		case got == "":
			got = "skipped"
		}
		if got != want {
			t.Errorf("%v: %s, %v", row, got, err)
		}
	}
}

func TestDocsConditions(t *testing.T) {
	for _, row := range docRows(t, "Payload", "Condition", "Passes") {
		e, err := Scope{}.Expr(code(row[1]), WantBool)
		if err != nil {
			t.Errorf("%v: %v", row, err)
			continue
		}
		r := &reading{}
		r.start("a", []byte(code(row[0])), nil, noon)
		ok, err := e.truth(r)
		if err != nil || ok != (row[2] == "yes") {
			t.Errorf("%v: %v, %v", row, ok, err)
		}
	}
}

func TestDocsTime(t *testing.T) {
	for _, row := range docRows(t, "Payload", "Expression", "Time in UTC") {
		e, err := Scope{}.Expr(code(row[1]), WantTime)
		if err != nil {
			t.Errorf("%v: %v", row, err)
			continue
		}
		r := &reading{}
		r.start("a", []byte(code(row[0])), nil, noon)
		at, _ := e.stamp(r)
		got := at.UTC().Format("2006-01-02 15:04:05.999")
		if at.Equal(noon) {
			got = "arrival"
		}
		if got != code(row[2]) {
			t.Errorf("%v: %s", row, got)
		}
	}
}

func TestDocsMistakes(t *testing.T) {
	for _, row := range docRows(t, "Written", "What is wrong") {
		_, err := Scope{}.Expr(code(row[0]), WantAny)
		if s, ok := err.(*SyntaxError); !ok || s.Hint == "" {
			t.Errorf("%v: %v", row, err)
		}
	}
	for _, row := range docRows(t, "To", "Write") {
		for _, span := range strings.Split(row[1], "`") {
			if strings.HasPrefix(span, "text ==") || strings.Contains(span, "(text") || strings.HasPrefix(span, "json.") || strings.HasPrefix(span, "{") {
				if _, err := (Scope{Names: []string{"device"}}).Expr(span, WantAny); err != nil {
					t.Errorf("%s: %v", span, err)
				}
			}
		}
	}
}

func ExampleTable_Up() {
	pattern, _ := ParsePattern("iot/{device}/temp", "lab1")
	scope := Scope{Bridge: "lab1", Names: pattern.Names()}
	cloud, _ := scope.Template("home")
	name, _ := scope.Template("{device}-temp")
	value, _ := scope.Expr(`after(text, "temperature=")`, WantAny)
	table := NewTable("lab1", []Uplink{{
		Local: pattern, Cloud: cloud, Value: value, Target: &Target{Name: name, Parts: []PartSpec{{}}},
	}}, nil)

	var r Result
	table.Up(&mqtt.Message{Topic: "iot/picow/temp", Payload: []byte("Pico W temperature=27")}, nil, noon, &r)
	for _, p := range r.Points {
		fmt.Println(p.Cloud, p.Name, p.Parts[0].Value)
	}
	table.Up(&mqtt.Message{Topic: "iot/picow/temp", Payload: []byte("Pico W connected")}, nil, noon, &r)
	fmt.Println(r.Skips[0].Why)
	// Output:
	// home picow-temp 27
	// "temperature=" is not in the text
}

func ExampleScope_Expr() {
	_, err := Scope{Bridge: "lab1"}.Expr(`text = "ON"`, WantBool)
	fault := err.(*SyntaxError)
	fmt.Printf("character %d: %s\n", fault.Offset+1, fault)
	// Output: character 6: = is not a comparison: write == to compare
}
