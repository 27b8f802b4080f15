package mappings

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// SyntaxError is a fault at a byte offset of a pattern, template or expression.
type SyntaxError struct {
	Source string
	Offset int
	// Text says what is wrong, Hint what to write instead; Hint may be empty.
	Text string
	Hint string
}

// Error gives text and hint as one line.
func (e *SyntaxError) Error() string {
	if e.Hint == "" {
		return e.Text
	}
	return e.Text + ": " + e.Hint
}

// keywords belong to the expression language, so that no capture can bear their names.
var keywords = []string{
	"not", "and", "or", "in", "let", "if", "else", "nil", "true", "false",
	"matches", "contains", "startsWith", "endsWith",
}

// ownNames are the variables and functions that every expression sees beside the captures.
var ownNames = []string{"text", "json", "topic", "bridge", "time", "number", "after", "match", "round", "now"}

// checkName says what is wrong with the name of a capture; empty text means nothing.
func checkName(name string) (text, hint string) {
	const rule = "a name has letters, digits and _, and starts with a letter"
	if name == "" {
		return "a capture needs a name", "write {device}, for example"
	}
	if name == "bridge" {
		return "{bridge} is the name of this bridge and takes no dots", "write {bridge}"
	}
	for i, r := range name {
		if unicode.IsLetter(r) || i > 0 && (r == '_' || unicode.IsDigit(r)) {
			continue
		}
		hint := rule
		if mended := mendName(name); mended != "" {
			hint += ": {" + mended + "}"
		}
		return "{" + name + "} is no name for a capture", hint
	}
	for _, known := range ownNames {
		if name == known {
			return "{" + name + "} would hide " + name + " in expressions", "choose another name, such as {" + name + "1}"
		}
	}
	for _, known := range keywords {
		if name == known {
			return "{" + name + "} is a word of the expression language", "choose another name, such as {" + name + "1}"
		}
	}
	return "", ""
}

// mendName makes a name of what somebody wrote, or gives up with an empty one.
func mendName(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case unicode.IsLetter(r), b.Len() > 0 && (unicode.IsDigit(r) || r == '_'):
			b.WriteRune(r)
		case b.Len() > 0 && (r == '-' || r == ' ' || r == '.'):
			b.WriteByte('_')
		}
	}
	return strings.TrimRight(b.String(), "_")
}

// nearest finds the known name that a mistyped one most likely meant; empty where none is near.
func nearest(name string, known []string) string {
	best, limit := "", len([]rune(name))/3+1
	for _, k := range known {
		d := distance(strings.ToLower(name), strings.ToLower(k))
		if d <= limit && (best == "" || d < distance(strings.ToLower(name), strings.ToLower(best))) {
			best = k
		}
	}
	return best
}

// distance counts the letters to insert, delete, change or swap with a neighbour to make b of a.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, last, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(y)]
}

// cut shortens a text to n characters, so that a long payload does not fill a screen.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	count := 0
	for i := range s {
		if count == n {
			return s[:i] + "…"
		}
		count++
	}
	return s
}

// shown quotes a text for people: cut to 60 characters, with control characters made visible and letters of any language
// left as they are.
func shown(s string) string {
	s = cut(s, 60)
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b.WriteString(`\x`)
			b.WriteByte("0123456789abcdef"[s[i]>>4])
			b.WriteByte("0123456789abcdef"[s[i]&15])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == 0:
			b.WriteString(`\0`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString("\\u")
			for shift := 12; shift >= 0; shift -= 4 {
				b.WriteByte("0123456789abcdef"[(r>>shift)&15])
			}
		}
		i += size
	}
	b.WriteByte('"')
	return b.String()
}

// listed writes names as people say them: "a, b and c".
func listed(names []string) string {
	switch len(names) {
	case 0:
		return ""
	case 1:
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
