package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// expression is the text of an expression, which may also be written as a number.
type expression string

func (e *expression) read(s string) (message, hint string) {
	*e = expression(s)
	return "", ""
}

// age is a time that may be "none", which is zero.
type age struct {
	given bool
	d     time.Duration
}

func (a *age) read(s string) (message, hint string) {
	if s == "none" {
		*a = age{given: true}
		return "", ""
	}
	d, message, hint := duration(s)
	if message == "" && d == 0 {
		return "no time at all would drop everything", `write "none" for no limit`
	}
	*a = age{given: true, d: d}
	return message, hint
}

// size is a number of bytes, with decimal units.
type size int64

func (z *size) read(s string) (message, hint string) {
	const example = `write a number and a unit, such as "256MB" or "10GB"`
	units := []struct {
		name  string
		bytes float64
	}{{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1}}
	text := strings.ToUpper(strings.TrimSpace(s))
	for _, u := range units {
		number, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || f < 0 || math.IsNaN(f) || f*u.bytes > math.MaxInt64/2 {
			return "this is not a size", example
		}
		*z = size(f * u.bytes)
		return "", ""
	}
	return "this is not a size", example
}

// duration reads a time with a unit; days are allowed too.
func duration(s string) (d time.Duration, message, hint string) {
	const example = `write a number and a unit: "500ms", "15s", "5m" or "12h"`
	text := strings.ReplaceAll(strings.TrimSpace(s), " ", "")
	if days, ok := strings.CutSuffix(text, "d"); ok {
		f, err := strconv.ParseFloat(days, 64)
		if err == nil && f >= 0 && f < 36500 {
			return time.Duration(f * float64(24*time.Hour)), "", ""
		}
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		if _, numErr := strconv.ParseFloat(text, 64); numErr == nil && text != "" {
			return 0, "a time needs a unit", fmt.Sprintf("write \"%ss\" for seconds", text)
		}
		return 0, "this is not a time", example
	case d < 0:
		return 0, "a time cannot be negative", example
	}
	return d, "", ""
}
