package bridge

import (
	"sync"
	"time"

	"cloudbridge/platforms"
)

// The margins that keep a limit even though what we send arrives up to 0.3 s late or early at the cloud, whose clock
// runs a little differently from ours: 5 % of the platform's time, and for an interval never less than 0.7 s.
const (
	intervalMargin = 700 * time.Millisecond
	pacedMinute    = time.Minute + time.Minute/20
	defaultLogins  = 6
)

// pacer says when the next delivery may go. It belongs to a lane of an account, whichever tables and paths share it, and
// is safe for concurrent use.
type pacer struct {
	mu       sync.Mutex
	shortest time.Duration
	last     time.Time
	points   slidingWindow
	until    time.Time // paused
	why      string
}

// pacerState is what a pacer knows, for saving. Times are wall times, for they outlive the process.
type pacerState struct {
	Last   time.Time `json:"last,omitzero"`
	Points []spend   `json:"points,omitempty"`
	Until  time.Time `json:"paused_until,omitzero"`
	Why    string    `json:"why,omitempty"`
}

// newPacer makes a pacer that has spent nothing. scale shortens all times, the platform's and the margins alike.
func newPacer(l platforms.Limits, scale float64, _ time.Time) *pacer {
	p := &pacer{points: slidingWindow{length: scaleTime(pacedMinute, scale), most: l.PerMinute}}
	p.shortest = scaleTime(Paced(l.Interval), scale)
	return p
}

// FairShare is how often each of so many addresses gets its turn where an account has so many points a minute.
func FairShare(addresses, perMinute int) time.Duration {
	if perMinute <= 0 {
		return 0
	}
	return time.Duration(addresses) * pacedMinute / time.Duration(perMinute)
}

// Paced is how far apart the bridge keeps two deliveries where a platform allows one in each limit; zero is no limit.
func Paced(limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	return max(limit+limit/20, limit+intervalMargin)
}

// scaleTime multiplies a duration, for tests that shorten everything.
func scaleTime(d time.Duration, scale float64) time.Duration {
	return time.Duration(float64(d) * scale)
}

// interval is the paced time between two deliveries, and so the sampling interval of a lane; zero is no limit.
func (p *pacer) interval() time.Duration { return p.shortest }

// next is the earliest time, now or later, at which a delivery of this cost may go. A cost that no whole minute could
// pay waits for a minute that is unspent.
func (p *pacer) next(now time.Time, cost int) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slot(now, cost)
}

// slot is next with mu held.
func (p *pacer) slot(now time.Time, cost int) time.Time {
	at := now
	if p.until.After(at) {
		at = p.until
	}
	if !p.last.IsZero() && p.shortest > 0 {
		if t := p.last.Add(p.shortest); t.After(at) {
			at = t
		}
	}
	return p.points.next(at, cost)
}

// take notes that a delivery of this cost goes now.
func (p *pacer) take(now time.Time, cost int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = now
	p.points.take(now, cost)
}

// reserve takes the slot if it is there now, and else says when it will be. Several lanes may share a pacer: between next
// and take another one could come.
func (p *pacer) reserve(now time.Time, cost int) (slot time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slot = p.slot(now, cost); slot.After(now) {
		return slot, false
	}
	p.last = now
	p.points.take(now, cost)
	return slot, true
}

// pause forbids every delivery until a time. A longer pause, if there is one, stays.
func (p *pacer) pause(until time.Time, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until.After(p.until) {
		p.until, p.why = until, why
	}
}

// paused tells of a pause that is not over.
func (p *pacer) paused(now time.Time) (until time.Time, why string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.until.After(now) {
		return time.Time{}, "", false
	}
	return p.until, p.why, true
}

// perAddress is how often each of the active addresses of the account may send, so that all have an equal share.
func (p *pacer) perAddress(active int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.points.most <= 0 {
		return 0
	}
	return time.Duration(active) * p.points.length / time.Duration(p.points.most)
}

// setPerMinute changes the budget, once the cloud has told the account's real one; zero is no limit.
func (p *pacer) setPerMinute(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.points.most = n
}

// spendAll counts the whole budget as just used: after an unclean start nobody knows what was sent.
func (p *pacer) spendAll(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = now
	p.points.spendAll(now)
}

// state copies out what was spent, for a clean stop.
func (p *pacer) state() pacerState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return pacerState{Last: p.last.Round(0), Points: p.points.copyOut(), Until: p.until.Round(0), Why: p.why}
}

