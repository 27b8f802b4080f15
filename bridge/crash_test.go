package bridge

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"cloudbridge/platforms/thingspeak"
)

// TestRowsSurviveACrashAtAnyMoment takes copies of the queue directory at moments that a crash may choose, while ThingSpeak
// is dead, and starts a bridge on each: what came in more than two intervals before the crash is there.
func TestRowsSurviveACrashAtAnyMoment(t *testing.T) {
	inBubble(t, func(b *bubble) {
		const interval, moments = 15750 * time.Millisecond, 16
		dir, copies := t.TempDir(), t.TempDir()
		l := b.lab().cloud("weather", thingspeak.Kind, weatherTable)
		l.cfg.Queue.Dir = dir
		l.up("iot/x", "weather", field(1001, 1))
		br, stop := l.run()
		eventually(b.T, "the house online", func() bool { return br.Status().Local.State == stateOnline })
		board := b.board()
		crashed := make([]int, moments) // the last reading before the crash, in seconds
		for n, taken := 0, 0; taken < moments; n++ {
			board.publish("iot/x", fmt.Sprint(n))
			time.Sleep(500 * time.Millisecond)
			if at := 10*interval + time.Duration(taken)*interval/8; time.Duration(n)*time.Second > at {
				if err := os.CopyFS(filepath.Join(copies, fmt.Sprint(taken)), os.DirFS(dir)); err != nil {
					b.Fatal(err)
				}
				crashed[taken] = n
				taken++
			}
			time.Sleep(500 * time.Millisecond)
		}
		stop()
		ts := b.thingSpeak()
		worst := 0
		for i, last := range crashed {
			before := len(ts.Feed(1001))
			l := b.lab().cloud("weather", thingspeak.Kind, weatherTable)
			l.cfg.Queue.Dir = filepath.Join(copies, fmt.Sprint(i))
			l.up("iot/x", "weather", field(1001, 1))
			_, stop := l.run()
			time.Sleep(10 * time.Minute)
			stop()
			newest := -1
			for _, row := range ts.Feed(1001)[before:] {
				v, err := strconv.Atoi(row.Values["field1"])
				if err != nil {
					b.Fatal(err)
				}
				newest = max(newest, v)
			}
			missing := last - newest // seconds of readings
			worst = max(worst, missing)
			// A reading a second, and the crash half a second after one.
			if most := int(2*interval/time.Second) + 1; missing > most {
				b.Errorf("a crash %.1f intervals after the start lost the readings of %d s, want at most %d s", float64(last)/interval.Seconds(), missing, most)
			}
		}
		b.Logf("at worst the readings of the last %d s are lost: %.1f intervals", worst, float64(worst)/interval.Seconds())
	})
}
