package mappings

import (
	"math"
	"strings"
	"time"
)

// earliest is the first time that a reading may bear: no board of today was set before.
var earliest = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// layouts are RFC 3339 and what is written for it. Without a zone a text is local time. Go reads a fraction of the second
// after each of them.
var layouts = []string{
	"2006-01-02T15:04:05Z07:00",
	"2006-01-02T15:04:05Z0700",
	"2006-01-02T15:04:05",
	"2006-01-02T15:04Z07:00",
	"2006-01-02T15:04",
	"2006-01-02",
}

// readTime makes the reading's own time of the result of a time expression. Where it cannot be right the time is that of
// arrival, and note says why; nil is arrival without a word.
func readTime(x any, now time.Time) (at time.Time, note string) {
	var ok bool
	switch x := x.(type) {
	case nil:
		return now, ""
	case time.Time:
		at, ok = x, true
	case string:
		if n, isNumber := readNumber(x); isNumber {
			at, ok = fromEpoch(n.float())
		} else {
			at, ok = parseTime(x, now.Location())
		}
	default:
		n, isNumber := asNumber(x)
		if isNumber {
			at, ok = fromEpoch(n.float())
		}
	}
	if !ok {
		return now, "the time " + strings.TrimPrefix(strings.TrimPrefix(kindOf(x), "the text "), "the number ") +
			" is neither seconds, milliseconds nor a date such as 2026-11-20T08:00:00+08:00: the time of arrival is taken"
	}
	if at.Before(earliest) || at.After(now.Add(24*time.Hour)) {
		return now, "the time " + at.UTC().Format("2006-01-02 15:04:05") + " UTC cannot be right: the time of arrival is taken" + clockHint(at)
	}
	return at, ""
}

// fromEpoch reads seconds or milliseconds since 1970: seconds of our age have ten digits, milliseconds thirteen.
func fromEpoch(f float64) (time.Time, bool) {
	if math.IsNaN(f) || math.Abs(f) > 1e15 {
		return time.Time{}, false
	}
	if math.Abs(f) >= 1e11 {
		f /= 1000
	}
	whole, part := math.Modf(f)
	return time.Unix(int64(whole), int64(math.Round(part*1e6))*1000), true
}

func parseTime(s string, local *time.Location) (time.Time, bool) {
	s = strings.ToUpper(strings.TrimSpace(fold(s)))
	if len(s) > 10 && s[10] == ' ' {
		s = s[:10] + "T" + strings.TrimLeft(s[10:], " ")
	}
	s = strings.Replace(s, " +", "+", 1)
	for _, l := range layouts {
		if at, err := time.ParseInLocation(l, s, local); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

// clockHint says what is probably wrong with a board's clock.
func clockHint(at time.Time) string {
	switch year := at.UTC().Year(); {
	case year >= 1990 && year <= 2010:
		return " (boards counting from 2000: add 946684800)"
	case year < 1990, year == 2021 && at.UTC().YearDay() == 1:
		return " (the board's clock is not set)"
	}
	return ""
}
