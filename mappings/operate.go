package mappings

import (
	"fmt"
	"math"
	"math/bits"
	"time"

	"github.com/expr-lang/expr/vm/runtime"
)

// Operators on values whose type is known only when a message comes are ours, for three reasons: nil goes through
// arithmetic instead of being a fault, errors can say how to turn a text into a number, and whole numbers have 64 bits on
// 32-bit boards too.

// asNumber converts the numbers that expressions know.
func asNumber(x any) (number, bool) {
	switch x := x.(type) {
	case int64:
		return number{whole: true, i: x}, true
	case float64:
		return number{f: x}, true
	case int:
		return number{whole: true, i: int64(x)}, true
	case uint8:
		return number{whole: true, i: int64(x)}, true
	case int32:
		return number{whole: true, i: int64(x)}, true
	}
	return number{}, false
}

// operate does + - * / % ** on two values; nil makes nil.
func operate(op string, a, b any) (any, error) {
	if a == nil || b == nil {
		return nil, nil
	}
	x, okA := asNumber(a)
	y, okB := asNumber(b)
	if okA && okB {
		return calculate(op, x, y)
	}
	if op == "+" {
		if s, ok := a.(string); ok {
			if t, ok := b.(string); ok {
				return s + t, nil
			}
		}
	}
	if v, ok := operateTime(op, a, b); ok {
		return v, nil
	}
	return nil, mismatch(op, a, b)
}

// calculate does arithmetic, in whole numbers where both are and the result fits.
func calculate(op string, x, y number) (any, error) {
	if x.whole && y.whole {
		switch op {
		case "+":
			if s := x.i + y.i; (s > x.i) == (y.i > 0) {
				return s, nil
			}
		case "-":
			if d := x.i - y.i; (d < x.i) == (y.i > 0) {
				return d, nil
			}
		case "*":
			if hi, lo := bits.Mul64(magnitude(x.i), magnitude(y.i)); hi == 0 && lo <= math.MaxInt64 {
				return x.i * y.i, nil
			}
		case "%":
			if y.i == 0 {
				return nil, fmt.Errorf("%d %% 0 has no result", x.i)
			}
			return x.i % y.i, nil
		}
	}
	f, g := x.float(), y.float()
	switch op {
	case "+":
		return f + g, nil
	case "-":
		return f - g, nil
	case "*":
		return f * g, nil
	case "/":
		return f / g, nil
	case "**", "^":
		return math.Pow(f, g), nil
	}
	return nil, fmt.Errorf("%s wants whole numbers, not %s and %s", op, formatNumber(x), formatNumber(y))
}

func magnitude(i int64) uint64 {
	if i < 0 {
		return -uint64(i)
	}
	return uint64(i)
}

// operateTime does what is sensible with times and durations.
func operateTime(op string, a, b any) (any, bool) {
	switch a := a.(type) {
	case time.Time:
		switch b := b.(type) {
		case time.Duration:
			if op == "+" {
				return a.Add(b), true
			}
			if op == "-" {
				return a.Add(-b), true
			}
		case time.Time:
			if op == "-" {
				return a.Sub(b), true
			}
		}
	case time.Duration:
		if n, ok := asNumber(b); ok && op == "*" {
			return time.Duration(float64(a) * n.float()), true
		}
	}
	return nil, false
}

// compare does < <= > >=. A comparison with what is not there has no answer, so it ends the expression.
func compare(op string, a, b any) (any, error) {
	if a == nil || b == nil {
		return nil, errMissing
	}
	order := 0
	x, okA := asNumber(a)
	y, okB := asNumber(b)
	s, isText := a.(string)
	t, isTextToo := b.(string)
	at, isTime := a.(time.Time)
	bt, isTimeToo := b.(time.Time)
	switch {
	case okA && okB:
		if math.IsNaN(x.float()) || math.IsNaN(y.float()) {
			return false, nil
		}
		order = compareNumbers(x, y)
	case isText && isTextToo && s != t:
		order = 1
		if s < t {
			order = -1
		}
	case isTime && isTimeToo:
		order = at.Compare(bt)
	case !isText || !isTextToo:
		return nil, mismatch(op, a, b)
	}
	switch op {
	case "<":
		return order < 0, nil
	case "<=":
		return order <= 0, nil
	case ">":
		return order > 0, nil
	}
	return order >= 0, nil
}

func compareNumbers(x, y number) int {
	if x.whole && y.whole {
		switch {
		case x.i < y.i:
			return -1
		case x.i > y.i:
			return 1
		}
		return 0
	}
	switch f, g := x.float(), y.float(); {
	case f < g:
		return -1
	case f > g:
		return 1
	}
	return 0
}

// equal does == and !=; values of different kinds are not equal.
func equal(op string, a, b any) (any, error) {
	same := false
	x, okA := asNumber(a)
	y, okB := asNumber(b)
	if okA && okB {
		same = compareNumbers(x, y) == 0 && !math.IsNaN(x.float()) && !math.IsNaN(y.float())
	} else {
		same = runtime.Equal(a, b)
	}
	return same == (op == "=="), nil
}

// mismatch says what an operator cannot do, and how a text becomes a number.
func mismatch(op string, a, b any) error {
	hint := ""
	for _, x := range []any{a, b} {
		if s, ok := x.(string); ok {
			if _, ok := readNumber(s); ok {
				hint = "; number(...) makes a number of a text"
			}
		}
	}
	if op == "+" && hint == "" {
		hint = "; string(...) makes a text of a number"
	}
	return fmt.Errorf("%s does not work on %s and %s%s", op, kindOf(a), kindOf(b), hint)
}
