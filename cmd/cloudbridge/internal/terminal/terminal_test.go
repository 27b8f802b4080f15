package terminal

import (
	"os"
	"path/filepath"
	"testing"
)

func TestColors(t *testing.T) {
	tests := []struct {
		name string
		tty  bool
		env  map[string]string
		want bool
	}{
		{"terminal", true, nil, true},
		{"pipe", false, nil, false},
		{"NO_COLOR", true, map[string]string{"NO_COLOR": "1"}, false},
		{"NO_COLOR empty", true, map[string]string{"NO_COLOR": ""}, true},
		{"TERM dumb", true, map[string]string{"TERM": "dumb"}, false},
		{"TERM xterm", true, map[string]string{"TERM": "xterm-256color"}, true},
	}
	for _, tt := range tests {
		if got := colors(tt.tty, func(k string) string { return tt.env[k] }); got != tt.want {
			t.Errorf("%s: colours %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestOpenFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := Open(f, func(string) string { return "" })
	if s.Terminal || s.Color {
		t.Errorf("a file was taken for a terminal: %+v", s)
	}
	if got := s.Paint(Red, "x"); got != "x" {
		t.Errorf("painted into a file: %q", got)
	}
	s.Color = true
	if got, want := s.Paint(Red, "x"), "\x1b[31mx\x1b[0m"; got != want {
		t.Errorf("Paint = %q, want %q", got, want)
	}
}

func TestFit(t *testing.T) {
	tests := []struct {
		text string
		w    int
		want string
	}{
		{"abc", 5, "abc  "},
		{"abcdef", 5, "abcd…"},
		{"溫度", 5, "溫度 "},
		{"溫度感測", 6, "溫度… "},
		{"", 2, "  "},
	}
	for _, tt := range tests {
		got := Fit(tt.text, tt.w)
		if got != tt.want {
			t.Errorf("Fit(%q, %d) = %q, want %q", tt.text, tt.w, got, tt.want)
		}
		if Width(got) != tt.w {
			t.Errorf("Fit(%q, %d) takes %d columns", tt.text, tt.w, Width(got))
		}
	}
}

func TestPrintable(t *testing.T) {
	tests := []struct{ text, want string }{
		{"27.5", "27.5"},
		{"a\nb\tc", "a b c"},
		{"\x1b[2Jgone", "\uFFFD[2Jgone"},
		{"教室\xff", "教室\uFFFD"},
		{"\u202Eabc", "\uFFFDabc"},
	}
	for _, tt := range tests {
		if got := Printable(tt.text); got != tt.want {
			t.Errorf("Printable(%q) = %q, want %q", tt.text, got, tt.want)
		}
	}
}
