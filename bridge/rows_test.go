package bridge

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

const (
	rowEvery = 15750 * time.Millisecond
	settling = time.Second
)

// fieldReading is a reading of one rule for one part of channel 1001.
func fieldReading(rule int, part string, seconds float64, v mappings.Value) mappings.Point {
	return mappings.Point{Rule: rule, Name: "1001", Time: at(seconds), Arrived: at(seconds), Parts: partsOf(part, v)}
}

func wantRows(t *testing.T, when string, got []mappings.Point, want ...string) {
	t.Helper()
	if g := showPoints(got); !slices.Equal(g, want) {
		t.Errorf("%s: %v, want %v", when, g, want)
	}
}

func wantNext(t *testing.T, r *rows, seconds float64) {
	t.Helper()
	if next, ok := r.next(); !ok || !next.Equal(at(seconds)) {
		t.Errorf("next = %v s (%v), want %v", next.Sub(noon).Seconds(), ok, seconds)
	}
}

func TestRowsJoin(t *testing.T) {
	r := newRows(rowEvery, settling)
	if _, ok := r.next(); ok {
		t.Fatal("an empty joiner is due")
	}
	none := samplePolicy{}
	r.add(fieldReading(0, "field1", 0, whole(27)), none, at(0))
	r.add(fieldReading(1, "field2", 0.3, whole(60)), none, at(0.3))
	if _, f := r.add(fieldReading(0, "field1", 0.5, whole(28)), none, at(0.5)); f.Kind != sampleReplaced {
		t.Errorf("a second value for a field: fate %+v", f)
	}
	wantNext(t, r, 1) // after quiet: a second after the first reading
	wantRows(t, "before it settled", r.due(at(0.99)))
	wantRows(t, "settled", r.due(at(1)), "1001@0.5 field1=28 field2=60")

	// Busy: the next row closes an interval after the one before, and holds all that came until then.
	for s := 2; s < 16; s++ {
		r.add(fieldReading(0, "field1", float64(s), whole(int64(s))), none, at(float64(s)))
	}
	r.add(fieldReading(2, "status", 9, words("ok")), none, at(9))
	if r.len() != 1 {
		t.Errorf("len = %d with one open row", r.len())
	}
	wantNext(t, r, 16.75)
	wantRows(t, "busy", r.due(at(16.75)), "1001@15 field1=15 status=ok")

	// Quiet again: the next one settles in a second.
	r.add(fieldReading(0, "field1", 100, whole(1)), none, at(100))
	wantNext(t, r, 101)
	// Shortly before the slot the others still get their second.
	r.due(at(101))
	r.add(fieldReading(0, "field1", 116.5, whole(2)), none, at(116.5))
	wantNext(t, r, 117.5)
	wantRows(t, "close", r.close(), "1001@116.5 field1=2")
	if _, ok := r.next(); ok || r.len() != 0 {
		t.Error("something is open after close")
	}
}

func TestRowsTwoRulesOneField(t *testing.T) {
	r := newRows(rowEvery, settling)
	r.add(fieldReading(0, "field1", 0.2, whole(1)), samplePolicy{}, at(0.2))
	if _, f := r.add(fieldReading(1, "field1", 0.1, whole(2)), samplePolicy{}, at(0.3)); f.Kind != sampleReplaced {
		t.Errorf("fate %+v", f)
	}
	wantRows(t, "the newer by its own time stays", r.due(at(5)), "1001@0.2 field1=1")
}

func TestRowsAggregate(t *testing.T) {
	r := newRows(rowEvery, settling)
	mean := samplePolicy{Aggregate: "mean"}
	high := samplePolicy{Aggregate: "max"}
	for s := range 4 {
		sec := float64(s) / 5
		if _, f := r.add(fieldReading(0, "field1", sec, whole(int64(s))), mean, at(sec)); f.Kind != sampleTaken {
			t.Errorf("fate %+v", f)
		}
		r.add(fieldReading(1, "field2", sec, whole(int64(s))), high, at(sec))
	}
	if _, f := r.add(fieldReading(0, "field1", 0.7, words("hot")), mean, at(0.7)); f.Kind != sampleProblem || f.Why == "" {
		t.Errorf("text under mean: fate %+v", f)
	}
	wantRows(t, "aggregates", r.due(at(1)), "1001@0.6 field1=1.5 field2=3")
}

func TestRowsMinChange(t *testing.T) {
	r := newRows(rowEvery, settling)
	half := samplePolicy{MinChange: 0.5, AtLeastEvery: 5 * time.Minute}
	mean := samplePolicy{MinChange: 0.5, Aggregate: "mean"}
	r.add(fieldReading(0, "field1", 0, decimal(20)), half, at(0))
	r.add(fieldReading(1, "field2", 0, decimal(50)), mean, at(0))
	wantRows(t, "first", r.due(at(1)), "1001@0 field1=20.0 field2=50.0")

	if _, f := r.add(fieldReading(0, "field1", 20, decimal(20.2)), half, at(20)); f.Kind != sampleSkipped || f.Why == "" {
		t.Errorf("fate %+v", f)
	}
	if _, ok := r.next(); ok {
		t.Error("a skipped reading opened a row")
	}
	r.add(fieldReading(1, "field2", 20, decimal(50.1)), mean, at(20))
	wantRows(t, "nothing changed enough", r.due(at(21)))
	if got := r.skipped(); len(got) != 1 || got[0].Rule != 1 {
		t.Errorf("skipped = %+v", got)
	}

	r.add(fieldReading(0, "field1", 40, decimal(21)), half, at(40))
	r.add(fieldReading(1, "field2", 40, decimal(50.2)), mean, at(40))
	wantRows(t, "one of two changed", r.due(at(41)), "1001@40 field1=21.0")
	r.add(fieldReading(0, "field1", 341, decimal(21)), half, at(341))
	wantRows(t, "at least every", r.due(at(342)), "1001@341 field1=21.0")
}

