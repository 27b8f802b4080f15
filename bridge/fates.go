package bridge

import (
	"fmt"
	"slices"
	"time"

	"cloudbridge/internal/queue"
	"cloudbridge/mappings"
)

// refuse puts a point on the list of those that cannot go, with the reason.
func (c *cloud) refuse(p *mappings.Point, rule *upRule, why string, now time.Time) {
	for range c.b.refused.add(c.name, c.refusal(p, why, now)) {
		c.tally.note("a refused point left the list for a newer one")
	}
	c.tally.add(fateRefused, why, 1)
	if rule != nil {
		rule.tally.add(fateRefused, why, 1)
		rule.warnOnce(c.b, fmt.Sprintf("%s: %s: %s", c.name, p.Name, why))
	}
}

// rule finds the rule that made a point; a record of an older configuration may have none.
func (c *cloud) rule(p *mappings.Point) *upRule {
	if p.Rule < 0 || p.Rule >= len(c.b.ups) {
		return nil
	}
	return c.b.ups[p.Rule]
}

// count counts a point's fate for the cloud and for its rules: a row may be made of the values of several.
func (c *cloud) count(p *mappings.Point, f fate, why string) {
	c.fate(p.Rule, p.Also, f, why)
}

// fate counts the fate of a point that was made by these rules.
func (c *cloud) fate(rule int, also []int, f fate, why string) {
	c.tally.add(f, why, 1)
	if rule >= 0 && rule < len(c.b.ups) {
		c.b.ups[rule].tally.add(f, why, 1)
	}
	for _, n := range also {
		if n >= 0 && n < len(c.b.ups) {
			c.b.ups[n].tally.add(f, why, 1)
		}
	}
}

// keepsHistory says whether a point that was not sent in its own time may be sent later: any of its rules may want it.
func (c *cloud) keepsHistory(p *mappings.Point) bool {
	r := c.rule(p)
	if r == nil || r.keepsHistory() {
		return true
	}
	return slices.ContainsFunc(p.Also, func(n int) bool { return n >= 0 && n < len(c.b.ups) && c.b.ups[n].keepsHistory() })
}

func (r *upRule) keepsHistory() bool {
	return r.Keep != "latest" && (r.History == nil || *r.History)
}

// overflowed counts and tells what a queue had to drop since it was asked last, but for so many records that were no
// readings; before is the lane's note of it.
func (c *cloud) overflowed(q queue.Interface, before *uint64, others int) {
	_, now := q.Tail()
	n := int(now-*before) - others
	*before = now
	if n <= 0 {
		return
	}
	const why = "the queue was full"
	if !c.tally.has(fateDropped, why) {
		c.b.log.Warn(c.name + ": the queue is full: readings are dropped (" + c.cfg.Overflow + " first)")
	}
	c.tally.add(fateDropped, why, n)
}

// passedAlone says whether a reading that a sampler let pass is still the one that was received, and not part of an
// interval: then it is acknowledged only when it is safe.
func passedAlone(rule *upRule, f sampleFate) bool {
	return f.Kind == samplePassed && rule.policy.Every <= 0
}

// sampled counts what became of a reading that does not go on by itself.
func (c *cloud) sampled(p *mappings.Point, rule *upRule, f sampleFate) {
	switch f.Kind {
	case sampleReplaced:
		rule.tally.add(fateReplaced, "by another of its interval", 1)
	case sampleSkipped:
		rule.tally.add(fateSkipped, f.Why, 1)
	case sampleProblem:
		rule.tally.add(fateDropped, f.Why, 1)
		rule.warnOnce(c.b, p.Local+": "+f.Why)
	}
}

// skipped counts summaries that a rule held back.
func (c *cloud) skipped(list []mappings.Skip) {
	for _, s := range list {
		if s.Rule >= 0 && s.Rule < len(c.b.ups) {
			c.b.ups[s.Rule].tally.add(fateSkipped, s.Why, 1)
		}
	}
}
