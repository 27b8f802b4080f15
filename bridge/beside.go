package bridge

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// crew runs sessions beside the main one. Its successor begins when all of it has ended, for they share client ids.
type crew struct {
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
}

// more runs a session for each further group of filters, and stops those that ran before.
func (l *local) more(groups []filterGroup) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(groups) == len(l.extra) {
		return
	}
	if l.crew != nil {
		l.crew.stop()
		l.former, l.crew = l.crew, nil
		l.extra, l.leaving = nil, nil
	}
	if l.run == nil {
		return
	}
	for i, g := range groups {
		s := l.session(fmt.Sprintf("-%d", i+2))
		s.group = g
		l.extra = append(l.extra, s)
		l.beside(s.link.run)
	}
}

// beside runs a session beside the main one. mu is held.
func (l *local) beside(run func(context.Context)) {
	if l.crew == nil {
		ctx, stop := context.WithCancel(l.run)
		l.crew = &crew{ctx: ctx, stop: stop}
	}
	now, before := l.crew, l.former
	now.running.Add(1)
	l.wg.Go(func() {
		defer now.running.Done()
		if before != nil {
			before.running.Wait()
		}
		run(now.ctx)
	})
}

// extras are the sessions beside the main one.
func (l *local) extras() []*localSession {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.extra
}

// sessions are the main one and all beside it.
func (l *local) sessions() []*localSession {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Concat([]*localSession{l.main}, l.extra, l.leaving)
}

// retire empties and ends the sessions of earlier times that nobody needs any more. The broker would go on to queue for them,
// on MQTT 3.1.1 for ever, and nobody would come for it. It is called when other sessions have taken over what these were
// subscribed to: until they are unsubscribed some messages come twice, but none is missed.
func (l *local) retire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.run == nil || l.main.paused.Load() {
		return
	}
	for _, suffix := range l.b.memory.sessions() {
		same := func(s *localSession) bool { return s.suffix == suffix }
		if suffix == "" || slices.ContainsFunc(l.extra, same) || slices.ContainsFunc(l.leaving, same) {
			continue
		}
		s := l.session(suffix)
		s.leaves = true
		l.leaving = append(l.leaving, s)
		l.beside(s.leave)
	}
}

// leave takes what waits in a session that is not needed, and then ends it. Where ctx ends before that, the next start goes
// on with it.
func (s *localSession) leave(ctx context.Context) {
	b, id := s.l.b, s.link.options().ClientID
	b.log.Info("local: the session " + id + " of earlier rules is not needed any more: taking what waits in it")
	if !s.emptied(ctx) || !s.end(ctx) {
		return
	}
	n := s.in.Load()
	b.memory.ended(s.suffix)
	s.l.left(s)
	b.log.Info(fmt.Sprintf("local: the session %s has ended: %s came out of it", id, readings(int(n))))
}

// left strikes a session off the list, for no command comes back on it any more. What it received stays counted.
func (l *local) left(s *localSession) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leaving = slices.DeleteFunc(l.leaving, func(o *localSession) bool { return o == s })
	l.main.in.Add(s.in.Load())
}

// quietTime is how long a session without subscriptions must be silent to count as empty.
const quietTime = 5 * time.Second

// emptied keeps the session up until nothing comes any more and all that came is safe, and says whether it got there.
func (s *localSession) emptied(ctx context.Context) bool {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { s.link.run(ctx) })
	var on *session
	var came uint64
	for sleep(ctx, s.l.b.scaled(quietTime)) {
		up, _ := s.link.up()
		n := s.in.Load()
		if up != nil && up == on && n == came && s.desk.open() == 0 && !s.paused.Load() {
			return true
		}
		on, came = up, n
	}
	return false
}

// end has the broker forget the session, and says whether it did. Both versions of MQTT do so for a login that asks for a
// clean one.
func (s *localSession) end(ctx context.Context) bool {
	o := s.link.options()
	o.CleanStart, o.SessionExpiry, o.Protocol = true, 0, s.link.speaks()
	for ctx.Err() == nil {
		dctx, cancel := context.WithTimeout(ctx, dialTimeout)
		c, err := s.l.b.dial(dctx, o)
		cancel()
		if err == nil {
			s.link.close(c)
			return true
		}
		sleep(ctx, s.link.retry.next(s.link.read(err).cause))
	}
	return false
}
