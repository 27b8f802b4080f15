package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/queue"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// peekMost is how many records are taken from a queue at once.
const peekMost = 64

// orderedLane is a lane of a plain MQTT cloud: one queue, strictly in order, many in flight. What was in flight when a
// connection ended goes again first on the next, in order.
type orderedLane struct {
	c     *cloud
	name  string
	queue queue.Interface
	debts debts

	mu      sync.Mutex
	sampler *sampler
	sampled chan struct{} // wakes the goroutine that closes intervals; nil until a rule samples
	settler settler
	flights map[uint64]*flight
	again   chan struct{} // tells the sender that a record must be sent again
	// resend asks the sender to begin again at the oldest unsettled record, not before the time pause.
	resend bool
	pause  time.Time
	closes int
	single int // messages left to send one at a time
	blame  map[uint64]int
	backed uint64 // up to here the queue was a backlog when the link came up
	newest newest
	// refusals counts the answers in a row that ask for a retry, and tries those of one record.
	refusals int
	tries    map[uint64]int
	// dropped is how many records the queue had to drop so far.
	dropped uint64
	// inherited is the last record of an earlier run: its rules may be others than today's.
	inherited uint64
	flusher   flusher
	taken     takenOver
}

// flight is a record that was sent and not answered.
type flight struct {
	on    *session
	topic string
	point mappings.Point
	heard func()        // the echo guard's
	ended chan struct{} // closed when it is answered
	// held is true for a message of QoS 0 sent alone: it is settled only when a ping behind it is answered.
	held bool
}

func newOrderedLane(c *cloud, name string) *orderedLane {
	o := &orderedLane{
		c: c, name: name,
		queue:   c.newQueue(name),
		sampler: newSampler(),
		flights: make(map[uint64]*flight),
		again:   make(chan struct{}, 1),
		blame:   make(map[uint64]int),
		newest:  newest{points: make(map[string]mappings.Point), sent: make(map[uint64]mappings.Point)},
		tries:   make(map[uint64]int),
	}
	o.inherited = o.queue.Stats().Last
	return o
}

func (o *orderedLane) add(p *mappings.Point, rule *upRule, r *receipt, now time.Time) {
	if !rule.sampled {
		o.keep(p, rule, r)
		return
	}
	o.mu.Lock()
	out, f := o.sampler.add(p.Clone(), rule.policy, now)
	o.startSampling()
	o.mu.Unlock()
	o.c.sampled(p, rule, f)
	if !passedAlone(rule, f) {
		r = nil // It is merged into its interval, as its rule says.
	}
	for i := range out {
		o.keep(&out[i], rule, r)
	}
	poke(o.sampled)
}

