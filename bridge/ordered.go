package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

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
	landed  chan struct{} // tells it that all that was on its way is answered
	// resend asks the sender to begin again at the oldest unsettled record, not before the time pause.
	resend bool
	pause  time.Time
	closes int
	single int // messages left to send one at a time
	blame  map[uint64]int
	backed uint64 // up to here the queue was a backlog when the link came up
	newest *newest
	// refusals counts the attempts in a row that were asked to be made again, and tries those of one record.
	refusals int
	tries    map[uint64]int
	// dropped is how many records the queue had to drop so far.
	dropped uint64
	// inherited is the last record of an earlier run: its rules may be others than today's.
	inherited uint64
	flusher   flusher
	taken     takenOver
	way       straight
	layer     platforms.Layer // nil where a point may be another thing than one message
	// sending, message, delivery and reader are the lane's goroutine's, used again for each record.
	sending  mappings.Point
	message  mqtt.Message
	delivery platforms.Delivery
	reader   mappings.PointReader
	spare    []*flight // to be used again
}

func newOrderedLane(c *cloud, name string) *orderedLane {
	o := &orderedLane{
		c: c, name: name,
		queue:   c.newQueue(name),
		sampler: newSampler(),
		flights: make(map[uint64]*flight),
		again:   make(chan struct{}, 1),
		landed:  make(chan struct{}, 1),
		blame:   make(map[uint64]int),
		newest:  newNewest(c.b.cfg.Queue.MaxSize),
		tries:   make(map[uint64]int),
	}
	o.layer, _ = c.platform.(platforms.Layer)
	o.way.back = make(chan struct{}, 1)
	o.inherited = o.queue.Stats().Last
	o.recall()
	return o
}

func (o *orderedLane) add(p *mappings.Point, rule *upRule, r *receipt, now time.Time) {
	if !rule.sampled {
		o.keep(p, rule, r, now)
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
		o.keep(&out[i], rule, r, now)
	}
	poke(o.sampled)
}

// append queues a point, and sends it where the way is free. Its receipt is released when the record is safe.
func (o *orderedLane) append(p *mappings.Point, r *receipt, now time.Time) {
	o.way.mu.Lock()
	defer o.way.mu.Unlock()
	if err := o.queue.Append(o.record(p, now), o.debts.take(r)); err != nil {
		o.c.count(p, fateDropped, err.Error())
	}
	last, dropped := o.queue.Tail()
	if dropped != o.dropped {
		o.lost()
	}
	if o.way.on != nil {
		if !o.c.b.mayStamp() {
			untime(p)
		}
		o.goStraight(p, last, now)
	}
	switch {
	case !o.c.b.stored():
	case o.c.b.cfg.Queue.Durability == always:
		o.flusher.ask(o.queue)
	case r == nil:
		o.taken.within(o.c.patience(p), o.queue, &o.flusher, o)
	}
}

// record writes a point as the queue has it, in memory that is used again. way.mu is held.
func (o *orderedLane) record(p *mappings.Point, now time.Time) []byte {
	rec := o.c.b.stampIfWrong(o.way.record[:0], p, now)
	if o.way.record = rec; cap(rec) > mostRecord {
		o.way.record = nil
	}
	return rec
}

// mostRecord is the longest record whose memory is used again: one large message must not cost memory for ever.
const mostRecord = 16 << 10

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
			o.keep(&due[i], o.c.rule(&due[i]), nil, time.Now())
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
		o.keep(&rest[i], o.c.rule(&rest[i]), nil, now)
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
		waiting := o.waiting()
		o.c.link.fill(waiting > peekMost, fmt.Sprintf("sending %s that waited", readings(waiting)))
		for s.ctx.Err() == nil && ctx.Err() == nil {
			o.drain(ctx, s)
		}
		o.c.link.fill(false, "")
		o.aftermath(s)
	}
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

// answered hears what became of a message. It runs on the session's goroutine, or on that which wrote it.
func (o *orderedLane) answered(f *flight, err error) {
	switch {
	case err != nil:
		o.failed(f, err)
	case f.held:
		f.confirmed()
	default:
		f.confirmed()
		word := fateConfirmed
		if f.qos == 0 {
			word = fateSent
		}
		o.tell(f, word, "")
		o.mu.Lock()
		o.refusals = 0
		delete(o.tries, f.seq)
		o.mu.Unlock()
		o.settle(f.seq)
	}
	o.land(f)
}

// failed acts on a message that was refused, or whose fate a lost connection leaves open.
func (o *orderedLane) failed(f *flight, err error) {
	var refusal *mqtt.RefusedError
	if errors.As(err, &refusal) && refusal.Packet != mqtt.Disconnect {
		o.judged(f, o.c.platform.Judge(platforms.Reply{Reason: refusal.Reason, Topic: f.topic}), refusal)
		return
	}
	o.mu.Lock()
	if o.single > 0 && unexplained(err) {
		o.blame[f.seq]++
	}
	o.resend = true
	o.mu.Unlock()
	poke(o.again)
	o.tell(f, fateRetried, "the connection was lost")
}

// judged acts on a refusal of one message.
func (o *orderedLane) judged(f *flight, v platforms.Verdict, refusal error) {
	why := v.Why
	if why == "" {
		why = refusal.Error()
	}
	switch v.Outcome {
	case platforms.Confirmed:
		f.confirmed()
		o.tell(f, fateConfirmed, "")
		o.settle(f.seq)
	case platforms.Refused:
		if v.Cause == platforms.NotAllowed {
			o.c.blocked.block(f.topic, time.Now().Add(o.c.b.scaled(refusedPause)))
		}
		p := o.point(f)
		o.giveUp(f.seq, &p, why)
	default:
		o.later(f, v, why)
	}
}

func (o *orderedLane) settle(seq uint64) {
	o.mu.Lock()
	e := o.newestSettled(seq)
	grew := o.settler.settle(seq)
	base := o.settler.base
	o.releaseFile(base)
	caughtUp := grew && base >= o.backed && o.backed != 0
	if caughtUp {
		o.backed = 0
	}
	o.mu.Unlock()
	if e != nil {
		e.free()
	}
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

func (o *orderedLane) idle(now time.Time) bool { return o.waiting() == 0 }

func (o *orderedLane) owes() *receipt { return o.debts.oldest() }

func (o *orderedLane) held() int { return o.debts.count() }

func (o *orderedLane) status(now time.Time) LaneStatus {
	st := o.queue.Stats()
	o.mu.Lock()
	bytes := st.Bytes + o.newest.bytes
	o.mu.Unlock()
	return LaneStatus{Name: o.name, Waiting: o.waiting(), Bytes: bytes, MemoryOnly: st.MemoryOnly, Why: st.Why}
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
