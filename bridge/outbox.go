package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"cloudbridge/internal/mqtt"
)

// mostOrders bounds the commands that wait for the local broker.
const mostOrders = 1000

// order is one command on its way to the local broker.
type order struct {
	number   uint64
	message  mqtt.Message
	rule     *downRule
	cloud    *cloud
	deadline time.Time // zero: never too old
	data     bool      // max_age = "none": never replaced, the cloud keeps it until we have confirmed it
	kept     bool      // the cloud holds it until it is confirmed (QoS above 0)
	done     func()
	once     sync.Once
}

// settle lets the cloud have its acknowledgement, once.
func (c *order) settle() { c.once.Do(c.done) }

// outbox brings commands to the local broker, in order. While that is away it holds the newest of each topic in memory,
// until it is too old; commands are never written to disk.
type outbox struct {
	b    *Bridge
	wake chan struct{}

	mu       sync.Mutex
	list     []*order
	last     uint64
	inFlight int
}

func newOutbox(b *Bridge) *outbox { return &outbox{b: b, wake: make(chan struct{}, 1)} }

// put takes a command in. It never blocks.
func (o *outbox) put(c *order) {
	s, _ := o.b.local.main.link.up()
	o.mu.Lock()
	o.last++
	c.number = o.last
	o.list = append(o.list, c)
	var gone, held []*order
	if s == nil {
		gone = o.newest()
		// The cloud must not keep further commands back for want of these acknowledgements: they would come later and look
		// new.
		for _, c := range o.list {
			if !c.data {
				held = append(held, c)
			}
		}
	}
	over := o.tooMany()
	o.mu.Unlock()
	for _, h := range held {
		h.settle()
	}
	for _, g := range gone {
		g.fate(fateReplaced, "a newer command for the topic came")
	}
	for _, g := range over {
		g.fate(fateDropped, "too many commands wait for the local broker")
	}
	poke(o.wake)
}

// tooMany takes out the oldest commands beyond what may wait. Data that the cloud keeps until we confirm it stays: the
// cloud sends no more of it than its window allows. mu is held.
func (o *outbox) tooMany() (over []*order) {
	for i := 0; len(o.list) > mostOrders && i < len(o.list); {
		if c := o.list[i]; c.data && c.kept {
			i++
			continue
		}
		over = append(over, o.list[i])
		o.list = append(o.list[:i], o.list[i+1:]...)
	}
	return over
}

// newest keeps only the newest command of each topic, and returns the others. mu is held.
func (o *outbox) newest() (gone []*order) {
	seen := make(map[string]bool, len(o.list))
	kept := make([]*order, 0, len(o.list))
	for i := len(o.list) - 1; i >= 0; i-- {
		c := o.list[i]
		if !c.data && seen[c.message.Topic] {
			gone = append(gone, c)
			continue
		}
		seen[c.message.Topic] = seen[c.message.Topic] || !c.data
		kept = append(kept, c)
	}
	for i, j := 0, len(kept)-1; i < j; i, j = i+1, j-1 {
		kept[i], kept[j] = kept[j], kept[i]
	}
	o.list = kept
	return gone
}

// fate counts what became of a command, and lets the cloud have its acknowledgement.
func (c *order) fate(f fate, why string) {
	c.rule.tally.add(f, why, 1)
	c.cloud.tally.add(f, why, 1)
	c.cloud.b.local.tokens.Delete(&c.message)
	c.settle()
}

func (o *outbox) run(ctx context.Context) {
	for {
		s, err := o.b.local.main.link.wait(ctx)
		if err != nil {
			return
		}
		for s.ctx.Err() == nil && ctx.Err() == nil {
			if c := o.next(); c != nil {
				o.send(s, c)
				continue
			}
			waitAny(ctx, o.wake, s.ctx.Done(), time.Time{})
		}
	}
}

// next takes the oldest command that may still fire.
func (o *outbox) next() *order {
	for {
		o.mu.Lock()
		if len(o.list) == 0 {
			o.mu.Unlock()
			return nil
		}
		c := o.list[0]
		o.list = o.list[1:]
		o.inFlight++
		o.mu.Unlock()
		if c.deadline.IsZero() || time.Now().Before(c.deadline) {
			return c
		}
		o.land()
		c.fate(fateDropped, "too old when the local broker came back")
		o.b.log.Warn(fmt.Sprintf("%s: a command for %s is too old (max_age): dropped", c.cloud.name, c.message.Topic))
	}
}

func (o *outbox) land() {
	o.mu.Lock()
	o.inFlight--
	o.mu.Unlock()
}

func (o *outbox) send(s *session, c *order) {
	o.b.local.sending(&c.message)
	ctx := s.ctx
	if !c.deadline.IsZero() {
		// A command that finds no room in the broker's window must not fire when there is room at last.
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(s.ctx, c.deadline)
		defer cancel()
	}
	err := s.Publish(ctx, &c.message, func(res mqtt.Result) { o.answered(c, res.Err) })
	if err != nil {
		o.answered(c, err)
	}
}

// answered hears what became of a command. It may run on the session's goroutine.
func (o *outbox) answered(c *order, err error) {
	o.land()
	var refusal *mqtt.RefusedError
	switch {
	case err == nil:
		o.b.local.heard(&c.message)
		o.b.memory.lastDown(c.cloud.name, c.rule.Source.Name.String()+" "+c.rule.Source.Part, c.message.Topic, c.message.Payload)
		word := fateConfirmed
		if c.message.QoS == 0 {
			word = fateSent
		}
		c.fate(word, "")
	case errors.As(err, &refusal) && refusal.Packet != mqtt.Disconnect, neverGoes(err):
		c.fate(fateRefused, "the local broker: "+err.Error())
		if c.rule.last.first(err.Error()) {
			o.b.log.Warn(fmt.Sprintf("%s: publish to %s: %s", c.rule.Label, c.message.Topic, err))
		}
	default:
		o.putBack(c)
	}
}

// putBack lets a command wait again whose fate a lost connection leaves open.
func (o *outbox) putBack(c *order) {
	o.mu.Lock()
	i := 0
	for i < len(o.list) && o.list[i].number < c.number {
		i++
	}
	o.list = append(o.list[:i], append([]*order{c}, o.list[i:]...)...)
	gone := o.newest()
	o.mu.Unlock()
	for _, g := range gone {
		g.fate(fateReplaced, "a newer command for the topic came")
	}
	poke(o.wake)
}

// drained says whether a stop need not wait.
func (o *outbox) drained() bool {
	if s, _ := o.b.local.main.link.up(); s == nil {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.list) == 0 && o.inFlight == 0
}
