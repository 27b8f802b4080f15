package trial

import (
	"fmt"
	"time"
)

// Message is one that a publisher has sent. Its number is its index, and rises over all topics.
type Message struct {
	Topic string
	Acked time.Time // zero where Mosquitto has not acknowledged it
}

// Arrival is one that came to the far end, under the topic that it had when it was sent.
type Arrival struct {
	Number int
	Topic  string
	At     time.Time
}

// Outcome is what became of the messages.
type Outcome struct {
	Sent, Delivered, Lost int
	// Forgiven are those that went with a Mosquitto that had not saved them.
	Forgiven   int
	Duplicated int
	Disordered int
	// Strange are arrivals that nobody has sent, or under another topic.
	Strange  int
	Recovery time.Duration
	// Missing are the first of the lost numbers.
	Missing []int
}

func (o Outcome) String() string {
	return fmt.Sprintf("sent %d, delivered %d, lost %d %v, duplicated %d, out of order %d", o.Sent, o.Delivered, o.Lost, o.Missing, o.Duplicated, o.Disordered)
}

// Span is a time in which Mosquitto may have lost what it had acknowledged.
type Span struct{ From, To time.Time }

// Count compares what was sent with what arrived. healed is when the fault was over.
func Count(sent []Message, arrived []Arrival, healed time.Time, forgiven Span) Outcome {
	var o Outcome
	first := make(map[int]time.Time, len(sent))
	newest := make(map[string]int)
	for _, a := range arrived {
		if a.Number < 0 || a.Number >= len(sent) || sent[a.Number].Topic != a.Topic {
			o.Strange++
			continue
		}
		if _, again := first[a.Number]; again {
			o.Duplicated++
			continue
		}
		first[a.Number] = a.At
		if last, ok := newest[a.Topic]; ok && a.Number < last {
			o.Disordered++
		} else {
			newest[a.Topic] = a.Number
		}
	}
	var newer time.Time // the first arrival of what was sent after the fault
	for n, m := range sent {
		if m.Acked.IsZero() {
			continue
		}
		o.Sent++
		at, ok := first[n]
		switch {
		case ok:
			o.Delivered++
			if m.Acked.Before(healed) {
				o.Recovery = max(o.Recovery, at.Sub(healed))
			} else if newer.IsZero() || at.Before(newer) {
				newer = at
			}
		case !m.Acked.Before(forgiven.From) && m.Acked.Before(forgiven.To):
			o.Forgiven++
		default:
			o.Lost++
			if len(o.Missing) < 10 {
				o.Missing = append(o.Missing, n)
			}
		}
	}
	if !newer.IsZero() {
		o.Recovery = max(o.Recovery, newer.Sub(healed))
	}
	return o
}
