package bridge

import (
	"encoding/json"
	"testing"
	"time"

	"cloudbridge/platforms"
)

// noon is when the tests of pure parts begin.
var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// at is a time of a test in seconds after noon.
func at(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }

func TestPacerInterval(t *testing.T) {
	tests := []struct {
		limit time.Duration
		scale float64
		want  time.Duration
	}{
		{15 * time.Second, 1, 15750 * time.Millisecond},
		{time.Second, 1, 1700 * time.Millisecond},
		{20 * time.Second, 1, 21 * time.Second},
		{15 * time.Second, 0.01, 157500 * time.Microsecond},
		{time.Second, 0.1, 170 * time.Millisecond},
		{0, 1, 0},
	}
	for _, tt := range tests {
		p := newPacer(platforms.Limits{Interval: tt.limit}, tt.scale, noon)
		if got := p.interval(); got != tt.want {
			t.Errorf("interval of %v at scale %v = %v, want %v", tt.limit, tt.scale, got, tt.want)
		}
		if got := p.next(noon, 1); !got.Equal(noon) {
			t.Errorf("an unspent pacer waits until %v", got)
		}
		p.take(noon, 8)
		if got := p.next(noon.Add(time.Millisecond), 1).Sub(noon); got != max(tt.want, time.Millisecond) {
			t.Errorf("after one delivery, next is %v later, want %v", got, tt.want)
		}
	}
}

func TestPacerPerMinute(t *testing.T) {
	p := newPacer(platforms.Limits{PerMinute: 30}, 1, noon)
	if got := p.perAddress(10); got != 21*time.Second {
		t.Errorf("fair share of 10 feeds = %v, want 21 s", got)
	}
	p.take(at(0), 20)
	p.take(at(10), 9)
	tests := []struct {
		now  float64
		cost int
		want float64
	}{
		{10, 1, 10},
		{10, 2, 63},
		{10, 21, 63},
		{10, 22, 73},
		{10, 500, 73}, // more than a minute pays: the whole of one
		{10, 0, 10},
		{80, 30, 80},
	}
	for _, tt := range tests {
		if got := p.next(at(tt.now), tt.cost); !got.Equal(at(tt.want)) {
			t.Errorf("at %v s a cost of %d may go at %v s, want %v", tt.now, tt.cost, got.Sub(noon).Seconds(), tt.want)
		}
	}

	p.setPerMinute(60)
	if got := p.next(at(10), 31); !got.Equal(at(10)) {
		t.Errorf("with 60 a minute: %v", got.Sub(noon))
	}
	if got := p.perAddress(10); got != 10500*time.Millisecond {
		t.Errorf("fair share with 60 a minute = %v", got)
	}
	p.setPerMinute(0)
	if got := p.next(at(10), 1000); !got.Equal(at(10)) || p.perAddress(10) != 0 {
		t.Errorf("without a limit: %v, share %v", got.Sub(noon), p.perAddress(10))
	}
}

func TestPacerPause(t *testing.T) {
	p := newPacer(platforms.Limits{PerMinute: 30}, 1, noon)
	p.pause(at(22), "asked to slow down")
	p.pause(at(5), "shorter")
	if until, why, ok := p.paused(at(1)); !ok || !until.Equal(at(22)) || why != "asked to slow down" {
		t.Errorf("paused = %v, %q, %v", until, why, ok)
	}
	if got := p.next(at(1), 1); !got.Equal(at(22)) {
		t.Errorf("next = %v", got)
	}
	if _, _, ok := p.paused(at(22)); ok {
		t.Error("the pause does not end")
	}
}

func TestPacerUncleanStart(t *testing.T) {
	p := newPacer(platforms.Limits{PerMinute: 30, Interval: 15 * time.Second}, 1, noon)
	p.spendAll(noon)
	if got := p.next(noon, 1); !got.Equal(at(63)) {
		t.Errorf("next after an unclean start: %v s later, want 63", got.Sub(noon).Seconds())
	}
	q := newPacer(platforms.Limits{Interval: 15 * time.Second}, 1, noon)
	q.spendAll(noon)
	if got := q.next(noon, 1); !got.Equal(at(15.75)) {
		t.Errorf("next after an unclean start: %v s later, want 15.75", got.Sub(noon).Seconds())
	}
}

