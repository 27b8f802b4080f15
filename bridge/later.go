package bridge

import (
	"fmt"
	"time"

	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// A message that is refused without a reason is tried so often; what is refused again and again waits longer each time,
// up to the longest.
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
	wait := min(o.c.b.scaled(time.Second)<<min(o.refusals, 10), o.c.b.scaled(longestRefuse))
	o.refusals++
	o.resend, o.pause = true, time.Now().Add(max(wait, o.c.b.scaled(v.After)))
	o.mu.Unlock()
	poke(o.again)
	o.tell(f, fateRetried, why)
	if rule := o.c.rule(&mappings.Point{Rule: f.rule}); rule != nil {
		rule.warnOnce(o.c.b, fmt.Sprintf("%s: %s: %s: it is sent again", o.c.name, f.topic, why))
	}
}
