package bridge

import (
	"fmt"
	"time"

	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// A message that is refused without a reason is tried so often; what is refused again and again waits longer each time,
// twice as long after each attempt, up to the longest.
const (
	mostTries     = 5
	longestRefuse = 30 * time.Second
)

// later sends a refused message again, and with it what is behind it. One that the broker cannot even say a reason for is
// given up in the end: it would hold everything up.
func (o *orderedLane) later(f *flight, v platforms.Verdict, why string) {
	o.mu.Lock()
	if o.flights[f.seq] == f {
		delete(o.flights, f.seq) // The lane's goroutine may be back at it before this one is done.
	}
	o.tries[f.seq]++
	if v.Cause == platforms.Unknown && o.tries[f.seq] >= mostTries {
		delete(o.tries, f.seq)
		o.mu.Unlock()
		p := o.point(f)
		o.giveUp(f.seq, &p, fmt.Sprintf("%s (%d times)", why, mostTries))
		return
	}
	if !o.resend {
		o.refusals++ // The others of this attempt are refused for the same reason: together they are one refusal.
	}
	wait := min(o.c.b.scaled(time.Second)<<min(max(o.refusals-1, 0), 10), o.c.b.scaled(longestRefuse))
	if at := time.Now().Add(max(wait, o.c.b.scaled(v.After))); at.After(o.pause) {
		o.pause = at
	}
	o.resend = true
	o.mu.Unlock()
	poke(o.again)
	o.tell(f, fateRetried, why)
	if rule := o.c.rule(&mappings.Point{Rule: f.rule}); rule != nil {
		rule.warnOnce(o.c.b, fmt.Sprintf("%s: %s: %s: it is sent again", o.c.name, f.topic, why))
	}
}
