package mappings

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/expr-lang/expr"
)

// The functions below get the reading as their first argument. The patcher puts it there, under names that nobody can
// write, so that one compiled program serves every message without a new environment for each.
const (
	fnText    = "read text"
	fnTopic   = "read topic"
	fnCapture = "read capture"
	fnTime    = "read time"
	fnJSON    = "read json"
	fnNow     = "read now"
	fnAfter   = "read after"
	fnMatch   = "read match"
	fnOperate = "operate"
	fnCompare = "compare"
	fnEqual   = "equal"
)

// hidden are the functions that only the patcher calls.
var hidden = []expr.Option{
	expr.Function(fnText, func(p ...any) (any, error) { return p[0].(*reading).asText() }, new(func(any) string)),
	expr.Function(fnTopic, func(p ...any) (any, error) { return p[0].(*reading).topic, nil }, new(func(any) string)),
	expr.Function(fnCapture, func(p ...any) (any, error) { return p[0].(*reading).values[p[1].(int)], nil }, new(func(any, any) string)),
	expr.Function(fnTime, func(p ...any) (any, error) { return p[0].(*reading).at.Format(time.RFC3339Nano), nil }, new(func(any) string)),
	expr.Function(fnNow, func(p ...any) (any, error) { return p[0].(*reading).arrived, nil }, new(func(any) time.Time)),
	expr.Function(fnJSON, func(p ...any) (any, error) {
		found, ok, err := p[0].(*reading).member(p[1].(*jsonPath))
		if !ok || err != nil {
			return nil, err
		}
		return goValue(found), nil
	}, new(func(any, any) any)),
	expr.Function(fnAfter, func(p ...any) (any, error) { return after(p[0].(*reading), p[1], p[2]) }, new(func(any, any, any) any)),
	expr.Function(fnMatch, func(p ...any) (any, error) { return match(p[0].(*reading), p[1], p[2]) }, new(func(any, any, any) any)),
	expr.Function(fnOperate, func(p ...any) (any, error) { return operate(p[0].(string), p[1], p[2]) }, new(func(any, any, any) any)),
	expr.Function(fnCompare, func(p ...any) (any, error) { return compare(p[0].(string), p[1], p[2]) }, new(func(any, any, any) bool)),
	expr.Function(fnEqual, func(p ...any) (any, error) { return equal(p[0].(string), p[1], p[2]) }, new(func(any, any, any) bool)),
}

// visible are the functions that people write. after, match and now are never called under these names: they are here to
// be checked, and the patcher replaces them.
var visible = []expr.Option{
	expr.Function("number", func(p ...any) (any, error) { return toNumber(p[0]) }, new(func(any) any)),
	expr.Function("round", func(p ...any) (any, error) { return round(p...) }, new(func(any) any), new(func(any, int) any)),
	expr.Function("after", unpatched, new(func(any, string) any)),
	expr.Function("match", unpatched, new(func(any, string) any)),
	expr.Function("now", unpatched, new(func() time.Time)),
}

func unpatched(...any) (any, error) { return nil, errors.New("cannot be called here") }

// toNumber is number(x): a number as it is, a text that is one number, true and false as 1 and 0.
func toNumber(x any) (any, error) {
	switch x := x.(type) {
	case nil:
		return nil, nil
	case bool:
		if x {
			return int64(1), nil
		}
		return int64(0), nil
	case string:
		if n, ok := readNumber(x); ok {
			return n.value(), nil
		}
		return nil, &notNumber{x}
	}
	if _, ok := asNumber(x); ok {
		return x, nil
	}
	return nil, fmt.Errorf("number() reads a text or a number, not %s", kindOf(x))
}

// notNumber says what number() takes, what it got, and what would read it.
type notNumber struct{ text string }

func (e *notNumber) Error() string {
	s := "number() wants a text that is one number and nothing else, such as 27.5, and got " + shown(e.text)
	if p := proposal(e.text); p != "" {
		s += "; write " + p
	}
	return s
}

// after is after(text, label).
func after(r *reading, text, label any) (any, error) {
	if text == nil {
		return nil, nil
	}
	s, ok := text.(string)
	if !ok {
		return nil, fmt.Errorf("after() looks into a text, not %s", kindOf(text))
	}
	l := label.(string)
	n, ok, found := numberAfter(s, l)
	switch {
	case ok:
		return n.value(), nil
	case found:
		return r.miss("no number follows " + shown(l))
	}
	return r.miss(shown(l) + " is not in the text")
}

// match is match(text, regexp): the first group, or the whole match where there is none.
func match(r *reading, text, pattern any) (any, error) {
	if text == nil {
		return nil, nil
	}
	s, ok := text.(string)
	if !ok {
		return nil, fmt.Errorf("match() looks into a text, not %s", kindOf(text))
	}
	re, ok := pattern.(*regexp.Regexp)
	if !ok {
		var err error
		if re, err = regexp.Compile(pattern.(string)); err != nil {
			return nil, err
		}
	}
	at := re.FindStringSubmatchIndex(s)
	if at == nil {
		return r.miss("nothing in the text matches " + re.String())
	}
	if len(at) > 2 {
		at = at[2:]
	}
	if at[0] < 0 { // an optional group that took no part
		return r.miss("the group of " + re.String() + " is empty")
	}
	return s[at[0]:at[1]], nil
}

// round is round(x) and round(x, digits).
func round(p ...any) (any, error) {
	if p[0] == nil {
		return nil, nil
	}
	digits := 0
	if len(p) > 1 {
		digits = p[1].(int)
	}
	if digits < 0 || digits > 15 {
		return nil, fmt.Errorf("round() keeps 0 to 15 digits, not %d", digits)
	}
	n, ok := asNumber(p[0])
	switch {
	case !ok:
		return nil, fmt.Errorf("round() wants a number, not %s", kindOf(p[0]))
	case n.whole:
		return n.i, nil
	}
	return roundNumber(n.f, digits), nil
}

// kindOf names the type of a value as people know it.
func kindOf(x any) string {
	switch x := x.(type) {
	case nil:
		return "nothing"
	case bool:
		return "true or false"
	case string:
		return "the text " + shown(x)
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	case time.Time:
		return "a time"
	case time.Duration:
		return "a duration"
	}
	if n, ok := asNumber(x); ok {
		return "the number " + formatNumber(n)
	}
	return fmt.Sprintf("a %T", x)
}

func formatNumber(n number) string {
	if n.whole {
		return strconv.FormatInt(n.i, 10)
	}
	return string(appendFloat(nil, n.f))
}
