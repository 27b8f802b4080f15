package mappings

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// fold writes full-width digits, letters and signs as ASCII, and the typographic minus as a hyphen: keyboards for Chinese
// produce them, and a reading is the same either way. A text without any is returned as it is.
func fold(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return strings.Map(foldRune, s)
		}
	}
	return s
}

func foldRune(r rune) rune {
	switch {
	case r >= '！' && r <= '～':
		return r - '！' + '!'
	case r == '\u3000', r == '\u00a0':
		return ' '
	case r == '\u2212': // minus sign
		return '-'
	case r == '\ufe55': // small colon
		return ':'
	}
	return r
}

// readNumber reads a text that is one decimal number and nothing else but white space around it. C programs send the NUL
// that ends their strings, so that counts as white space at the end.
func readNumber(s string) (number, bool) {
	s = strings.TrimSpace(strings.TrimRight(fold(s), "\x00"))
	n, end := scanNumber(s)
	if end == 0 || end < len(s) {
		return number{}, false
	}
	return n, true
}

// scanNumber reads the number that a text starts with, and says where it ends; 0 where there is none. Infinity is none.
func scanNumber(s string) (number, int) {
	i := 0
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		i++
	}
	digits := i
	i = skipDigits(s, i)
	count, whole := i-digits, true
	if i < len(s) && s[i] == '.' {
		if end := skipDigits(s, i+1); end > i+1 {
			count += end - i - 1
			i, whole = end, false
		}
	}
	if count == 0 {
		return number{}, 0
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		j := i + 1
		if j < len(s) && (s[j] == '-' || s[j] == '+') {
			j++
		}
		if end := skipDigits(s, j); end > j {
			i, whole = end, false
		}
	}
	n, ok := parseNumber(s[:i], whole)
	if !ok {
		return number{}, 0
	}
	return n, i
}

func skipDigits(s string, i int) int {
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return i
}

// parseNumber reads digits that scanNumber has checked.
func parseNumber(s string, whole bool) (number, bool) {
	if whole {
		if i, err := strconv.ParseInt(s, 10, 64); err == nil {
			return number{whole: true, i: i}, true
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(f, 0) {
		return number{}, false
	}
	return number{f: f}, true
}

func isWordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || isLetterByte(c)
}

func isLetterByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// numberAfter finds the first number after a label. Each place where the label stands is tried; found says that it stands
// somewhere. Words may stand between label and number ("temperature is 27"), but not the next label: in "temp=nan hum=40"
// no number belongs to temp. An empty label finds the first number of all.
func numberAfter(text, label string) (n number, ok, found bool) {
	text, label = fold(text), fold(label)
	if label == "" {
		n, _, ok = firstNumber(text, true)
		return n, ok, true
	}
	for start := 0; ; {
		i := strings.Index(text[start:], label)
		if i < 0 {
			return number{}, false, found
		}
		found = true
		start += i + len(label)
		if n, _, ok := firstNumber(text[start:], false); ok {
			return n, true, true
		}
	}
}

// firstNumber finds the first number of a folded text and where it starts. Unless it may be anywhere, a sign that ends a
// reading or a label ends the search, but for the one that stands between label and number.
func firstNumber(s string, anywhere bool) (n number, at int, ok bool) {
	i := 0
	for i < len(s) && strings.IndexByte(" \t:=\"'([", s[i]) >= 0 {
		i++
	}
	for i < len(s) {
		c := s[i]
		switch {
		case c >= '0' && c <= '9', c == '-', c == '+', c == '.':
			if n, end := scanNumber(s[i:]); end > 0 {
				return n, i, true
			}
			i++
		case !anywhere && strings.IndexByte(":=,;|&{}\n\r", c) >= 0:
			return number{}, 0, false
		case isLetterByte(c) || c == '_':
			// Digits inside a word (DS18B20, pico-2) belong to the word.
			for i < len(s) && (isWordByte(s[i]) || s[i] == '-' && i+1 < len(s) && isWordByte(s[i+1])) {
				i++
			}
		case c < utf8.RuneSelf:
			i++
		default:
			_, size := utf8.DecodeRuneInString(s[i:])
			i += size
		}
	}
	return number{}, 0, false
}

// proposal is the expression that would read a number out of a text which is not one; empty where there is no number.
func proposal(text string) string {
	if key := numericKey(text); key != "" {
		return "json" + key
	}
	text = strings.TrimSpace(fold(text))
	if point := strings.Replace(text, ",", ".", 1); point != text {
		if _, ok := readNumber(point); ok {
			return `number(replace(text, ",", "."))`
		}
	}
	want, at, ok := firstNumber(text, true)
	if !ok {
		return ""
	}
	// The label is the last word before the number with the sign that stands between them: long enough to be found again,
	// short enough not to hold another reading.
	label := text[:at]
	label = label[1+strings.LastIndexAny(strings.TrimRight(label, " :=\t"), " ,;|&{\"\t\n"):]
	if n, ok, _ := numberAfter(text, label); !ok || n != want {
		label = ""
	}
	return "after(text, " + strconv.Quote(label) + ")"
}

// roundNumber rounds the decimal text of a number, halves away from zero, so that 2.675 becomes 2.68 as on paper.
func roundNumber(f float64, digits int) float64 {
	if f != f || math.IsInf(f, 0) || math.Abs(f) >= 1e15 {
		return f
	}
	text := strconv.FormatFloat(math.Abs(f), 'f', -1, 64)
	point := strings.IndexByte(text, '.')
	if point < 0 || len(text)-point-1 <= digits {
		return f
	}
	kept := []byte(text[:point+1+digits])
	if text[point+1+digits] >= '5' {
		kept = addOne(kept)
	}
	r, err := strconv.ParseFloat(string(kept), 64)
	if err != nil {
		return f
	}
	return math.Copysign(r, f)
}

// addOne adds one to the last digit of a decimal text.
func addOne(digits []byte) []byte {
	for i := len(digits) - 1; i >= 0; i-- {
		switch digits[i] {
		case '.':
		case '9':
			digits[i] = '0'
		default:
			digits[i]++
			return digits
		}
	}
	return append([]byte{'1'}, digits...)
}
