package bridge

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// fullScale runs what takes minutes; make scale sets it.
var fullScale = os.Getenv("CLOUDBRIDGE_SCALE") == "full"

// slope is the exponent with which what is measured grows with n: 1 is linear, 2 is the square.
func slope(n1, n2 int, v1, v2 float64) float64 {
	return math.Log(v2/v1) / math.Log(float64(n2)/float64(n1))
}

// quickest is the least time on a processor that f takes of three runs, in nanoseconds. Time on the clock would measure what
// else runs on this machine.
func quickest(t testing.TB, f func()) float64 {
	t.Helper()
	best := math.Inf(1)
	for range 3 {
		runtime.GC()
		began := cpuTime(t)
		f()
		best = min(best, float64(cpuTime(t)-began))
	}
	return best
}

// cpuTime is what this process had of the processors.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestScaleSampler holds the sampler to its promise: a reading costs the same however many addresses there are, and an
// interval that ends does too. The addresses are more than the sampler remembers.
func TestScaleSampler(t *testing.T) {
	begin := time.Unix(1_000_000, 0)
	fill := func(n int) {
		s := newSampler()
		pol := samplePolicy{Every: time.Minute, Aggregate: "mean"}
		out := 0
		// Each address has its own moment within the minute, so that intervals end one by one.
		for round := range 3 {
			for i := range n {
				now := begin.Add(time.Duration(round)*time.Minute + time.Duration(i)*time.Minute/time.Duration(n))
				out += len(s.due(now))
				p := mappings.Point{Name: fmt.Sprint(i), Time: now, Arrived: now, Parts: []mappings.Part{{Name: "value", Value: mappings.Value{Kind: mappings.Int, Int: int64(i)}}}}
				made, _ := s.add(p, pol, now)
				out += len(made)
			}
		}
		out += len(s.close())
		if out != 3*n {
			t.Errorf("%d addresses made %d points in three minutes, want %d", n, out, 3*n)
		}
	}
	few, many := 2000, 14_000
	a, b := quickest(t, func() { fill(few) }), quickest(t, func() { fill(many) })
	k := slope(few, many, a, b)
	t.Logf("%d addresses: %.0f ns a reading; %d: %.0f ns; slope %.2f", few, a/float64(3*few), many, b/float64(3*many), k)
	if k > 1.7 {
		t.Errorf("the cost grows with the power %.2f of the number of addresses", k)
	}
}

// TestScaleFilters has a school's filters arranged for a broker without subscription identifiers.
func TestScaleFilters(t *testing.T) {
	arrange := func(n int) func() {
		list := make([]mappings.Filter, n)
		for i := range list {
			list[i] = mappings.Filter{ID: i + 1, Filter: fmt.Sprintf([]string{"site/b%d/temp", "site/c%d/+", "+/d%d/temp", "room%d/#"}[i%4], i)}
		}
		return func() { narrow(list) }
	}
	few, many := 2000, 16_000
	a, b := quickest(t, arrange(few)), quickest(t, arrange(many))
	k := slope(few, many, a, b)
	t.Logf("%d filters: %.1f ms; %d: %.1f ms; slope %.2f", few, a/1e6, many, b/1e6, k)
	if k > 1.7 {
		t.Errorf("the cost grows with the power %.2f of the number of filters", k)
	}
}

// TestLatestIsBounded has feeds named by something that never repeats: what waits stays within its bound, and what is too
// much is counted.
func TestLatestIsBounded(t *testing.T) {
	l := newLatest(1)
	now := time.Unix(1_000_000, 0)
	for i := range 2 * mostLatest {
		if name := fmt.Sprint(i); l.room(name) {
			l.put(mappings.Point{Name: name, Time: now, Arrived: now}, now)
		}
	}
	if l.len() != mostLatest || !l.room("1") || l.room("never seen") {
		t.Errorf("%d wait, want %d; an address that waits finds room: %v, a new one: %v", l.len(), mostLatest, l.room("1"), l.room("never seen"))
	}
	if _, ok, _ := l.pick(now, time.Second); !ok || !l.room("never seen") {
		t.Error("when one was sent there is no room for another")
	}
}

// TestLoginsAreByUser has the devices of one ThingSpeak log in each for itself: fifty of them would else take eight minutes.
func TestLoginsAreByUser(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	limits := platforms.Limits{LoginsPerMinute: 2}
	a := newAccounts(1).get("thingspeak host")
	one, same, other := a.loginsOf("one", limits, 1), a.loginsOf("one", limits, 1), a.loginsOf("other", limits, 1)
	one.take(now)
	one.take(now)
	if _, ok := same.reserve(now); ok {
		t.Error("a second table of one user has logins of its own")
	}
	if _, ok := other.reserve(now); !ok {
		t.Error("one user's logins keep another out")
	}
}

// TestSettledReceiptsHoldNoPayload has large messages settled: two thousand of them are remembered, and not what was in them.
func TestSettledReceiptsHoldNoPayload(t *testing.T) {
	d := newDesk()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for id := range uint16(200) {
		r, _ := d.take(&mqtt.Inbound{Message: mqtt.Message{Payload: make([]byte, 1<<20), QoS: 1}, PacketID: id + 1})
		r.release()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > 16<<20 {
		t.Errorf("200 settled messages of 1 MiB hold %d MiB", held>>20)
	}
	runtime.KeepAlive(d)
}
