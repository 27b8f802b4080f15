package mqtt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSecretsAreNotPrinted(t *testing.T) {
	const text = "correct horse"
	s := Secret(text)
	o := Options{Username: "bridge", Password: s}
	holders := map[string]any{
		"itself": s, "a pointer": &s, "options": o, "options by pointer": &o,
		"a slice": []Secret{s}, "a map": map[string]Secret{"k": s}, "an interface": any(s),
	}
	leaks := func(out string) bool {
		return strings.Contains(out, text) || strings.Contains(strings.ToLower(out), fmt.Sprintf("%x", text)) ||
			strings.Contains(out, "99 111 114 114") // As the decimal bytes of %d.
	}
	for name, holder := range holders {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "%t", "%20s", "%-5.2v", "% x", "%#q"} {
			if out := fmt.Sprintf(verb, holder); leaks(out) {
				t.Errorf("%s in %s prints %s", verb, name, out)
			}
		}
		if out := fmt.Sprint(holder) + fmt.Sprintln(holder); leaks(out) {
			t.Errorf("%s prints %s", name, out)
		}
		if name != "options" && name != "options by pointer" { // They hold functions, which JSON does not take.
			if out, err := json.Marshal(holder); err != nil || leaks(string(out)) {
				t.Errorf("%s in JSON is %s, %v", name, out, err)
			}
		}
		for _, handler := range []func(*bytes.Buffer) slog.Handler{
			func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
			func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		} {
			var b bytes.Buffer
			slog.New(handler(&b)).Info("login", "secret", holder, slog.Group("g", "secret", holder))
			if leaks(b.String()) {
				t.Errorf("%s in a log is %s", name, b.String())
			}
		}
	}
	if s.Reveal() != text {
		t.Error("Reveal does not give the secret")
	}
	if fmt.Sprint(s) != "***" || s.String() != "***" {
		t.Errorf("a secret prints as %s", s)
	}
	if fmt.Sprint(fmt.Errorf("log in with %v: %w", s, ErrHungUp)) != "log in with ***: the broker closed the connection" {
		t.Error("an error shows a secret")
	}
}
