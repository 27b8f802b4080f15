package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFaults reads each file of testdata/faults, which all have something wrong, and compares what is said of it with the
// golden file beside it. Every secret in those files holds "s3cret", so that none may be shown.
func TestFaults(t *testing.T) {
	t.Chdir("testdata/faults")
	files, err := filepath.Glob("*.toml")
	if err != nil || len(files) < 50 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(name, ".toml"), func(t *testing.T) {
			_, err := Load(name, nobody(), kinds())
			var faults *Errors
			if !errors.As(err, &faults) {
				t.Fatalf("no faults were found: %v", err)
			}
			got := render(faults)
			if strings.Contains(got, "s3cret") || strings.Contains(got, "12345678") {
				t.Errorf("a secret is shown:\n%s", got)
			}
			golden := strings.TrimSuffix(name, ".toml") + ".want"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("said:\n%s\nwanted:\n%s", got, want)
			}
		})
	}
}

func render(e *Errors) string {
	var b strings.Builder
	for _, f := range e.Faults {
		b.WriteString(f.Error() + "\n")
		if f.Text != "" {
			b.WriteString("    text: " + f.Text + "\n")
		}
		if f.Hint != "" {
			b.WriteString("    hint: " + f.Hint + "\n")
		}
	}
	return b.String()
}
