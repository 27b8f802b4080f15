package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/platforms"
)

// The states of a link, in the words of the state topics, the page and the metrics.
const (
	stateConnecting  = "connecting"
	stateOnline      = "online"
	stateThrottled   = "throttled"
	stateBackfilling = "backfilling"
	stateOffline     = "offline"
	stateRefused     = "refused"
)

// dialFunc opens one session: mqtt.Dial, or a test's.
type dialFunc func(context.Context, mqtt.Options) (*mqtt.Session, error)

// dialTimeout bounds one attempt, name look-up, TLS and login included.
const dialTimeout = 30 * time.Second

// protocolRetry is how long a link that fell back to 3.1.1 stays there before a reconnect tries MQTT 5 again.
const protocolRetry = time.Hour

// session is one connection while it lives; ctx ends with it.
type session struct {
	*mqtt.Session
	ctx   context.Context
	began time.Time
}

// link keeps one session to one broker up. It owns nothing but the connection: who uses it waits for a session, uses it
// until its context ends, and waits again.
type link struct {
	// name begins each log line; title is how people call the far side.
	name, title string
	log         *slog.Logger
	dial        dialFunc
	// options are asked anew for each attempt.
	options func() mqtt.Options
	judge   func(platforms.Reply) platforms.Verdict
	retry   *retry
	// logins is nil where a login costs nobody anything; spent is told of each.
	logins *logins
	spent  func()
	scale  float64
	// onUp makes the session ready (subscribes) before anybody else gets it; an error gives the connection up.
	onUp func(ctx context.Context, s *mqtt.Session) error
	// onDown is told of each loss of a session that was up.
	onDown func(err error)
	// onChange is told of each change of state; it must not block.
	onChange func()

	mu       sync.Mutex
	current  *session
	upc      chan struct{} // closed while current is set
	state    string
	since    time.Time
	why      string
	next     time.Time
	count    uint64 // logins
	protocol mqtt.Protocol
	fellBack time.Time
	early    int  // closes before CONNACK in a row, in MQTT 5
	brief    int  // sessions in a row that somebody closed right after the login
	tells    bool // the far side says so when another client takes our session over
	lastErr  string
	holdOff  time.Time   // no attempt before: a ban
	told     []time.Time // when the far side told us to wait longer each time, in the last hour
	slow     time.Time   // throttled until, while the session is up
	slowWhy  string
	filling  bool // history is going out
	fillText string
}

func (l *link) init() {
	l.upc = make(chan struct{})
	l.state = stateConnecting
	l.since = time.Now()
	if l.onChange == nil {
		l.onChange = func() {}
	}
}

// wait returns the session as soon as there is one.
func (l *link) wait(ctx context.Context) (*session, error) {
	for {
		l.mu.Lock()
		s, upc := l.current, l.upc
		l.mu.Unlock()
		if s != nil {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-upc:
		}
	}
}

// up returns the session if there is one now, and else a channel that is closed when there may be one.
func (l *link) up() (*session, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current, l.upc
}

// cork holds back what the session has to send, if there is one, and adds it to a list.
func (l *link) cork(list []*session) []*session {
	if s, _ := l.up(); s != nil {
		s.Cork()
		list = append(list, s)
	}
	return list
}

// uncork lets all sessions of a list send, and empties it.
func uncork(list []*session) []*session {
	for i, s := range list {
		s.Uncork()
		list[i] = nil
	}
	return list[:0]
}

// run keeps the link up until ctx ends.
func (l *link) run(ctx context.Context) {
	for ctx.Err() == nil {
		if !l.waitTurn(ctx) {
			return
		}
		s, err := l.attempt(ctx)
		if err != nil {
			l.brief = 0 // A line that is away is no clash.
		} else {
			began := time.Now()
			err = l.hold(ctx, s)
			if ctx.Err() != nil {
				return
			}
			l.retry.held(time.Since(began))
			l.clash(err, time.Since(began))
		}
		if ctx.Err() != nil {
			return
		}
		sleep(ctx, l.failed(err))
	}
}

// waitTurn waits until the account allows one more login.
func (l *link) waitTurn(ctx context.Context) bool {
	for {
		now := time.Now()
		l.mu.Lock()
		at := l.holdOff
		l.mu.Unlock()
		if !at.After(now) {
			if l.logins == nil {
				return ctx.Err() == nil
			}
			next, ok := l.logins.reserve(now)
			if ok {
				return ctx.Err() == nil
			}
			at = next
		}
		if !sleep(ctx, at.Sub(now)) {
			return false
		}
	}
}

