package bridge

import (
	"context"
	"errors"
	"sync"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/queue"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// rowSettle is how long the first row after quiet waits for its other fields.
const rowSettle = time.Second

// answerTime is how long a row may wait for the sign that it arrived.
const answerTime = 15 * time.Second

// rowsLane is a lane of a platform that takes rows at their original time: points join into one row per interval, the
// newest row goes live, and a row that was not confirmed in its own slot becomes history.
type rowsLane struct {
	c       *cloud
	name    string
	pacer   *pacer
	history queue.Interface

	mu   sync.Mutex
	rows *rows
	live *mappings.Point
	// settled is how far the history is done.
	settled uint64
	// past is true where the next slot is the history's, where that costs slots; fresh is the return of the link that
	// had its first live row.
	past  bool
	fresh time.Time
	// bulk paces the requests that carry history, where the cloud takes such; most is how many rows the next one has.
	bulk *pacer
	most int
	told time.Time // when progress was told last
	wake chan struct{}
	busy bool // a row is on its way
	// dropped is how many records the queue had to drop so far.
	dropped uint64
	// unsafe is when the oldest record came that is not on disk: its readings are acknowledged.
	unsafe time.Time
	// inherited is the last record of an earlier run.
	inherited uint64
}

func newRowsLane(c *cloud, name string) *rowsLane {
	p := c.acct.pacer(name, c.limits, c.b.scale)
	c.b.memory.remember(c.platform.Account(), name, p)
	l := &rowsLane{
		c: c, name: name, pacer: p,
		history: c.newQueue(name),
		rows:    newRows(p.interval(), c.b.scaled(rowSettle)),
		wake:    make(chan struct{}, 1),
	}
	l.rows.seconds = c.acct.secondsOf(name)
	l.inherited = l.history.Stats().Last
	if h, ok := l.bulkLimits(); ok {
		l.bulk = c.acct.pacer("bulk "+name, platforms.Limits{Interval: h.Interval}, c.b.scale)
		c.b.memory.remember(c.platform.Account(), "bulk "+name, l.bulk)
		l.most = h.MostPoints
	}
	return l
}

// add takes a reading into the open interval, where it is safe as far as a rule that samples promises.
func (l *rowsLane) add(p *mappings.Point, rule *upRule, _ *receipt, now time.Time) {
	l.c.warnings(p)
	l.mu.Lock()
	l.close(l.rows.due(now), now)
	late, f := l.rows.add(p.Clone(), rule.policy, now)
	for i := range late {
		l.keep(&late[i])
	}
	l.mu.Unlock()
	l.c.sampled(p, rule, f)
	poke(l.wake)
}

// close puts closed rows in their slots: the newest is live, what it displaces is history, and so is a row of readings
// from long ago. mu is held.
func (l *rowsLane) close(closed []mappings.Point, now time.Time) {
	for i := range closed {
		if closed[i].Time.Before(now.Add(-2 * l.rows.interval)) {
			l.keep(&closed[i])
			continue
		}
		if l.live != nil {
			l.keep(l.live)
		}
		l.live = &closed[i]
	}
}

// keep makes history of a row. mu is held.
func (l *rowsLane) keep(row *mappings.Point) {
	if !l.c.keepsHistory(row) {
		l.c.count(row, fateDropped, "not sent in its slot, and its rule keeps no history")
		return
	}
	if err := l.history.Append(l.c.b.stamp(nil, row, time.Now()), nil); err != nil {
		l.c.count(row, fateDropped, err.Error())
	}
	l.c.overflowed(l.history, &l.dropped, 0)
	if l.unsafe.IsZero() {
		l.unsafe = time.Now()
	}
}

func (l *rowsLane) finish(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.close(l.rows.close(), now)
	poke(l.wake)
}

// run waits for the pacer first, then looks at what waits.
func (l *rowsLane) run(ctx context.Context) {
	for ctx.Err() == nil {
		now := time.Now()
		l.mu.Lock()
		l.close(l.rows.due(now), now)
		skips := l.rows.skipped()
		at, open := l.rows.next()
		ready := l.live != nil || l.history.Stats().Records > 0
		flushAt := l.flushAt()
		l.mu.Unlock()
		if !flushAt.IsZero() && !flushAt.After(now) {
			l.flush()
			continue
		}
		l.c.skipped(skips)
		if !open {
			at = time.Time{}
		}
		at = earliest(at, flushAt)
		if !ready {
			waitAny(ctx, l.wake, nil, at)
			continue
		}
		s, upc := l.c.reach(now)
		if !s.ok {
			waitAny(ctx, l.wake, upc, earliest(at, s.at))
			continue
		}
		if slot := l.pacer.next(now, 1); slot.After(now) {
			waitAny(ctx, l.wake, nil, earliest(at, slot))
			continue
		}
		if next, sent := l.slot(ctx, s.session, now); !sent {
			waitAny(ctx, l.wake, nil, earliest(at, next))
		}
	}
}

// send sends one row and waits for the sign that it arrived.
func (l *rowsLane) send(ctx context.Context, s *session, row *mappings.Point) platforms.Outcome {
	if rule := l.c.rule(row); rule != nil && rule.MaxAge > 0 && time.Since(row.Time) > rule.MaxAge {
		l.c.count(row, fateDropped, "older than max_age")
		return platforms.Refused
	}
	out := *row
	if !l.c.b.mayStamp() {
		out.Time = time.Time{} // The cloud's clock is better than ours.
	}
	ds, err := l.c.platform.Encode([]mappings.Point{out})
	if err != nil {
		l.c.refuse(row, l.c.rule(row), err.Error(), time.Now())
		return platforms.Refused
	}
	for i := range ds {
		if i > 0 {
			l.pacer.take(time.Now(), 1)
		}
		l.c.left(row, &ds[i])
		var what platforms.Outcome
		if ds[i].Request != nil {
			what = l.overHTTP(ctx, row, &ds[i])
		} else {
			what = l.overMQTT(ctx, s, row, &ds[i])
		}
		if what != platforms.Confirmed {
			return what
		}
	}
	return platforms.Confirmed
}

// overMQTT publishes a row with QoS 0; that the link answers a ping behind it shows that the cloud's broker has it.
func (l *rowsLane) overMQTT(ctx context.Context, s *session, row *mappings.Point, d *platforms.Delivery) platforms.Outcome {
	actx, cancel := context.WithTimeout(ctx, l.c.b.scaled(answerTime))
	defer cancel()
	heard := l.c.sent(d)
	res := make(chan error, 1)
	err := s.Publish(actx, d.Message, func(r mqtt.Result) { res <- r.Err })
	if err == nil {
		select {
		case err = <-res:
		case <-actx.Done():
			err = actx.Err()
		}
	}
	if err == nil && l.c.limits.Confirm == platforms.ByPing {
		err = s.Ping(actx)
	}
	if err != nil {
		var refusal *mqtt.RefusedError
		if errors.As(err, &refusal) && refusal.Packet != mqtt.Disconnect {
			v := l.c.platform.Judge(platforms.Reply{Reason: refusal.Reason, Topic: d.Message.Topic})
			return l.verdict(row, v)
		}
		l.c.count(row, fateRetried, "no sign that it arrived")
		return platforms.Retry
	}
	heard()
	l.c.carried(d.Message, &l.c.sentN, time.Now())
	l.c.count(row, fateSent, "")
	return platforms.Confirmed
}

func (l *rowsLane) overHTTP(ctx context.Context, row *mappings.Point, d *platforms.Delivery) platforms.Outcome {
	heard := l.c.sent(d)
	v := l.c.http.send(ctx, d.Request, false)
	if v.Outcome == platforms.Confirmed {
		heard()
	}
	return l.verdict(row, v)
}

// verdict counts what became of a row, and obeys a wish to slow down.
func (l *rowsLane) verdict(row *mappings.Point, v platforms.Verdict) platforms.Outcome {
	now := time.Now()
	switch v.Outcome {
	case platforms.Confirmed:
		l.c.count(row, fateConfirmed, "")
	case platforms.Refused:
		l.c.refuse(row, l.c.rule(row), v.Why, now)
	default:
		l.c.count(row, fateRetried, v.Why)
		if v.After > 0 {
			l.pacer.pause(now.Add(l.c.b.scaled(v.After)), v.Why)
		}
	}
	return v.Outcome
}

// flushAt is when the history must be on disk; zero while it is. A row has waited for two intervals when it becomes
// history, its own and its slot's, so that is at once. mu is held.
func (l *rowsLane) flushAt() time.Time { return l.unsafe }

func (l *rowsLane) flush() {
	l.mu.Lock()
	l.unsafe = time.Time{}
	l.mu.Unlock()
	// A disk that fails is told of by the queue, which then keeps what it can in memory.
	_ = l.history.Flush()
}

// save keeps the history, and the row whose slot did not come.
func (l *rowsLane) save() (saved, lost int) {
	if l.live != nil {
		l.keep(l.live)
		l.live = nil
	}
	return put(l.history)
}

func (l *rowsLane) notice(ev platforms.Event, now time.Time) {
	poke(l.wake)
	if ev.Kind == platforms.Throttled {
		l.pacer.pause(now.Add(ev.For), ev.Why)
	}
}

func (l *rowsLane) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.history.Stats().Records
	if l.live != nil {
		n++
	}
	return n + l.rows.len()
}

