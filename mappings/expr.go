package mappings

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"strings"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"
)

// Expr is a compiled expression.
type Expr struct {
	src     string
	program *vm.Program
	// path is set where the expression is one look-up in JSON, which needs no program.
	path *jsonPath
	// fixed is the value of ConstNumber, where there is no program.
	fixed Value
}

// Want is the type that an expression must have.
type Want int

// What an expression may be wanted for: a value of any type, a condition, a time.
const (
	WantAny Want = iota
	WantBool
	WantTime
)

// Expr compiles and type-checks an expression. A fault is a *SyntaxError.
func (s Scope) Expr(src string, want Want) (*Expr, error) {
	if strings.TrimSpace(src) == "" {
		return nil, &SyntaxError{Source: src, Text: "the expression is empty", Hint: `write after(text, "temperature="), for example, or leave the key out`}
	}
	p := &patcher{scope: s, src: src}
	program, err := expr.Compile(src, s.options(p)...)
	if p.err != nil {
		return nil, p.err
	}
	if err != nil {
		return nil, s.fault(src, err)
	}
	root := program.Node()
	if err := checkType(src, root.Type(), want); err != nil {
		return nil, err
	}
	return &Expr{src: src, program: program, path: pathOf(unchained(root))}, nil
}

// options is what expressions of this scope know.
func (s Scope) options(p *patcher) []expr.Option {
	env := types.Map{
		"text": types.String, "topic": types.String, "bridge": types.String, "time": types.String,
		"json": types.Any,
	}
	for _, name := range s.Names {
		env[name] = types.String
	}
	options := append([]expr.Option{expr.Env(env), expr.Patch(p)}, hidden...)
	for _, name := range []string{"round", "now"} {
		options = append(options, expr.DisableBuiltin(name)) // ours differ
	}
	return append(options, visible...)
}

func unchained(n ast.Node) ast.Node {
	if c, ok := n.(*ast.ChainNode); ok {
		return c.Node
	}
	return n
}

// checkType refuses a result that can never be what is wanted.
func checkType(src string, t reflect.Type, want Want) error {
	fault := func(text, hint string) error { return &SyntaxError{Source: src, Text: text, Hint: hint} }
	if t == nil || t.Kind() == reflect.Interface {
		return nil
	}
	isNumber := t.Kind() >= reflect.Int && t.Kind() <= reflect.Float64
	switch {
	case t.Kind() == reflect.Func:
		return fault("a function needs its arguments", "as in number(text)")
	case t == reflect.TypeFor[time.Duration]():
		return fault("a duration is no value", "write .Seconds() after it")
	case want == WantBool && t.Kind() != reflect.Bool:
		return fault("a condition must be true or false", `compare, as in text == "ON" or json.temperature > 30`)
	case want == WantTime && t.Kind() != reflect.String && !isNumber && t != timeType:
		return fault("a time must be seconds, milliseconds or a text such as 2026-11-20T08:00:00+08:00", "as in json.timestamp")
	}
	return nil
}

// ConstNumber is an expression that is a fixed number: a place's `lat = 25.03`.
func ConstNumber(f float64) *Expr {
	v, err := toValue(f)
	if err != nil {
		return &Expr{src: fmt.Sprint(f)}
	}
	return &Expr{src: v.String(), fixed: v}
}

// String is the source text.
func (e *Expr) String() string { return e.src }

// run evaluates the expression; nil means that what it needs is not there.
func (e *Expr) run(r *reading) (any, error) {
	r.missing = ""
	out, err := r.vm.Run(e.program, r)
	if err == nil {
		return out, nil
	}
	cause := err
	var fileError *file.Error
	if errors.As(err, &fileError) {
		cause = &machineError{fileError.Message}
		var conversion runtime.Error
		if fileError.Prev != nil && !errors.As(fileError.Prev, &conversion) {
			cause = fileError.Prev // one of ours
		}
	}
	if errors.Is(cause, errMissing) || r.missing != "" && strings.Contains(cause.Error(), "nil") {
		// Without what is missing the expression cannot go on: skipped, not wrong.
		return nil, nil
	}
	return nil, e.blame(r, cause)
}

