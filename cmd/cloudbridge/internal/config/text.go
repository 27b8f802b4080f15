package config

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// text is the value of a string, and for each of its bytes the offset in the source that it came from, so that a fault
// inside an expression can be shown where it was typed.
type text struct {
	value  string
	origin []int
	// foreign is true where a part came from the environment.
	foreign bool
}

// at gives the offset in the source of an offset in the value.
func (t text) at(offset int) (int, bool) {
	if len(t.origin) == 0 {
		return 0, false
	}
	return t.origin[min(max(offset, 0), len(t.origin)-1)], true
}

// unquote reads a string of TOML that the parser found to be one; from is where raw begins in its source.
func unquote(raw []byte, from int) text {
	quote := raw[:1]
	escapes := raw[0] == '"'
	if len(raw) >= 6 && raw[1] == raw[0] && raw[2] == raw[0] {
		quote = raw[:3]
	}
	i, end := len(quote), len(raw)-len(quote)
	if len(quote) == 3 {
		// A line end right behind the opening quotes is not part of the text.
		i += len(raw[i:]) - len(trimLineEnd(raw[i:]))
	}
	var out []byte
	var origin []int
	put := func(b []byte, at int) {
		for range b {
			origin = append(origin, from+at)
		}
		out = append(out, b...)
	}
	for i < end {
		c := raw[i]
		switch {
		case c == '\\' && escapes:
			b, n := unescape(raw[i:end])
			put(b, i)
			i += n
		default:
			out, origin = append(out, c), append(origin, from+i)
			i++
		}
	}
	return text{value: string(out), origin: append(origin, from+end)}
}

func trimLineEnd(b []byte) []byte {
	if bytes.HasPrefix(b, []byte("\r\n")) {
		return b[2:]
	}
	return bytes.TrimPrefix(b, []byte("\n"))
}

// unescape reads one escape sequence and says how long it is.
func unescape(b []byte) ([]byte, int) {
	if len(b) < 2 {
		return b, len(b)
	}
	simple := map[byte]string{
		'b': "\b", 't': "\t", 'n': "\n", 'f': "\f", 'r': "\r", 'e': "\x1b", '"': `"`, '\\': `\`,
	}
	if s, ok := simple[b[1]]; ok {
		return []byte(s), 2
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[b[1]]
	if digits > 0 && len(b) >= 2+digits {
		code, err := strconv.ParseUint(string(b[2:2+digits]), 16, 32)
		if err == nil {
			return utf8.AppendRune(nil, rune(code)), 2 + digits
		}
	}
	// A backslash at the end of a line swallows all white space up to the next text.
	rest := bytes.TrimLeft(b[1:], " \t\r\n")
	return nil, len(b) - len(rest)
}

var variable = regexp.MustCompile(`\$?\$\{([^}]*)(\}?)`)

// expand replaces ${NAME} by the environment's, and $${ by a literal ${. Each problem is told with its offset.
func (t text) expand(lookup func(string) (string, bool), problem func(offset int, name, message, hint string)) text {
	if !strings.Contains(t.value, "${") {
		return t
	}
	var out text
	keep := func(from, to int) {
		out.value += t.value[from:to]
		if t.origin != nil {
			out.origin = append(out.origin, t.origin[from:to]...)
		}
	}
	last := 0
	for _, m := range variable.FindAllStringSubmatchIndex(t.value, -1) {
		if strings.HasPrefix(t.value[m[0]:], "$${") {
			keep(last, m[0])
			keep(m[0]+1, m[0]+3)
			last = m[0] + 3
			// What follows a literal ${ may hold a variable of its own.
			rest := text{value: t.value[last:]}
			if t.origin != nil {
				rest.origin = t.origin[last:]
			}
			rest = rest.expand(lookup, func(o int, name, message, hint string) { problem(last+o, name, message, hint) })
			out.value += rest.value
			if t.origin != nil {
				out.origin = append(out.origin, rest.origin...)
			}
			out.foreign = out.foreign || rest.foreign
			return out
		}
		keep(last, m[0])
		last = m[1]
		name := t.value[m[2]:m[3]]
		if m[4] == m[5] || !variableName.MatchString(name) {
			problem(m[0], "", "a variable is written ${NAME}, with a closing brace",
				"for a literal ${ write $${")
			continue
		}
		value, ok := lookup(name)
		if !ok {
			problem(m[0], name, "the environment variable "+name+" is not set", "set it, or for a literal ${ write $${")
			continue
		}
		out.foreign = true
		out.value += value
		if t.origin != nil {
			for range len(value) {
				out.origin = append(out.origin, t.origin[m[0]])
			}
		}
	}
	keep(last, len(t.value))
	if t.origin != nil {
		out.origin = append(out.origin, t.origin[len(t.origin)-1])
	}
	return out
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
