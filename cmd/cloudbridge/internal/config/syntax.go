package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// mostSyntax is how many lines of one file may fail to be TOML before the rest is left unread: then it is something else.
const mostSyntax = 40

// A line that can be read by itself begins like one of these.
var (
	keyLine    = regexp.MustCompile(`^[ \t]*([A-Za-z0-9_-]+(?:[ \t]*\.[ \t]*[A-Za-z0-9_-]+)*)[ \t]*(?:=|＝|:|：)`)
	headerLine = regexp.MustCompile(`^[ \t]*[\[［【]`)
)

// mend finds every line that is not TOML, complains of it, and puts something harmless in its place, so that the rest can
// be read too. It gives the offsets of the keys that lost their values; ok is false where there is no sense in going on.
func (t *tree) mend(src *source) (bad map[int]bool, ok bool) {
	if !t.encoding(src) {
		return nil, false
	}
	keys := map[int]bool{}   // lines, by number, that keep a key without its value
	mended := map[int]bool{} // lines, by number, that were mended
	var p unstable.Parser
	for range mostSyntax {
		p.Reset(src.data)
		end := 0
		for p.NextExpression() {
			end = last(p.Expression(), end)
		}
		var perr *unstable.ParserError
		if !errors.As(p.Error(), &perr) {
			return badKeys(src, keys), true
		}
		at := int(p.Range(perr.Highlight).Offset)
		first := failing(src, end, at)
		from, to := src.bounds(first)
		line := src.data[from:to]
		stands := keyLine.Match(line) || headerLine.Match(line)
		if stands || !mended[first-1] {
			t.syntaxFault(src, perr.Message, at, first)
		}
		switch {
		case mended[first]:
			t.damaged = true
			src.blank(first, first)
		case headerLine.Match(line):
			t.damaged = true
			src.blank(first, src.section(first))
		case keyLine.Match(line):
			m := keyLine.FindSubmatchIndex(line)
			fresh := append(bytes.Clone(line[:m[3]]), "=0"...)
			src.put(first, fresh)
			keys[first] = true
		default:
			t.damaged = true
			src.blank(first, first)
		}
		mended[first] = true
	}
	t.damaged = true
	return nil, false
}

// encoding refuses what is not UTF-8.
func (t *tree) encoding(src *source) bool {
	if bytes.HasPrefix(src.data, []byte("\xff\xfe")) || bytes.HasPrefix(src.data, []byte("\xfe\xff")) {
		t.damaged = true
		t.fault(src, span{}, "", "the file is UTF-16", "save it as UTF-8")
		return false
	}
	src.replace(bytes.TrimPrefix(src.data, []byte("\xef\xbb\xbf")))
	for i := 0; i < len(src.data); {
		r, n := utf8.DecodeRune(src.data[i:])
		if r == utf8.RuneError && n == 1 {
			t.damaged = true
			t.fault(src, span{from: i}, "", "the file is not UTF-8 here", "save it as UTF-8 (an editor on Windows may have used Big5 or another code page)")
			return false
		}
		i += n
	}
	return true
}

// last gives the end of an expression.
func last(e *unstable.Node, end int) int {
	end = max(end, int(e.Raw.Offset+e.Raw.Length))
	if e.Kind == unstable.Table || e.Kind == unstable.ArrayTable {
		for it := e.Key(); it.Next(); {
			r := it.Node().Raw
			end = max(end, int(r.Offset+r.Length))
		}
	}
	return end
}

// failing gives the line on which the expression begins that could not be read: the first behind the last good one that
// is neither empty nor a comment.
func failing(src *source, end, at int) int {
	stop := src.line(at)
	line := 0
	if end > 0 {
		line = src.line(end) + 1
	}
	for ; line < stop; line++ {
		from, to := src.bounds(line)
		text := bytes.TrimSpace(src.data[from:to])
		if len(text) > 0 && text[0] != '#' {
			break
		}
	}
	return min(line, stop)
}

// section gives the last line of the table whose header stands on a line: without its header, its keys belong nowhere.
func (s *source) section(line int) int {
	for line+1 < len(s.starts) {
		from, to := s.bounds(line + 1)
		if headerLine.Match(s.data[from:to]) {
			break
		}
		line++
	}
	return line
}

// blank empties lines.
func (s *source) blank(from, to int) {
	a, _ := s.bounds(from)
	_, b := s.bounds(to)
	for i := a; i < b; i++ {
		if s.data[i] != '\n' && s.data[i] != '\r' {
			s.data[i] = ' '
		}
	}
}

// put replaces a line.
func (s *source) put(line int, text []byte) {
	from, to := s.bounds(line)
	s.replace(bytes.Join([][]byte{s.data[:from], text, s.data[to:]}, nil))
}

func badKeys(src *source, lines map[int]bool) map[int]bool {
	bad := map[int]bool{}
	for line := range lines {
		from, to := src.bounds(line)
		text := src.data[from:to]
		bad[from+len(text)-len(bytes.TrimLeft(text, " \t"))] = true
	}
	return bad
}

