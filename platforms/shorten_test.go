package platforms

import "testing"

func TestShorten(t *testing.T) {
	for _, c := range []struct {
		text string
		most int
		want string
	}{
		{"", 3, ""},
		{"abc", 3, "abc"},
		{"abcd", 3, "abc..."},
		{"教室溫度", 4, "教室溫度"},
		{"教室溫度", 3, "教室溫..."},
		{"27\xB0C", 10, "27?C"},
	} {
		if got := Shorten(c.text, c.most); got != c.want {
			t.Errorf("%q to %d: %q, want %q", c.text, c.most, got, c.want)
		}
	}
}
