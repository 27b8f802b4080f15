package bridge

import (
	"runtime"
	"strings"
	"time"
)

// Status copies out the state of the bridge. It may be called at any time.
func (b *Bridge) Status() Status {
	now := time.Now()
	s := Status{Name: b.cfg.Name, Version: b.cfg.Version, ClientID: b.local.id, Started: b.started, Now: now, Local: b.local.status(now)}
	s.Process.Goroutines = runtime.NumGoroutine()
	s.Unmatched = b.upward.counts(0)
	for _, c := range b.order {
		s.Clouds = append(s.Clouds, c.status(now))
	}
	for _, r := range b.ups {
		s.Rules = append(s.Rules, r.last.status(RuleStatus{
			Label: r.Label, Direction: "up", Cloud: r.Cloud.String(), Counts: r.tally.counts(0),
		}))
	}
	for _, r := range b.downs {
		s.Rules = append(s.Rules, r.last.status(RuleStatus{
			Label: r.Label, Direction: "down", Cloud: r.Cloud, Counts: r.tally.counts(0),
		}))
	}
	return s
}

func (l *local) status(now time.Time) LinkStatus {
	s := l.main.link.status(now)
	s.URL = hostOf(l.b.cfg.Local.Session.URL)
	for _, x := range l.sessions() {
		s.Received += x.in.Load()
	}
	return s
}

func (c *cloud) status(now time.Time) CloudStatus {
	s := CloudStatus{Name: c.name, Platform: c.cfg.Kind.Name, LinkStatus: c.state(now), Rejected: c.b.refused.list(c.name)}
	s.URL = hostOf(c.options.URL)
	s.MonthBytes = c.traffic.state().Bytes
	s.Received, s.Sent = c.heard.Load(), c.sentN.Load()
	waiting := 0
	for _, ln := range c.all() {
		st := ln.status(now)
		waiting += st.Waiting
		s.Lanes = append(s.Lanes, st)
	}
	s.Counts = c.tally.counts(waiting)
	return s
}

func (l *lastSeen) status(s RuleStatus) RuleStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.LastAt = l.at
	// A cut payload may end inside a character, and a payload may be no text at all.
	s.LastValue = cut(strings.ToValidUTF8(string(l.value), "�"))
	if l.problem != nil {
		p := *l.problem
		p.Payload = strings.ToValidUTF8(p.Payload, "�")
		s.LastProblem = &p
	}
	return s
}
