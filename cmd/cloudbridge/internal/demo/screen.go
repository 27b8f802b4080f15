package demo

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"cloudbridge/cmd/cloudbridge/internal/terminal"
)

// kind is what sort of thing a line tells.
type kind int

const (
	reading kind = iota // a board published
	taken               // a cloud took something
	refused             // a cloud refused something
	tapped              // somebody tapped on a phone
	command             // the bridge brought something down
	thing               // a thing in the classroom did something
	stopped             // the bridge let something go no further
	told                // said about the demo itself
)

// words and styles of the kinds; the words stand in a column of their own.
var kinds = map[kind]struct {
	word  string
	style terminal.Style
}{
	reading: {"reading", terminal.Blue},
	taken:   {"  sent", terminal.Green},
	refused: {"REFUSED", terminal.Red},
	tapped:  {"tap", terminal.Violet},
	command: {"  command", terminal.Violet},
	thing:   {"    done", terminal.Yellow},
	stopped: {"  stopped", terminal.Faint},
	told:    {"", terminal.Plain},
}

// line is one thing that happened.
type line struct {
	at                     time.Time
	kind                   kind
	who, where, what, note string
}

// waitingLines is how many lines may wait for a slow terminal.
const waitingLines = 4096

// screen writes lines in the order in which they came. Adding never waits: brokers call it.
type screen struct {
	out    terminal.Stream
	lines  chan line
	done   chan struct{}
	mu     sync.Mutex
	ended  bool
	missed int
}

func newScreen(out terminal.Stream) *screen {
	s := &screen{out: out, lines: make(chan line, waitingLines), done: make(chan struct{})}
	go s.write()
	return s
}

func (s *screen) add(l line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	select {
	case s.lines <- l:
	default:
		s.missed++
	}
}

func (s *screen) write() {
	defer close(s.done)
	for l := range s.lines {
		fmt.Fprintln(s.out, l.text(s.out))
	}
}

// stop writes what waits and ends. It may be called twice.
func (s *screen) stop() {
	s.mu.Lock()
	first := !s.ended
	if first {
		s.ended = true
		close(s.lines)
	}
	s.mu.Unlock()
	<-s.done
	if first && s.missed > 0 {
		fmt.Fprintf(s.out, "(%d lines are not shown: the terminal was too slow)\n", s.missed)
	}
}

// The widths of the columns.
const (
	kindWidth  = 9
	whoWidth   = 12
	whereWidth = 34
	whatWidth  = 30
)

func (l *line) text(out terminal.Stream) string {
	k := kinds[l.kind]
	what := terminal.Printable(l.what)
	if l.note != "" {
		what = terminal.Fit(what, whatWidth)
	}
	text := fmt.Sprintf(
		"%s  %s  %s  %s  %s",
		out.Paint(terminal.Faint, l.at.Format(time.TimeOnly)),
		out.Paint(k.style, terminal.Pad(k.word, kindWidth)),
		terminal.Fit(l.who, whoWidth),
		fitEnd(terminal.Printable(l.where), whereWidth),
		what,
	)
	if l.note != "" {
		text += "  " + out.Paint(terminal.Faint, terminal.Printable(l.note))
	}
	return strings.TrimRight(text, " ")
}

func seconds(d time.Duration) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + " s"
}

func millis(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

// fitEnd is terminal.Fit, but keeps the end: of a long topic the last levels tell most.
func fitEnd(text string, w int) string {
	if terminal.Width(text) <= w {
		return terminal.Pad(text, w)
	}
	runes := []rune(text)
	for terminal.Width(string(runes)) > w-1 {
		runes = runes[1:]
	}
	return terminal.Pad("…"+string(runes), w)
}

func indent(text string) string {
	var b strings.Builder
	for l := range strings.Lines(text) {
		if strings.TrimSpace(l) != "" {
			b.WriteString("  ")
		}
		b.WriteString(l)
	}
	return b.String()
}
