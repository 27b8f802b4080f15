package bridge

import (
	"context"
	"sync"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/queue"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// straight is the short way through an ordered lane. While the lane has caught up with its queue, whoever appends a record
// also publishes it, without waiting, and no other goroutine has to wake up for it; the record stays in the queue until it is
// confirmed, as ever. As soon as there is no room, or something must be sent again, the lane's own goroutine takes over at the
// first record that did not go.
type straight struct {
	// mu makes the order of the records that of the messages.
	mu sync.Mutex
	// on is the session that takes messages straight; nil while the lane's goroutine sends.
	on *session
	// after is the last record that went straight, and count how many did so far.
	after, count uint64
	// back wakes the lane's goroutine when the short way ends.
	back chan struct{}
	// record and message are used again for each point.
	record  []byte
	message mqtt.Message
}

// mostHurried is how many records the lane's goroutine sends to catch up while those who append wait for it.
const mostHurried = 2 * peekMost

// begin opens the short way if the lane has sent all up to after, or can do so at once. It returns the last record that
// went, and whether the way is open.
func (o *orderedLane) begin(s *session, after uint64) (last uint64, open bool) {
	o.way.mu.Lock()
	defer o.way.mu.Unlock()
	o.markAgain(after)
	if o.layer == nil {
		return after, false
	}
	for {
		last, _ := o.queue.Tail()
		st := o.queue.Stats()
		o.mu.Lock()
		busy := o.resend || o.single > 0
		base := o.settler.base
		o.mu.Unlock()
		switch {
		case busy:
			return after, false
		case st.Records > 0 && st.Last <= after && last > after:
			return after, false // There are numbers that no record has: the long way crosses them.
		case st.Records == 0 || st.Last <= after:
			if st.Records == 0 && last > base {
				o.gap(last + 1)
			}
			if o.markAgain(max(last, after, o.inherited)) {
				continue // They go first.
			}
			select {
			case <-o.way.back: // It is from the time before.
			default:
			}
			o.way.on, o.way.after = s, max(last, after)
			return o.way.after, true
		case st.Last-after > mostHurried:
			return after, false
		}
		if after, open = o.hurry(s, after); !open {
			return after, false
		}
	}
}

// hurry sends some records past after without waiting, and says whether all of them went. way.mu is held.
func (o *orderedLane) hurry(s *session, after uint64) (last uint64, all bool) {
	recs := peekNow(o.queue, after, peekMost)
	for _, rec := range recs {
		if rec.Seq > after+1 || o.backlog(rec.Seq) {
			return after, false // The long way crosses gaps, and paces what waited.
		}
		var ok bool
		if o.sending, ok = o.due(s, rec); ok && !o.publishNow(s, &o.sending, rec.Seq, time.Now()) {
			return after, false
		}
		after = rec.Seq
	}
	return after, len(recs) > 0
}

// follow leaves the sending to those who append, until they cannot or the drain ends, and returns the last record that went.
func (o *orderedLane) follow(ctx context.Context) (after uint64) {
	select {
	case <-ctx.Done():
	case <-o.way.back:
	}
	o.way.mu.Lock()
	defer o.way.mu.Unlock()
	o.way.on = nil
	return o.way.after
}

// leave ends the short way: the lane's goroutine goes on behind the last record that went. way.mu is held.
func (o *orderedLane) leave() {
	o.way.on = nil
	poke(o.way.back)
}

// goStraight publishes the point of the record that was appended last. way.mu is held.
func (o *orderedLane) goStraight(p *mappings.Point, seq uint64, now time.Time) {
	if seq != o.way.after+1 || !o.publishNow(o.way.on, p, seq, now) {
		o.leave()
		return
	}
	o.way.after = seq
	o.way.count++
}

// publishNow says whether nobody else has to send the record.
func (o *orderedLane) publishNow(s *session, p *mappings.Point, seq uint64, now time.Time) bool {
	if rule := o.c.rule(p); rule != nil && rule.MaxAge > 0 && !p.Time.IsZero() && now.Sub(p.Time) > rule.MaxAge {
		o.c.count(p, fateDropped, "older than max_age")
		o.settle(seq)
		return true
	}
	m := &o.way.message
	if o.comesBack(p) || o.layer.Lay(p, m) != nil || o.c.blocked.is(m.Topic, now) {
		return false // Rare enough for the long way.
	}
	f := o.takeOff(s, seq, p, m, nil)
	if f == nil {
		return false
	}
	if ok, err := s.TryPublish(m, f.done); !ok || err != nil {
		o.land(f)
		return false
	}
	o.c.carried(m, &o.c.sentN, now)
	return true
}

// paced says whether the cloud confirms, and has room for no more messages at a time than a window of this size.
func (o *orderedLane) paced(window int) bool {
	s, _ := o.c.link.up()
	return s != nil && s.Capabilities().Window <= window && s.Confirms(o.c.b.scaled(heldTime))
}

// comesBack says whether the cloud will send us a point's message, and we would have to know it again.
func (o *orderedLane) comesBack(p *mappings.Point) bool {
	return o.c.echoGuard() && o.c.readsBack(p.Name)
}

// lay lays a point's message out, good until the next; one that comes back with its echoes.
func (o *orderedLane) lay(p *mappings.Point) (*platforms.Delivery, error) {
	if o.layer != nil && !o.comesBack(p) {
		o.delivery.Message = &o.message
		return &o.delivery, o.layer.Lay(p, &o.message)
	}
	ds, err := o.c.platform.Encode([]mappings.Point{*p})
	if err != nil {
		return nil, err
	}
	return &ds[0], nil
}

// flight is a record that was sent and not answered.
type flight struct {
	lane  *orderedLane
	on    *session
	seq   uint64
	topic string
	qos   byte
	// rule and also are those of the point, whose fate is counted for them.
	rule int
	also []int
	// heard is the echo guard's; nil where nothing comes back.
	heard func()
	// held is true for a message of QoS 0 sent alone: it is settled only when a ping behind it is answered.
	held bool
	// ended is closed when it is answered; nil unless somebody waits for that.
	ended chan struct{}
	// done is answered for this flight, made once for all messages that it carries in its life.
	done func(mqtt.Result)
}

// mostFlights is how many flights are kept to be used again.
const mostFlights = 1024

// takeOff notes a record as on its way; nil if the lane must send something again first.
func (o *orderedLane) takeOff(s *session, seq uint64, p *mappings.Point, m *mqtt.Message, heard func()) *flight {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.resend {
		return nil
	}
	var f *flight
	if n := len(o.spare); n > 0 {
		f = o.spare[n-1]
		o.spare[n-1] = nil
		o.spare = o.spare[:n-1]
	} else {
		f = &flight{lane: o}
		f.done = func(res mqtt.Result) { f.lane.answered(f, res.Err) }
	}
	f.on, f.seq, f.topic, f.qos, f.rule, f.also, f.heard = s, seq, m.Topic, m.QoS, p.Rule, p.Also, heard
	o.flights[seq] = f
	return f
}

// land takes a flight off the list, unless the record flies again already.
func (o *orderedLane) land(f *flight) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.flights[f.seq] == f {
		delete(o.flights, f.seq)
	}
	if len(o.flights) == 0 {
		poke(o.landed)
	}
	if f.ended != nil {
		close(f.ended)
		return // Whoever waited still looks at it.
	}
	if len(o.spare) < mostFlights {
		f.on, f.heard, f.also = nil, nil, nil
		o.spare = append(o.spare, f)
	}
}

// confirmed notes that what was sent may come back as an echo no more.
func (f *flight) confirmed() {
	if f.heard != nil {
		f.heard()
	}
}

// point is the reading that a flight carries, from the queue: it is wanted only when something goes wrong.
func (o *orderedLane) point(f *flight) mappings.Point {
	o.mu.Lock()
	e := o.newest.sent[f.seq]
	o.mu.Unlock()
	var rec queue.Record
	if e != nil {
		rec = queue.Record{Data: e.rec}
	} else if recs := peekNow(o.queue, f.seq-1, 1); len(recs) > 0 && recs[0].Seq == f.seq {
		rec = recs[0]
	}
	if p, _, err := unstamp(rec); err == nil {
		p.Rule, p.Also = f.rule, f.also
		return p
	}
	return mappings.Point{Rule: f.rule, Also: f.also, Cloud: o.c.name, Name: f.topic, Local: f.topic}
}

// tell counts what became of a flight's record.
func (o *orderedLane) tell(f *flight, word fate, why string) {
	o.c.fate(f.rule, f.also, word, why)
}
