package mappings

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

func TestOperate(t *testing.T) {
	const most, least = int64(math.MaxInt64), int64(math.MinInt64)
	for _, c := range []struct {
		a    any
		op   string
		b    any
		want any
	}{
		{int64(1), "+", 2, int64(3)},
		{int64(1), "+", 2.5, 3.5},
		{most, "+", int64(1), 9223372036854775808.0},
		{least, "+", int64(-1), -9223372036854775808.0},
		{most, "+", int64(0), most},
		{int64(5), "-", int64(7), int64(-2)},
		{least, "-", int64(1), -9223372036854775808.0},
		{int64(-4), "*", int64(3), int64(-12)},
		{most, "*", int64(2), 18446744073709551614.0},
		{least, "*", int64(1), -9223372036854775808.0},
		{int64(7), "/", int64(2), 3.5},
		{int64(7), "%", int64(4), int64(3)},
		{int64(2), "**", int64(10), 1024.0},
		{2.0, "^", 0.5, math.Sqrt2},
		{nil, "+", int64(1), nil},
		{"a", "+", nil, nil},
		{"a", "+", "b", "ab"},
		{noon, "+", time.Hour, noon.Add(time.Hour)},
		{noon, "-", time.Hour, noon.Add(-time.Hour)},
		{noon, "-", noon.Add(-time.Hour), time.Hour},
		{time.Hour, "*", 0.5, 30 * time.Minute},
	} {
		if got, err := operate(c.op, c.a, c.b); err != nil || got != c.want {
			t.Errorf("%v %s %v: got %v, %v; want %v", c.a, c.op, c.b, got, err, c.want)
		}
	}
	for _, c := range []struct {
		a    any
		op   string
		b    any
		want string
	}{
		{int64(1), "%", int64(0), "1 % 0 has no result"},
		{1.5, "%", int64(2), "% wants whole numbers, not 1.5 and 2"},
		{true, "+", int64(1), "+ does not work on true or false and the number 1"},
		{[]any{}, "*", map[string]any{}, "* does not work on a list and an object"},
		{noon, "*", time.Hour, "* does not work on a time and a duration"},
	} {
		if got, err := operate(c.op, c.a, c.b); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%v %s %v: got %v, %v; want %s", c.a, c.op, c.b, got, err, c.want)
		}
	}
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		a, b any
		want string // of < <= > >= == !=
	}{
		{int64(1), int64(2), "true true false false false true"},
		{int64(2), int64(1), "false false true true false true"},
		{int64(2), 2.0, "false true false true true false"},
		{int64(9007199254740993), int64(9007199254740992), "false false true true false true"},
		{1.5, int64(2), "true true false false false true"},
		{math.NaN(), 1.0, "false false false false false true"},
		{"a", "b", "true true false false false true"},
		{"b", "a", "false false true true false true"},
		{"a", "a", "false true false true true false"},
		{noon, noon.Add(1), "true true false false false true"},
		{nil, int64(1), "- - - - false true"},
		{"1", int64(1), "- - - - false true"},
		{true, true, "- - - - true false"},
	} {
		var out []string
		for _, op := range []string{"<", "<=", ">", ">="} {
			got, err := compare(op, c.a, c.b)
			if err != nil {
				got = "-"
			}
			out = append(out, fmt.Sprint(got))
		}
		for _, op := range []string{"==", "!="} {
			got, err := equal(op, c.a, c.b)
			out = append(out, fmt.Sprint(got))
			if err != nil {
				t.Error(err)
			}
		}
		if got := strings.Join(out, " "); got != c.want {
			t.Errorf("%v and %v: got %s, want %s", c.a, c.b, got, c.want)
		}
	}
}

func TestTooDeep(t *testing.T) {
	for _, c := range []struct {
		payload string
		want    bool
	}{
		{strings.Repeat("[", 1000) + strings.Repeat("]", 1000), false},
		{strings.Repeat("[", 1001) + strings.Repeat("]", 1001), true},
		{strings.Repeat(`{"a":`, 1001), true},
		{strings.Repeat("[],", 2000), false},
		{`"` + strings.Repeat("[", 2000) + `"`, false},
		{`"` + strings.Repeat("[", 2000) + `\"` + strings.Repeat("[", 2000) + `"`, false},
		{`""` + strings.Repeat("[", 2000), true},
	} {
		if got := tooDeep([]byte(c.payload)); got != c.want {
			t.Errorf("%.20s... of %d bytes: %v", c.payload, len(c.payload), got)
		}
	}
}
