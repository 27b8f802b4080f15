package clock

import (
	"errors"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// computer is one whose clocks and synchronisation a test sets.
type computer struct {
	since time.Duration
	sync  bool
	err   error
}

func (c *computer) source() *Source {
	return With(System{
		Synchronised: func() (bool, string, error) { return c.sync, "as the test says", c.err },
		BootID:       func() (string, error) { return "boot-1", nil },
		SinceBoot:    func() time.Duration { return c.since },
	})
}

func TestRight(t *testing.T) {
	// Each step lets pass time go by, sets the wall clock and the system's word, and looks. wall is relative to the true time.
	type step struct {
		pass time.Duration
		off  time.Duration
		sync bool
		err  error
		// saw is a Date header; its own error is relative to the true time too.
		saw    bool
		sawOff time.Duration
		want   bool
		why    string
	}
	tests := map[string][]step{
		"never synchronised": {
			{want: false, why: "as the test says"},
			{pass: 240 * time.Hour, want: false},
		},
		"synchronised a minute after the start": {
			{off: -3 * time.Hour, want: false},
			{pass: time.Minute, sync: true, want: true, why: "as the test says"},
		},
		"the kernel takes its word back in a long outage": {
			{sync: true, want: true},
			{pass: 9 * time.Hour, want: true, why: "earlier in this boot"},
			{pass: 200 * time.Hour, off: 40 * time.Second, want: true},
		},
		"somebody sets the clock in an outage, and the network corrects it": {
			{sync: true, want: true},
			{pass: time.Hour, off: 2 * time.Hour, want: false},
			{pass: time.Hour, off: 0, want: true},
			{pass: time.Hour, off: -2 * time.Minute, want: false},
			{pass: time.Second, off: -time.Second, sync: true, want: true},
		},
		"a header that agrees": {
			{saw: true, off: 59 * time.Second, want: true, why: "Date header"},
			{pass: 24 * time.Hour, off: 60 * time.Second, want: true},
			{pass: time.Second, off: 61 * time.Second, want: false},
		},
		"a header that does not agree, then the clock is set": {
			{saw: true, off: -5 * time.Hour, want: false, why: "5h0m0s slow"},
			{pass: time.Minute, off: 3 * time.Minute, want: false, why: "3m0s fast"},
			{pass: time.Minute, off: 0, want: true, why: "Date header"},
		},
		"a header with a wrong time takes nothing away from the kernel's word": {
			{sync: true, want: true},
			{saw: true, sawOff: 24 * time.Hour, sync: true, want: true, why: "as the test says"},
			{pass: 10 * time.Hour, saw: true, sawOff: 24 * time.Hour, want: true, why: "earlier in this boot"},
		},
		"the newest header counts": {
			{saw: true, sawOff: time.Hour, want: false},
			{pass: time.Second, saw: true, want: true},
			{pass: time.Second, saw: true, sawOff: time.Hour, want: false},
		},
		"a system that cannot be asked": {
			{err: errors.New("adjtimex: operation not permitted"), want: false, why: "operation not permitted"},
			{err: errors.New("adjtimex: operation not permitted"), saw: true, want: true, why: "Date header"},
		},
		"an error beside a yes is no evidence": {
			{sync: true, err: errors.New("torn"), want: false, why: "torn"},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			pc := &computer{since: 10 * time.Second}
			c, truth, was := pc.source(), noon, false
			for i, s := range steps {
				pc.since += s.pass
				truth = truth.Add(s.pass)
				pc.sync, pc.err = s.sync, s.err
				told := c.Changed()
				changed := false
				if s.saw {
					changed = c.Saw(truth.Add(s.sawOff), truth.Add(s.off))
				} else {
					changed = c.Check(truth.Add(s.off))
				}
				ok, why := c.Right()
				if ok != s.want || !strings.Contains(why, s.why) {
					t.Fatalf("step %d: %v (%s), want %v (%s)", i, ok, why, s.want, s.why)
				}
				if changed != (ok != was) {
					t.Errorf("step %d: changed is %v, from %v to %v", i, changed, was, ok)
				}
				select {
				case <-told:
					if !changed {
						t.Errorf("step %d: told of a change that was none", i)
					}
				default:
					if changed {
						t.Errorf("step %d: nobody was told of the change", i)
					}
				}
				was = ok
			}
		})
	}
}

