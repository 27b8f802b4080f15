package mappings

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/parser/utils"
	"github.com/tidwall/gjson"
)

// maxDepth bounds how deep JSON may be nested: checking it recurses, and a payload of a million brackets must not end the
// program.
const maxDepth = 1000

// step is one member of a path into JSON: a key, or an index from 0, or from -1 at the end.
type step struct {
	key   string
	index int
	isKey bool
}

// jsonPath is what an expression such as json.readings[0].value compiles to. The compiler keeps constants by address, so
// that each place in a source has its own.
type jsonPath struct{ steps []step }

// String writes the path as an expression does.
func (p *jsonPath) String() string {
	var b strings.Builder
	b.WriteString("json")
	for _, s := range p.steps {
		b.WriteString(s.String())
	}
	return b.String()
}

// String writes a step as an expression does.
func (s step) String() string {
	switch {
	case !s.isKey:
		return "[" + strconv.Itoa(s.index) + "]"
	case utils.IsValidIdentifier(s.key):
		return "." + s.key
	}
	return "[" + strconv.Quote(s.key) + "]"
}

// validJSON says whether a text is JSON that is safe to walk.
func validJSON(payload []byte) bool {
	return !tooDeep(payload) && gjson.ValidBytes(payload)
}

// tooDeep counts brackets outside strings; a short payload cannot hold too many.
func tooDeep(payload []byte) bool {
	if len(payload) <= maxDepth {
		return false
	}
	depth, inText := 0, false
	for i := 0; i < len(payload); i++ {
		switch c := payload[i]; {
		case inText:
			switch c {
			case '\\':
				i++
			case '"':
				inText = false
			}
		case c == '"':
			inText = true
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// find walks a valid JSON value; ok is false where a member is missing, or null.
func (p *jsonPath) find(r gjson.Result) (gjson.Result, bool) {
	for i := range p.steps {
		next, ok := p.steps[i].of(r)
		if !ok {
			return gjson.Result{}, false
		}
		r = next
	}
	return r, r.Type != gjson.Null
}

// of is the member of r that the step names.
func (s *step) of(r gjson.Result) (found gjson.Result, ok bool) {
	if s.isKey {
		if !r.IsObject() {
			return found, false
		}
		r.ForEach(func(key, value gjson.Result) bool {
			if key.Str == s.key {
				found, ok = value, true
			}
			return !ok
		})
		return found, ok
	}
	if !r.IsArray() {
		return found, false
	}
	at := s.index
	if at < 0 {
		r.ForEach(func(_, _ gjson.Result) bool { at++; return true })
	}
	if at < 0 {
		return found, false
	}
	r.ForEach(func(_, value gjson.Result) bool {
		if at == 0 {
			found, ok = value, true
		}
		at--
		return !ok
	})
	return found, ok
}

// goValue converts JSON for expressions: whole numbers to int64, which holds a time in milliseconds on 32-bit boards too.
func goValue(r gjson.Result) any {
	switch r.Type {
	case gjson.False, gjson.True:
		return r.Type == gjson.True
	case gjson.Number:
		return jsonNumber(r.Raw)
	case gjson.String:
		return r.Str
	case gjson.JSON:
		if r.IsArray() {
			list := []any{}
			r.ForEach(func(_, v gjson.Result) bool { list = append(list, goValue(v)); return true })
			return list
		}
		object := map[string]any{}
		r.ForEach(func(k, v gjson.Result) bool {
			if _, twice := object[k.Str]; !twice {
				object[k.Str] = goValue(v)
			}
			return true
		})
		return object
	}
	return nil
}

// jsonNumber reads the number of valid JSON. One that is too large for a float becomes infinite, and is refused as a result.
func jsonNumber(raw string) any {
	if strings.IndexByte(raw, '.') < 0 && strings.IndexByte(raw, 'e') < 0 && strings.IndexByte(raw, 'E') < 0 {
		if i, err := strconv.ParseInt(raw, 10, 64); err == nil {
			return i
		}
	}
	f, _ := strconv.ParseFloat(raw, 64)
	return f
}

// jsonValue is a member of the payload as a value: objects and lists compact, in their own order and with their own digits.
func jsonValue(r gjson.Result) (Value, error) {
	if r.Type != gjson.JSON {
		return toValue(goValue(r))
	}
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(r.Raw)); err != nil {
		return Value{}, errors.New("is not valid JSON")
	}
	return Value{Kind: JSON, Bytes: b.Bytes()}, nil
}

// encode writes what an expression made, such as {"t": number(text)}, as JSON.
func encode(v any) (Value, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return Value{}, errors.New("the result cannot be written as JSON: " + err.Error())
	}
	return Value{Kind: JSON, Bytes: bytes.TrimSuffix(b.Bytes(), []byte("\n"))}, nil
}

// numericKey finds the first member of a JSON object that is a number, as an expression continues after "json".
func numericKey(text string) string {
	if !strings.HasPrefix(strings.TrimSpace(text), "{") || !validJSON([]byte(text)) {
		return ""
	}
	found := ""
	gjson.Parse(text).ForEach(func(key, value gjson.Result) bool {
		if value.Type == gjson.Number {
			found = step{key: key.Str, isKey: true}.String()
		}
		return found == ""
	})
	return found
}