// restore takes up what was saved. A time that lies ahead, because the clock was set back, counts as now; a pause can be
// no longer than the longest ban there is.
func (p *pacer) restore(s pacerState, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = rebase(s.Last, now)
	p.points.restore(s.Points, now)
	p.until, p.why = time.Time{}, ""
	if left := s.Until.Sub(now.Round(0)); !s.Until.IsZero() && left > 0 {
		p.until, p.why = now.Add(min(left, time.Hour)), s.Why
	}
}

// rebase gives a saved time in terms of now, whose monotonic reading it gets: a later step of the wall clock then cannot
// make it look older or newer than it is.
func rebase(t, now time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return now.Add(-max(now.Round(0).Sub(t), 0))
}

// logins bounds the logins of an account. It is safe for concurrent use.
type logins struct {
	mu     sync.Mutex
	window slidingWindow
}

// newLogins allows the platform's figure, or 6 a minute to a public cloud whose platform gives none; elsewhere a login
// costs nobody anything, and there is no limit.
func newLogins(l platforms.Limits, scale float64) *logins {
	most := l.LoginsPerMinute
	if l.Public && (most <= 0 || most > defaultLogins) {
		most = defaultLogins
	}
	return &logins{window: slidingWindow{length: scaleTime(pacedMinute, scale), most: most}}
}

// next is the earliest time, now or later, at which a login may begin.
func (l *logins) next(now time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.window.next(now, 1)
}

// take notes that a login begins now.
func (l *logins) take(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.window.take(now, 1)
}

// reserve takes a login if one may begin now, and else says when: several tables may share an account.
func (l *logins) reserve(now time.Time) (at time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at = l.window.next(now, 1); at.After(now) {
		return at, false
	}
	l.window.take(now, 1)
	return at, true
}

// giveBack takes back the login that was reserved last: nobody was there to be logged in to.
func (l *logins) giveBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.window.spends); n > 0 {
		if l.window.spends[n-1].Cost--; l.window.spends[n-1].Cost == 0 {
			l.window.spends = l.window.spends[:n-1]
		}
	}
}

// spendAll counts every login of a minute as just made.
func (l *logins) spendAll(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.window.spendAll(now)
}

// state copies out the logins of the last minute.
func (l *logins) state() []spend {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.window.copyOut()
}

// restore takes up what state gave.
func (l *logins) restore(s []spend, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.window.restore(s, now)
}

// spend is something that was taken from a budget.
type spend struct {
	At   time.Time `json:"at"`
	Cost int       `json:"cost"`
}

// slidingWindow allows most units in any stretch of its length; most of zero or less is no limit.
type slidingWindow struct {
	length time.Duration
	most   int
	spends []spend // oldest first
}

// next is the earliest time from at on when cost more units fit. What does not fit at all is given the whole window.
func (w *slidingWindow) next(at time.Time, cost int) time.Time {
	if w.most <= 0 {
		return at
	}
	room := w.most - min(max(cost, 1), w.most)
	used := 0
	// The newest spends that fit beside cost may stay; all before them must have left the window.
	for i := len(w.spends) - 1; i >= 0; i-- {
		if used += w.spends[i].Cost; used > room {
			if free := w.spends[i].At.Add(w.length); free.After(at) {
				return free
			}
			return at
		}
	}
	return at
}

func (w *slidingWindow) take(now time.Time, cost int) {
	keep := 0
	for keep < len(w.spends) && !w.spends[keep].At.Add(w.length).After(now) {
		keep++
	}
	w.spends = append(w.spends[:0], w.spends[keep:]...)
	cost = max(cost, 1)
	// Two callers may come in another order than they read the clock; counting the earlier one later is the safe side.
	if n := len(w.spends); n > 0 && !w.spends[n-1].At.Before(now) {
		w.spends[n-1].Cost += cost
		return
	}
	w.spends = append(w.spends, spend{At: now, Cost: cost})
}

func (w *slidingWindow) spendAll(now time.Time) {
	w.spends = append(w.spends[:0], spend{At: now, Cost: max(w.most, 1)})
}

func (w *slidingWindow) copyOut() []spend {
	out := make([]spend, len(w.spends))
	for i, s := range w.spends {
		out[i] = spend{At: s.At.Round(0), Cost: s.Cost}
	}
	return out
}

func (w *slidingWindow) restore(spends []spend, now time.Time) {
	w.spends = w.spends[:0]
	for _, s := range spends {
		w.spends = append(w.spends, spend{At: rebase(s.At, now), Cost: max(s.Cost, 1)})
	}
}
