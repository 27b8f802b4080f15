package config

import (
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

// TestUnquote compares our reading of strings, which knows where each byte stood, with the library's.
func TestUnquote(t *testing.T) {
	for _, raw := range []string{
		`""`, `''`, `"plain"`, `'C:\path'`, `"tab\tquote\"back\\slash\u00e9\U0001F600"`, `"溫度"`, "\"\"\"\nfirst\n  second \\\n    joined\"\"\"",
		"'''\nraw \\n'''", "\"\"\"\r\na\"\"\"", `"""two "" inside"""`, `""""quoted""""`, `"\e[0m\x41"`,
	} {
		var want struct{ V string }
		if err := toml.Unmarshal([]byte("V = "+raw), &want); err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		got := unquote([]byte(raw), 100)
		if got.value != want.V {
			t.Errorf("%s: %q, want %q", raw, got.value, want.V)
		}
		if len(got.origin) != len(got.value)+1 {
			t.Fatalf("%s: %d origins for %d bytes", raw, len(got.origin), len(got.value))
		}
		for i := range got.value {
			at := got.origin[i] - 100
			if c := raw[at]; c != got.value[i] && c != '\\' {
				t.Errorf("%s: byte %d is said to come from %d, which is %q", raw, i, at, c)
			}
		}
	}
}

func TestExpand(t *testing.T) {
	lookup := func(name string) (string, bool) {
		v, ok := map[string]string{"A": "alpha", "EMPTY": "", "TRICK": "${A}"}[name]
		return v, ok
	}
	for _, c := range []struct{ in, want, problem string }{
		{"plain", "plain", ""},
		{"x/${A}/y", "x/alpha/y", ""},
		{"${A}${A}", "alphaalpha", ""},
		{"<${EMPTY}>", "<>", ""},
		{"${TRICK}", "${A}", ""},
		{"$${A}", "${A}", ""},
		{"$${A} ${A} $${A}", "${A} alpha ${A}", ""},
		{"$5 and $A", "$5 and $A", ""},
		{"x${NO}", "x", "1: the environment variable NO is not set"},
		{"${A", "", "0: a variable is written ${NAME}, with a closing brace"},
		{"${}", "", "0: a variable is written ${NAME}, with a closing brace"},
	} {
		var problems []string
		got := text{value: c.in}.expand(lookup, func(o int, _, message, _ string) {
			problems = append(problems, string(rune('0'+o))+": "+message)
		})
		if got.value != c.want || strings.Join(problems, ";") != c.problem {
			t.Errorf("%q: %q %q, want %q %q", c.in, got.value, problems, c.want, c.problem)
		}
	}
}

func TestExpandKeepsOrigins(t *testing.T) {
	in := unquote([]byte(`"a\t${A}b$${c"`), 0)
	got := in.expand(func(string) (string, bool) { return "xyz", true }, nil)
	if got.value != "a\txyzb${c" || !got.foreign || len(got.origin) != len(got.value)+1 {
		t.Fatalf("%q with %d origins", got.value, len(got.origin))
	}
	for i, want := range []int{1, 2, 4, 4, 4, 8, 10, 11, 12, 13} {
		if got.origin[i] != want {
			t.Errorf("byte %d (%q) comes from %d, want %d", i, got.value[i:], got.origin[i], want)
		}
	}
}

func TestDuration(t *testing.T) {
	for in, want := range map[string]string{"15s": "15s", "5m": "5m0s", "1h30m": "1h30m0s", "500ms": "500ms", "1 m": "1m0s", "2d": "48h0m0s", "0.5s": "500ms"} {
		if d, message, _ := duration(in); d.String() != want || message != "" {
			t.Errorf("%q: %v %q, want %s", in, d, message, want)
		}
	}
	for in, want := range map[string]string{"": "not a time", "15": "needs a unit", "soon": "not a time", "-5s": "negative", "NaNd": "not a time"} {
		if _, message, _ := duration(in); !strings.Contains(message, want) {
			t.Errorf("%q: %q, want %q", in, message, want)
		}
	}
}

func TestSize(t *testing.T) {
	for in, want := range map[string]size{"256MB": 256e6, "10GB": 10e9, "1.5 kb": 1500, "7B": 7, "2TB": 2e12} {
		var z size
		if message, _ := z.read(in); z != want || message != "" {
			t.Errorf("%q: %d %q, want %d", in, z, message, want)
		}
	}
	for _, in := range []string{"", "256", "MB", "-1MB", "NaNGB", "1e30TB", "10GiB"} {
		var z size
		if message, _ := z.read(in); message == "" {
			t.Errorf("%q was taken for %d bytes", in, z)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"local", "cloud", "channel", "field", "every", "aggregate", "warn"}
	for in, want := range map[string]string{
		"chanel": "channel", "clodu": "cloud", "evry": "every", "warning": "warn", "Cloud": "cloud", "xyz": "", "agregat": "aggregate",
	} {
		if got, _ := nearest(in, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", in, got, want)
		}
	}
}
