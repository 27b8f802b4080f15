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

// budgetLane is the lane of an account with so many points a minute. Rules that keep the latest share a map from address
// to newest value, fair over addresses; rules that keep all share a queue. Where both wait, turns alternate.
type budgetLane struct {
	c     *cloud
	name  string
	pacer *pacer
	queue queue.Interface
	debts debts
	wake  chan struct{}

	mu      sync.Mutex
	latest  *latest
	sampler *sampler
	settler settler
	// after is the last record of the queue that was sent, or settled.
	after  uint64
	queued bool // the next turn is the queue's
	trials []*trial
	// dropped is how many records the queue had to drop so far.
	dropped uint64
	// file keeps the newest values over a crash; owed lets go of the messages that wait for it.
	file snapshot
	owed []func()
	// inherited is the last record of an earlier run.
	inherited uint64
	flusher   flusher
	taken     takenOver
	// on is the session whose backlog goes up to the record backed; most is how many points the next request has, where
	// the last one was too many, and belongs to the goroutine that sends.
	on     *session
	backed uint64
	most   int
	made   map[string]time.Time // when a value was last sent to make an address that was not there for history
	// stopping says that what waits need not be fair any more, only sent.
	stopping bool
}

// trial is a point that was sent and is not yet confirmed: not acknowledged, or not long enough without a complaint.
type trial struct {
	point mappings.Point
	seq   uint64 // its record; 0 for the latest of its address
	topic string
	on    *session
	heard func()
	acked time.Time
}

func newBudgetLane(c *cloud, name string) *budgetLane {
	p := c.acct.pacer(name, c.limits, c.b.scale)
	c.b.memory.remember(c.platform.Account(), name, p)
	l := &budgetLane{
		c: c, name: name, pacer: p,
		queue: c.newQueue(name), wake: make(chan struct{}, 1),
		latest: newLatest(c.b.scale), sampler: newSampler(),
	}
	l.inherited = l.queue.Stats().Last
	l.recall()
	return l
}

func (l *budgetLane) add(p *mappings.Point, rule *upRule, r *receipt, now time.Time) {
	l.c.warnings(p)
	defer poke(l.wake)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !rule.sampled {
		l.keep(p.Clone(), rule, r, now)
		return
	}
	out, f := l.sampler.add(p.Clone(), rule.policy, now)
	l.c.sampled(p, rule, f)
	if !passedAlone(rule, f) {
		r = nil // It is merged into its interval, as its rule says.
	}
	for i := range out {
		l.keep(out[i], rule, r, now)
	}
}

// keep holds a point in the way its rule says. mu is held.
func (l *budgetLane) keep(p mappings.Point, rule *upRule, r *receipt, now time.Time) {
	if rule != nil && rule.Keep == "all" {
		if err := l.queue.Append(l.c.b.stampIfWrong(nil, &p, now), l.debts.take(r)); err != nil {
			l.c.count(&p, fateDropped, err.Error())
		}
		l.c.overflowed(l.queue, &l.dropped, 0)
		switch {
		case !l.c.b.stored():
		case l.c.b.cfg.Queue.Durability == always:
			l.flusher.ask(l.queue)
		case r == nil:
			l.taken.within(l.c.patience(&p), l.queue, &l.flusher, l)
		}
		return
	}
	l.keepLatest(p, r, now)
}

func (l *budgetLane) finish(now time.Time) {
	l.mu.Lock()
	l.stopping = true
	for _, p := range l.sampler.close() {
		l.keep(p, l.c.rule(&p), nil, now)
	}
	l.mu.Unlock()
	poke(l.wake)
}

func (l *budgetLane) run(ctx context.Context) {
	defer l.end()
	for ctx.Err() == nil {
		now := time.Now()
		at := earliest(l.tend(now), l.keepFile(now))
		s, upc := l.c.link.up()
		if s == nil {
			waitAny(ctx, l.wake, upc, at)
			continue
		}
		if slot := l.pacer.next(now, 1); slot.After(now) {
			waitAny(ctx, l.wake, s.ctx.Done(), earliest(at, slot))
			continue
		}
		if l.batchTurn(s) {
			if slot := l.sendBatch(ctx, s, now); slot.After(now) {
				waitAny(ctx, nil, s.ctx.Done(), earliest(at, slot))
			}
			continue
		}
		p, seq, next, ok := l.pick(now)
		if !ok {
			waitAny(ctx, l.wake, s.ctx.Done(), earliest(at, next))
			continue
		}
		if slot := l.send(ctx, s, p, seq, now); slot.After(now) {
			waitAny(ctx, nil, s.ctx.Done(), slot)
		}
	}
}

// end counts, at a stop, what the cloud has acknowledged and not complained about so far.
func (l *budgetLane) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.trials {
		if !t.acked.IsZero() {
			l.c.count(&t.point, fateConfirmed, "")
			l.settle(t.seq)
			continue
		}
		l.takeBack(t, "")
	}
	l.trials = nil
}

