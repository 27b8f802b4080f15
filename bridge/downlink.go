package bridge

import (
	"context"
	"fmt"
	"sync"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// received is what one session's reading goroutine uses again for each message.
type received struct {
	up, down mappings.Result
}

// receive reads a message of the cloud's. It runs on the goroutine that reads the connection and never blocks.
func (c *cloud) receive(in *mqtt.Inbound) {
	now := time.Now()
	c.carried(&in.Message, &c.heard, now)
	ev := c.platform.Decode(&in.Message)
	switch ev.Kind {
	case platforms.Command:
		c.command(in, &ev, now)
		return
	case platforms.Throttled:
		c.slowDown(&ev, now)
	case platforms.Rejected:
		c.complaint(&ev, now)
	}
	in.Ack()
}

// slowDown obeys a cloud that asks for a pause.
func (c *cloud) slowDown(ev *platforms.Event, now time.Time) {
	told := ev.For
	ev.For = c.b.scaled(told)
	until := now.Add(ev.For)
	why := fmt.Sprintf("%s asks to slow down", c.title)
	if ev.Banned {
		why = fmt.Sprintf("%s has banned the account for a while (%s)", c.title, ev.Why)
	}
	c.tally.add(fateRetried, why, 1)
	c.b.log.Warn(fmt.Sprintf("%s: %s: waiting %d s", c.name, why, int(told.Seconds()+0.5)))
	c.link.slowDown(until, why, ev.Banned)
	for _, ln := range c.all() {
		ln.notice(*ev, now)
	}
}

// complaint hears that the cloud refused something that we sent. A topic that it refused rests.
func (c *cloud) complaint(ev *platforms.Event, now time.Time) {
	if ev.Topic != "" {
		c.blocked.block(ev.Topic, now.Add(c.b.scaled(refusedPause)))
	}
	c.b.log.Warn(fmt.Sprintf("%s: %s says: %s", c.name, c.title, ev.Why))
	for _, ln := range c.all() {
		ln.notice(*ev, now)
	}
}

// command takes a value down into the house.
func (c *cloud) command(in *mqtt.Inbound, ev *platforms.Event, now time.Time) {
	if c.echoGuard() && c.echoes.ours(ev.Echoes, now) {
		c.tally.add(fateDropped, "our own value, come back", 1)
		in.Ack()
		return
	}
	cmd := mappings.Command{Cloud: c.name, Address: ev.Address, Payload: ev.Payload, Properties: in.Properties}
	res := &c.received.down
	c.b.table.Down(&cmd, now, res)
	for _, s := range res.Skips {
		c.b.downs[s.Rule].tally.add(fateDropped, s.Why, 1)
	}
	for _, p := range res.Problems {
		rule := c.b.downs[p.Rule]
		rule.tally.add(fateDropped, "not readable", 1)
		rule.last.fail(&in.Message, p.Err, now)
		if rule.last.first(p.Err.Error()) {
			c.b.log.Warn(fmt.Sprintf("%s: %s: %s", c.name, rule.Label, p.Err))
		}
	}
	if len(res.Skips)+len(res.Problems)+len(res.Commands) == 0 {
		c.tally.add(fateSkipped, "no downlink for it", 1)
	}
	acks := newShared(in.Ack)
	for i := range res.Commands {
		cmd := &res.Commands[i]
		rule := c.b.downs[cmd.Rule]
		if why, drop := c.stale(rule, in, &cmd.Message, cmd.Made, now); drop {
			rule.tally.add(fateDropped, why, 1)
			c.tally.add(fateDropped, why, 1)
			continue
		}
		c.bringDown(rule, in, cmd.Message, cmd.Made, acks, now)
	}
	acks.release()
}

// stale says why a command must not fire: it is old, or it runs in a circle.
func (c *cloud) stale(rule *downRule, in *mqtt.Inbound, m *mqtt.Message, made, now time.Time) (why string, drop bool) {
	if in.Retain && !rule.AcceptRetained {
		return "retained: nobody knows how old it is (accept_retained = true takes it)", true
	}
	if !made.IsZero() && rule.MaxAge > 0 && now.Sub(made) > c.b.scaled(rule.MaxAge) {
		return "older than max_age, by the time that its sender wrote into it", true
	}
	if why, refused := hopRefusal(in.Properties, c.b.local.id, rule.MaxHops); refused {
		return why, true
	}
	if c.unmarked() && c.b.local.reads(m.Topic) {
		// Downlinks have their own numbers in the breaker, below those of the uplinks.
		ok, tripped := c.breaker.allow(-1-c.b.number(rule), m.Topic, m.Payload, now)
		if tripped {
			c.b.log.Warn(fmt.Sprintf("%s: %s repeats one command without end: stopped for a minute; is there a loop?", c.name, rule.Label))
		}
		if !ok {
			return "a loop: the same message more than 50 times in 10 s", true
		}
	}
	if c.restored.unchanged(rule, m, c.b, now) {
		return "restored, and the same as the last one sent", true
	}
	return "", false
}

// number is a downlink's place in the configuration.
func (b *Bridge) number(rule *downRule) int {
	for i, d := range b.downs {
		if d == rule {
			return i
		}
	}
	return len(b.downs)
}

// bringDown gives a command to the outbox, and offers it to the uplinks of other clouds: No Local hides it from them.
func (c *cloud) bringDown(rule *downRule, in *mqtt.Inbound, m mqtt.Message, made time.Time, acks *shared, now time.Time) {
	age := rule.MaxAge
	if p := in.Properties; p != nil && p.Expiry > 0 && (age == 0 || p.Expiry < age) {
		age = p.Expiry
	}
	offered := m // Before our id is added: the outbox and the other cloud each add it once.
	m.Properties = withHop(m.Properties, c.b.local.id)
	cmd := &order{message: m, rule: rule, cloud: c, data: rule.MaxAge == 0, kept: in.QoS > 0}
	if age > 0 {
		cmd.deadline = now.Add(c.b.scaled(age))
	}
	if end := made.Add(c.b.scaled(rule.MaxAge)); !made.IsZero() && rule.MaxAge > 0 && end.Before(cmd.deadline) {
		cmd.deadline = end // Its sender tells how old it is already.
	}
	acks.hold()
	cmd.done = acks.release
	rule.last.noteDown(&m, now)
	c.b.outbox.put(cmd)
	c.b.carry(&offered, nil, c, time.Now(), &c.received.up, nil)
}

func (l *lastSeen) noteDown(m *mqtt.Message, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = now
	l.value = append(l.value[:0], m.Payload[:min(len(m.Payload), mostShown)]...)
}

// shared calls a function when its last holder has released it.
type shared struct {
	mu   sync.Mutex
	open int
	then func()
}

func newShared(then func()) *shared { return &shared{open: 1, then: then} }

func (s *shared) hold() {
	s.mu.Lock()
	s.open++
	s.mu.Unlock()
}

func (s *shared) release() {
	s.mu.Lock()
	s.open--
	last := s.open == 0
	s.mu.Unlock()
	if last {
		s.then()
	}
}

// restoring knows which sources were asked for their last value, and until when the answer is one to that question.
type restoring struct {
	mu    sync.Mutex
	asked map[*downRule]time.Time
	// done says that all were asked; only the link's goroutine uses it.
	done bool
}

// restoreTime is how long after the question a value counts as its answer.
const restoreTime = 10 * time.Second

// restore asks for the last value of each source whose downlink says on_connect = "restore", once, when the bridge has
// come up.
func (c *cloud) restore(ctx context.Context, s *mqtt.Session) error {
	r, ok := c.platform.(platforms.Restorer)
	if !ok || c.restored.done {
		return nil
	}
	for _, d := range c.downs {
		if !d.Restore {
			continue
		}
		m := r.Restore(*d.Source)
		if m == nil {
			continue
		}
		c.restored.mu.Lock()
		if c.restored.asked == nil {
			c.restored.asked = make(map[*downRule]time.Time)
		}
		c.restored.asked[d] = time.Now().Add(c.b.scaled(restoreTime))
		c.restored.mu.Unlock()
		if err := s.Publish(ctx, m, func(mqtt.Result) {}); err != nil {
			return fmt.Errorf("ask for the last value: %w", err)
		}
	}
	c.restored.done = true
	return nil
}

// unchanged says whether a command is the answer to our question and says what the house was told before.
func (r *restoring) unchanged(rule *downRule, m *mqtt.Message, b *Bridge, now time.Time) bool {
	r.mu.Lock()
	until, asked := r.asked[rule]
	delete(r.asked, rule)
	r.mu.Unlock()
	return asked && now.Before(until) &&
		b.memory.saysAlready(rule.Cloud, rule.Source.Name.String()+" "+rule.Source.Part, m.Topic, m.Payload)
}
