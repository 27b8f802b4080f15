package bridge

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/platforms/adafruitio"
	"cloudbridge/platforms/thingspeak"
	"cloudbridge/platforms/thingspeak/thingspeaktest"
)

// paced is the interval of a free ThingSpeak channel.
const paced = 15750 * time.Millisecond

// weatherBulk is the table of a channel with a write key.
func weatherBulk(c any) {
	weatherTable(c)
	t := c.(*thingspeak.Cloud)
	t.APIURL = "http://ts:80"
	t.Channels = map[string]thingspeak.Channel{"1001": {WriteKey: mqtt.Secret(thingspeaktest.DemoChannels()[0].WriteKey)}}
}

// record runs a bridge for so many intervals, with ThingSpeak away from one interval to another, and returns the rows
// of the channel in the order of their time, the emulator, and how long the history took.
func record(t *testing.T, intervals, from, to int) (rows []thingspeaktest.Entry, drain time.Duration) {
	t.Helper()
	inBubble(t, func(b *bubble) {
		ts := b.thingSpeak()
		l := b.lab().cloud("weather", thingspeak.Kind, weatherBulk)
		line := &breakable{dial: b.net.DialContext}
		l.cfg.DialContext = line.dialContext
		l.cfg.Queue.Dir = t.TempDir()
		l.up("iot/a", "weather", field(1001, 1)).up("iot/b", "weather", field(1001, 2))
		br, stop := l.run()
		online(b.T, br)
		board := b.board()
		began := time.Now()
		for n := 0; time.Since(began) < time.Duration(intervals)*paced; n++ {
			at := time.Since(began)
			away := to > from && at >= time.Duration(from)*paced && at < time.Duration(to)*paced
			line.set(away)
			board.publish("iot/a", fmt.Sprint(n))
			board.publish("iot/b", fmt.Sprint(-n))
			time.Sleep(time.Until(began.Add(time.Duration(n+1) * time.Second)))
			if to > from && !away && at > time.Duration(to)*paced && drain == 0 && br.Status().Clouds[0].State == stateOnline {
				drain = at - time.Duration(to)*paced
			}
		}
		stop()
		if bad := refused(ts); len(bad) > 0 {
			b.Errorf("refused: %+v", bad)
		}
		rows = thingspeaktest.ByTime(ts.Feed(1001))
	})
	return rows, drain
}

// TestOutageLeavesNoGap compares a channel after an outage of 200 intervals with one that had none: row for row, value for
// value, time for time.
func TestOutageLeavesNoGap(t *testing.T) {
	const intervals = 320
	want, _ := record(t, intervals, 0, 0)
	got, drain := record(t, intervals, 20, 220)
	t.Logf("%d rows without an outage, %d with one; history filled in %v after the return", len(want), len(got), drain)
	// Rows are cut where the link was lost and found, and so may begin at other seconds than without the outage. Each must
	// hold the readings of its own second, as the boards counted them.
	for _, rows := range [][]thingspeaktest.Entry{want, got} {
		began := rows[0].Created.Add(-time.Second)
		for _, r := range rows {
			a, errA := strconv.Atoi(r.Values["field1"])
			b, errB := strconv.Atoi(r.Values["field2"])
			if off := r.Created.Sub(began) - time.Duration(a)*time.Second; errA != nil || errB != nil || a != -b || off.Abs() > 2*time.Second {
				t.Errorf("the row of %v holds %v, which is %v off its time", r.Created, r.Values, off)
			}
		}
	}
	same := 0
	for _, r := range got {
		if slices.ContainsFunc(want, func(w thingspeaktest.Entry) bool { return w.Created.Equal(r.Created) && maps.Equal(w.Values, r.Values) }) {
			same++
		}
	}
	t.Logf("%d rows are the same to the second", same)
	// At the stop a row or two may wait for their slot: those are on disk for the next start.
	if len(got) < len(want)-2 || len(got) > len(want)+1 {
		t.Errorf("%d rows, want %d", len(got), len(want))
	}
	for i := 1; i < len(got); i++ {
		if gap := got[i].Created.Sub(got[i-1].Created); gap > paced+2*time.Second {
			t.Errorf("a gap of %v after %v", gap, got[i-1].Created)
		}
	}
	if most := 4 * paced; drain == 0 || drain > most {
		t.Errorf("200 rows of history took %v, want at most %v: a live row, then one request", drain, most)
	}
}

// TestAdafruitHistory keeps every reading of a feed over an outage, at its own time.
func TestAdafruitHistory(t *testing.T) {
	inBubble(t, func(b *bubble) {
		aio := b.adafruit(nil)
		line := &breakable{dial: b.net.DialContext}
		l := b.lab().cloud("home", adafruitio.Kind, withREST(aio))
		l.cfg.DialContext = line.dialContext
		l.cfg.Queue.Dir = t.TempDir()
		l.up("iot/{device}/temp", "home", feed("{device}"), func(u *Uplink) { u.Keep = "all" })
		br, stop := l.run()
		online(b.T, br)
		board := b.board()
		began := time.Now()
		const n = 60
		for i := range n {
			line.set(i >= 10 && i < 50)
			board.publish(fmt.Sprintf("iot/dev%d/temp", i%2), fmt.Sprint(i))
			time.Sleep(10 * time.Second)
		}
		line.set(false)
		time.Sleep(10 * time.Minute)
		if w := br.Status().Clouds[0].Counts.Waiting; w != 0 {
			b.Errorf("%d points still wait: %+v", w, br.Status().Clouds[0])
		}
		stop()
		if bad := refused(aio); len(bad) > 0 {
			b.Errorf("refused: %+v", bad)
		}
		seen := map[string]time.Time{}
		for i := range 2 {
			for _, p := range aio.Points(aio.Username(), fmt.Sprintf("dev%d", i)) {
				seen[p.Value] = p.Created
			}
		}
		for i := range n {
			at, ok := seen[fmt.Sprint(i)]
			if off := at.Sub(began.Add(time.Duration(i) * 10 * time.Second)); !ok || off.Abs() > 5*time.Second {
				b.Errorf("reading %d: there %v, %v off its time", i, ok, off)
			}
		}
	})
}