// tend closes intervals, confirms what nobody complained about in time, and takes back what a lost link leaves open. It
// returns when it is needed next.
func (l *budgetLane) tend(now time.Time) (at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.sampler.due(now) {
		l.keep(p, l.c.rule(&p), nil, now)
	}
	l.c.skipped(l.sampler.skipped())
	if next, ok := l.sampler.next(); ok {
		at = next
	}
	quiet := l.c.b.scaled(l.c.limits.Quiet)
	if l.c.limits.Confirm != platforms.ByQuiet {
		quiet = 0
	}
	rest := l.trials[:0]
	for _, t := range l.trials {
		switch {
		case !t.acked.IsZero() && !now.Before(t.acked.Add(quiet)):
			l.c.count(&t.point, fateConfirmed, "")
			l.settle(t.seq)
			l.file.unsaved = l.file.unsaved || t.seq == 0
		case t.on.ctx.Err() != nil:
			l.takeBack(t, "the connection was lost")
		default:
			rest = append(rest, t)
			if !t.acked.IsZero() {
				at = earliest(at, t.acked.Add(quiet))
			}
		}
	}
	clear(l.trials[len(rest):])
	l.trials = rest
	return at
}

// save keeps the queue and the newest values.
func (l *budgetLane) save() (saved, lost int) {
	saved, lost = put(l.queue)
	n := l.latest.len()
	if !l.c.b.stored() || l.writeNewest() != nil {
		return saved, lost + n
	}
	return saved + n, lost
}

// pick chooses whose turn it is. next is when somebody's turn comes, if nobody's has.
func (l *budgetLane) pick(now time.Time) (p mappings.Point, seq uint64, next time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// A backlog whose times nobody can tell yet waits for the clock.
	if l.backed > l.settler.base && !l.c.b.mayStamp() {
		share := l.pacer.perAddress(max(l.c.acct.sharing(l, l.latest.active(now)), 1))
		p, ok, next = l.latest.pick(now, share)
		return p, 0, next, ok
	}
	if l.queued {
		if p, seq, ok = l.pickQueued(now); ok {
			l.queued = false
			return p, seq, next, true
		}
	}
	share := l.pacer.perAddress(l.c.acct.sharing(l, l.latest.active(now)))
	if l.stopping {
		share = 0
	}
	if p, ok, next = l.latest.pick(now, share); ok {
		l.queued = true
		return p, 0, next, true
	}
	p, seq, ok = l.pickQueued(now)
	return p, seq, next, ok
}

// pickQueued takes the next record that is neither settled nor on its way. mu is held.
func (l *budgetLane) pickQueued(now time.Time) (p mappings.Point, seq uint64, ok bool) {
	for {
		recs := peekNow(l.queue, l.after, 1)
		if len(recs) == 0 {
			return p, 0, false
		}
		seq = recs[0].Seq
		if seq > l.after+1 {
			l.settler.skipTo(seq)
		}
		l.after = seq
		if l.settler.settled(seq) || l.trying(seq) {
			continue
		}
		p, stamp, err := unstamp(recs[0])
		if err == nil && l.c.b.restamp(&p, stamp) != nil {
			p.Time = p.Arrived
		}
		if seq <= l.inherited {
			l.c.adopt(&p)
		}
		if err != nil {
			l.c.tally.add(fateDropped, "record not readable", 1)
			l.settle(seq)
			continue
		}
		if s, _ := l.c.link.up(); s != nil && p.Arrived.Before(s.began) && !l.c.keepsHistory(&p) {
			l.c.count(&p, fateDropped, "it waited for the cloud, and its rule keeps no history")
			l.settle(seq)
			continue
		}
		return p, seq, true
	}
}

func (l *budgetLane) trying(seq uint64) bool {
	for _, t := range l.trials {
		if t.seq == seq {
			return true
		}
	}
	return false
}

// send publishes one point. Where the budget does not allow its cost yet it takes it back and says when it will.
func (l *budgetLane) send(ctx context.Context, s *session, p mappings.Point, seq uint64, now time.Time) (slot time.Time) {
	rule := l.c.rule(&p)
	if rule != nil && rule.MaxAge > 0 && now.Sub(p.Time) > rule.MaxAge {
		l.c.count(&p, fateDropped, "older than max_age")
		l.settleNow(seq)
		return now
	}
	ds, err := l.c.platform.Encode([]mappings.Point{p})
	if err != nil || len(ds) == 0 || ds[0].Message == nil {
		if err == nil {
			err = errors.New("nothing to send")
		}
		l.giveUp(&p, seq, err.Error())
		return now
	}
	d := &ds[0]
	if l.c.blocked.is(d.Message.Topic, now) {
		l.giveUp(&p, seq, "this account may not publish to "+d.Message.Topic+" (tried again every ten minutes)")
		return now
	}
	cost := max(d.Cost, 1)
	t := &trial{point: p, seq: seq, topic: d.Message.Topic, on: s}
	slot, ok := l.pacer.reserve(now, cost)
	if !ok {
		l.mu.Lock()
		l.takeBack(t, "")
		l.mu.Unlock()
		return slot
	}
	l.c.left(&p, d)
	t.heard = l.c.sent(d)
	l.mu.Lock()
	if seq == 0 {
		l.latest.sent(p.Name, now)
	}
	l.trials = append(l.trials, t)
	l.mu.Unlock()
	if err := s.Publish(ctx, d.Message, func(res mqtt.Result) { l.answered(t, res.Err) }); err != nil {
		l.drop(t)
		if neverGoes(err) {
			l.giveUp(&p, seq, err.Error())
			return now
		}
		l.mu.Lock()
		l.takeBack(t, "the connection was lost")
		l.mu.Unlock()
		awaitEnd(ctx, s)
	}
	return now
}

