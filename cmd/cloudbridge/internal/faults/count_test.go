package faults

import (
	"testing"
	"time"
)

// message is one that the publisher has sent. Its number is its payload, and rises over all topics.
type message struct {
	topic string
	acked time.Time // zero where Mosquitto has not acknowledged it
}

// arrival is one that came to the far end.
type arrival struct {
	number int
	topic  string
	at     time.Time
}

// outcome is a line of the table.
type outcome struct {
	sent, delivered, lost int
	// forgiven are those that went with a Mosquitto that had not saved them.
	forgiven   int
	duplicated int
	disordered int
	// strange are arrivals that nobody has sent, or under another topic.
	strange  int
	recovery time.Duration
	// missing are the first of the lost numbers.
	missing []int
}

// span is a time in which Mosquitto may have lost what it had acknowledged.
type span struct{ from, to time.Time }

// count compares what was sent with what arrived. healed is when the fault was over.
func count(sent []message, arrived []arrival, healed time.Time, forgiven span) outcome {
	var o outcome
	first := make(map[int]time.Time, len(sent))
	newest := make(map[string]int)
	for _, a := range arrived {
		if a.number < 0 || a.number >= len(sent) || sent[a.number].topic != a.topic {
			o.strange++
			continue
		}
		if _, again := first[a.number]; again {
			o.duplicated++
			continue
		}
		first[a.number] = a.at
		if last, ok := newest[a.topic]; ok && a.number < last {
			o.disordered++
		} else {
			newest[a.topic] = a.number
		}
	}
	var newer time.Time // the first arrival of what was sent after the fault
	for n, m := range sent {
		if m.acked.IsZero() {
			continue
		}
		o.sent++
		at, ok := first[n]
		switch {
		case ok:
			o.delivered++
			if m.acked.Before(healed) {
				o.recovery = max(o.recovery, at.Sub(healed))
			} else if newer.IsZero() || at.Before(newer) {
				newer = at
			}
		case !m.acked.Before(forgiven.from) && m.acked.Before(forgiven.to):
			o.forgiven++
		default:
			o.lost++
			if len(o.missing) < 10 {
				o.missing = append(o.missing, n)
			}
		}
	}
	if !newer.IsZero() {
		o.recovery = max(o.recovery, newer.Sub(healed))
	}
	return o
}

func TestCount(t *testing.T) {
	zero := time.Unix(1000, 0)
	at := func(s int) time.Time { return zero.Add(time.Duration(s) * time.Second) }
	sent := []message{{"a", at(1)}, {"b", at(2)}, {"a", at(3)}, {"b", time.Time{}}, {"a", at(5)}, {"b", at(6)}}
	tests := map[string]struct {
		arrived  []arrival
		forgiven span
		want     outcome
	}{
		"nothing": {want: outcome{sent: 5, lost: 5, missing: []int{0, 1, 2, 4, 5}}},
		"all, in order": {
			arrived: []arrival{{0, "a", at(1)}, {1, "b", at(2)}, {2, "a", at(9)}, {4, "a", at(10)}, {5, "b", at(31)}},
			want:    outcome{sent: 5, delivered: 5, recovery: 6 * time.Second},
		},
		"the backlog comes after newer ones of another topic": {
			arrived: []arrival{{0, "a", at(1)}, {5, "b", at(6)}, {1, "b", at(7)}, {2, "a", at(12)}, {4, "a", at(13)}},
			want:    outcome{sent: 5, delivered: 5, disordered: 1, recovery: 8 * time.Second},
		},
		"one that was not acknowledged may arrive": {
			arrived: []arrival{{0, "a", at(1)}, {1, "b", at(2)}, {2, "a", at(3)}, {3, "b", at(3)}, {4, "a", at(5)}, {5, "b", at(6)}},
			want:    outcome{sent: 5, delivered: 5, recovery: time.Second},
		},
		"topics do not order each other, and duplicates are no disorder": {
			arrived: []arrival{{1, "b", at(2)}, {0, "a", at(1)}, {2, "a", at(3)}, {0, "a", at(3)}, {2, "a", at(3)}, {4, "a", at(4)}, {5, "b", at(4)}},
			want:    outcome{sent: 5, delivered: 5, duplicated: 2},
		},
		"out of order": {
			arrived: []arrival{{4, "a", at(3)}, {0, "a", at(3)}, {2, "a", at(3)}, {1, "b", at(3)}, {5, "b", at(4)}},
			want:    outcome{sent: 5, delivered: 5, disordered: 2},
		},
		"strange": {
			arrived: []arrival{{6, "a", at(1)}, {-1, "a", at(1)}, {0, "b", at(1)}},
			want:    outcome{sent: 5, lost: 5, strange: 3, missing: []int{0, 1, 2, 4, 5}},
		},
		"lost with Mosquitto": {
			forgiven: span{at(2), at(5)},
			want:     outcome{sent: 5, lost: 3, forgiven: 2, missing: []int{0, 4, 5}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := count(sent, tt.arrived, at(4), tt.forgiven)
			if len(got.missing) != len(tt.want.missing) {
				t.Fatalf("missing are %v, want %v", got.missing, tt.want.missing)
			}
			for i, n := range got.missing {
				if n != tt.want.missing[i] {
					t.Errorf("missing are %v, want %v", got.missing, tt.want.missing)
				}
			}
			got.missing, tt.want.missing = nil, nil
			if g, w := got, tt.want; g.sent != w.sent || g.delivered != w.delivered || g.lost != w.lost || g.forgiven != w.forgiven ||
				g.duplicated != w.duplicated || g.disordered != w.disordered || g.strange != w.strange || g.recovery != w.recovery {
				t.Errorf("got %+v, want %+v", g, w)
			}
		})
	}
}
