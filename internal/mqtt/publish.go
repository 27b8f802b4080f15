package mqtt

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Publish sends m, after waiting for room in the window. An error means that nothing was sent and done will not be
// called: ctx ended, the session ended, or the message can never go (a *TooLargeError, an *InvalidError). Otherwise done
// is called exactly once, possibly before Publish returns, on a goroutine of the session's that it must not block. A
// QoS above the broker's maximum is lowered to it, and the retain flag is left out where the broker has no use for it.
// The message is the caller's again when Publish returns.
func (s *Session) Publish(ctx context.Context, m *Message, done func(Result)) error {
	qos, retain := min(m.QoS, s.caps.MaximumQoS), m.Retain && s.caps.RetainAvailable
	if err := s.checkPublish(m, qos); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if err := s.conn.Room(ctx); err != nil {
		return s.notSent(ctx, err)
	}
	if qos == 0 {
		if err := s.send(m, 0, retain, done); err != nil {
			return s.notSent(ctx, err)
		}
		return nil
	}
	if err := s.window.acquire(ctx, s.ending, len(m.Payload)); err != nil {
		return s.notSent(ctx, err)
	}
	if err := s.send(m, qos, retain, done); err != nil {
		s.window.release(len(m.Payload))
		return s.notSent(ctx, err)
	}
	return nil
}

// TryPublish is Publish where nobody may wait: ok is false where there is no room now. What it lays out goes out like all
// else, or with the next Uncork of a session that is corked.
func (s *Session) TryPublish(m *Message, done func(Result)) (ok bool, err error) {
	qos, retain := min(m.QoS, s.caps.MaximumQoS), m.Retain && s.caps.RetainAvailable
	if err := s.checkPublish(m, qos); err != nil {
		return false, fmt.Errorf("publish: %w", err)
	}
	if !s.conn.HasRoom() || qos > 0 && !s.window.try(len(m.Payload)) {
		return false, nil
	}
	if err := s.send(m, qos, retain, done); err != nil {
		if qos > 0 {
			s.window.release(len(m.Payload))
		}
		return false, s.notSent(context.Background(), err)
	}
	return true, nil
}

// Confirms says whether the broker answered within d: it confirmed a publish, or said that it is there.
func (s *Session) Confirms(d time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.answered) < d
}

// Cork holds back what the session has to send, in moderation, until Uncork is called as often. One goroutine may then
// lay out many packets, and acknowledgements, that go out together.
func (s *Session) Cork() { s.conn.Cork() }

// Uncork sends what was held back, on this goroutine where the network takes it without waiting; publishes of QoS 0 may
// have their result before it returns.
func (s *Session) Uncork() { s.conn.Uncork() }

// notSent says why a publish or request did not go: because its caller gave up, or because the session ended.
func (s *Session) notSent(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if cause := s.endCause(); cause != nil {
		return cause
	}
	if hungUp(err) {
		return ErrHungUp
	}
	return err
}

func (s *Session) checkPublish(m *Message, qos byte) error {
	if m.QoS > 2 {
		return invalid("there is no QoS %d", m.QoS)
	}
	if err := CheckTopic(m.Topic); err != nil {
		return err
	}
	if s.o.Protocol == V5 {
		if err := checkProperties(m.Properties); err != nil {
			return err
		}
	}
	if _, _, size := publishSize(s.o.Protocol, m, qos); size > s.caps.MaximumPacketSize {
		return &TooLargeError{Size: size, Limit: s.caps.MaximumPacketSize}
	}
	return nil
}

// send lays the packet out behind all that were published before. The lock makes the order of the packets, of the
// identifiers and of the results the same.
func (s *Session) send(m *Message, qos byte, retain bool, done func(Result)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return s.cause
	}
	var id uint16
	if qos > 0 {
		var err error
		if id, err = s.ids.take(qos == 2); err != nil {
			return err
		}
	}
	end, err := s.conn.Append(func(dst []byte) []byte {
		return appendPublish(dst, s.o.Protocol, m, qos, retain, id)
	})
	if err != nil {
		if qos > 0 {
			s.ids.free(id)
		}
		return err
	}
	s.sequence++
	if qos > 0 {
		s.pending[id] = pending{sequence: s.sequence, size: len(m.Payload), qos: qos, done: done}
	} else {
		s.unwritten = append(s.unwritten, unwritten{sequence: s.sequence, end: end, done: done})
	}
	return nil
}

// wrote confirms the QoS 0 publishes whose bytes are out.
func (s *Session) wrote(total int64) {
	for {
		s.mu.Lock()
		if len(s.unwritten) == 0 || s.unwritten[0].end > total {
			s.mu.Unlock()
			return
		}
		done := s.unwritten[0].done
		s.unwritten[0] = unwritten{}
		if s.unwritten = s.unwritten[1:]; len(s.unwritten) == 0 {
			s.unwritten = s.unwritten[:0:0]
		}
		s.mu.Unlock()
		if done != nil {
			done(Result{})
		}
	}
}

// settle ends the exchange of a QoS 1 or 2 publish. An identifier that we do not know, or not with this QoS, is left
// alone: some brokers confirm twice.
func (s *Session) settle(id uint16, qos byte, err error) {
	s.mu.Lock()
	s.answered = s.conn.Came() // It heard what we wrote.
	p, ok := s.pending[id]
	if !ok || p.qos != qos {
		s.mu.Unlock()
		return
	}
	delete(s.pending, id)
	s.ids.free(id)
	s.mu.Unlock()
	if p.sequence == 0 {
		return // A handshake of an earlier connection; its publish has had its result then.
	}
	s.window.release(p.size)
	if p.done != nil {
		p.done(Result{Err: err})
	}
}

// unconfirmed takes all publishes without a result, in the order in which they were published.
func (s *Session) unconfirmed() []pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []pending
	for _, p := range s.pending {
		if p.sequence > 0 {
			all = append(all, p)
		}
	}
	for _, u := range s.unwritten {
		all = append(all, pending{sequence: u.sequence, done: u.done})
	}
	clear(s.pending)
	s.unwritten = nil
	slices.SortFunc(all, func(a, b pending) int {
		if a.sequence < b.sequence {
			return -1
		}
		return 1
	})
	return all
}
