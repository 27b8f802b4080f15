package bridge

import (
	"context"
	"errors"
	"time"

	"golang.org/x/time/rate"

	"cloudbridge/internal/queue"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// drain sends from the oldest unsettled record on, until the session ends or a record must be sent again.
func (o *orderedLane) drain(ctx context.Context, s *session) {
	o.awaitAnswers(ctx, s)
	o.mu.Lock()
	at := o.pause
	o.mu.Unlock()
	if !sleep(s.ctx, time.Until(at)) {
		return
	}
	o.returned(s)
	o.mu.Lock()
	after := o.settler.base
	o.resend = false
	o.mu.Unlock()
	dctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		o.watch(dctx, cancel)
	}()
	defer func() {
		cancel()
		<-watched // An old watcher would take the next one's word.
	}()
	limit := o.limiter()
	for {
		var open bool
		if after, open = o.begin(s, after); open {
			if after = o.follow(dctx); dctx.Err() != nil {
				return
			}
		}
		recs, err := o.queue.Peek(dctx, after, peekMost)
		if err != nil {
			return
		}
		for _, rec := range recs {
			if o.mustResend() {
				return
			}
			if rec.Seq > after+1 && !o.cross(dctx, s, after, rec.Seq) {
				return
			}
			after = rec.Seq
			if o.backlog(rec.Seq) && limit != nil && limit.Wait(dctx) != nil {
				return
			}
			if err := o.send(dctx, s, rec); err != nil {
				return
			}
		}
	}
}

// awaitAnswers waits, though not for ever, until all that is on its way is answered. What is refused of it must go again in its
// place, before what is behind it.
func (o *orderedLane) awaitAnswers(ctx context.Context, s *session) {
	patience := time.NewTimer(o.c.b.scaled(longestRefuse))
	defer patience.Stop()
	for {
		if o.flying() == 0 {
			return
		}
		select {
		case <-o.landed:
		case <-s.ctx.Done():
			return
		case <-ctx.Done():
			return
		case <-patience.C:
			return
		}
	}
}

// flying is how many records are on their way.
func (o *orderedLane) flying() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.flights)
}

// watch ends a drain when a record must be sent again, for Peek may be waiting for a new one.
func (o *orderedLane) watch(ctx context.Context, cancel func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.again:
			if o.mustResend() {
				cancel()
				return
			}
		}
	}
}

// limiter paces a backlog; what is new goes at once.
func (o *orderedLane) limiter() *rate.Limiter {
	if o.c.cfg.DrainRate <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(o.c.cfg.DrainRate/o.c.b.scale), 1)
}

// backlog says whether a record waited when the link came up.
func (o *orderedLane) backlog(seq uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return seq <= o.backed
}

func (o *orderedLane) mustResend() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.resend
}

// cross goes over the numbers between after and seq, which no record has, and says whether the drain may go on. Where the oldest
// had to go for want of room there is nothing left up to after; where a damaged queue left numbers out there may be, on its
// way: it is settled by its answer, not by what comes behind it.
func (o *orderedLane) cross(ctx context.Context, s *session, after, seq uint64) bool {
	for st := o.queue.Stats(); st.Records > 0 && st.First <= after && o.flying() > 0; {
		o.awaitAnswers(ctx, s)
		if ctx.Err() != nil || o.mustResend() {
			return false
		}
	}
	o.gap(seq)
	return true
}

// gap settles what the queue dropped before it was sent.
func (o *orderedLane) gap(seq uint64) {
	o.mu.Lock()
	o.settler.skipTo(seq)
	base := o.settler.base
	o.mu.Unlock()
	_ = o.queue.Commit(base)
}

// due reads the point of a record; ok is false where there is nothing to send.
func (o *orderedLane) due(s *session, rec queue.Record) (p mappings.Point, ok bool) {
	o.mu.Lock()
	f := o.flights[rec.Seq]
	skip := o.settler.settled(rec.Seq) || f != nil && f.on == s
	o.mu.Unlock()
	if skip {
		return p, false
	}
	p, err := o.read(rec)
	if err != nil {
		if !errors.Is(err, errReplaced) {
			o.c.tally.add(fateDropped, "record not readable", 1)
		}
		o.settle(rec.Seq)
		return p, false
	}
	if rule := o.c.rule(&p); rule != nil && rule.MaxAge > 0 && time.Since(p.Time) > rule.MaxAge {
		why := "older than max_age"
		if p.Time.IsZero() {
			why = errNoClock.Error()
		}
		o.c.count(&p, fateDropped, why)
		o.settle(rec.Seq)
		return p, false
	}
	if p.Late = o.backlog(rec.Seq); !o.c.b.mayStamp() {
		untime(&p)
	}
	return p, true
}

// send sends one record. The error ends the drain.
func (o *orderedLane) send(ctx context.Context, s *session, rec queue.Record) error {
	p, ok := &o.sending, false
	if *p, ok = o.due(s, rec); !ok {
		return nil
	}
	d, err := o.lay(p)
	if err != nil {
		o.giveUp(rec.Seq, p, err.Error())
		return nil
	}
	o.mu.Lock()
	single := o.single > 0
	o.mu.Unlock()
	return o.deliver(ctx, s, rec.Seq, p, d, single)
}

// deliver publishes one delivery, and in single file waits for its answer.
func (o *orderedLane) deliver(ctx context.Context, s *session, seq uint64, p *mappings.Point, d *platforms.Delivery, single bool) error {
	m := d.Message
	if o.c.blocked.is(m.Topic, time.Now()) {
		o.giveUp(seq, p, "this account may not publish to "+m.Topic+" (tried again every ten minutes)")
		return nil
	}
	if single && s.Ping(ctx) != nil {
		return errNotSent // The link was dead before this message: it is not to blame.
	}
	f := o.takeOff(s, seq, p, m, o.c.sent(d))
	if f == nil {
		return errMustResend
	}
	f.held = single && m.QoS == 0
	if single {
		f.ended = make(chan struct{})
	}
	o.c.left(p, d)
	err := s.Publish(ctx, m, f.done)
	if err == nil {
		o.c.carried(m, &o.c.sentN, time.Now())
		if single {
			return o.alone(ctx, s, seq, f)
		}
		return nil
	}
	o.land(f)
	if neverGoes(err) {
		o.giveUp(seq, p, err.Error())
		return nil
	}
	awaitEnd(ctx, s)
	return err
}

// errMustResend ends a drain that has to begin again at an earlier record.
var errMustResend = errors.New("an earlier message must be sent again")

// errNotSent ends a drain whose link turned out to be dead before the next message.
var errNotSent = errors.New("the link was lost before the message")