func TestRowsLate(t *testing.T) {
	r := newRows(15*time.Second, settling)
	none := samplePolicy{}
	// A board that was away sends what it kept, beside another that is live.
	r.add(fieldReading(0, "field1", 600, whole(1)), none, at(600))
	for _, old := range []float64{0, 5, 16, 31, 31.5} {
		r.add(fieldReading(1, "field2", old, whole(int64(old))), none, at(600.1))
		r.add(fieldReading(1, "field3", old, whole(int64(old))), none, at(600.1))
	}
	// A little late is not late: it may still join the live row.
	r.add(fieldReading(2, "field4", 590, whole(4)), none, at(600.2))
	if r.len() != 4 {
		t.Errorf("len = %d, want the live row and three late ones", r.len())
	}
	wantRows(t, "rows in the order of their time, the live one last", r.due(at(602)),
		"1001@5 field2=5 field3=5", "1001@16 field2=16 field3=16", "1001@31.5 field2=31 field3=31", "1001@600 field1=1 field4=4")

	// A flood of old readings is bounded: the oldest rows go first, and none is lost.
	var out []mappings.Point
	const many = 3 * mostLate
	for i := range many {
		late, f := r.add(fieldReading(1, "field2", float64(-15*((i*7)%many)), whole(int64(i))), none, at(700))
		if f.Kind != sampleTaken {
			t.Fatalf("fate %+v", f)
		}
		out = append(out, late...)
		if len(r.late) > mostLate {
			t.Fatalf("%d late rows are open", len(r.late))
		}
	}
	out = append(out, r.due(at(701))...)
	seen := make(map[string]bool)
	for _, p := range out {
		seen[show(p.Parts)] = true
	}
	if len(out) != many || len(seen) != many {
		t.Errorf("%d late rows, %d different ones, want %d", len(out), len(seen), many)
	}
}

// A rule with a longer interval than the channel fills its field once per interval of its own.
func TestRowsLongerEvery(t *testing.T) {
	r := newRows(15*time.Second, settling)
	slow := samplePolicy{Every: time.Minute, Aggregate: "max"}
	var got []string
	for s := range 130 {
		now := at(float64(s))
		got = append(got, showPoints(r.due(now))...)
		r.add(fieldReading(0, "field1", float64(s), whole(int64(s))), slow, now)
	}
	got = append(got, showPoints(r.close())...)
	want := []string{"1001@59 field1=59", "1001@119 field1=119", "1001@129 field1=129"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The cloud knows entries by their second and refuses the second of two.
func TestRowsKeepSecondsApart(t *testing.T) {
	r := newRows(1700*time.Millisecond, 100*time.Millisecond)
	r.add(fieldReading(0, "field1", 0.2, whole(1)), samplePolicy{}, at(0.2))
	first := r.due(at(0.4))
	r.add(fieldReading(1, "field2", 0.3, whole(2)), samplePolicy{}, at(0.5))
	second := r.due(at(3))
	wantRows(t, "first", first, "1001@0.2 field1=1")
	wantRows(t, "second", second, "1001@1 field2=2")
}

// Twelve sensors on two channels, each once a second, for ten minutes: one row per interval and channel, no value older
// than its interval, and no two rows closer at the cloud than its limit though each arrives up to 0.3 s late.
func TestTwelveSensorsTwoChannels(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for channel := range 2 {
		limits := platforms.Limits{Interval: 15 * time.Second}
		pace := newPacer(limits, 1, noon)
		r := newRows(pace.interval(), settling)
		var waiting []mappings.Point
		var arrivals []time.Time
		for tick := range 6000 {
			now := at(float64(tick) / 10)
			if tick%10 == 0 {
				for sensor := range 6 {
					p := fieldReading(sensor, fmt.Sprint("field", sensor+1), now.Sub(noon).Seconds(), whole(int64(tick)))
					if _, f := r.add(p, samplePolicy{}, now); f.Kind != sampleTaken && f.Kind != sampleReplaced {
						t.Fatalf("fate %+v", f)
					}
				}
			}
			waiting = append(waiting, r.due(now)...)
			if len(waiting) == 0 || pace.next(now, 1).After(now) {
				continue
			}
			pace.take(now, 1)
			row := waiting[0]
			waiting = waiting[1:]
			arrivals = append(arrivals, now.Add(time.Duration(random.Int64N(int64(300*time.Millisecond)))))
			if age := now.Sub(row.Time); age > 1100*time.Millisecond || len(row.Parts) != 6 {
				t.Errorf("channel %d at %v: a row of %d fields, %v old", channel, now.Sub(noon), len(row.Parts), age)
			}
		}
		for i := 1; i < len(arrivals); i++ {
			if gap := arrivals[i].Sub(arrivals[i-1]); gap < limits.Interval {
				t.Errorf("channel %d: two rows only %v apart", channel, gap)
			}
		}
		if want := 600 * 1000 / 15800; len(arrivals) < want || len(waiting) > 0 {
			t.Errorf("channel %d: %d rows sent, want %d; %d wait", channel, len(arrivals), want, len(waiting))
		}
	}
}

func BenchmarkRows(b *testing.B) {
	r := newRows(15*time.Second, settling)
	p := fieldReading(0, "field1", 0, whole(1))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p.Time = at(float64(i) / 10)
		r.add(p, samplePolicy{}, p.Time)
		r.due(p.Time)
	}
}
