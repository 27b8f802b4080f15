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

// TestDamageShowsNoSecret breaks a good file at every place, in several ways, and looks for the secrets in what is said.
func TestDamageShowsNoSecret(t *testing.T) {
	const good = `[local]
username = "bridge"
password = "s3cret-local"
proxy = "http://bob:s3cret-proxy@proxy:3128"
[cloud.home]
platform = "adafruit-io"
username = "alice"
key = "s3cret-aio-key"
[cloud.weather]
platform = "thingspeak"
client_id = "ABC"
username = "ABC"
password = 's3cret-ts'
[cloud.weather.channels.1001]
write_key = "s3cretKEY"
[cloud.other]
platform = "mqtt"
url = "mqtts://broker.example.org"
username = "me"
password = """s3cret-emqx"""
proxy = "socks5://bob:s3cret-socks@proxy"
[web]
password = "s3cret-web"
[[uplink]]
local = "iot/{device}/temp"
cloud = "home"
feed = "{device}-temp"
`
	damages := map[string]func(i int) string{
		"cut":       func(i int) string { return good[:i] },
		"deleted":   func(i int) string { return good[:i] + good[i+1:] },
		"quote":     func(i int) string { return good[:i] + `"` + good[i:] },
		"wide":      func(i int) string { return good[:i] + "“" + good[i+1:] },
		"newline":   func(i int) string { return good[:i] + "\n" + good[i:] },
		"backslash": func(i int) string { return good[:i] + `\` + good[i:] },
		"variable":  func(i int) string { return good[:i] + "${" + good[i:] },
	}
	all, refused := kinds(), 0
	for what, damage := range damages {
		for i := 0; i < len(good); i += 7 {
			f, err := Parse("c.toml", []byte(damage(i)), nobody(), all)
			said := ""
			var faults *Errors
			if errors.As(err, &faults) {
				said = render(faults)
				refused++
			} else if f != nil {
				for _, w := range f.Warnings {
					said += w.String() + w.Hint
				}
			}
			if strings.Contains(said, "s3cret") {
				t.Fatalf("%s at %d shows a secret:\n%s", what, i, said)
			}
		}
	}
	if refused < 300 {
		t.Errorf("only %d of the damaged files were refused", refused)
	}
}
