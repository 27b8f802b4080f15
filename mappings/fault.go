package mappings

import (
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strings"

	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/file"
)

// fault words an error of the expression compiler, with the place and what to write instead.
func (s Scope) fault(src string, err error) error {
	e := &SyntaxError{Source: src, Text: err.Error()}
	var f *file.Error
	if errors.As(err, &f) {
		e.Offset = byteOffset(src, f.From)
		e.Text = f.Message
	}
	if at, wide := wideSign(src); at >= 0 {
		e.Offset, e.Text = at, "the full-width sign "+wide+" is not read"
		e.Hint = "write the ASCII " + narrow[wide] + " (switch the keyboard to English)"
		return e
	}
	if at := singleEqual(src); at >= 0 {
		e.Offset, e.Text, e.Hint = at, "= is not a comparison", "write == to compare"
		return e
	}
	s.wordFault(e)
	return e
}

// byteOffset turns an offset in characters into one in bytes.
func byteOffset(src string, runes int) int {
	for i := range src {
		if runes == 0 {
			return i
		}
		runes--
	}
	return len(src)
}

var (
	unknownName = regexp.MustCompile(`^unknown name (\S+)$`)
	mismatched  = regexp.MustCompile(`^invalid operation: (\S+) \(mismatched types? (\S+)(?: and (\S+))?\)$`)
	arguments   = regexp.MustCompile(`^(?:not enough|too many) arguments to call (\S+)$`)
	badArgument = regexp.MustCompile(`^cannot use (\S+) as argument \(type (\S+)\) to call (\S+)`)
	unexpected  = regexp.MustCompile(`^unexpected token (\w+)(?:\("(.*)"\))?$`)
)

// usage shows how our functions are called.
var usage = map[string]string{
	"number": `number(text)`,
	"after":  `after(text, "temperature=")`,
	"match":  "match(text, `T=([0-9.]+)`)",
	"round":  `round(json.temperature, 1)`,
	"now":    `now()`,
}

// wordFault says in plain words what the compiler says in its own.
func (s Scope) wordFault(e *SyntaxError) {
	if m := unknownName.FindStringSubmatch(e.Text); m != nil {
		e.Text, e.Hint = m[1]+" is not known here", s.nameHint(m[1])
		return
	}
	if m := mismatched.FindStringSubmatch(e.Text); m != nil {
		e.Text = m[1] + " does not work on " + typeWord(m[2])
		if m[3] != "" {
			e.Text += " and " + typeWord(m[3])
		}
		if m[2] == "string" || m[3] == "string" {
			e.Hint = "number(text) makes a number of a text, string(5) a text of a number"
		}
		return
	}
	if m := arguments.FindStringSubmatch(e.Text); m != nil && usage[m[1]] != "" {
		e.Text, e.Hint = m[1]+"() has the wrong number of arguments", "write "+usage[m[1]]
		return
	}
	if m := badArgument.FindStringSubmatch(e.Text); m != nil {
		e.Text = m[3] + "() cannot take " + typeWord(m[2])
		if usage[m[3]] != "" {
			e.Hint = "write " + usage[m[3]]
		}
		return
	}
	switch {
	case strings.Contains(e.Text, "coalesce"):
		e.Text, e.Hint = "?? needs brackets beside another operator", "write (json.a ?? json.b) * 2"
	case strings.Contains(e.Text, "unescape"), strings.Contains(e.Text, "char escape"):
		e.Text = "a backslash in quotes must be doubled"
		e.Hint = "write match(text, `\\d+`) with backquotes, which take backslashes as they are"
	case strings.Contains(e.Text, "literal not terminated"):
		if open := outside(e.Source, func(int, rune) bool { return true }); open >= 0 {
			e.Offset = open
		}
		e.Text, e.Hint = "a quote is opened and not closed", `close the text with the same quote, as in "ON"`
	case strings.HasPrefix(e.Text, "unrecognized character"):
		e.Text = "the character " + charAt(e.Source, e.Offset) + " has no meaning here"
		e.Hint = `put texts in quotes, as in text == "ON"`
	case strings.HasPrefix(e.Text, "unexpected token EOF"), strings.Contains(e.Text, "unexpected end"):
		e.Offset = len(e.Source)
		e.Text, e.Hint = "the expression ends too early", "close each bracket, and write something on both sides of each operator"
	case unexpected.MatchString(e.Text):
		m := unexpected.FindStringSubmatch(e.Text)
		e.Text = m[2] + " is not expected here"
		switch m[1] {
		case "Bracket":
			e.Hint = "count the brackets"
		case "Identifier", "String", "Number":
			e.Hint = "an operator (+ - * / == && ||) or a comma is missing before it"
		}
	}
}

