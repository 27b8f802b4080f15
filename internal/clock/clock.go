// Package clock answers one question: is this computer's clock right? A Raspberry Pi has no battery behind its clock, and
// starts with the time of its last stop; what it measures before it has asked the network must not go up under that time.
//
// A [Source] gathers the evidence: the kernel's word, timesyncd's marker, the Date header of an HTTPS answer. A [Stamp] is a
// time together with what it takes to correct it later, and [Restamp] corrects it. Records on disk keep stamps.
package clock

import (
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Tolerance is how far the wall clock may be from the evidence and still count as right. The history of a platform is in
// seconds, but a Date header has whole seconds and may have waited in a slow line.
const Tolerance = 60 * time.Second

// System is what a Source asks of the computer. Tests put their own functions in; none may be nil.
type System struct {
	// Synchronised says whether the system vouches for the wall clock, and who says so. An error is no evidence.
	Synchronised func() (ok bool, why string, err error)
	// BootID names this boot of the computer.
	BootID func() (string, error)
	// SinceBoot is the time since then, time asleep included. No change of the wall clock touches it.
	SinceBoot func() time.Duration
}

// Source knows whether the clock is right. It looks only when [Source.Check] is called, so it needs no goroutine; a caller
// that checks every few seconds while the clock is not right, and every minute when it is, is early enough.
//
// A clock that was right stays right for as long as nobody sets it: the kernel takes its word back after some nine hours
// without an answer from the network, but a quartz loses seconds in that time, not minutes, and an outage is just when
// times matter. So each piece of evidence is kept as an anchor, and the wall clock is compared with it.
type Source struct {
	system System
	boot   string
	// trusted says that somebody vouches for this clock.
	trusted bool

	ok      atomic.Bool // written with mu held
	mu      sync.Mutex
	why     string
	changed chan struct{}
	vouched anchor
	header  anchor
	// looked is when the time since boot was asked for last, and found what it was.
	looked time.Time
	found  time.Duration
}

// anchor is one moment of which the right time is known.
type anchor struct {
	wall      time.Time // zero where there is none
	sinceBoot time.Duration
}

// agrees says whether the wall clock shows what the anchor makes it to be now.
func (a anchor) agrees(now time.Time, sinceBoot time.Duration) bool {
	return !a.wall.IsZero() && now.Sub(a.wall.Add(sinceBoot-a.sinceBoot)).Abs() <= Tolerance
}

// New is the clock of this computer. The first [Source.Check] has not been made yet.
func New() *Source { return With(thisComputer()) }

// With is a clock that is asked through s. Where the boot has no name it gets one of its own, so that no two boots are ever
// taken for one.
func With(s System) *Source {
	boot, err := s.BootID()
	if err != nil || boot == "" {
		boot = "process-" + rand.Text()
	}
	return &Source{system: s, boot: boot, why: "not looked at yet", changed: make(chan struct{})}
}

// Trust has the clock count as right where nothing says that it is and nothing that it is not: it has a battery, somebody set
// it, and there is no network to ask. A Date header that disagrees is stronger, and so is a time from before this program, which
// a clock shows whose battery is empty. It is called before the first [Source.Check].
func (c *Source) Trust() { c.trusted = true }

// earliest is the first time that a clock can show and be right.
var earliest = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// Check looks at the evidence anew and says whether the answer of [Source.Right] has changed. now is the wall clock.
func (c *Source) Check(now time.Time) (changed bool) {
	now = now.Round(0) // The monotonic reading would hide that somebody has set the clock.
	since := c.system.SinceBoot()
	vouched, why, err := c.system.Synchronised()
	c.mu.Lock()
	defer c.mu.Unlock()
	ok := true
	switch {
	case err == nil && vouched:
		c.vouched = anchor{wall: now, sinceBoot: since}
	case c.vouched.agrees(now, since):
		why = "it was synchronised earlier in this boot, and nobody has set it since"
	case c.header.agrees(now, since):
		why = "it agrees with the Date header of an HTTPS answer"
	case c.trusted && c.header.wall.IsZero() && !now.Before(earliest):
		why = "the configuration vouches for it"
	default:
		ok = false
		if err != nil {
			why = "ask whether it is synchronised: " + err.Error()
		}
		if !c.header.wall.IsZero() {
			off := now.Sub(c.header.wall.Add(since - c.header.sinceBoot)).Round(time.Second)
			why += fmt.Sprintf("; by the Date header of an HTTPS answer it is %s", offBy(off))
		} else if c.trusted {
			why += fmt.Sprintf("; the configuration vouches for it, but it shows the year %d: is its battery empty?", now.UTC().Year())
		}
	}
	changed = ok != c.ok.Swap(ok)
	c.why = why
	if changed {
		close(c.changed)
		c.changed = make(chan struct{})
	}
	return changed
}

func offBy(off time.Duration) string {
	if off < 0 {
		return (-off).String() + " slow"
	}
	return off.String() + " fast"
}

// Saw takes in the Date header of an HTTPS answer that has just come, and checks. The caller leaves out answers that came
// without TLS, for anybody could have written those, and answers with an Age header, for they come out of a cache.
func (c *Source) Saw(date, now time.Time) (changed bool) {
	since := c.system.SinceBoot()
	c.mu.Lock()
	c.header = anchor{wall: date.Round(0), sinceBoot: since}
	c.mu.Unlock()
	return c.Check(now)
}

// Right is what the last [Source.Check] found, with the reason in words.
func (c *Source) Right() (ok bool, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ok.Load(), c.why
}

// Trusted is [Source.Right] without the reason, for whoever asks at each message.
func (c *Source) Trusted() bool { return c.ok.Load() }

// Changed is closed by the next Check that finds another answer; then it must be asked for again.
func (c *Source) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// BootID names this boot of the computer; it is never empty.
func (c *Source) BootID() string { return c.boot }

// SinceBoot is the time since the computer started, time asleep included.
func (c *Source) SinceBoot() time.Duration { return c.system.SinceBoot() }

// lately is how long one look at the time since boot serves: to ask for each of thousands of messages a second would cost more
// than all else that is done with their times.
const lately = time.Second

// sinceBoot is the time since boot, worked out from the last look at it where nothing speaks against that. While the
// computer sleeps the wall clock goes on and the monotonic one does not, so that the two disagree afterwards; as they do
// when somebody sets the clock. mu is held.
func (c *Source) sinceBoot(now time.Time) time.Duration {
	passed := now.Sub(c.looked)
	slept := now.Round(0).Sub(c.looked.Round(0)) - passed
	if passed < 0 || passed >= lately || slept.Abs() > time.Millisecond {
		c.looked, c.found = now, c.system.SinceBoot()
		return c.found
	}
	return c.found + passed
}

// Stamp is the stamp of something that happens now.
func (c *Source) Stamp(now time.Time) Stamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stamp{Wall: now.Round(0), Boot: c.boot, Boottime: c.sinceBoot(now), Right: c.ok.Load()}
}
