package bridge

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloudbridge/platforms/adafruitio"
	"cloudbridge/platforms/adafruitio/adafruitiotest"
	"cloudbridge/platforms/thingspeak"
	"cloudbridge/platforms/thingspeak/thingspeaktest"
)

// mostOverLegal is how much longer than the cloud demands a long history may take: the pacer keeps 5 % away from the limit,
// and the rest is for the jitter of the first and the last arrival.
const mostOverLegal = 1.1

// write is something that costs of the cloud's limit.
type write struct {
	at     time.Time
	past   bool // it carries history
	points int
}

// drained gives what was written from the first write of history to the last one, live ones in between with them.
func drained(writes []write) []write {
	first, last := -1, -1
	for i, w := range writes {
		if w.past {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	if first < 0 {
		return nil
	}
	return writes[first : last+1]
}

// TestLongHistoryOnThingSpeak fills in an outage of half a day, of more rows than three bulk requests take. Bulk requests
// and live rows share the one write that a channel has in 15 s (live rows ride along with the bulk requests while there are
// any), so the least that the cloud allows is 15 s from each write, of whichever kind, to the next.
func TestLongHistoryOnThingSpeak(t *testing.T) {
	const (
		away  = 3000 // intervals; a bulk request of a free plan takes 960
		legal = 15 * time.Second
		step  = paced / 2
	)
	inBubble(t, func(b *bubble) {
		ts := b.thingSpeak()
		l := b.lab().cloud("weather", thingspeak.Kind, weatherBulk)
		line := &breakable{dial: b.net.DialContext}
		l.cfg.DialContext = line.dialContext
		l.cfg.Queue.Dir = t.TempDir()
		l.up("iot/a", "weather", field(1001, 1))
		br, stop := l.run()
		online(b.T, br)
		board := b.board()
		began := time.Now()
		n := 0
		speak := func(intervals int) {
			for end := n + 2*intervals; n < end; n++ {
				board.publish("iot/a", strconv.Itoa(n))
				time.Sleep(time.Until(began.Add(time.Duration(n+1) * step)))
			}
		}
		speak(4)
		line.set(true)
		speak(away)
		line.set(false)
		back := time.Now()
		speak(12)
		if w := br.Status().Clouds[0].Counts.Waiting; w > 3 {
			b.Errorf("%d rows still wait: %+v", w, br.Status().Clouds[0])
		}
		// The stop makes history of the row that it closes early: that is no part of the outage.
		events := ts.Events()
		stop()
		if bad := refused(ts); len(bad) > 0 {
			b.Errorf("%d refused, the first: %+v", len(bad), bad[0])
		}

		var writes []write
		for _, e := range events {
			bulk := e.What == "request" && strings.HasSuffix(e.Topic, "/bulk_update.json")
			if e.Time.After(back) && (bulk || e.What == "publish") {
				writes = append(writes, write{at: e.Time, past: bulk})
			}
		}
		if len(writes) == 0 || writes[0].past {
			b.Errorf("the first write after the return is not a live row: %+v", writes)
		}
		drain := drained(writes)
		bulks := 0
		for _, w := range drain {
			if w.past {
				bulks++
			}
		}
		if bulks < 4 {
			b.Fatalf("%d bulk requests are too few to tell their pace: %+v", bulks, drain)
		}
		took := drain[len(drain)-1].at.Sub(drain[0].at)
		least := time.Duration(len(drain)-1) * legal
		ratio := float64(took) / float64(least)
		t.Logf("%d rows of history in %d bulk requests and %d live rows among them: %v, %.3f times the least of %v; all within %v of the return",
			away, bulks, len(drain)-bulks, took, ratio, least, drain[len(drain)-1].at.Sub(back))
		if ratio > mostOverLegal || took < least {
			b.Errorf("the history took %.3f times what ThingSpeak demands, want 1 to %v: %+v", ratio, mostOverLegal, drain)
		}
		if len(drain) > bulks {
			b.Errorf("%d live rows took a slot of the %d bulk requests, which carry them", len(drain)-bulks, bulks)
		}
		wantNoRowMissing(b, thingspeaktest.ByTime(ts.Feed(1001)), began, step, 4+away+12)
	})
}

// wantNoRowMissing has rows follow each other by an interval, each with the reading of its own time.
func wantNoRowMissing(b *bubble, rows []thingspeaktest.Entry, began time.Time, step time.Duration, intervals int) {
	b.Helper()
	if len(rows) < intervals-2 || len(rows) > intervals+1 {
		b.Errorf("%d rows, want %d", len(rows), intervals)
	}
	for i, r := range rows {
		reading, err := strconv.Atoi(r.Values["field1"])
		if off := r.Created.Sub(began) - time.Duration(reading)*step; err != nil || off.Abs() > 2*time.Second {
			b.Errorf("the row of %v holds %v, which is %v off its time", r.Created, r.Values, off)
		}
		if i > 0 && r.Created.Sub(rows[i-1].Created) > paced+2*time.Second {
			b.Errorf("a gap of %v after %v", r.Created.Sub(rows[i-1].Created), rows[i-1].Created)
		}
	}
}

// TestLongHistoryOnAdafruit fills in an hour of two feeds. Each point counts towards the 30 that a free account may write
// in any minute, so the least that the cloud allows is a minute for each 30 points after the first 30, live ones with them.
func TestLongHistoryOnAdafruit(t *testing.T) {
	const (
		perMinute = 30
		step      = 10 * time.Second
		away      = 360 // readings of each feed
	)
	inBubble(t, func(b *bubble) {
		aio := b.adafruit(map[string]string{"feeds": "dev0,dev1"})
		line := &breakable{dial: b.net.DialContext}
		l := b.lab().cloud("home", adafruitio.Kind, withREST(aio))
		l.cfg.DialContext = line.dialContext
		l.cfg.Queue.Dir = t.TempDir()
		l.up("iot/{device}/temp", "home", feed("{device}"), func(u *Uplink) { u.Keep = "all" })
		br, stop := l.run()
		online(b.T, br)
		board := b.board()
		began := time.Now()
		n := 0
		speak := func(readings int) {
			for end := n + readings; n < end; n++ {
				board.publish("iot/dev0/temp", strconv.Itoa(n))
				board.publish("iot/dev1/temp", strconv.Itoa(n))
				time.Sleep(time.Until(began.Add(time.Duration(n+1) * step)))
			}
		}
		speak(6)
		line.set(true)
		speak(away)
		line.set(false)
		back := time.Now()
		// They go on speaking while the history is filled in, at 12 points a minute.
		speak(away)
		time.Sleep(time.Minute)
		if w := br.Status().Clouds[0].Counts.Waiting; w != 0 {
			b.Errorf("%d points still wait: %+v", w, br.Status().Clouds[0])
		}
		stop()
		if bad := refused(aio); len(bad) > 0 {
			b.Errorf("%d refused, the first: %+v", len(bad), bad[0])
		}

		var writes []write
		for _, e := range aio.Events() {
			batch := e.What == "request" && strings.HasSuffix(e.Topic, "/data/batch")
			switch {
			case !e.Time.After(back):
			case batch:
				writes = append(writes, write{e.Time, true, strings.Count(e.Payload, `"value"`)})
			case e.What == "publish":
				writes = append(writes, write{e.Time, false, 1})
			}
		}
		drain := drained(writes)
		points, past := 0, 0
		for _, w := range drain {
			points += w.points
			if w.past {
				past += w.points
			}
		}
		if past < 2*away {
			b.Fatalf("%d points went as history, want %d", past, 2*away)
		}
		took := drain[len(drain)-1].at.Sub(drain[0].at)
		least := time.Duration((points+perMinute-1)/perMinute-1) * time.Minute
		ratio := float64(took) / float64(least)
		t.Logf("%d points in %d writes, %d of them history: %v, %.3f times the least of %v", points, len(drain), past, took, ratio, least)
		if ratio > mostOverLegal {
			b.Errorf("the history took %.3f times what Adafruit IO demands, want at most %v", ratio, mostOverLegal)
		}
		for i := range 2 {
			wantEveryPoint(b, aio.Points(aio.Username(), fmt.Sprintf("dev%d", i)), began, step, n)
		}
	})
}

// wantEveryPoint has a feed hold each of n readings once, at its own time.
func wantEveryPoint(b *bubble, points []adafruitiotest.Point, began time.Time, step time.Duration, n int) {
	b.Helper()
	seen := make(map[string]time.Time)
	for _, p := range points {
		seen[p.Value] = p.Created
	}
	if len(points) != n {
		b.Errorf("%d points, want %d", len(points), n)
	}
	for i := range n {
		at, ok := seen[strconv.Itoa(i)]
		if off := at.Sub(began.Add(time.Duration(i) * step)); !ok || off.Abs() > 15*time.Second {
			b.Errorf("reading %d: there %v, %v off its time", i, ok, off)
		}
	}
}