// TestAdafruitHistoryOfNewFeeds has readings wait for feeds that are not there yet. REST refuses their history; the newest
// reading of each makes its feed, and then the rest goes at its own time.
func TestAdafruitHistoryOfNewFeeds(t *testing.T) {
	inBubble(t, func(b *bubble) {
		aio := b.adafruit(nil)
		line := &breakable{dial: b.net.DialContext}
		line.set(true)
		l := b.lab().cloud("home", adafruitio.Kind, withREST(aio))
		l.cfg.DialContext = line.dialContext
		l.cfg.Queue.Dir = t.TempDir()
		l.up("iot/{device}/temp", "home", feed("{device}"), func(u *Uplink) { u.Keep = "all" })
		br, stop := l.run()
		eventually(b.T, "the house online", func() bool { return br.Status().Local.State == stateOnline })
		board := b.board()
		began := time.Now()
		const n = 200 // of each feed: the newest is further back than one look at the queue
		for i := range n {
			board.publish("iot/dev0/temp", fmt.Sprint(i))
			board.publish("iot/dev1/temp", fmt.Sprint(i))
			time.Sleep(10 * time.Second)
		}
		line.set(false)
		time.Sleep(20 * time.Minute)
		if w := br.Status().Clouds[0].Counts.Waiting; w != 0 {
			b.Errorf("%d points still wait: %+v", w, br.Status().Clouds[0])
		}
		stop()
		// A feed that is not there is the only thing to be refused, once for each.
		bad := refused(aio)
		for _, e := range bad {
			if !strings.Contains(e.Why, "not found") {
				b.Errorf("refused: %+v", e)
			}
		}
		if len(bad) != 2 {
			b.Errorf("%d requests were refused, want one for each feed", len(bad))
		}
		for i := range 2 {
			points := aio.Points(aio.Username(), fmt.Sprintf("dev%d", i))
			if len(points) != n {
				b.Fatalf("feed %d has %d points, want %d", i, len(points), n)
			}
			if points[0].Value != fmt.Sprint(n-1) {
				b.Errorf("reading %s made the feed, want the newest", points[0].Value)
			}
			for _, p := range points[1:] {
				k, err := strconv.Atoi(p.Value)
				if off := p.Created.Sub(began.Add(time.Duration(k) * 10 * time.Second)); err != nil || off.Abs() > 5*time.Second {
					b.Errorf("reading %s is %v off its time", p.Value, off)
				}
			}
		}
	})
}

// TestTrustedClock has nothing vouch for the clock but the configuration, or not even that: history goes up or waits.
func TestTrustedClock(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		t.Run(fmt.Sprint(trusted), func(t *testing.T) {
			inBubbleToday(t, func(b *bubble) {
				began := time.Now()
				source := bootClock("boot-1", func() bool { return false })
				if trusted {
					source.Trust()
				}
				l := b.lab().cloud("weather", thingspeak.Kind, weatherBulk)
				l.cfg.Queue.Dir = t.TempDir()
				l.cfg.Clock = source
				l.up("iot/a", "weather", field(1001, 1))
				br, stop := l.run()
				eventually(b.T, "the house online", func() bool { return br.Status().Local.State == stateOnline })
				board := b.board()
				for i := range 100 {
					board.publish("iot/a", fmt.Sprint(i))
					time.Sleep(time.Second)
				}
				ts := b.thingSpeak()
				time.Sleep(5 * time.Minute)
				stop()
				rows := ts.Feed(1001)
				oldest := slices.ContainsFunc(rows, func(e thingspeaktest.Entry) bool { return e.Created.Sub(began).Abs() < 5*time.Second })
				if trusted && (len(rows) < 6 || !oldest) {
					b.Errorf("want all rows, and the oldest at %v, got %v", began, rows)
				}
				if !trusted && len(rows) > 2 {
					b.Errorf("%d rows went up by a clock that nobody vouches for: %v", len(rows), rows)
				}
			})
		})
	}
}

// TestWrongClock has history come in while the clock is wrong: it waits, and gets its right time when the clock does.
func TestWrongClock(t *testing.T) {
	inBubble(t, func(b *bubble) {
		var right atomic.Bool
		source := bootClock("boot-1", right.Load)
		l := b.lab().cloud("weather", thingspeak.Kind, weatherBulk)
		l.cfg.Queue.Dir = t.TempDir()
		l.cfg.Clock = source
		l.up("iot/a", "weather", field(1001, 1))
		br, stop := l.run()
		eventually(b.T, "the house online", func() bool { return br.Status().Local.State == stateOnline })
		board := b.board()
		for i := range 100 {
			board.publish("iot/a", fmt.Sprint(i))
			time.Sleep(time.Second)
		}
		ts := b.thingSpeak()
		time.Sleep(2 * time.Minute)
		if n := len(ts.Feed(1001)); n > 2 {
			b.Errorf("%d rows went up while the clock was wrong, want at most the live ones: %v", n, ts.Feed(1001))
		}
		right.Store(true)
		time.Sleep(5 * time.Minute)
		stop()
		if n := len(ts.Feed(1001)); n < 6 {
			b.Errorf("%d rows after the clock became right: %v", n, ts.Feed(1001))
		}
	})
}