// syntaxFault says in our own words what the parser could not read. It shows one character at most, and never of a value.
func (t *tree) syntaxFault(src *source, message string, at, first int) {
	line := src.line(at)
	from, to := src.bounds(line)
	f := Fault{File: src.name}
	if odd, width := fullWidth(src.data[from:to]); odd >= 0 {
		at = from + odd
		f.Text = string(src.data[at : at+width])
	}
	f.Line, f.Column = src.position(at)
	f.Message, f.Hint = words(message, src.data[from:to], at-from, f.Text)
	if f.Text == "" && message != "" && strings.HasPrefix(message, "invalid escape") {
		f.Text = string(src.data[at : at+min(2, to-at)])
	}
	if first < line {
		f.Message += fmt.Sprintf(" (in what begins at line %d)", first+1)
	}
	t.report.faults = append(t.report.faults, f)
}

// asciiOf is what was meant by characters that an input method for Chinese or a word processor puts in.
var asciiOf = map[rune]string{
	'“': `"`, '”': `"`, '＂': `"`, '„': `"`, '‘': "'", '’': "'", '＇': "'", '「': `"`, '」': `"`, '『': `"`, '』': `"`,
	'＝': "=", '，': ",", '、': ",", '［': "[", '］': "]", '【': "[", '】': "]", '｛': "{", '｝': "}", '＃': "#",
	'：': "=", '．': ".", '。': ".", '\u3000': "a space", '\u00a0': "a space",
}

// fullWidth finds the first character outside of strings and comments that was meant to be an ASCII one.
func fullWidth(line []byte) (at, width int) {
	at = -1
	var in byte
	for i := 0; i < len(line); {
		r, n := utf8.DecodeRune(line[i:])
		switch {
		case in != 0:
			if r == '\\' && in == '"' {
				i++
			} else if r == rune(in) {
				in, at = 0, -1
			} else if s := asciiOf[r]; at < 0 && (s == `"` || s == "'") {
				// It matters only if no right quote follows.
				at, width = i, n
			}
		case r == '"' || r == '\'':
			in = byte(r)
		case r == '#':
			return -1, 0
		case asciiOf[r] != "":
			return i, n
		}
		i += n
	}
	return at, width
}

// words turns the parser's message into ours, with what to write instead.
func words(message string, line []byte, at int, odd string) (text, hint string) {
	if odd != "" {
		r, _ := utf8.DecodeRuneInString(odd)
		text = fmt.Sprintf("%q is not the sign that TOML knows", odd)
		if strings.ContainsRune("\u3000\u00a0", r) {
			text = "this is not an ordinary space"
		}
		return text, "write " + asciiOf[r] + " (switch the keyboard to English)"
	}
	has := func(s string) bool { return strings.Contains(message, s) }
	switch {
	case has("invalid escape"):
		return "a backslash in double quotes begins an escape sequence, and this is none",
			`write the text in single quotes, where a backslash is itself, or write \\`
	case has("escape sequence"), has("need a character after"):
		return "this escape sequence is not complete", `write the text in single quotes, where a backslash is itself, or write \\`
	case has("cannot have new lines"), has("unterminated"), has("not terminated"):
		return "this text has no closing quote", "end it with the same quote that it begins with"
	case has("expected '=' after key"):
		if at < len(line) && line[at] == ':' {
			return "a key and its value are joined by =", "write = instead of :"
		}
		return "a key must be followed by = and a value", "a key with spaces or other signs needs quotes"
	case has("to close"):
		return "this table's header is not closed", "write [name], or [[name]] for uplink, downlink and twoway"
	case has("start of value"), has("keyword"), has("strings must be quoted"), has("expected value"):
		return wordsForValue(line, at)
	case has("start of key"):
		return "a line begins with a key or with [", "write key = value; a comment begins with #"
	case has("array"):
		return "this list is not complete", "separate its values by commas and close it with ]"
	case has("inline table"):
		return "this inline table is not complete", "write { key = value, key = value }"
	case has("expected newline"):
		return "there is more behind the value", "one key a line; text stands in one pair of quotes"
	case has("digit"), has("number"), has("zeroes"):
		return "this is not a number", "write numbers as 15 or 0.5, and times with a unit in quotes: \"15s\""
	}
	return "this is not valid TOML", ""
}

func wordsForValue(line []byte, at int) (text, hint string) {
	rest := strings.ToLower(strings.TrimSpace(string(line[min(at, len(line)):])))
	rest, _, _ = strings.Cut(rest, "#")
	switch strings.TrimSpace(rest) {
	case "":
		return "the value is missing", "write one behind the =, or put # before the line"
	case "yes", "on", "true":
		return "this is not true or false", "write true, in small letters"
	case "no", "off", "false":
		return "this is not true or false", "write false, in small letters"
	case "none", "null", "nil":
		return "TOML has no empty value", "leave the key out, or write \"none\" where the key allows it"
	}
	return "text must stand in quotes", `write "..." or '...'`
}
