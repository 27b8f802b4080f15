package platforms

import "strings"

// Shorten makes of a text what a message can quote: so many characters at the most, and nothing that is not UTF-8.
func Shorten(text string, most int) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= most {
		return text
	}
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "..."
	}
	return text
}
