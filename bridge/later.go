package bridge

import (
	"fmt"
	"time"

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
func (o *orderedLane) later(seq uint64, f *flight, v platforms.Verdict, why string) {
	o.mu.Lock()
	o.tries[seq]++
	if v.Cause == platforms.Unknown && o.tries[seq] >= mostTries {
		delete(o.tries, seq)
		o.mu.Unlock()
		o.giveUp(seq, &f.point, fmt.Sprintf("%s (%d times)", why, mostTries))
		return
	}
	wait := min(o.c.b.scaled(time.Second)<<min(o.refusals, 10), o.c.b.scaled(longestRefuse))
	o.refusals++
	o.resend, o.pause = true, time.Now().Add(max(wait, o.c.b.scaled(v.After)))
	o.mu.Unlock()
	poke(o.again)
	o.c.count(&f.point, fateRetried, why)
	if rule := o.c.rule(&f.point); rule != nil {
		rule.warnOnce(o.c.b, fmt.Sprintf("%s: %s: %s: it is sent again", o.c.name, f.topic, why))
	}
}
