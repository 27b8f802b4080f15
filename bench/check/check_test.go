package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// output is what go test -bench prints of some benchmarks that ran six times; each is "name allocs bytes".
func output(t *testing.T, cpu string, runs int, benchmarks ...string) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "goos: linux\ngoarch: amd64\npkg: cloudbridge/mappings\ncpu: %s\n", cpu)
	for _, bench := range benchmarks {
		var name string
		var allocs, bytes int
		if _, err := fmt.Sscan(bench, &name, &allocs, &bytes); err != nil {
			t.Fatal(err)
		}
		for i := range runs {
			fmt.Fprintf(&b, "Benchmark%s-2\t100\t%d ns/op\t%d B/op\t%d allocs/op\n", name, 100+i, bytes, allocs)
		}
	}
	b.WriteString("PASS\nok  \tcloudbridge/mappings\t1.2s\n")
	path := filepath.Join(t.TempDir(), "bench.txt")
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCheck has benchstat itself compare a baseline with what may come after it.
func TestCheck(t *testing.T) {
	baseline := []string{"Match 0 0", "Up 14 1700", "Carry/QoS1 40000 3800000"}
	tests := []struct {
		name  string
		runs  int
		after []string
		says  []string
		fault string // a part of the error, empty for none
	}{
		{"the same", 6, baseline, []string{"6 comparisons: no more is allocated"}, ""},
		{
			"one allocation where there was none", 6,
			[]string{"Match 1 8", "Up 14 1700", "Carry/QoS1 40000 3800000"},
			[]string{"allocates more", "mappings Match-2: 1 allocs/op, baseline 0"},
			"more is allocated",
		},
		{
			"one more", 6,
			[]string{"Match 0 0", "Up 15 1716", "Carry/QoS1 40000 3800000"},
			[]string{"mappings Up-2: 15 allocs/op, baseline 14"},
			"more is allocated",
		},
		{
			"as many, but larger", 6,
			[]string{"Match 0 0", "Up 14 1900", "Carry/QoS1 40000 3800000"},
			[]string{"mappings Up-2: 1900 B/op, baseline 1700"},
			"more is allocated",
		},
		{
			"one more for each of a thousand messages", 6,
			[]string{"Match 0 0", "Up 14 1700", "Carry/QoS1 41000 3816000"},
			[]string{"Carry/QoS1-2: 41000 allocs/op, baseline 40000"},
			"more is allocated",
		},
		{
			"within what wake-ups and buffers explain", 6,
			[]string{"Match 0 0", "Up 14 1750", "Carry/QoS1 40300 3900000"},
			[]string{"6 comparisons"},
			"",
		},
		{
			"less", 6,
			[]string{"Match 0 0", "Up 9 1000", "Carry/QoS1 40000 3800000"},
			[]string{"allocates less", "mappings Up-2: 9 allocs/op, baseline 14", "store a new baseline: make bench-baseline"},
			"",
		},
		{"one gone", 6, baseline[1:], []string{"in the baseline, but not measured:\n  mappings Match-2\n"}, "are missing"},
		{"one more benchmark", 6, append([]string{"Novel 3 48"}, baseline...), []string{"not in the baseline:\n  mappings Novel-2\n", "store a new baseline"}, ""},
		{"measured once", 1, []string{"Match 1 8", "Up 14 1700"}, []string{"measured too seldom"}, "missing"},
		{"nothing at all", 0, nil, []string{"not measured"}, "are missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			// The machine is another one: that must not matter.
			err := run([]string{output(t, "this", 6, baseline...), output(t, "that", tt.runs, tt.after...)}, &out)
			switch {
			case err == nil && tt.fault != "":
				t.Errorf("no error, want one with %q", tt.fault)
			case err != nil && (tt.fault == "" || !strings.Contains(err.Error(), tt.fault)):
				t.Errorf("%v, want %q", err, tt.fault)
			}
			for _, s := range tt.says {
				if !strings.Contains(out.String(), s) {
					t.Errorf("%q is missing from\n%s", s, &out)
				}
			}
		})
	}
}

// TestTimeIsOnlyPrinted has everything take ten times as long.
func TestTimeIsOnlyPrinted(t *testing.T) {
	fast := output(t, "this", 6, "Up 14 1700")
	text, err := os.ReadFile(fast)
	if err != nil {
		t.Fatal(err)
	}
	slow := filepath.Join(t.TempDir(), "slow.txt")
	if err := os.WriteFile(slow, []byte(strings.ReplaceAll(string(text), " ns/op", "0 ns/op")), 0o644); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := run([]string{fast, slow}, &out); err != nil {
		t.Error(err)
	}
	if !strings.Contains(out.String(), "sec/op") || !strings.Contains(out.String(), "+900") {
		t.Errorf("the times are missing from\n%s", &out)
	}
}

// TestNoAllocations refuses files in which nobody counted them: they would always be fine.
func TestNoAllocations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bench.txt")
	line := "pkg: cloudbridge/mappings\n" + strings.Repeat("BenchmarkUp-2 100 10 ns/op\n", 6)
	if err := os.WriteFile(path, []byte(line), 0o644); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := run([]string{path, path}, &out); err == nil || !strings.Contains(err.Error(), "nothing to compare") {
		t.Errorf("%v, want a word that there is nothing to compare", err)
	}
	if err := run([]string{path}, &out); err == nil {
		t.Error("one file alone is compared with nothing")
	}
	if err := run([]string{path, filepath.Join(t.TempDir(), "none.txt")}, &out); err == nil {
		t.Error("a file that is not there is no error")
	}
}

func TestSamples(t *testing.T) {
	for text, want := range map[string]int{"p=0.002 n=6": 6, "p=0.100 n=6+5": 5, "p=0.100 n=4+9": 4} {
		if got, err := samples(text); err != nil || got != want {
			t.Errorf("samples(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "n=", "n=x", "p=0.1"} {
		if _, err := samples(text); err == nil {
			t.Errorf("samples(%q) is no error", text)
		}
	}
}