func TestPacerState(t *testing.T) {
	limits := platforms.Limits{PerMinute: 30, Interval: time.Second}
	old := newPacer(limits, 1, noon)
	old.take(at(0), 10)
	old.take(at(30), 20)
	old.pause(at(50), "asked to slow down")
	text, err := json.Marshal(old.state())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name       string
		now        float64
		room, full float64 // when 10 may go, when 30 may go
		paused     bool
	}{
		{"soon", 40, 63, 93, true},
		{"later", 70, 70, 93, false},
		{"much later", 1000, 1000, 1000, false},
		// The clock was set back by an hour: what was spent counts as spent now, a pause lasts an hour at most.
		{"clock set back", -3600, 0, 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var s pacerState
			if err := json.Unmarshal(text, &s); err != nil {
				t.Fatal(err)
			}
			p := newPacer(limits, 1, at(tt.now))
			p.restore(s, at(tt.now))
			if got := p.next(at(tt.now), 10); !got.Equal(at(tt.room)) {
				t.Errorf("10 may go at %v s, want %v", got.Sub(noon).Seconds(), tt.room)
			}
			if got := p.next(at(tt.now), 30); !got.Equal(at(tt.full)) {
				t.Errorf("30 may go at %v s, want %v", got.Sub(noon).Seconds(), tt.full)
			}
			if _, why, ok := p.paused(at(tt.now)); ok != tt.paused || ok && why != "asked to slow down" {
				t.Errorf("paused = %v %q", ok, why)
			}
		})
	}
}

func TestLogins(t *testing.T) {
	tests := []struct {
		name   string
		limits platforms.Limits
		most   int // logins at once, 0 for no bound
	}{
		{"public", platforms.Limits{Public: true}, 6},
		{"public, the platform says more", platforms.Limits{Public: true, LoginsPerMinute: 20}, 6},
		{"public, the platform says less", platforms.Limits{Public: true, LoginsPerMinute: 2}, 2},
		{"own broker", platforms.Limits{}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLogins(tt.limits, 1)
			made := 0
			for ; made < 50 && l.next(at(1)).Equal(at(1)); made++ {
				l.take(at(1))
			}
			if want := max(tt.most, 50*(1-min(tt.most, 1))); made != want {
				t.Fatalf("%d logins at once, want %d", made, want)
			}
			if tt.most == 0 {
				return
			}
			if got := l.next(at(1)); !got.Equal(at(64)) {
				t.Errorf("the next login at %v s, want 64", got.Sub(noon).Seconds())
			}
			// A restart does not forget them.
			again := newLogins(tt.limits, 1)
			again.restore(l.state(), at(30))
			if got := again.next(at(30)); !got.Equal(at(64)) {
				t.Errorf("after a restart the next login at %v s, want 64", got.Sub(noon).Seconds())
			}
			crashed := newLogins(tt.limits, 1)
			crashed.spendAll(at(30))
			if got := crashed.next(at(30)); !got.Equal(at(93)) {
				t.Errorf("after a crash the next login at %v s, want 93", got.Sub(noon).Seconds())
			}
		})
	}
}

// Any sequence that asks next before it takes stays inside the limit, however it is spread.
func TestSlidingWindowNeverExceeds(t *testing.T) {
	for _, costs := range [][]int{{1}, {30}, {7, 3}, {1, 29, 2}, {16}} {
		p := newPacer(platforms.Limits{PerMinute: 30}, 1, noon)
		now := noon
		var spent []spend
		for i := range 400 {
			cost := costs[i%len(costs)]
			now = p.next(now, cost)
			p.take(now, cost)
			spent = append(spent, spend{now, cost})
			if i%17 == 0 {
				now = now.Add(time.Duration(i) * 100 * time.Millisecond)
			}
		}
		checkWindow(t, spent, time.Minute, 30)
	}
}

// checkWindow fails if any window, open at its start, holds more than most.
func checkWindow(t *testing.T, spent []spend, length time.Duration, most int) {
	t.Helper()
	from, sum := 0, 0
	for _, s := range spent {
		sum += s.Cost
		for !spent[from].At.After(s.At.Add(-length)) {
			sum -= spent[from].Cost
			from++
		}
		if sum > most {
			t.Fatalf("%d points in the %v before %v s, at most %d are allowed", sum, length, s.At.Sub(noon).Seconds(), most)
		}
	}
}

func BenchmarkPacer(b *testing.B) {
	p := newPacer(platforms.Limits{PerMinute: 60}, 1, noon)
	now := noon
	b.ReportAllocs()
	for b.Loop() {
		now = p.next(now, 1)
		p.take(now, 1)
	}
}

func TestPaced(t *testing.T) {
	for limit, want := range map[time.Duration]time.Duration{
		0: 0, time.Second: 1700 * time.Millisecond, 15 * time.Second: 15*time.Second + 750*time.Millisecond, 20 * time.Second: 21 * time.Second,
	} {
		if got := Paced(limit); got != want {
			t.Errorf("Paced(%v) = %v, want %v", limit, got, want)
		}
	}
	if got := FairShare(10, 30); got != 21*time.Second {
		t.Errorf("ten feeds on thirty points a minute: each every %v, want 21 s", got)
	}
}
