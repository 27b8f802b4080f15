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

// reading is a point with one whole number as its value.
func reading(name string, seconds float64, value int64) mappings.Point {
	return mappings.Point{
		Name: name, Time: at(seconds), Arrived: at(seconds),
		Parts: []mappings.Part{{Name: "value", Value: mappings.Value{Kind: mappings.Int, Int: value}}},
	}
}

func TestLatestKeepsNewest(t *testing.T) {
	l := newLatest(1)
	if _, ok, wait := l.pick(at(0), time.Second); ok || !wait.IsZero() {
		t.Fatalf("an empty one picks %v, waits until %v", ok, wait)
	}
	if l.put(reading("a", 1, 1), at(1)) {
		t.Error("the first of an address replaced something")
	}
	if !l.put(reading("a", 2, 2), at(2)) {
		t.Error("the second replaced nothing")
	}
	if !l.put(reading("a", 1.5, 15), at(3)) {
		t.Error("an older reading that came late was not counted")
	}
	l.put(reading("b", 3, 3), at(3))
	if got := l.names(); l.len() != 2 || !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("names = %v, len %d", got, l.len())
	}
	if got := l.points(); len(got) != 2 || got[0].Name != "a" || got[0].Parts[0].Value.Int != 2 {
		t.Errorf("points = %+v", got)
	}
	p, ok, _ := l.pick(at(4), time.Second)
	if !ok || p.Name != "a" || p.Parts[0].Value.Int != 2 {
		t.Errorf("picked %+v", p)
	}
	l.sent("a", at(4))
	if l.len() != 1 {
		t.Errorf("len = %d after a pick", l.len())
	}
}

func TestLatestTurns(t *testing.T) {
	const share = 20 * time.Second
	l := newLatest(1)
	l.put(reading("a", 0, 1), at(0))
	l.put(reading("b", 1, 1), at(1))
	l.put(reading("c", 2, 1), at(2))
	l.put(reading("d", 2, 1), at(2))
	var got []string
	now := at(2)
	for l.len() > 0 {
		p, ok, wait := l.pick(now, share)
		if !ok {
			if !wait.After(now) {
				t.Fatalf("at %v wait until %v", now, wait)
			}
			now = wait
			continue
		}
		l.sent(p.Name, now)
		got = append(got, fmt.Sprintf("%s %v", p.Name, now.Sub(noon).Seconds()))
		l.put(reading(p.Name, now.Sub(noon).Seconds(), 2), now)
		if len(got) == 6 {
			break
		}
	}
	if want := []string{"a 2", "b 7", "c 12", "d 17", "a 22", "b 27"}; !slices.Equal(got, want) {
		t.Errorf("turns = %v, want %v", got, want)
	}
}

// A switch that speaks once in a while goes at once, whatever the sensors do.
func TestLatestRareGoesAtOnce(t *testing.T) {
	const share = 20 * time.Second
	l := newLatest(1)
	l.put(reading("door", 0, 0), at(0))
	if p, ok, _ := l.pick(at(0), share); !ok || p.Name != "door" {
		t.Fatal("the only reading there is must wait")
	}
	l.sent("door", at(0))
	for s := range 100 {
		l.put(reading("a", float64(s), 1), at(float64(s)))
		l.put(reading("b", float64(s), 1), at(float64(s)))
		for {
			p, ok, _ := l.pick(at(float64(s)), share)
			if !ok {
				break
			}
			l.sent(p.Name, at(float64(s)))
		}
	}
	l.put(reading("door", 100.5, 1), at(100.5))
	if p, ok, wait := l.pick(at(100.5), share); !ok || p.Name != "door" {
		t.Errorf("the door waits until %v s", wait.Sub(noon).Seconds())
	}
	l.sent("door", at(100.5))
	// Twice within its fair share is a sensor: it waits for its turn.
	l.put(reading("door", 101, 0), at(101))
	if _, ok, wait := l.pick(at(101), share); ok || wait.After(at(121)) {
		t.Errorf("the door again: %v, wait until %v s", ok, wait.Sub(noon).Seconds())
	}
}

func TestLatestPutBack(t *testing.T) {
	l := newLatest(1)
	l.put(reading("a", 0, 1), at(0))
	p, _, _ := l.pick(at(0), 0)
	if !l.putBack(p) || l.len() != 1 {
		t.Error("a point was not put back though nothing newer came")
	}
	p, _, _ = l.pick(at(0), 0)
	l.put(reading("a", 1, 2), at(1))
	if l.putBack(p) {
		t.Error("an older point took the place of a newer one that waits")
	}
	newer, _, _ := l.pick(at(1), 0)
	if l.putBack(p) {
		t.Error("an older point was put back after a newer one had been sent")
	}
	if !l.putBack(newer) {
		t.Error("the newer point was not put back")
	}
}