// nameHint says which name an unknown one may have been meant for.
func (s Scope) nameHint(name string) string {
	names := append(append([]string(nil), s.Names...), ownNames...)
	if n := nearest(name, names); n != "" {
		return "did you mean " + n + "?"
	}
	var functions []string
	for _, f := range builtin.Builtins {
		functions = append(functions, f.Name)
	}
	sort.Strings(functions)
	if n := nearest(name, functions); n != "" && len(name) > 3 {
		return "did you mean " + n + "()?"
	}
	known := append(append([]string(nil), s.Names...), "text", "json", "topic", "bridge", "time")
	return fmt.Sprintf("write json.%s for a key of JSON, %q in quotes for a text; known are %s", name, name, listed(known))
}

// typeWord names a type of the compiler's.
func typeWord(t string) string {
	switch t {
	case "string":
		return "a text"
	case "int", "int64", "float64":
		return "a number"
	case "bool":
		return "true or false"
	case "nil":
		return "nothing"
	case "unknown":
		return "a value"
	}
	return "a " + t
}

func charAt(src string, offset int) string {
	for i, r := range src {
		if i >= offset {
			return shown(string(r))
		}
	}
	return "at the end"
}

// narrow is what keyboards for Chinese write where an expression needs ASCII.
var narrow = map[string]string{
	"“": `"`, "”": `"`, "＂": `"`, "‘": "'", "’": "'", "＇": "'", "「": `"`, "」": `"`,
	"＝": "=", "，": ",", "（": "(", "）": ")", "：": ":", "；": ";", "＞": ">", "＜": "<", "！": "!",
	"＋": "+", "－": "-", "＊": "*", "／": "/", "×": "*", "÷": "/", "？": "?", "．": ".", "。": ".", "、": ",", "　": "space",
	"［": "[", "］": "]", "｛": "{", "｝": "}", "＆": "&", "｜": "|",
}

// wideSign finds the first such sign outside quotes; -1 where there is none.
func wideSign(src string) (int, string) {
	at, sign := -1, ""
	outside(src, func(i int, r rune) bool {
		if narrow[string(r)] != "" {
			at, sign = i, string(r)
		}
		return at < 0
	})
	return at, sign
}

// singleEqual finds an = that is no part of another operator, outside quotes; -1 where there is none.
func singleEqual(src string) int {
	at := -1
	if strings.Contains(src, "let ") {
		return at
	}
	outside(src, func(i int, r rune) bool {
		if r == '=' && (i+1 == len(src) || src[i+1] != '=') && (i == 0 || strings.IndexByte("=!<>", src[i-1]) < 0) {
			at = i
		}
		return at < 0
	})
	return at
}

// outside calls f for each character that is not in quotes, until it returns false. It returns where a
// quote opens that is never closed, or -1.
func outside(src string, f func(i int, r rune) bool) (open int) {
	quote, escaped := rune(0), false
	open = -1
	for i, r := range src {
		switch {
		case escaped:
			escaped = false
		case quote != 0:
			escaped = r == '\\' && quote != '`'
			if r == quote {
				quote, open = 0, -1
			}
		case r == '"' || r == '\'' || r == '`':
			quote, open = r, i
		default:
			if !f(i, r) {
				return -1
			}
		}
	}
	return open
}
