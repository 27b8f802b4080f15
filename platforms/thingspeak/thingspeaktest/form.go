package thingspeaktest

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

var errEscape = errors.New("a percent sign that no two hexadecimal digits follow")

// readForm reads a form as the server does: & and ; both separate, + is a space, %XX a byte, and a byte that should have been
// escaped and is not (a control character, or anything beyond ASCII) is lost. The last value of a name counts.
func readForm(raw string) (map[string]string, error) {
	values := make(map[string]string)
	for _, pair := range strings.FieldsFunc(raw, func(r rune) bool { return r == '&' || r == ';' }) {
		name, value, _ := strings.Cut(pair, "=")
		name, err := unescape(name)
		if err != nil {
			return nil, err
		}
		if values[name], err = unescape(value); err != nil {
			return nil, err
		}
	}
	return values, nil
}

func unescape(s string) (string, error) {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			b = append(b, ' ')
		case c == '%':
			if i+2 >= len(s) {
				return "", errEscape
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", errEscape
			}
			b = append(b, byte(n))
			i += 2
		case c >= ' ' && c < 0x7F:
			b = append(b, c)
		}
	}
	return string(b), nil
}

// stamps are the ways to write a time, beside seconds since 1970.
var stamps = []string{
	time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05 MST", "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05",
	"2006-01-02 15:04", "2006-01-02",
}

// readTime reads created_at, to the whole second. Without a zone it is UTC.
func readTime(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 0 && n < 1e11 {
		return time.Unix(n, 0).UTC(), true
	}
	for _, layout := range stamps {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC().Truncate(time.Second), true
		}
	}
	return time.Time{}, false
}
