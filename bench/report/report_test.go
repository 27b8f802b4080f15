package main

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden file anew")

// fixture is a small measurement: two rounds, the second on a busy machine.
func fixture(t *testing.T) measured {
	t.Helper()
	m := measured{version: "cloudbridge v1.2.3"}
	var err error
	if m.all, err = read("testdata/all.json"); err != nil {
		t.Fatal(err)
	}
	if m.old, err = read("testdata/3.1.1.json"); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestReport writes a document and compares it with a golden one. A second time changes nothing.
func TestReport(t *testing.T) {
	doc := filepath.Join(t.TempDir(), "performance.md")
	frame := "# Title\n\nbefore\n\n" + beginMarker + "\nwhat was\n" + endMarker + "\n\nafter\n"
	if err := os.WriteFile(doc, []byte(frame), 0o644); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for range 2 {
		err := run([]string{
			"-doc", doc, "-version", "cloudbridge v1.2.3",
			"-all", "testdata/all.json", "-old", "testdata/3.1.1.json", "-always", "testdata/none.json",
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, err = os.ReadFile(doc); err != nil {
			t.Fatal(err)
		}
	}
	const golden = "testdata/performance.md"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("the document is\n%s\nwant (go test -update writes it)\n%s", got, want)
	}
}

// TestTargets goes through what can become of a target.
func TestTargets(t *testing.T) {
	m := fixture(t)
	got := map[string]string{}
	for _, target := range targets {
		row := target.row(m)
		got[row[0]+" "+row[1]] = strings.Join(row[2:], ", ")
	}
	for name, want := range map[string]string{
		"W2 msg/s to mosquitto's":                  "at least 1.2, 1.23, yes", // (1.2 + 1.267) / 2, and not 27500 / 22500
		"W2 CPU to mosquitto's":                    "at most 1.0, 0.50, yes",
		"W2 memory when idle":                      "at most 14.0 MiB, 13.00 MiB, yes",
		"W2 memory at its peak":                    "at most 20.0 MiB, 21.00 MiB, **no**, 5.0 % over",
		"W5 lost":                                  "0, 3, **no**, 3 too many", // the worst round
		"W5 out of order":                          "0, 0, yes",
		"W5 cloud's return to first message there": "below 0.5 s, not in every round, **no**", // once it never came back
		"W6 lost":                                  "0, 0, yes",
		"W6 doubled":                               "below 1.0 %, 2.00 %, **no**, 100.0 % over",
		"W6 cloud's return to first message there": "below 1.0 s, 0.50 s, yes",
		"W7 p99 of commands":                       "below 1.0 ms, 0.90 ms, yes",
		"W8 msg/s to mosquitto's":                  "at least 0.8, not measured, -",
		"W8 msg/s to mosquitto's, MQTT 3.1.1":      "at least 1.0, 1.00, yes",
		"W8 out of order, MQTT 3.1.1":              "0, 0, yes",
		"W3 p99 to mosquitto's":                    "at most 1.0, not measured, -",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	// A round that failed cannot meet anything, however good the others are.
	m.all.Results = append(m.all.Results, result{Workload: "W2", Bridge: program, Run: 3, Error: "bridge exited"})
	i := slices.IndexFunc(targets, func(t target) bool { return t.workload == "W2" })
	if row := targets[i].row(m); row[3] != "1 of 3 rounds failed" || row[4] != "**no**" {
		t.Errorf("with a failed round: %q", row)
	}
}

func TestMet(t *testing.T) {
	tests := []struct {
		limit limit
		want  float64
		v     float64
		said  string
	}{
		{atLeast, 1.2, 1.2, "yes"},
		{atLeast, 1.2, 1.08, "**no**, 10.0 % short"},
		{atMost, 1, 1, "yes"},
		{atMost, 1, 1.001, "**no**, 0.1 % over"},
		{below, 1, 1, "**no**, 0.0 % over"},
		{below, 1, 0.99, "yes"},
	}
	for _, tt := range tests {
		if got := (target{limit: tt.limit, want: tt.want}).met(tt.v); got != tt.said {
			t.Errorf("limit %d of %v: %v is %q, want %q", tt.limit, tt.want, tt.v, got, tt.said)
		}
	}
}

// TestReplace keeps what people wrote around the markers.
func TestReplace(t *testing.T) {
	got, err := replace([]byte("a\n"+beginMarker+"\nx\n"+endMarker+"\nb\n"), "y\n")
	if want := "a\n" + beginMarker + "\ny\n\n" + endMarker + "\nb\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	for _, doc := range []string{"", beginMarker, endMarker + "\n" + beginMarker} {
		if got, err := replace([]byte(doc), "y"); err == nil {
			t.Errorf("%q became %q, want an error", doc, got)
		}
	}
}

// TestNothingMeasured leaves the document as it is.
func TestNothingMeasured(t *testing.T) {
	doc := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(doc, []byte(beginMarker+"\nold\n"+endMarker), 0o644); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "broken.json")
	if err := os.WriteFile(broken, []byte(`{"results": [`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, all := range []string{"testdata/none.json", broken} {
		if err := run([]string{"-doc", doc, "-all", all, "-old", "testdata/none.json", "-always", "testdata/none.json"}); err == nil {
			t.Errorf("%s: no error", all)
		}
	}
	if text, _ := os.ReadFile(doc); !strings.Contains(string(text), "old") {
		t.Errorf("the document is now %q", text)
	}
}

// TestVariants finds each line that bench/run changes in the template, once.
func TestVariants(t *testing.T) {
	script, err := os.ReadFile("../run")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../cloudbridge.toml.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	variants := 0
	for line := range strings.Lines(string(script)) {
		words := strings.Split(line, "'")
		if !strings.HasPrefix(line, "template ") || len(words) < 2 {
			continue
		}
		variants++
		found := 0
		for _, l := range lines {
			if l == words[1] {
				found++
			}
		}
		if found != 1 {
			t.Errorf("the template has the line %q %d times", words[1], found)
		}
	}
	if variants != 2 {
		t.Errorf("bench/run has %d variants of the template, want 2", variants)
	}
}
