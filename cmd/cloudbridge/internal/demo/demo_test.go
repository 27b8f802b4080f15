package demo

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"cloudbridge/cmd/cloudbridge/internal/terminal"
	"cloudbridge/platforms/all"
)

// TestDemo runs the whole classroom until enough has crossed, and believes only the emulators' own counters.
func TestDemo(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, log bytes.Buffer
	// The last tap is over before the demo may end.
	enough := func(s Summary) bool {
		return len(s.Clouds) == 3 && s.Clouds[0].Accepted >= 3 && s.ClosestRows > 0 && s.Clouds[1].Accepted >= 4 && s.Clouds[2].Accepted >= 10 &&
			s.Taps >= 2 && s.Switches >= s.Taps && s.Bells >= 1 && s.Echoes >= 2
	}
	s, err := Run(ctx, Options{
		Out: terminal.Stream{Writer: &out}, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Kinds: all.Kinds(), Emulators: all.Emulators(), Pace: 5, Until: enough,
	})
	if err != nil {
		t.Fatal(err)
	}
	if !enough(s) {
		t.Errorf("not enough crossed within a minute: %+v", s)
	}
	for _, c := range s.Clouds {
		if c.Refused != 0 || c.BadLogins != 0 {
			t.Errorf("%s refused %d publishes and %d logins", c.Title, c.Refused, c.BadLogins)
		}
	}
	if s.Clouds[0].Logins != 1 {
		t.Errorf("ThingSpeak saw %d logins, want 1", s.Clouds[0].Logins)
	}
	// At Adafruit IO and HiveMQ the phone logs in, too.
	if s.Clouds[1].Logins != 2 || s.Clouds[2].Logins != 2 {
		t.Errorf("Adafruit IO saw %d logins and HiveMQ %d, want 2 each", s.Clouds[1].Logins, s.Clouds[2].Logins)
	}
	if s.ClosestRows < rowInterval {
		t.Errorf("two rows were only %v apart", s.ClosestRows)
	}
	// What the lamp says of itself goes up and comes back; it must not switch the lamp again.
	if s.Switches > s.Taps || s.Bells > s.BellTaps {
		t.Errorf("%d taps made %d switches, %d taps at the bell %d rings: something came back", s.Taps, s.Switches, s.BellTaps, s.Bells)
	}
	if t.Failed() {
		t.Logf("the screen:\n%s\nthe log:\n%s", &out, &log)
	}
	shows(t, out.String())
}

func shows(t *testing.T, screen string) {
	t.Helper()
	for _, want := range []string{
		"[cloud.weather]", "mosquitto_pub -h 127.0.0.1 -p ", "a row every 3 s; the real one every 15 s",
		"第3組：溫度正常", "Pico W temperature=27", "field 1 = ", "after the last row", "is on", "after the tap", "accepted, 0 refused",
	} {
		if !strings.Contains(screen, want) {
			t.Errorf("the screen does not show %q", want)
		}
	}
	if strings.Contains(screen, "\x1b") {
		t.Error("escape sequences where there is no terminal")
	}
	if t.Failed() {
		t.Logf("the screen:\n%s", screen)
	}
}

func TestLineColumns(t *testing.T) {
	at := time.Date(2026, 11, 20, 9, 0, 1, 0, time.Local)
	tests := []struct {
		line line
		want string
	}{
		{
			line{at, reading, "Pico W", "iot/ece2026/picow/temp", "Pico W temperature=27", ""},
			"09:00:01  reading    Pico W        iot/ece2026/picow/temp              Pico W temperature=27",
		},
		{
			line{at, taken, "ThingSpeak", "channel 1001", "field 1 = 27", "3.7 s after the last row"},
			"09:00:01    sent     ThingSpeak    channel 1001                        field 1 = 27                    3.7 s after the last row",
		},
		{
			line{at, reading, "group 3", "iot/ece2026/group3/message", "第3組\x1b[2J", ""},
			"09:00:01  reading    group 3       iot/ece2026/group3/message          第3組\uFFFD[2J",
		},
		{
			line{at, taken, "HiveMQ Cloud", "a/very/long/topic/of/more/levels/than/fit", "1", ""},
			"09:00:01    sent     HiveMQ Cloud  …ong/topic/of/more/levels/than/fit  1",
		},
	}
	for _, tt := range tests {
		if got := tt.line.text(terminal.Stream{}); got != tt.want {
			t.Errorf("\n got %q\nwant %q", got, tt.want)
		}
	}
}

func TestScreenNeverWaits(t *testing.T) {
	hold := make(chan struct{})
	var out bytes.Buffer
	s := newScreen(terminal.Stream{Writer: writerFunc(func(b []byte) (int, error) { <-hold; return out.Write(b) })})
	for range waitingLines + 100 {
		s.add(line{kind: reading})
	}
	close(hold)
	s.stop()
	s.stop()
	s.add(line{kind: reading})
	if !strings.Contains(out.String(), "lines are not shown") {
		t.Error("lines went missing without a word")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
