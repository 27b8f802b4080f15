package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"cloudbridge/cmd/cloudbridge/internal/config"
	"cloudbridge/cmd/cloudbridge/internal/terminal"
	"cloudbridge/platforms/all"
)

// console is where the program meets a person: answers go to out, and what is said about them goes to err as one line
// each, "cloudbridge: error: ..." with "cloudbridge: hint: ..." below it. These lines have no capital at their start and
// no period at their end, name what to do where that is known, and speak of boards, topics and clouds, never of what the
// program is made of.
type console struct {
	in       io.Reader
	out, err terminal.Stream
	env      config.Environment
	now      func() time.Time
	signal   <-chan os.Signal
}

// failure is an error with its exit code, and what to do about it.
type failure struct {
	code  int
	err   error
	hints []string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// fail makes an error of the ordinary kind, with hints.
func fail(err error, hints ...string) error {
	return &failure{code: exitError, err: err, hints: hints}
}

// misused is a command line that asks for something that makes no sense.
func misused(text string, hints ...string) error {
	return &failure{code: exitConfig, err: errors.New(text), hints: hints}
}

func (c *console) say(style terminal.Style, kind, text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintf(c.err, "cloudbridge: %s %s\n", c.err.Paint(style, kind+":"), strings.TrimRight(line, "\n"))
	}
}

func (c *console) error(text string) { c.say(terminal.Red, "error", text) }
func (c *console) warn(text string)  { c.say(terminal.Yellow, "warning", text) }
func (c *console) hint(text string)  { c.say(terminal.Cyan, "hint", text) }

// note says something that is neither wrong nor an answer.
func (c *console) note(text string) { fmt.Fprintf(c.err, "cloudbridge: %s\n", text) }

// report says what went wrong and returns the exit code for it.
func (c *console) report(err error) int {
	if err == nil {
		return exitOK
	}
	var faults *config.Errors
	if errors.As(err, &faults) {
		for _, f := range faults.Faults {
			c.fault(f)
		}
		c.error(plural(len(faults.Faults), "fault") + " in the config; nothing was started")
		return exitConfig
	}
	code := exitError
	var hints []string
	var f *failure
	if errors.As(err, &f) {
		code, hints = f.code, f.hints
	}
	c.error(err.Error())
	for _, h := range hints {
		c.hint(h)
	}
	return code
}

// fault says one thing that is wrong in a config: where, what stands there, and what to write instead.
func (c *console) fault(f config.Fault) {
	c.error(f.Error())
	if f.Text != "" {
		fmt.Fprintf(c.err, "    %s\n", terminal.Cut(terminal.Printable(f.Text), 100))
	}
	if f.Hint != "" {
		c.hint(f.Hint)
	}
}

// warning says one thing that works but hardly as intended.
func (c *console) warning(w config.Warning) {
	c.warn(w.String())
	if w.Hint != "" {
		c.hint(w.Hint)
	}
}

// load finds and reads the config, and says which file it is before anything else can be said about it.
func (c *console) load(flag string) (*config.File, error) {
	path, err := config.Find(flag, c.env)
	if err != nil {
		return nil, &failure{code: exitError, err: err, hints: []string{`"cloudbridge demo" shows a bridge at work without any config`}}
	}
	c.note("config: " + path)
	return config.Load(path, c.env, all.Kinds())
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// joinOr writes a list as people do: "a, b or c".
func joinOr(list []string) string {
	switch n := len(list); n {
	case 0:
		return "none"
	case 1:
		return list[0]
	default:
		return strings.Join(list[:n-1], ", ") + " or " + list[n-1]
	}
}

// span writes a duration in the unit that people would use, without false precision.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return strconv.FormatFloat(float64(d.Milliseconds()), 'f', -1, 64) + " ms"
	case d < 2*time.Minute:
		return number(d.Seconds()) + " s"
	case d < 2*time.Hour:
		return number(d.Minutes()) + " min"
	}
	return number(d.Hours()) + " h"
}

func number(f float64) string {
	s := strconv.FormatFloat(f, 'f', 2, 64)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// writeTable shows rows below a heading, in columns; nothing where there are no rows.
func writeTable(w terminal.Stream, heading string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], terminal.Width(terminal.Printable(cell)))
		}
	}
	fmt.Fprintf(w, "\n%s\n", w.Paint(terminal.Bold, heading))
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString("  " + terminal.Pad(terminal.Printable(cell), widths[i]))
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// wrap breaks text into lines of at most width columns, between words.
func wrap(text string, width int) string {
	var b strings.Builder
	n := 0
	for _, word := range strings.Fields(text) {
		w := terminal.Width(word)
		switch {
		case n == 0:
		case n+1+w > width:
			b.WriteByte('\n')
			n = 0
		default:
			b.WriteByte(' ')
			n++
		}
		b.WriteString(word)
		n += w
	}
	return b.String()
}
