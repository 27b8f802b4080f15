package bridge

import (
	"context"
	"errors"
	"time"

	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// batchPeek is how many records are looked through for points of one address.
const batchPeek = 256

// batchTurn says whether the next turn is the backlog's, and its points can go in one request at their own time. What
// waited when the link came up is backlog; a single point goes the usual way.
func (l *budgetLane) batchTurn(s *session) bool {
	b, ok := l.c.platform.(platforms.Backfiller)
	if !ok {
		return false
	}
	if _, ok := b.History(l.name); !ok || !l.c.b.mayStamp() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.on != s {
		l.on = s
		l.backed = 0
		if st := l.queue.Stats(); st.Records > 1 {
			l.backed = st.Last
		}
	}
	if l.backed <= l.settler.base {
		l.backed = l.overdue(time.Now())
	}
	return l.backed > l.settler.base && (l.queued || l.latest.len() == 0)
}

// overdueTime is how long a point may wait and still be sent as if it were of this moment.
const overdueTime = 10 * time.Second

// overdue is the last record of the queue, if its oldest has waited for too long: what comes while a backlog is sent is
// backlog too. mu is held.
func (l *budgetLane) overdue(now time.Time) uint64 {
	st := l.queue.Stats()
	if st.Records < 2 || l.settler.base >= st.Last {
		return 0
	}
	recs := peekNow(l.queue, l.settler.base, 1)
	if len(recs) == 0 {
		return 0
	}
	if p, _, err := unstamp(recs[0]); err != nil || now.Sub(p.Arrived) < l.c.b.scaled(overdueTime) {
		return 0
	}
	return st.Last
}

// sendBatch sends points of one address in one request. Where the budget does not allow them yet it says when it will.
func (l *budgetLane) sendBatch(ctx context.Context, s *session, now time.Time) (slot time.Time) {
	b := l.c.platform.(platforms.Backfiller)
	h, _ := b.History(l.name)
	l.mu.Lock()
	most := h.MostPoints
	if l.most > 0 {
		most = min(most, l.most)
	}
	points, seqs := l.gather(most)
	if len(points) == 0 {
		l.backed = 0
		l.mu.Unlock()
		return now
	}
	l.mu.Unlock()
	d, err := b.EncodeHistory(points)
	if err != nil {
		l.giveUp(&points[0], seqs[0], err.Error())
		return now
	}
	cost := d.Points
	if d.Cost > 0 {
		cost = d.Cost
	}
	if slot, ok := l.pacer.reserve(now, cost); !ok {
		return slot
	}
	l.mu.Lock()
	l.queued = false
	left := l.queue.Stats().Records
	l.mu.Unlock()
	l.c.filling(true, "filling in history: "+wait(left))
	heard := l.c.sent(&d)
	v := l.c.http.send(ctx, d.Request, true)
	switch {
	case v.Outcome == platforms.Confirmed:
		heard()
		l.most = 0
		l.batched(points[:d.Points], seqs[:d.Points], d.Omitted)
	case v.Outcome == platforms.Refused && d.Points > 1:
		// One of them may be to blame for all: the next request has half as many.
		l.most = max(d.Points/2, 1)
	case v.Outcome == platforms.Refused:
		l.most = 0
		l.giveUp(&points[0], seqs[0], v.Why)
	case v.Cause == platforms.NotThere && now.Sub(l.made[points[0].Name]) >= l.c.b.scaled(makeAgain):
		return l.makePlace(ctx, s, points[0].Name, v.Why, now)
	default:
		l.c.tally.add(fateRetried, v.Why, 1)
		l.pacer.pause(now.Add(l.c.b.scaled(max(v.After, 2*time.Second))), v.Why)
	}
	return now
}

// makeAgain is how long it is until another value is spent on making an address: where the account has all the feeds that it may
// have, each of them is refused.
const makeAgain = 10 * time.Minute

// makePlace sends the newest point of an address in the usual way, as a value of now: it makes the feed, which its history
// needs and cannot make. Where the budget does not allow that yet it says when it will.
func (l *budgetLane) makePlace(ctx context.Context, s *session, name, why string, now time.Time) (slot time.Time) {
	p, seq, ok := l.newest(name)
	if !ok {
		return now
	}
	if slot = l.send(ctx, s, p, seq, now); slot.After(now) {
		return slot
	}
	if l.made == nil {
		l.made = make(map[string]time.Time)
	}
	l.made[name] = now
	l.c.tally.add(fateRetried, why, 1)
	l.pacer.pause(now.Add(l.c.b.scaled(2*time.Second)), why)
	return now
}

// newest is the newest point of an address that waits, as far as its history is looked through.
func (l *budgetLane) newest(name string) (p mappings.Point, seq uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	base := l.settler.base
	last := l.queue.Stats().Last
	// Near the end of a long queue there may be none of this address: then the newest of those that go next.
	for _, after := range []uint64{base + max(last-min(base, last), batchPeek) - batchPeek, base} {
		for _, rec := range peekNow(l.queue, after, batchPeek) {
			q, stamp, err := unstamp(rec)
			if err == nil && q.Name == name && !l.settler.settled(rec.Seq) && !l.trying(rec.Seq) && l.c.b.restamp(&q, stamp) == nil {
				p, seq, ok = q, rec.Seq, true
			}
		}
		if ok {
			break
		}
	}
	return p, seq, ok
}

// gather takes the oldest backlog points of one address. mu is held.
func (l *budgetLane) gather(most int) (points []mappings.Point, seqs []uint64) {
	after := l.settler.base
	for _, rec := range peekNow(l.queue, after, batchPeek) {
		if rec.Seq > l.backed || len(points) == most {
			break
		}
		if l.settler.settled(rec.Seq) || l.trying(rec.Seq) {
			continue
		}
		p, stamp, err := unstamp(rec)
		if err == nil {
			err = l.c.b.restamp(&p, stamp)
		}
		if rec.Seq <= l.inherited {
			l.c.adopt(&p)
		}
		switch {
		case errors.Is(err, errNoClock):
			l.c.refuse(&p, l.c.rule(&p), err.Error(), time.Now())
			l.settle(rec.Seq)
		case err != nil:
			l.c.tally.add(fateDropped, "record not readable", 1)
			l.settle(rec.Seq)
		case !l.c.keepsHistory(&p):
			l.c.count(&p, fateDropped, "it waited for the cloud, and its rule keeps no history")
			l.settle(rec.Seq)
		case len(points) == 0 || p.Name == points[0].Name:
			points, seqs = append(points, p), append(seqs, rec.Seq)
		}
	}
	return points, seqs
}

// batched counts the points of a request that the cloud took, and refuses what the platform had to leave out.
func (l *budgetLane) batched(points []mappings.Point, seqs []uint64, omitted []platforms.Omission) {
	whole := make(map[int]bool)
	for _, o := range omitted {
		if o.Point >= len(points) {
			continue
		}
		if o.Whole {
			whole[o.Point] = true
			l.giveUp(&points[o.Point], seqs[o.Point], o.Why)
		} else {
			l.c.count(&points[o.Point], fateRefused, o.Why)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range points {
		if !whole[i] {
			l.c.count(&points[i], fateConfirmed, "")
			l.settle(seqs[i])
		}
	}
	if l.settler.base >= l.backed {
		l.backed = 0
		l.c.filling(false, "")
	}
}