// answered hears of an acknowledgement. It runs on the session's goroutine.
func (l *budgetLane) answered(t *trial, err error) {
	defer poke(l.wake)
	if err == nil {
		t.heard()
		l.c.sentN.Add(1)
		l.mu.Lock()
		t.acked = time.Now()
		l.mu.Unlock()
		return
	}
	if !l.drop(t) {
		return // Somebody complained about it first.
	}
	var refusal *mqtt.RefusedError
	if errors.As(err, &refusal) && refusal.Packet != mqtt.Disconnect {
		v := l.c.platform.Judge(platforms.Reply{Reason: refusal.Reason, Topic: t.topic})
		if v.Outcome == platforms.Refused {
			l.giveUp(&t.point, t.seq, v.Why)
			return
		}
		if v.After > 0 {
			l.pacer.pause(time.Now().Add(l.c.b.scaled(v.After)), v.Why)
		}
	}
	l.mu.Lock()
	l.takeBack(t, "the connection was lost")
	l.mu.Unlock()
}

// drop takes a trial off the list, and says whether it was there.
func (l *budgetLane) drop(t *trial) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, u := range l.trials {
		if u == t {
			l.trials = append(l.trials[:i], l.trials[i+1:]...)
			return true
		}
	}
	return false
}

// takeBack lets a point wait again, unless a newer one of its address has come. mu is held.
func (l *budgetLane) takeBack(t *trial, why string) {
	if why != "" {
		l.c.count(&t.point, fateRetried, why)
	}
	if t.seq != 0 {
		l.after = min(l.after, t.seq-1)
		return
	}
	if !l.latest.putBack(t.point) {
		l.c.count(&t.point, fateReplaced, "a newer value came before its turn")
	}
}

// notice hears that the cloud wants less, or refuses a topic.
func (l *budgetLane) notice(ev platforms.Event, now time.Time) {
	defer poke(l.wake)
	if ev.Kind == platforms.Throttled {
		l.pacer.pause(now.Add(ev.For), ev.Why)
	}
	l.mu.Lock()
	var refused []*trial
	rest := l.trials[:0]
	for _, t := range l.trials {
		switch {
		case ev.Topic != "" && ev.Topic != t.topic:
			rest = append(rest, t)
		case ev.Kind == platforms.Throttled:
			l.takeBack(t, ev.Why)
		case ev.Topic != "":
			refused = append(refused, t)
		default:
			rest = append(rest, t)
		}
	}
	clear(l.trials[len(rest):])
	l.trials = rest
	l.mu.Unlock()
	for _, t := range refused {
		l.giveUp(&t.point, t.seq, ev.Why)
	}
}

func (l *budgetLane) giveUp(p *mappings.Point, seq uint64, why string) {
	l.c.refuse(p, l.c.rule(p), why, time.Now())
	l.settleNow(seq)
}

func (l *budgetLane) settleNow(seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle(seq)
}

// settle settles a record of the queue; 0 is none. mu is held.
func (l *budgetLane) settle(seq uint64) {
	if seq != 0 && l.settler.settle(seq) {
		// The queue in memory cannot fail to commit.
		_ = l.queue.Commit(l.settler.base)
	}
}

// settledTo is the last record of the settled prefix.
func (l *budgetLane) settledTo() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.settler.base
}

func (l *budgetLane) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.latest.len() + l.sampler.len() + l.queue.Stats().Records
	for _, t := range l.trials {
		switch {
		case t.seq == 0 && t.acked.IsZero():
			n++
		case t.seq != 0 && !t.acked.IsZero():
			n-- // The queue still counts it, and the cloud has it.
		}
	}
	return n
}

// idle says whether a stop need not wait: nothing waits, or its turn comes later than a stop may last.
func (l *budgetLane) idle(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.trials {
		if t.acked.IsZero() {
			return false
		}
	}
	return l.latest.len()+l.queue.Stats().Records == 0 || l.pacer.next(now, 1).Sub(now) > sendTime
}

func (l *budgetLane) owes() *receipt { return l.debts.oldest() }
func (l *budgetLane) held() int      { return l.debts.count() }

func (l *budgetLane) status(now time.Time) LaneStatus {
	qs := l.queue.Stats()
	st := LaneStatus{Name: l.name, Waiting: l.waiting(), Bytes: qs.Bytes, MemoryOnly: qs.MemoryOnly, Why: qs.Why}
	if at := l.pacer.next(now, 1); at.After(now) {
		st.NextSlot = at
	}
	return st
}
