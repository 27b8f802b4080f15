package demo

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"cloudbridge/bridge"
	"cloudbridge/cmd/cloudbridge/internal/terminal"
)

// Summary is what happened, by the emulators' own counts.
type Summary struct {
	For      time.Duration
	Readings int
	Clouds   []CloudSummary
	// ClosestRows is the shortest time between two rows of one ThingSpeak channel; zero where there were no two.
	ClosestRows time.Duration
	// Taps and Switches are how often somebody tapped on the lamp, and how often it obeyed; Bells likewise.
	Taps, Switches  int
	BellTaps, Bells int
	// Echoes are values that a cloud sent back to the bridge, which let them go no further.
	Echoes      int
	Slowest     time.Duration
	Status      bridge.Status
	rowInterval time.Duration
}

// CloudSummary is what one cloud counted.
type CloudSummary struct {
	Name, Title string
	// Accepted and Refused are publishes; Logins the logins that were taken, BadLogins those that were not.
	Accepted, Refused int
	Logins, BadLogins int
}

// ownValue is how the bridge counts an echo.
const ownValue = "dropped: our own value, come back"

func (d *demo) summary() Summary {
	s := Summary{
		For: time.Since(d.started), Readings: int(d.house.tap.readings.Load()),
		Status: d.bridge.Status(), rowInterval: rowInterval,
	}
	for _, cl := range d.clouds.all {
		s.Clouds = append(s.Clouds, CloudSummary{
			Name: cl.name, Title: cl.title,
			Accepted: cl.Count("publish", true), Refused: cl.Count("publish", false),
			Logins: cl.Count("login", true), BadLogins: cl.Count("login", false),
		})
	}
	for _, c := range s.Status.Clouds {
		s.Echoes += int(c.Counts.Reasons[ownValue])
	}
	d.clouds.mu.Lock()
	s.ClosestRows = d.clouds.closest
	d.clouds.mu.Unlock()
	var lamp, bell time.Duration
	s.Taps, s.Switches, lamp = d.clouds.lamp.result()
	s.BellTaps, s.Bells, bell = d.clouds.bell.result()
	s.Slowest = max(lamp, bell)
	return s
}

func (s *Summary) write(out terminal.Stream) {
	fmt.Fprintf(out, "\n%s\n", out.Paint(terminal.Bold, fmt.Sprintf("in %s: %d messages published in the classroom", seconds(s.For.Round(time.Second)), s.Readings)))
	for _, c := range s.Clouds {
		style := terminal.Green
		if c.Refused+c.BadLogins > 0 {
			style = terminal.Red
		}
		fmt.Fprintf(out, "  %s  %s accepted, %s refused", terminal.Pad(c.Title, whoWidth), terminal.Pad(fmt.Sprint(c.Accepted), 4),
			out.Paint(style, fmt.Sprint(c.Refused+c.BadLogins)))
		if c.Name == "weather" && s.ClosestRows > 0 {
			fmt.Fprintf(out, "; no two rows of a channel closer than %s (the limit is %s)", seconds(s.ClosestRows), seconds(s.rowInterval))
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "  %s  tapped %s, switched %s", terminal.Pad("lamp", whoWidth), times(s.Taps), times(s.Switches))
	if s.BellTaps > 0 {
		fmt.Fprintf(out, "; the bell tapped %s, rang %s", times(s.BellTaps), times(s.Bells))
	}
	if s.Slowest > 0 {
		fmt.Fprintf(out, "; the slowest took %s", millis(s.Slowest))
	}
	fmt.Fprintln(out)
	s.writeReasons(out)
}

func times(n int) string {
	switch n {
	case 0:
		return "never"
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

// writeReasons says what the bridge did not carry, and why, in its own words.
func (s *Summary) writeReasons(out io.Writer) {
	for i, c := range s.Status.Clouds {
		for _, key := range slices.Sorted(maps.Keys(c.Counts.Reasons)) {
			fate, why, _ := strings.Cut(key, ": ")
			fmt.Fprintf(out, "  %s  %d %s (%s)\n", terminal.Pad(s.Clouds[i].Title, whoWidth), c.Counts.Reasons[key], fate, why)
		}
	}
}
