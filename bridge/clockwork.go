package bridge

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"cloudbridge/internal/clock"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// ownTime is how far a row's time may be from its arrival and still come from our clock: further away it is the board's
// own word, which a wrong clock here does not touch.
const ownTime = 2 * time.Minute

// clockNow is a stamp of this moment. Without a clock to ask, ours counts as right.
func (b *Bridge) clockNow() clock.Stamp { return b.clockAt(time.Now()) }

// clockAt is the stamp of a moment that is now, or was just now.
func (b *Bridge) clockAt(now time.Time) clock.Stamp {
	if b.cfg.Clock == nil {
		return clock.Stamp{Wall: now, Boot: b.boot, Right: true}
	}
	return b.cfg.Clock.Stamp(now)
}

// mayStamp says whether times of this computer can be trusted now.
func (b *Bridge) mayStamp() bool {
	return b.cfg.Clock == nil || b.cfg.Clock.Trusted()
}

// How often the clock is looked at, while it is not known to be right and while it is.
const (
	clockWrong = 5 * time.Second
	clockRight = time.Minute
)

// watchClock looks at the clock now and then, and says when its word changes.
func (b *Bridge) watchClock(ctx context.Context) {
	if b.cfg.Clock == nil {
		return
	}
	for first := true; ; first = false {
		changed := b.cfg.Clock.Check(time.Now())
		ok, why := b.cfg.Clock.Right()
		switch {
		case ok && changed && !first:
			b.log.Info("this computer's clock is right: " + why)
		case !ok && (changed || first):
			b.log.Warn("this computer's clock is not known to be right, so history waits for it: " + why)
		}
		every := clockRight
		if !ok {
			every = clockWrong
		}
		if changed {
			b.wakeLanes()
		}
		if !sleep(ctx, every) {
			return
		}
	}
}

// wakeLanes has every lane look again.
func (b *Bridge) wakeLanes() {
	for _, c := range b.order {
		for _, ln := range c.all() {
			ln.notice(platforms.Event{}, time.Now())
		}
	}
}

// stampIfWrong writes a point as a record, with a stamp where the clock is not known to be right.
func (b *Bridge) stampIfWrong(dst []byte, p *mappings.Point, now time.Time) []byte {
	if b.mayStamp() {
		return p.Append(dst)
	}
	return b.stamp(dst, p, now)
}

// patience is how long a point may wait in memory that is acknowledged already, or never has to be.
func (c *cloud) patience(p *mappings.Point) time.Duration {
	if r := c.rule(p); r != nil && r.Every > 0 {
		return c.b.scaled(lateFlush(r.Every))
	}
	return c.b.scaled(heldTime)
}

var errNoClock = errors.New("no clock: this computer's clock was wrong when it came, and has been started anew since")

// restamp gives a row of the past its right time.
func (b *Bridge) restamp(row *mappings.Point, s clock.Stamp) error {
	if s.Right {
		return nil
	}
	if !b.mayStamp() {
		return errNoClock
	}
	t, ok := clock.Restamp(s, b.clockNow())
	if !ok {
		return errNoClock
	}
	if row.Time.Sub(row.Arrived).Abs() < ownTime {
		row.Time = row.Time.Add(t.Sub(row.Arrived))
	}
	row.Arrived = t
	return nil
}

// untime takes away a time that only a wrong clock has told.
func untime(p *mappings.Point) {
	if p.Time.Sub(p.Arrived).Abs() < ownTime {
		p.Time = time.Time{}
	}
}

// askTime asks a cloud's REST side for the time, where nothing else vouches for our clock.
func (c *cloud) askTime(ctx context.Context) {
	if c.b.cfg.Clock == nil || c.b.mayStamp() {
		return
	}
	asker, ok := c.platform.(platforms.Timekeeper)
	if !ok {
		return
	}
	if r := asker.TimeRequest(); r != nil {
		// Its answer's Date is looked at on the way, whatever it says.
		_, _, _ = c.http.do(ctx, r)
	}
}

// saw takes in the Date of a response. Only TLS says who wrote it; a cloud on this computer has our clock.
func (b *Bridge) saw(r *http.Request, header http.Header) {
	if b.cfg.Clock == nil || header.Get("Age") != "" || r.URL.Scheme != "https" && !here(r.URL) {
		return
	}
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		b.cfg.Clock.Saw(date, time.Now())
	}
}

func here(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}
