package bridge

import (
	"context"
	"fmt"
	"time"
)

// After closesSuspect closes without a reason the sender sends one message at a time, to find the one that causes them;
// after singleHeld confirmed ones it trusts the link again.
const (
	closesSuspect = 3
	singleHeld    = 20
)

// alone waits until the one message in flight is answered, so that a close can be laid at its door. QoS 0 has no
// answer: there a ping behind it shows that the link survived it.
func (o *orderedLane) alone(ctx context.Context, s *session, seq uint64, f *flight) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-f.ended:
	}
	if f.held {
		if err := s.Ping(ctx); err != nil {
			o.accuse(seq)
			return err
		}
		o.tell(f, fateSent, "")
		o.settle(seq)
	}
	o.mu.Lock()
	if o.single > 0 {
		o.single--
	}
	if o.single == 0 {
		o.closes = 0
		clear(o.blame)
	}
	o.mu.Unlock()
	return nil
}

// accuse notes that the link closed while this record alone was on its way.
func (o *orderedLane) accuse(seq uint64) {
	o.mu.Lock()
	o.blame[seq]++
	o.resend = true
	o.mu.Unlock()
}

// aftermath draws conclusions from the end of a session: closes without a reason raise suspicion, and what closed the
// link alone twice is given up.
func (o *orderedLane) aftermath(s *session) {
	if !unexplained(s.Err()) {
		return
	}
	o.mu.Lock()
	if time.Since(s.began) > o.c.b.scaled(linkHeld) {
		o.closes = 0
	}
	o.closes++
	if o.closes >= closesSuspect && o.single == 0 {
		o.single = singleHeld
		clear(o.blame)
	}
	var guilty uint64
	for seq, n := range o.blame {
		if n >= 2 {
			guilty = seq
			delete(o.blame, seq)
			o.closes, o.single = 0, 0
		}
	}
	o.mu.Unlock()
	if guilty != 0 {
		o.condemn(guilty)
	}
}

// condemn gives up the record that closes the link, and rests its topic.
func (o *orderedLane) condemn(seq uint64) {
	recs := peekNow(o.queue, seq-1, 1)
	if len(recs) == 0 || recs[0].Seq != seq {
		return
	}
	p, _, err := unstamp(recs[0])
	if err != nil {
		return
	}
	o.c.blocked.block(p.Name, time.Now().Add(o.c.b.scaled(refusedPause)))
	o.giveUp(seq, &p, fmt.Sprintf("%s closes the connection at topic %s: the credential may be Subscribe Only", o.c.title, p.Name))
}
