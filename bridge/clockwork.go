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
func (b *Bridge) clockNow() clock.Stamp {
	now := time.Now()
	if b.cfg.Clock == nil {
		return clock.Stamp{Wall: now, Boot: b.boot, Right: true}
	}
	return b.cfg.Clock.Stamp(now)
}

// mayStamp looks at the clock anew and says whether history can be stamped now.
func (b *Bridge) mayStamp() bool {
	if b.cfg.Clock == nil {
		return true
	}
	if b.cfg.Clock.Check(time.Now()) {
		ok, why := b.cfg.Clock.Right()
		if ok {
			b.log.Info("this computer's clock is right: " + why)
		} else {
			b.log.Warn("this computer's clock is not known to be right: history waits: " + why)
		}
	}
	ok, _ := b.cfg.Clock.Right()
	return ok
}

var errNoClock = errors.New("no clock: this computer's clock was wrong when it came, and has been started anew since")

// restamp gives a row of the past its right time.
func (b *Bridge) restamp(row *mappings.Point, s clock.Stamp) error {
	if s.Right {
		return nil
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