// blame says which expression could not read which payload, and why.
func (e *Expr) blame(r *reading, cause error) error {
	text := cause.Error()
	var machine *machineError
	if errors.As(cause, &machine) {
		text = plainFault(text)
	}
	var n *notNumber
	if errors.As(cause, &n) && n.text == string(r.payload) || errors.Is(cause, errNotText) || errors.Is(cause, errEmpty) {
		return &evalError{e.src, text, cause}
	}
	return &evalError{e.src, text + "; the payload is " + shown(string(r.payload)), cause}
}

// evalError is an expression that failed on a message.
type evalError struct {
	src, text string
	cause     error
}

func (f *evalError) Error() string { return f.src + ": " + f.text }
func (f *evalError) Unwrap() error { return f.cause }

// machineError is a fault in the words of the expression language's machine.
type machineError struct{ text string }

func (e *machineError) Error() string { return e.text }

// plainFault puts the words of the expression language's machine into plain ones.
func plainFault(s string) string {
	s = strings.TrimPrefix(s, "interface conversion: interface {} is ")
	for _, word := range [][2]string{
		{"interface {}", "any"},
		{"map[string]any", "an object"},
		{"[]any", "a list"},
		{"<nil>", "nothing"},
		{"int64", "a number"},
		{"float64", "a number"},
		{"string", "text"},
		{"bool", "true or false"},
	} {
		s = strings.ReplaceAll(s, word[0], word[1])
	}
	return s
}

// value evaluates the expression as a reading.
func (e *Expr) value(r *reading) (Value, error) {
	r.missing = ""
	if e.program == nil {
		return e.fixed, nil
	}
	if e.path != nil {
		found, ok, err := r.member(e.path)
		if err != nil {
			return Value{}, e.blame(r, err)
		}
		if !ok {
			return Value{}, nil
		}
		v, err := jsonValue(found)
		if err != nil {
			return Value{}, e.blame(r, err)
		}
		return v, nil
	}
	out, err := e.run(r)
	if err != nil {
		return Value{}, err
	}
	v, err := toValue(out)
	if err != nil {
		return Value{}, e.blame(r, err)
	}
	return v, nil
}

// stamp evaluates the expression as the reading's time. A reading is worth keeping when its time cannot be read: it gets
// the time of arrival, and a note that says so. Where the expression finds none it is the time that the message tells.
func (e *Expr) stamp(r *reading) (at time.Time, note string) {
	if e.program == nil {
		return readTime(e.fixed.Float, r.arrived)
	}
	x, err := e.run(r)
	if err != nil {
		return r.arrived, "the time cannot be read: " + err.Error() + "; the time of arrival is taken"
	}
	if x == nil {
		return r.made, r.note
	}
	return readTime(x, r.arrived)
}

// truth evaluates the expression as a condition; nil is false.
func (e *Expr) truth(r *reading) (bool, error) {
	out, err := e.run(r)
	if err != nil || out == nil {
		return false, err
	}
	b, ok := out.(bool)
	if !ok {
		return false, e.blame(r, fmt.Errorf("a condition must be true or false, not %s", kindOf(out)))
	}
	return b, nil
}

// toValue makes a reading of an expression's result.
func toValue(x any) (Value, error) {
	switch x := x.(type) {
	case nil:
		return Value{}, nil
	case string:
		return Value{Kind: Text, Bytes: []byte(x)}, nil
	case bool:
		v := Value{Kind: Bool}
		if x {
			v.Int = 1
		}
		return v, nil
	case []byte:
		return Value{Kind: Raw, Bytes: x}, nil
	case time.Time:
		return Value{Kind: Text, Bytes: x.AppendFormat(nil, time.RFC3339Nano)}, nil
	case time.Duration:
		return Value{}, errors.New("a duration is no value; write .Seconds() after it")
	}
	n, ok := asNumber(x)
	switch {
	case !ok:
		return encode(x)
	case n.whole:
		return Value{Kind: Int, Int: n.i}, nil
	case math.IsNaN(n.f):
		return Value{}, errors.New("the result is not a number (NaN)")
	case math.IsInf(n.f, 0):
		return Value{}, errors.New("the result is infinite: too large, or divided by zero")
	}
	return Value{Kind: Float, Float: n.f}, nil
}