// attempt dials once, with one protocol version.
func (l *link) attempt(ctx context.Context) (*mqtt.Session, error) {
	o := l.options()
	l.mu.Lock()
	if o.Protocol == mqtt.Auto {
		if l.protocol == mqtt.V311 && time.Since(l.fellBack) >= protocolRetry {
			l.protocol, l.early = mqtt.V5, 0
		}
		if l.protocol == mqtt.Auto {
			l.protocol = mqtt.V5
		}
		o.Protocol = l.protocol
	}
	l.protocol = o.Protocol
	l.count++
	l.mu.Unlock()
	dctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, errNoAnswer)
	defer cancel()
	s, err := l.dial(dctx, o)
	switch {
	case l.logins == nil:
	case nobodyThere(err):
		l.logins.giveBack()
	default:
		l.spent()
	}
	if err != nil {
		if ctx.Err() == nil && dctx.Err() != nil {
			err = fmt.Errorf("%w: %w", errNoAnswer, err)
		}
		return nil, err
	}
	return s, nil
}

var errNoAnswer = errors.New("no answer within 30 s")

// hold makes a new session ready, lends it out until it is lost or ctx ends, and says why it ended.
func (l *link) hold(ctx context.Context, s *mqtt.Session) error {
	uctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, errNoAnswer)
	err := l.onUp(uctx, s)
	cancel()
	if err != nil {
		l.close(s)
		awaitReader(ctx, s)
		if e := s.Err(); e != nil && !errors.Is(e, mqtt.ErrSessionClosed) {
			err = e
		}
		return err
	}
	sctx, end := context.WithCancel(context.Background())
	defer end()
	l.mu.Lock()
	l.current = &session{Session: s, ctx: sctx, began: time.Now()}
	close(l.upc)
	l.early, l.lastErr = 0, ""
	l.mu.Unlock()
	l.set(stateOnline, "", time.Time{})
	l.log.Info(l.name + ": connected to " + l.title + " (MQTT " + s.Capabilities().Protocol.String() + ")")
	select {
	case <-s.Done():
	case <-ctx.Done():
	}
	l.mu.Lock()
	l.current = nil
	l.upc = make(chan struct{})
	l.mu.Unlock()
	end()
	l.close(s)
	err = s.Err()
	l.onDown(err)
	return err
}

// close closes a session, but waits no longer than a second for a peer that is gone.
func (l *link) close(s *mqtt.Session) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	// A session that does not close in time is cut: there is nobody to tell.
	_ = s.Close(ctx)
}

// awaitReader waits until nothing more is handed on from a session: what its reading goroutine uses is the next session's
// then. Where that goroutine waits for the disk it may take longer than a peer deserves.
func awaitReader(ctx context.Context, s *mqtt.Session) {
	select {
	case <-s.Done():
	case <-ctx.Done():
	}
}

// A broker that closes so many sessions in a row, each within so long of its login and without a word, has perhaps got
// another client with our client id: MQTT 3.1.1 has no way to say so, and not all MQTT 5 brokers use theirs (Mosquitto does
// since 2.0.15; Debian 12 has an older one). It may as well be a line that breaks, so a broker that has said so once is taken
// at its word from then on.
const (
	clashes   = 10
	clashTime = 2 * time.Second
)

// clash counts sessions that were closed right after the login.
func (l *link) clash(err error, held time.Duration) {
	l.tells = l.tells || saidTaken(err)
	if held > l.scaled(clashTime) || !errors.Is(err, mqtt.ErrHungUp) || l.tells && l.speaks() == mqtt.V5 {
		l.brief = 0
		return
	}
	l.brief++
}

// saidTaken says whether the far side told us that another client took our session over.
func saidTaken(err error) bool {
	var refusal *mqtt.RefusedError
	return errors.As(err, &refusal) && refusal.Packet == mqtt.Disconnect && refusal.Code == 0x8E
}

func (l *link) scaled(d time.Duration) time.Duration { return time.Duration(float64(d) * l.scale) }

