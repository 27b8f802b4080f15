package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"cloudbridge/cmd/cloudbridge/internal/terminal"
	"cloudbridge/internal/mqtt"
)

func TestLoggerText(t *testing.T) {
	var b bytes.Buffer
	log, err := newLogger(terminal.Stream{Writer: &b}, "", "")
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("not shown")
	log.Info("home: online", "password", mqtt.Secret("hunter2"))
	log.Warn("two\nlines \x1b[2J", "payload", "a\nb\x1b[2J")
	got := b.String()
	if strings.Contains(got, "\x1b") {
		t.Errorf("escape sequences in a pipe: %q", got)
	}
	if strings.Contains(got, "hunter2") || !strings.Contains(got, "***") {
		t.Errorf("the secret is not hidden: %q", got)
	}
	if n := strings.Count(got, "\n"); n != 2 {
		t.Errorf("%d lines, want 2: %q", n, got)
	}
	if strings.Contains(got, "not shown") {
		t.Errorf("debug is shown by default: %q", got)
	}
}

func TestLoggerColor(t *testing.T) {
	var b bytes.Buffer
	log, err := newLogger(terminal.Stream{Writer: &b, Terminal: true, Color: true}, "debug", "text")
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("looking")
	if got := b.String(); !strings.Contains(got, "\x1b[") || !strings.Contains(got, "looking") {
		t.Errorf("no colours on a terminal, or no debug: %q", got)
	}
}

func TestLoggerJSON(t *testing.T) {
	var b bytes.Buffer
	log, err := newLogger(terminal.Stream{Writer: &b, Terminal: true, Color: true}, "warn", "json")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("not shown")
	log.Warn("溫度", "key", mqtt.Secret("hunter2"))
	var line map[string]any
	if err := json.Unmarshal(b.Bytes(), &line); err != nil {
		t.Fatalf("%v in %q", err, b.String())
	}
	if line["msg"] != "溫度" || line["level"] != "WARN" || line["key"] != "***" {
		t.Errorf("line %v", line)
	}
}

func TestLoggerRefuses(t *testing.T) {
	for _, tt := range []struct{ level, format, want string }{
		{"loud", "", "debug, info, warn and error"},
		{"", "xml", "text and json"},
	} {
		_, err := newLogger(terminal.Stream{Writer: &bytes.Buffer{}}, tt.level, tt.format)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("level %q, format %q: error %v", tt.level, tt.format, err)
		}
	}
}