func TestLatestActive(t *testing.T) {
	l := newLatest(0.1) // the span is a minute
	l.put(reading("a", 0, 1), at(0))
	l.put(reading("b", 30, 1), at(30))
	l.pick(at(30), 0)
	l.sent("a", at(30))
	l.pick(at(30), 0)
	l.sent("b", at(50))
	for _, tt := range []struct {
		now  float64
		want int
	}{{50, 2}, {95, 1}, {111, 0}} {
		if got := l.active(at(tt.now)); got != tt.want {
			t.Errorf("active at %v s = %d, want %d", tt.now, got, tt.want)
		}
	}
	if len(l.entries) != 0 {
		t.Errorf("%d addresses are remembered for ever", len(l.entries))
	}
}

// Feeds that read once a second share an account. The cloud counts 60 s and sees each point up to 0.3 s late; no window
// of its may hold more than the plan, and each feed must be fresh within its fair share.
func TestFairShares(t *testing.T) {
	for _, feeds := range []int{1, 2, 7, 10, 13, 20, 30, 45} {
		for _, late := range []time.Duration{0, 20 * time.Millisecond} {
			t.Run(fmt.Sprint(feeds, " feeds, the loop ", late, " late"), func(t *testing.T) {
				simulateShares(t, feeds, late)
			})
		}
	}
}

func simulateShares(t *testing.T, feeds int, late time.Duration) {
	random := rand.New(rand.NewPCG(1, uint64(feeds)))
	pace := newPacer(platforms.Limits{PerMinute: 30}, 1, noon)
	l := newLatest(1)
	seconds := max(180, 10*feeds)
	last := make(map[string]time.Time)
	worst := make(map[string]time.Duration)
	var arrivals []spend

	// send is the loop of a lane: the pacer first, then what waits. It returns when to look again.
	send := func(now time.Time) time.Time {
		for {
			if free := pace.next(now, 1); free.After(now) {
				return free
			}
			p, ok, wait := l.pick(now, pace.perAddress(l.active(now)))
			if !ok {
				return wait
			}
			pace.take(now, 1)
			l.sent(p.Name, now)
			gap := now.Sub(noon)
			if at, ok := last[p.Name]; ok {
				gap = now.Sub(at)
			}
			last[p.Name] = now
			worst[p.Name] = max(worst[p.Name], gap)
			if age := now.Sub(p.Time); age > time.Second+late {
				t.Errorf("%s: the reading sent is %v old", p.Name, age)
			}
			arrivals = append(arrivals, spend{now.Add(time.Duration(random.Int64N(int64(300 * time.Millisecond)))), 1})
		}
	}

	look := noon
	for s := range seconds {
		begin := at(float64(s))
		for !look.IsZero() && look.Add(late).Before(begin) {
			look = send(look.Add(late))
		}
		for i := range feeds {
			l.put(reading(fmt.Sprint("feed", i), float64(s), int64(s)), begin)
		}
		look = send(begin)
	}

	slices.SortFunc(arrivals, func(a, b spend) int { return a.At.Compare(b.At) })
	checkWindow(t, arrivals, time.Minute, 30)
	share := pace.perAddress(feeds)
	// Readings come once a second, so a turn may be taken that much late.
	allowed := share + time.Second + 3*late
	for i := range feeds {
		name := fmt.Sprint("feed", i)
		if gap := worst[name]; gap > allowed || gap == 0 && feeds > 1 && i > 0 {
			t.Errorf("%s went %v without a value, its fair share is %v", name, gap, share)
		}
		if rest := at(float64(seconds - 1)).Sub(last[name]); rest > allowed {
			t.Errorf("%s was last sent %v before the end, its fair share is %v", name, rest, share)
		}
	}
	// No share of the budget goes unused, as long as there are readings enough.
	if want := min(seconds*30/63, seconds*feeds) * 9 / 10; len(arrivals) < want {
		t.Errorf("%d points were sent, want %d or more", len(arrivals), want)
	}
}

func BenchmarkLatest(b *testing.B) {
	l := newLatest(1)
	now := noon
	var points []mappings.Point
	for i := range 20 {
		points = append(points, reading(fmt.Sprint("feed", i), 0, 1))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now = now.Add(50 * time.Millisecond)
		l.put(points[i%20], now)
		if p, ok, _ := l.pick(now, 10*time.Second); ok {
			l.sent(p.Name, now)
		}
	}
}