// TestTrusted has somebody vouch for a clock that nothing else does: only evidence against it takes that away.
func TestTrusted(t *testing.T) {
	pc := &computer{since: time.Minute}
	c := pc.source()
	c.Trust()
	for i, step := range []struct {
		do   func()
		want bool
		why  string
	}{
		{func() { c.Check(noon) }, true, "the configuration vouches for it"},
		{func() { c.Check(noon.Add(30 * 24 * time.Hour)) }, true, "the configuration vouches for it"},
		{func() { c.Check(time.Date(2000, 1, 1, 0, 1, 0, 0, time.UTC)) }, false, "it shows the year 2000: is its battery empty?"},
		{func() { pc.sync = true; c.Check(noon) }, true, "as the test says"},
		{func() { pc.sync = false; c.Check(noon) }, true, "earlier in this boot"},
		{func() { c.Check(noon.Add(time.Hour)) }, true, "the configuration vouches for it"},
		{func() { c.Saw(noon, noon.Add(2*time.Hour)) }, false, "it is 2h0m0s fast"},
		{func() { c.Check(noon.Add(time.Second)) }, true, "earlier in this boot"},
	} {
		step.do()
		if ok, why := c.Right(); ok != step.want || !strings.Contains(why, step.why) {
			t.Fatalf("step %d: %v (%s), want %v (%s)", i, ok, why, step.want, step.why)
		}
	}
}

func TestBeforeTheFirstLook(t *testing.T) {
	pc := &computer{sync: true}
	c := pc.source()
	if ok, why := c.Right(); ok || why == "" {
		t.Errorf("before the first look: %v, %q", ok, why)
	}
}

func TestABootWithoutAName(t *testing.T) {
	s := System{
		Synchronised: func() (bool, string, error) { return false, "", nil },
		BootID:       func() (string, error) { return "", errors.New("permission denied") },
		SinceBoot:    func() time.Duration { return time.Minute },
	}
	a, b := With(s), With(s)
	if a.BootID() == "" || a.BootID() == b.BootID() {
		t.Errorf("two runs that do not know their boot are called %q and %q", a.BootID(), b.BootID())
	}
}

func TestRestamp(t *testing.T) {
	now := Stamp{Wall: noon, Boot: "b", Boottime: 3 * time.Hour, Right: true}
	wrong := now
	wrong.Right = false
	tests := map[string]struct {
		s, now Stamp
		want   time.Time
		ok     bool
		mayYet bool
	}{
		"right when made": {
			s: Stamp{Wall: noon.Add(-time.Hour), Boot: "b", Boottime: 2 * time.Hour, Right: true}, now: now,
			want: noon.Add(-time.Hour), ok: true, mayYet: true,
		},
		"right when made, in an earlier boot": {
			s: Stamp{Wall: noon.Add(-48 * time.Hour), Boot: "a", Boottime: 20 * time.Hour, Right: true}, now: now,
			want: noon.Add(-48 * time.Hour), ok: true, mayYet: true,
		},
		"right when made, and the clock is wrong now": {
			s: Stamp{Wall: noon.Add(-time.Hour), Boot: "a", Right: true}, now: wrong,
			want: noon.Add(-time.Hour), ok: true, mayYet: true,
		},
		"wrong by years, in this boot": {
			s: Stamp{Wall: time.Unix(0, 0), Boot: "b", Boottime: 30 * time.Second}, now: now,
			want: noon.Add(-3*time.Hour + 30*time.Second), ok: true, mayYet: true,
		},
		"ahead of the true time, in this boot": {
			s: Stamp{Wall: noon.Add(99 * time.Hour), Boot: "b", Boottime: 2*time.Hour + 59*time.Minute}, now: now,
			want: noon.Add(-time.Minute), ok: true, mayYet: true,
		},
		"this very moment": {
			s: Stamp{Wall: time.Unix(0, 0), Boot: "b", Boottime: 3 * time.Hour}, now: now,
			want: noon, ok: true, mayYet: true,
		},
		"wrong in this boot, and the clock is wrong still": {
			s: Stamp{Wall: time.Unix(0, 0), Boot: "b", Boottime: time.Second}, now: wrong, mayYet: true,
		},
		"wrong in an earlier boot":           {s: Stamp{Wall: noon, Boot: "a", Boottime: time.Second}, now: now},
		"no boot id":                         {s: Stamp{Wall: noon, Boottime: time.Second}, now: Stamp{Wall: noon, Boottime: time.Minute, Right: true}},
		"later than now, in the same boot":   {s: Stamp{Wall: noon, Boot: "b", Boottime: 4 * time.Hour}, now: now},
		"the zero stamp, from an old record": {now: now},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := Restamp(tt.s, tt.now)
			if ok != tt.ok || !got.Equal(tt.want) {
				t.Errorf("got %v, %v, want %v, %v", got, ok, tt.want, tt.ok)
			}
			if may := tt.s.MayYet(tt.now); may != tt.mayYet {
				t.Errorf("may yet be right: %v, want %v", may, tt.mayYet)
			}
		})
	}
}

