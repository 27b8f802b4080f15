package mqtt

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/log"
)

// ping is a PINGREQ without its PINGRESP; answered is nil where only the keepalive asks.
type ping struct {
	end      int64 // what will have gone out when the PINGREQ has
	asked    time.Time
	answered chan struct{}
}

// Ping sends a PINGREQ behind everything that was published before and waits for its PINGRESP.
func (s *Session) Ping(ctx context.Context) error {
	answered := make(chan struct{})
	if _, err := s.sendPing(answered); err != nil {
		return fmt.Errorf("ping: %w", s.notSent(ctx, err))
	}
	select {
	case <-answered:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("ping: %w", ctx.Err())
	case <-s.ending:
		select {
		case <-answered: // It came just before the end.
			return nil
		default:
		}
		return fmt.Errorf("ping: %w", s.endCause())
	}
}

func (s *Session) sendPing(answered chan struct{}) (end int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return 0, s.cause
	}
	if end, err = s.conn.Control(0xC0, 0); err == nil {
		s.pings = append(s.pings, ping{end, time.Now(), answered})
		s.conn.Press() // Who holds packets back may be held up by a disk, and the broker counts the seconds.
	}
	return end, err
}

// pinger keeps the session alive and notices when the broker is gone. It owns the only timer of a session.
type pinger struct{ s *Session }

var _ paho.Pinger = pinger{}

// Run asks the broker for a sign of life when nothing has come in, or gone out, or been answered, for half a keepalive,
// and gives up when nothing has come in for five quarters of one. That is well inside the one and a half after which a
// broker gives up on us, and leaves it three quarters to answer. Messages that come in do not show that what we write
// gets there: so it gives up too when a question that has gone out is not answered for nine tenths of a keepalive.
func (p pinger) Run(ctx context.Context, _ net.Conn, _ uint16) error {
	half := p.s.caps.KeepAlive / 2
	timer := time.NewTimer(half)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		next, err := p.look(half)
		if err != nil {
			return err
		}
		timer.Reset(max(next, time.Millisecond))
	}
}

// look does what is due and tells when to look again.
func (p pinger) look(half time.Duration) (next time.Duration, err error) {
	s := p.s
	in, out := s.conn.Idle()
	// The answer to the last PINGREQ came a little after it; that must not cost a second look each time.
	soon, giveUp := half*7/8, half*5/2
	s.mu.Lock()
	open, end, asked := len(s.pings) > 0, int64(0), time.Duration(0)
	if open {
		end, asked = s.pings[0].end, time.Since(s.pings[0].asked)
	}
	answered := time.Since(s.answered)
	s.mu.Unlock()
	// While a long upload makes progress the PINGREQ waits behind it, and the broker cannot have answered.
	uploading := open && s.conn.Written() < end && out < half
	if in >= giveUp && !uploading {
		err := fmt.Errorf("%w: nothing came for %v", ErrSilent, in.Round(time.Millisecond))
		s.fail(err)
		return 0, err
	}
	deaf := half * 9 / 5
	if open && asked >= deaf && s.conn.Written() >= end {
		err := fmt.Errorf("%w: it sends, and has not answered for %v", ErrSilent, asked.Round(time.Millisecond))
		s.fail(err)
		return 0, err
	}
	if !open && (in >= soon || answered >= soon) || out >= soon && (!open || in < soon) {
		if _, err := s.sendPing(nil); err != nil {
			return 0, err // The session ends for another reason, which is known.
		}
		return half, nil
	}
	if open {
		return min(half, giveUp-in, max(deaf-asked, half/8)), nil
	}
	return half - max(in, out, answered), nil
}

// PingResp counts the answers: they come in the order of the questions.
func (p pinger) PingResp() {
	s := p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pings) == 0 {
		return
	}
	s.answered = time.Now()
	if answered := s.pings[0].answered; answered != nil {
		close(answered)
	}
	if s.pings = s.pings[1:]; len(s.pings) == 0 {
		s.pings = nil
	}
}

// PacketSent is not used: the wire knows.
func (pinger) PacketSent() {}

// PacketReceived is not used: the wire knows.
func (pinger) PacketReceived() {}

// SetDebug is not used.
func (pinger) SetDebug(log.Logger) {}
