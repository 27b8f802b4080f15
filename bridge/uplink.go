package bridge

import (
	"fmt"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
)

// carry runs the uplinks on a message and puts what they make into the lanes. It runs on the goroutine that reads a
// connection and never blocks. ids are the subscription identifiers whose rules apply, nil for all; from is the cloud
// that the message came down from, or nil; now is when it came; r, which may be nil, is released when each point is safe.
func (b *Bridge) carry(m *mqtt.Message, ids []int, from *cloud, now time.Time, res *mappings.Result, r *receipt) {
	b.table.Up(m, ids, now, res)
	if ids != nil && len(res.Points)+len(res.Skips)+len(res.Problems) == 0 {
		// The broker kept it under a subscription of an older configuration; a rule of today's may want it.
		b.table.Up(m, nil, now, res)
	}
	for _, s := range res.Skips {
		b.ups[s.Rule].tally.add(fateSkipped, s.Why, 1)
	}
	for _, p := range res.Problems {
		b.misread(b.ups[p.Rule], m, p.Err, now)
	}
	for _, n := range res.Notes {
		rule := b.ups[n.Rule]
		rule.tally.note("its time was replaced by that of its arrival")
		rule.warnOnce(b, n.Text)
	}
	for i := range res.Points {
		p := &res.Points[i]
		rule := b.ups[p.Rule]
		c := b.clouds[p.Cloud]
		if c == nil {
			b.misread(rule, m, fmt.Errorf("there is no [cloud.%s]", p.Cloud), now)
			continue
		}
		if c == from {
			continue // What a cloud sent does not go back to it.
		}
		if why, drop := b.guard(rule, c, m, ids, p, from, now); drop {
			rule.tally.add(fateDropped, why, 1)
			c.tally.add(fateDropped, why, 1)
			continue
		}
		if c.cfg.Kind.TakesAnyTopic {
			if p.Properties == nil {
				p.Properties = b.local.hop
			} else {
				p.Properties = withHop(p.Properties, b.local.id)
			}
		}
		rule.last.note(p, now)
		c.add(p, rule, r, now)
	}
	if len(res.Points)+len(res.Skips)+len(res.Problems) == 0 && from == nil {
		b.upward.add(fateSkipped, "no rule for it", 1)
	}
}

// guard says why a point must not go up: it would run in a circle, or it is an old retained value nobody asked for.
func (b *Bridge) guard(rule *upRule, c *cloud, m *mqtt.Message, ids []int, p *mappings.Point, from *cloud, now time.Time) (why string, drop bool) {
	if from == nil {
		if _, refused := hopRefusal(m.Properties, b.local.id, rule.MaxHops); refused {
			return "it came through a bridge already", true
		}
		if m.Retain && !rule.wantsRetained(c) && b.local.foundAtSubscribing(ids, now) {
			return "retained before the bridge came (retained = true takes it)", true
		}
	}
	if rule.MaxAge > 0 && now.Sub(p.Time) > rule.MaxAge {
		return "older than max_age", true
	}
	if c.unmarked() && c.readsBack(p.Name) {
		ok, tripped := c.breaker.allow(p.Rule, p.Name, firstValue(p), now)
		if tripped {
			b.log.Warn(fmt.Sprintf("%s: %s repeats one message without end: stopped for a minute; is there a loop?", c.name, rule.Label))
		}
		if !ok {
			return "a loop: the same message more than 50 times in 10 s", true
		}
	}
	return "", false
}

// wantsRetained says whether retained messages found at subscribing count.
func (r *upRule) wantsRetained(c *cloud) bool {
	if r.retained != nil {
		return *r.retained
	}
	return c.cfg.Kind.Retains
}

// misread counts a message that a rule could not read, keeps the last one, and tells of the first of each kind.
func (b *Bridge) misread(rule *upRule, m *mqtt.Message, err error, now time.Time) {
	rule.tally.add(fateDropped, "not readable", 1)
	rule.last.fail(m, err, now)
	rule.warnOnce(b, err.Error())
}

// warnOnce logs a text about a rule once.
func (r *upRule) warnOnce(b *Bridge, text string) {
	if r.last.first(text) {
		b.log.Warn(r.Label + ": " + text)
	}
}

// mostWarnings bounds how many different texts one rule may log: a payload may be part of each.
const mostWarnings = 10

func (l *lastSeen) first(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.warned[text] || len(l.warned) >= mostWarnings {
		return false
	}
	if l.warned == nil {
		l.warned = make(map[string]bool)
	}
	l.warned[text] = true
	return true
}

func (l *lastSeen) note(p *mappings.Point, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = now
	if len(p.Parts) > 0 {
		v := p.Parts[0].Value
		v.Bytes = v.Bytes[:min(len(v.Bytes), mostKept)]
		l.value = v.AppendText(l.value[:0])
	}
}

func (l *lastSeen) fail(m *mqtt.Message, err error, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problem = &Problem{Time: now, Topic: m.Topic, Payload: cut(string(m.Payload)), Why: err.Error()}
}

// mostKept is how much of the last value is kept: enough for what is shown, whatever its characters.
const mostKept = 4 * mostShown

// mostShown is how much of a payload is shown to people.
const mostShown = 200

// cut shortens a text to what is shown, at the border of a character.
func cut(s string) string {
	if len(s) <= mostShown {
		return s
	}
	n := mostShown
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}

// firstValue is the text by which the breaker knows a point again.
func firstValue(p *mappings.Point) []byte {
	if len(p.Parts) == 0 {
		return nil
	}
	return p.Parts[0].Value.AppendText(nil)
}