// TestRestampThroughASource is the way of a reading on a board that starts with an old time: it is kept, the network comes,
// the reading gets its right time.
func TestRestampThroughASource(t *testing.T) {
	pc := &computer{since: 20 * time.Second}
	c := pc.source()
	c.Check(noon.Add(-1000 * time.Hour))
	reading := c.Stamp(noon.Add(-1000 * time.Hour))
	if _, ok := Restamp(reading, reading); ok || !reading.MayYet(reading) {
		t.Fatalf("%+v has a time before the clock is right", reading)
	}
	pc.since, pc.sync = pc.since+10*time.Minute, true
	if !c.Check(noon) {
		t.Fatal("the clock has been set and nothing changed")
	}
	got, ok := Restamp(reading, c.Stamp(noon))
	if want := noon.Add(-10 * time.Minute); !ok || !got.Equal(want) {
		t.Errorf("got %v, %v, want %v", got, ok, want)
	}
}

// TestMonotonicReadingsAreNoEvidence: times of time.Now carry a reading of a clock that nobody can set, by which a wall
// clock that was set would seem right.
func TestMonotonicReadingsAreNoEvidence(t *testing.T) {
	pc := &computer{since: time.Minute}
	c := pc.source()
	now := time.Now()
	c.Saw(now.Add(-2*time.Hour), now)
	if ok, why := c.Right(); ok {
		t.Errorf("two hours off is right: %s", why)
	}
	if s := c.Stamp(now); s.Wall != now.Round(0) {
		t.Errorf("a stamp keeps %v, which no disk can", s.Wall)
	}
}

// TestStampLooksSeldom asks for many stamps: they follow the time since boot, which is not asked for each time, and is asked for at
// once when the computer has slept or its clock was set.
func TestStampLooksSeldom(t *testing.T) {
	looks, asleep := 0, time.Duration(0)
	began := time.Now()
	now := began
	c := With(System{
		Synchronised: func() (bool, string, error) { return false, "", nil },
		BootID:       func() (string, error) { return "boot", nil },
		SinceBoot: func() time.Duration {
			looks++
			return time.Hour + now.Sub(began) + asleep
		},
	})
	for range 1000 {
		now = now.Add(time.Millisecond / 2)
		if got, want := c.Stamp(now).Boottime, time.Hour+now.Sub(began); got != want {
			t.Fatalf("%v since boot, want %v", got, want)
		}
	}
	if looks != 1 {
		t.Errorf("%d looks at the time since boot in half a second", looks)
	}
	// A time without a monotonic reading, an hour on, is what the wall clock shows after an hour's sleep.
	asleep = time.Hour
	woken := now.Add(time.Millisecond).Round(0).Add(time.Hour)
	if got, want := c.Stamp(woken).Boottime, 2*time.Hour+now.Sub(began); got != want || looks != 2 {
		t.Errorf("%v since boot after a sleep, want %v; %d looks", got, want, looks)
	}
}