// append queues a point. Its receipt is released when the record is safe.
func (o *orderedLane) append(p *mappings.Point, r *receipt) {
	if err := o.queue.Append(o.c.b.stampIfWrong(p), o.debts.take(r)); err != nil {
		o.c.count(p, fateDropped, err.Error())
	}
	switch {
	case !o.c.b.stored():
	case o.c.b.cfg.Queue.Durability == always:
		o.flusher.ask(o.queue)
	case r == nil:
		o.taken.within(o.c.patience(p), o.queue, &o.flusher, o.settledTo)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.c.overflowed(o.queue, &o.dropped)
}

// startSampling starts the goroutine that closes intervals, with the first rule that samples. mu is held.
func (o *orderedLane) startSampling() {
	if o.sampled != nil || o.c.run == nil {
		return
	}
	o.sampled = make(chan struct{}, 1)
	o.c.wg.Go(func() { o.sample(o.c.run) })
}

// sample queues the points of intervals as they end.
func (o *orderedLane) sample(ctx context.Context) {
	for ctx.Err() == nil {
		o.mu.Lock()
		due := o.sampler.due(time.Now())
		at, waiting := o.sampler.next()
		skips := o.sampler.skipped()
		o.mu.Unlock()
		o.c.skipped(skips)
		for i := range due {
			o.append(&due[i], nil)
		}
		if !waiting {
			at = time.Time{}
		}
		waitAny(ctx, o.sampled, nil, at)
	}
}

func (o *orderedLane) finish(now time.Time) {
	o.mu.Lock()
	rest := o.sampler.close()
	o.mu.Unlock()
	for i := range rest {
		o.append(&rest[i], nil)
	}
}

// run sends on one session after the other.
func (o *orderedLane) run(ctx context.Context) {
	for {
		s, err := o.c.link.wait(ctx)
		if err != nil {
			return
		}
		st := o.queue.Stats()
		o.mu.Lock()
		o.backed = st.Last
		o.mu.Unlock()
		o.c.link.fill(st.Records > peekMost, fmt.Sprintf("sending %s that waited", readings(st.Records)))
		for s.ctx.Err() == nil && ctx.Err() == nil {
			o.drain(ctx, s)
		}
		o.c.link.fill(false, "")
		o.aftermath(s)
	}
}

// drain sends from the oldest unsettled record on, until the session ends or a record must be sent again.
func (o *orderedLane) drain(ctx context.Context, s *session) {
	o.mu.Lock()
	after, at := o.settler.base, o.pause
	o.resend = false
	o.mu.Unlock()
	if !sleep(s.ctx, time.Until(at)) {
		return
	}
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
		recs, err := o.queue.Peek(dctx, after, peekMost)
		if err != nil {
			return
		}
		for _, rec := range recs {
			if o.mustResend() {
				return
			}
			if rec.Seq > after+1 {
				o.gap(rec.Seq)
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

// gap settles what the queue dropped before it was sent.
func (o *orderedLane) gap(seq uint64) {
	o.mu.Lock()
	if o.settler.base > 0 {
		// Markers may be among what is gone: without them their points would wait for ever.
		clear(o.newest.points)
	}
	o.settler.skipTo(seq)
	base := o.settler.base
	o.mu.Unlock()
	_ = o.queue.Commit(base)
}

// send sends one record. The error ends the drain.
func (o *orderedLane) send(ctx context.Context, s *session, rec queue.Record) error {
	o.mu.Lock()
	f := o.flights[rec.Seq]
	skip := o.settler.settled(rec.Seq) || f != nil && f.on == s
	single := o.single > 0
	o.mu.Unlock()
	if skip {
		return nil
	}
	p, err := o.read(rec)
	if err != nil {
		if !errors.Is(err, errReplaced) {
			o.c.tally.add(fateDropped, "record not readable", 1)
		}
		o.settle(rec.Seq)
		return nil
	}
	now := time.Now()
	if rule := o.c.rule(&p); rule != nil && rule.MaxAge > 0 && now.Sub(p.Time) > rule.MaxAge {
		o.c.count(&p, fateDropped, "older than max_age")
		o.settle(rec.Seq)
		return nil
	}
	if o.c.b.mayStamp() {
		p.Late = o.backlog(rec.Seq)
	} else {
		p.Time = p.Arrived // A wrong clock tells no time.
	}
	ds, err := o.c.platform.Encode([]mappings.Point{p})
	if err != nil {
		o.giveUp(rec.Seq, &p, err.Error())
		return nil
	}
	for i := range ds {
		if err := o.deliver(ctx, s, rec.Seq, &p, &ds[i], single); err != nil {
			return err
		}
	}
	return nil
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
	f := &flight{on: s, topic: m.Topic, point: *p, heard: o.c.sent(d), ended: make(chan struct{}), held: single && m.QoS == 0}
	o.mu.Lock()
	o.flights[seq] = f
	o.mu.Unlock()
	o.c.left(p, d)
	err := s.Publish(ctx, m, func(res mqtt.Result) { o.answered(seq, f, m.QoS, res.Err) })
	if err == nil {
		o.c.carried(m, &o.c.sentN)
		if single {
			return o.alone(ctx, s, seq, f)
		}
		return nil
	}
	o.land(seq, f)
	if neverGoes(err) {
		o.giveUp(seq, p, err.Error())
		return nil
	}
	awaitEnd(ctx, s)
	return err
}

// neverGoes says whether Publish refused a message for what it is. Any other error means that the session is ending.
func neverGoes(err error) bool {
	var large *mqtt.TooLargeError
	var invalid *mqtt.InvalidError
	return errors.As(err, &large) || errors.As(err, &invalid)
}

// awaitEnd waits until a session that is ending has told everybody, so that nobody tries again in vain.
func awaitEnd(ctx context.Context, s *session) {
	select {
	case <-s.ctx.Done():
	case <-ctx.Done():
	}
}

// errNotSent ends a drain whose link turned out to be dead before the next message.
var errNotSent = errors.New("the link was lost before the message")

// answered hears what became of a message. It runs on the session's goroutine.
func (o *orderedLane) answered(seq uint64, f *flight, qos byte, err error) {
	var refusal *mqtt.RefusedError
	switch {
	case err == nil && f.held:
		f.heard()
	case err == nil:
		f.heard()
		word := fateConfirmed
		if qos == 0 {
			word = fateSent
		}
		o.c.count(&f.point, word, "")
		o.mu.Lock()
		o.refusals = 0
		delete(o.tries, seq)
		o.mu.Unlock()
		o.settle(seq)
	case errors.As(err, &refusal) && refusal.Packet != mqtt.Disconnect:
		v := o.c.platform.Judge(platforms.Reply{Reason: refusal.Reason, Topic: f.topic})
		o.judged(seq, f, v, refusal)
	default:
		o.mu.Lock()
		if o.single > 0 && unexplained(err) {
			o.blame[seq]++
		}
		o.resend = true
		o.mu.Unlock()
		poke(o.again)
		o.c.count(&f.point, fateRetried, "the connection was lost")
	}
	o.land(seq, f)
}

// judged acts on a refusal of one message.
func (o *orderedLane) judged(seq uint64, f *flight, v platforms.Verdict, refusal error) {
	why := v.Why
	if why == "" {
		why = refusal.Error()
	}
	switch v.Outcome {
	case platforms.Confirmed:
		f.heard()
		o.c.count(&f.point, fateConfirmed, "")
		o.settle(seq)
	case platforms.Refused:
		if v.Cause == platforms.NotAllowed {
			o.c.blocked.block(f.topic, time.Now().Add(o.c.b.scaled(refusedPause)))
		}
		o.giveUp(seq, &f.point, why)
	default:
		o.later(seq, f, v, why)
	}
}

// land takes a flight off the list, unless the record flies again already.
func (o *orderedLane) land(seq uint64, f *flight) {
	o.mu.Lock()
	if o.flights[seq] == f {
		delete(o.flights, seq)
	}
	o.mu.Unlock()
	close(f.ended)
}

func (o *orderedLane) settle(seq uint64) {
	o.mu.Lock()
	delete(o.newest.sent, seq)
	grew := o.settler.settle(seq)
	base := o.settler.base
	caughtUp := grew && base >= o.backed && o.backed != 0
	if caughtUp {
		o.backed = 0
	}
	o.mu.Unlock()
	if caughtUp {
		o.c.link.fill(false, "")
	}
	if grew {
		// The queue in memory cannot fail to commit, and a cursor that lags means doubles, never loss.
		_ = o.queue.Commit(base)
	}
}

// giveUp settles a record that can never go.
func (o *orderedLane) giveUp(seq uint64, p *mappings.Point, why string) {
	o.c.refuse(p, o.c.rule(p), why, time.Now())
	o.settle(seq)
}

// notice is for platforms that tell about topics by message; plain MQTT answers in its own packets.
func (o *orderedLane) notice(platforms.Event, time.Time) {}

// settledTo is the last record of the settled prefix.
func (o *orderedLane) settledTo() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.settler.base
}

// save keeps the queue, and the newest values that it has only markers for.
func (o *orderedLane) save() (saved, lost int) {
	for _, p := range o.newest.sent {
		if _, newer := o.newest.points[p.Name]; !newer {
			o.newest.points[p.Name] = p
		}
	}
	for _, p := range o.newest.points {
		o.append(&p, nil)
	}
	return put(o.queue)
}

func (o *orderedLane) waiting() int            { return o.queue.Stats().Records }
func (o *orderedLane) idle(now time.Time) bool { return o.waiting() == 0 }

func (o *orderedLane) owes() *receipt { return o.debts.oldest() }

func (o *orderedLane) secure() bool { return secure(o.queue, &o.debts) }

func (o *orderedLane) held() int { return o.debts.count() }

func (o *orderedLane) status(now time.Time) LaneStatus {
	st := o.queue.Stats()
	return LaneStatus{Name: o.name, Waiting: st.Records, Bytes: st.Bytes, MemoryOnly: st.MemoryOnly, Why: st.Why}
}

// secure flushes a queue, and says whether that freed anybody.
func secure(q queue.Interface, d *debts) bool {
	before := d.oldest()
	return before != nil && q.Flush() == nil && d.oldest() != before
}

// poke wakes whoever waits on a channel of one slot; nil is nobody.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
