// Package terminal says what an output stream can show, paints text where it can show colours, and measures text as a
// terminal shows it, where a Chinese character takes two columns.
package terminal

import (
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/mattn/go-colorable"
	"github.com/mattn/go-isatty"
	"golang.org/x/text/width"
)

// Stream is an output and what it can show.
type Stream struct {
	io.Writer
	// Terminal is true where a person reads along.
	Terminal bool
	// Color is true where escape sequences may be written.
	Color bool
}

// Open looks at a file. NO_COLOR (set to anything) and TERM=dumb are obeyed: see https://no-color.org.
func Open(f *os.File, getenv func(string) string) Stream {
	tty := isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd())
	s := Stream{Writer: f, Terminal: tty, Color: colors(tty, getenv)}
	if s.Color {
		// On Windows before 10 escape sequences have to be translated; elsewhere this is the file itself.
		s.Writer = colorable.NewColorable(f)
	}
	return s
}

func colors(tty bool, getenv func(string) string) bool {
	return tty && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}

// Style is a way to paint text.
type Style string

// The styles in use. They are the plain sixteen colours, which every theme keeps readable.
const (
	Plain  Style = ""
	Bold   Style = "1"
	Faint  Style = "2"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
	Blue   Style = "34"
	Violet Style = "35"
	Cyan   Style = "36"
)

// Paint returns text in a style, or as it is where the stream shows no colours.
func (s Stream) Paint(style Style, text string) string {
	if !s.Color || style == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(style) + "m" + text + "\x1b[0m"
}

// Width is the number of columns that text takes.
func Width(text string) int {
	n := 0
	for _, r := range text {
		n += columns(r)
	}
	return n
}

func columns(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// Pad fills text with spaces up to a width.
func Pad(text string, w int) string {
	if n := w - Width(text); n > 0 {
		return text + strings.Repeat(" ", n)
	}
	return text
}

// Fit cuts text to a width, with an ellipsis, and fills it up to it.
func Fit(text string, w int) string { return Pad(Cut(text, w), w) }

// Cut shortens text to a width, with an ellipsis where something went.
func Cut(text string, w int) string {
	if Width(text) <= w {
		return text
	}
	var b strings.Builder
	n := 0
	for _, r := range text {
		c := columns(r)
		if n+c > w-1 {
			break
		}
		b.WriteRune(r)
		n += c
	}
	return b.String() + "…"
}

// Printable replaces control characters, so that a payload cannot steer the terminal that shows it.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case unicode.IsControl(r) || unicode.In(r, unicode.Cf):
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}
