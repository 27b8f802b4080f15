package bridge

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cloudbridge/platforms/adafruitio"
	"cloudbridge/platforms/thingspeak"
)

// TestBudgetSurvivesRestart stops a bridge and starts it again at once, cleanly and as after a crash: no row comes too
// soon, and after a crash the budget counts as just used.
func TestBudgetSurvivesRestart(t *testing.T) {
	for name, crash := range map[string]bool{"clean": false, "crash": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				dir := t.TempDir()
				ts := b.thingSpeak()
				start := func() func() {
					l := b.lab().cloud("weather", thingspeak.Kind, weatherTable)
					l.cfg.Queue.Dir = dir
					l.up("iot/temp", "weather", field(1001, 1))
					br, stop := l.run()
					online(b.T, br)
					return stop
				}
				stop := start()
				board := b.board()
				board.publish("iot/temp", "1")
				time.Sleep(3 * time.Second)
				stop()
				time.Sleep(time.Second) // The goodbye is on its way as long as everything else.
				if len(ts.Feed(1001)) != 1 {
					b.Fatalf("the first run sent %d rows, want 1", len(ts.Feed(1001)))
				}
				if crash {
					forgetCleanStop(b, dir)
				}
				again := time.Now()
				stop = start()
				board.publish("iot/temp", "2")
				time.Sleep(30 * time.Second)
				stop()
				if bad := refused(ts); len(bad) > 0 {
					b.Errorf("refused: %+v", bad)
				}
				rows := ts.Feed(1001)
				if len(rows) != 2 {
					b.Fatalf("%d rows after the second run, want 2", len(rows))
				}
				var arrived []time.Time
				for _, e := range ts.Events() {
					if e.What == "publish" && e.Accepted {
						arrived = append(arrived, e.Time)
					}
				}
				if gap := arrived[1].Sub(again); crash && gap < 15*time.Second {
					b.Errorf("after a crash the first row came %v after the start, as if nothing had been sent before", gap)
				}
			})
		})
	}
}

// forgetCleanStop makes the state file look as after a crash.
func forgetCleanStop(b *bubble, dir string) {
	b.Helper()
	path := filepath.Join(dir, memoryFile)
	data, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	var s memoryState
	if err := json.Unmarshal(data, &s); err != nil {
		b.Fatal(err)
	}
	if !s.Clean {
		b.Fatal("a clean stop left the state unclean")
	}
	s.Clean, s.Pacers = false, nil
	if data, err = json.Marshal(s); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.Fatal(err)
	}
}

// TestCrashLoopSparesLogins starts a bridge that crashes right after its login again and again: the account's logins
// stay within six a minute over all of them.
func TestCrashLoopSparesLogins(t *testing.T) {
	inBubble(t, func(b *bubble) {
		dir := t.TempDir()
		aio := b.adafruit(nil)
		began := time.Now()
		for time.Since(began) < 3*time.Minute {
			l := b.lab().cloud("home", adafruitio.Kind, func(c any) {
				a := c.(*adafruitio.Cloud)
				a.URL, a.Username, a.Key = "mqtt://aio:1883", aio.Username(), aioKey
			})
			l.cfg.Queue.Dir = dir
			l.up("iot/{device}/temp", "home", feed("{device}"))
			_, stop := l.run()
			time.Sleep(2 * time.Second)
			stop()
			forgetCleanStop(b, dir)
		}
		if n := aio.Count("login", true) + aio.Count("login", false); n > 3*6 {
			b.Errorf("%d logins in three minutes, want at most 6 a minute", n)
		}
	})
}

// TestDamagedState starts with a state file that is no JSON.
func TestDamagedState(t *testing.T) {
	inBubble(t, func(b *bubble) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, memoryFile), []byte("{"), 0o600); err != nil {
			b.Fatal(err)
		}
		b.thingSpeak()
		l := b.lab().cloud("weather", thingspeak.Kind, weatherTable)
		l.cfg.Queue.Dir = dir
		l.up("iot/temp", "weather", field(1001, 1))
		br, stop := l.run()
		online(b.T, br)
		stop()
		if !l.log.has("the state of the last run is damaged") {
			b.Errorf("nobody said so: %s", l.log)
		}
	})
}
