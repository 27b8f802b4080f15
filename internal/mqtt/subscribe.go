package mqtt

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho/session"
)

var errUnanswered = errors.New("the broker's answer leaves it out")

// Subscribe sends one SUBSCRIBE and waits for its SUBACK; where subscriptions differ in their identifier, which one
// packet cannot express, it sends one for each identifier and waits for all. The result has one entry per
// subscription, nil where granted and a *RefusedError where not, or an *InvalidError for a filter that is none and was
// not sent; err is set when there was no answer.
func (s *Session) Subscribe(ctx context.Context, subs ...Subscription) (refused []error, err error) {
	refused = make([]error, len(subs))
	var groups []group
	for i, sub := range subs {
		if err := checkSubscription(sub); err != nil {
			refused[i] = err
			continue
		}
		if s.o.Protocol != V5 || !s.caps.SubscriptionIDs {
			sub.ID = 0
		}
		groups = add(groups, i, sub)
	}
	for i := range groups {
		g := &groups[i]
		if g.answer, err = s.request(g.packet); err != nil {
			return nil, fmt.Errorf("subscribe: %w", err)
		}
	}
	for _, g := range groups {
		cp, err := s.await(ctx, g.answer)
		if err != nil {
			return nil, fmt.Errorf("subscribe: %w", err)
		}
		ack, ok := cp.Content.(*packets.Suback)
		if !ok {
			return nil, fmt.Errorf("subscribe: %w", errUnanswered)
		}
		for n, i := range g.which {
			if n >= len(ack.Reasons) {
				refused[i] = errUnanswered
				continue
			}
			refused[i] = s.reason(Suback, ack.Reasons[n], ack.Properties)
		}
	}
	return refused, nil
}

// group is one SUBSCRIBE, which of the subscriptions it holds, and where its answer will come.
type group struct {
	id     int
	packet *packets.Subscribe
	which  []int
	answer <-chan packets.ControlPacket
}

func add(groups []group, i int, sub Subscription) []group {
	at := -1
	for n := range groups {
		if groups[n].id == sub.ID {
			at = n
		}
	}
	if at < 0 {
		at = len(groups)
		properties := &packets.Properties{}
		if sub.ID > 0 {
			properties.SubscriptionIdentifier = &sub.ID
		}
		groups = append(groups, group{id: sub.ID, packet: &packets.Subscribe{Properties: properties}})
	}
	options := packets.SubOptions{
		Topic: sub.Filter, QoS: sub.QoS, NoLocal: sub.NoLocal, RetainAsPublished: sub.RetainAsPublished,
	}
	options.RetainHandling = packets.RetainDoNotSend
	if sub.SendRetained {
		// Only to a subscription that is new: a kept session that subscribes anew had them before.
		options.RetainHandling = packets.RetainSendOnSubscribeIfNew
	}
	g := &groups[at]
	g.packet.Subscriptions = append(g.packet.Subscriptions, options)
	g.which = append(g.which, i)
	return groups
}

// maxSubscriptionID is the highest subscription identifier.
const maxSubscriptionID = 268435455

func checkSubscription(sub Subscription) error {
	if sub.QoS > 2 {
		return invalid("there is no QoS %d", sub.QoS)
	}
	if sub.ID < 0 || sub.ID > maxSubscriptionID {
		return invalid("subscription identifier %d: it may be 1 to %d", sub.ID, maxSubscriptionID)
	}
	return CheckFilter(sub.Filter)
}

// Unsubscribe sends one UNSUBSCRIBE and waits for its UNSUBACK. That there was no such subscription is no error.
func (s *Session) Unsubscribe(ctx context.Context, filters ...string) error {
	for _, filter := range filters {
		if err := CheckFilter(filter); err != nil {
			return fmt.Errorf("unsubscribe: %w", err)
		}
	}
	if len(filters) == 0 {
		return nil
	}
	answer, err := s.request(&packets.Unsubscribe{Topics: filters, Properties: &packets.Properties{}})
	if err != nil {
		return fmt.Errorf("unsubscribe: %w", err)
	}
	cp, err := s.await(ctx, answer)
	if err != nil {
		return fmt.Errorf("unsubscribe: %w", err)
	}
	ack, ok := cp.Content.(*packets.Unsuback)
	if !ok {
		return fmt.Errorf("unsubscribe: %w", errUnanswered)
	}
	for i, code := range ack.Reasons {
		if err := s.reason(Unsuback, code, ack.Properties); err != nil && i < len(filters) {
			return fmt.Errorf("unsubscribe from %s: %w", filters[i], err)
		}
	}
	return nil
}

// request sends a packet that the broker answers.
func (s *Session) request(packet session.Packet) (<-chan packets.ControlPacket, error) {
	answer := make(chan packets.ControlPacket, 1)
	if err := (manager{s}).AddToSession(context.Background(), packet, answer); err != nil {
		return nil, err
	}
	var counted countingWriter
	if _, err := packet.WriteTo(&counted); err != nil {
		return nil, err
	}
	if int(counted) > s.caps.MaximumPacketSize {
		return nil, &TooLargeError{Size: int(counted), Limit: s.caps.MaximumPacketSize}
	}
	if _, err := packet.WriteTo(s.conn); err != nil {
		return nil, s.notSent(context.Background(), err)
	}
	return answer, nil
}

func (s *Session) await(ctx context.Context, answer <-chan packets.ControlPacket) (packets.ControlPacket, error) {
	select {
	case cp := <-answer:
		return cp, nil
	case <-ctx.Done():
		return packets.ControlPacket{}, ctx.Err()
	case <-s.ending:
		select {
		case cp := <-answer: // It came just before the end.
			return cp, nil
		default:
		}
		return packets.ControlPacket{}, s.endCause()
	}
}

type countingWriter int

func (w *countingWriter) Write(p []byte) (int, error) {
	*w += countingWriter(len(p))
	return len(p), nil
}

var _ io.Writer = (*countingWriter)(nil)