// idle says whether a stop need not wait: nothing waits, or its slot comes later than a stop may last.
func (l *rowsLane) idle(now time.Time) bool {
	l.mu.Lock()
	busy, n := l.busy, l.history.Stats().Records
	if l.live != nil {
		n++
	}
	l.mu.Unlock()
	return !busy && (n == 0 || l.pacer.next(now, 1).Sub(now) > sendTime)
}

// A reading is acknowledged when it is taken into its interval, so this lane owes nothing.
func (l *rowsLane) owes() *receipt { return nil }
func (l *rowsLane) secure() bool   { return false }
func (l *rowsLane) held() int      { return 0 }

func (l *rowsLane) status(now time.Time) LaneStatus {
	qs := l.history.Stats()
	st := LaneStatus{Name: l.name, Waiting: l.waiting(), Bytes: qs.Bytes, MemoryOnly: qs.MemoryOnly, Why: qs.Why}
	if at := l.pacer.next(now, 1); at.After(now) {
		st.NextSlot = at
	}
	return st
}

// waitAny waits for a poke, for a link, for a time (zero is never), or for the end of ctx.
func waitAny(ctx context.Context, wake, upc <-chan struct{}, at time.Time) {
	var due <-chan time.Time
	if !at.IsZero() {
		t := time.NewTimer(time.Until(at))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-ctx.Done():
	case <-wake:
	case <-upc:
	case <-due:
	}
}

// earliest is the earlier of two times, of which a zero one is never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