// failed notes why an attempt or a session failed, and says how long to wait.
func (l *link) failed(err error) time.Duration {
	f := l.read(err)
	if l.brief >= clashes {
		f.cause = retryClientID
		f.words = fmt.Sprintf("the connection is closed right after each login: perhaps another bridge or program uses the client id %q, "+
			"or something on the way cuts the line", l.options().ClientID)
	}
	if l.fallBack(err, f.verdict.Cause) {
		return 0
	}
	l.retry.after(l.growing(f.verdict))
	wait := l.retry.next(f.cause)
	state := stateOffline
	if f.refused {
		state = stateRefused
	}
	if f.verdict.Cause == platforms.SlowDown || f.verdict.Cause == platforms.Banned {
		state = stateThrottled
	}
	at := time.Now().Add(wait)
	l.mu.Lock()
	if l.holdOff.After(at) {
		at = l.holdOff
	}
	repeated := l.lastErr == f.words
	l.lastErr = f.words
	l.mu.Unlock()
	l.set(state, f.words, at)
	level := slog.LevelWarn
	if repeated {
		level = slog.LevelDebug // The same error is told once until it changes.
	}
	l.log.Log(context.Background(), level, fmt.Sprintf("%s: %s: next attempt %s", l.name, f.words, inWords(time.Until(at))))
	return wait
}

// growing is how long the far side wants us to wait: some want n times as long for the n-th time in an hour.
func (l *link) growing(v platforms.Verdict) time.Duration {
	if v.UpTo == 0 {
		return v.After
	}
	now := time.Now()
	l.told = slices.DeleteFunc(l.told, func(t time.Time) bool { return now.Sub(t) > time.Hour })
	l.told = append(l.told, now)
	return min(time.Duration(len(l.told))*v.After, v.UpTo)
}

// fallBack decides whether the next attempt speaks 3.1.1, at once.
func (l *link) fallBack(err error, cause platforms.Cause) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.protocol != mqtt.V5 || l.options().Protocol != mqtt.Auto {
		return false
	}
	if errors.Is(err, mqtt.ErrClosedEarly) {
		l.early++
	}
	if cause != platforms.WrongProtocol && l.early < 2 {
		return false
	}
	l.protocol, l.fellBack, l.early = mqtt.V311, time.Now(), 0
	l.log.Info(l.name + ": " + l.title + " does not take MQTT 5: trying 3.1.1")
	return true
}

// set changes the state and tells whoever watches.
func (l *link) set(state, why string, next time.Time) {
	l.mu.Lock()
	changed := l.state != state || l.why != why
	if l.state != state {
		l.since = time.Now()
	}
	l.state, l.why, l.next = state, why, next
	l.mu.Unlock()
	if changed {
		l.onChange()
	}
}

// slowDown notes that the far side asked for a pause; a ban also forbids logins until then.
func (l *link) slowDown(until time.Time, why string, banned bool) {
	l.mu.Lock()
	l.slow, l.slowWhy = until, why
	if banned {
		l.holdOff = until
	}
	l.mu.Unlock()
	l.onChange()
}

// fill notes whether history is going out.
func (l *link) fill(on bool, text string) {
	l.mu.Lock()
	changed := l.filling != on
	l.filling, l.fillText = on, text
	l.mu.Unlock()
	if changed {
		l.onChange()
	}
}

// speaks is the protocol of the session, or of the last attempt.
func (l *link) speaks() mqtt.Protocol {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.protocol
}

// status copies out the state. A pause or a backlog show only while the session is up.
func (l *link) status(now time.Time) LinkStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := LinkStatus{State: l.state, Since: l.since, Why: l.why, Next: l.next, Logins: l.count}
	if l.current != nil {
		s.Protocol = l.protocol.String()
	}
	if s.State == stateOnline {
		switch {
		case l.slow.After(now):
			s.State, s.Why, s.Next = stateThrottled, l.slowWhy, l.slow
		case l.filling:
			s.State, s.Why = stateBackfilling, l.fillText
		}
	}
	return s
}

// sleep waits, and says whether it was not cut short.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// inWords writes a wait as people say it.
func inWords(d time.Duration) string {
	switch {
	case d < time.Second:
		return "at once"
	case d < 2*time.Minute:
		return fmt.Sprintf("in %d s", int(d.Round(time.Second)/time.Second))
	default:
		return fmt.Sprintf("in %d min", int(d.Round(time.Minute)/time.Minute))
	}
}
