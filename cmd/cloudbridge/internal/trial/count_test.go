package trial

import (
	"testing"
	"time"
)

func TestCount(t *testing.T) {
	zero := time.Unix(1000, 0)
	at := func(s int) time.Time { return zero.Add(time.Duration(s) * time.Second) }
	sent := []Message{{"a", at(1)}, {"b", at(2)}, {"a", at(3)}, {"b", time.Time{}}, {"a", at(5)}, {"b", at(6)}}
	tests := map[string]struct {
		arrived  []Arrival
		forgiven Span
		want     Outcome
	}{
		"nothing": {want: Outcome{Sent: 5, Lost: 5, Missing: []int{0, 1, 2, 4, 5}}},
		"all, in order": {
			arrived: []Arrival{{0, "a", at(1)}, {1, "b", at(2)}, {2, "a", at(9)}, {4, "a", at(10)}, {5, "b", at(31)}},
			want:    Outcome{Sent: 5, Delivered: 5, Recovery: 6 * time.Second},
		},
		"the backlog comes after newer ones of another topic": {
			arrived: []Arrival{{0, "a", at(1)}, {5, "b", at(6)}, {1, "b", at(7)}, {2, "a", at(12)}, {4, "a", at(13)}},
			want:    Outcome{Sent: 5, Delivered: 5, Disordered: 1, Recovery: 8 * time.Second},
		},
		"one that was not acknowledged may arrive": {
			arrived: []Arrival{{0, "a", at(1)}, {1, "b", at(2)}, {2, "a", at(3)}, {3, "b", at(3)}, {4, "a", at(5)}, {5, "b", at(6)}},
			want:    Outcome{Sent: 5, Delivered: 5, Recovery: time.Second},
		},
		"topics do not order each other, and duplicates are no disorder": {
			arrived: []Arrival{{1, "b", at(2)}, {0, "a", at(1)}, {2, "a", at(3)}, {0, "a", at(3)}, {2, "a", at(3)}, {4, "a", at(4)}, {5, "b", at(4)}},
			want:    Outcome{Sent: 5, Delivered: 5, Duplicated: 2},
		},
		"out of order": {
			arrived: []Arrival{{4, "a", at(3)}, {0, "a", at(3)}, {2, "a", at(3)}, {1, "b", at(3)}, {5, "b", at(4)}},
			want:    Outcome{Sent: 5, Delivered: 5, Disordered: 2},
		},
		"strange": {
			arrived: []Arrival{{6, "a", at(1)}, {-1, "a", at(1)}, {0, "b", at(1)}},
			want:    Outcome{Sent: 5, Lost: 5, Strange: 3, Missing: []int{0, 1, 2, 4, 5}},
		},
		"lost with Mosquitto": {
			forgiven: Span{at(2), at(5)},
			want:     Outcome{Sent: 5, Lost: 3, Forgiven: 2, Missing: []int{0, 4, 5}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := Count(sent, tt.arrived, at(4), tt.forgiven)
			if len(got.Missing) != len(tt.want.Missing) {
				t.Fatalf("missing are %v, want %v", got.Missing, tt.want.Missing)
			}
			for i, n := range got.Missing {
				if n != tt.want.Missing[i] {
					t.Errorf("missing are %v, want %v", got.Missing, tt.want.Missing)
				}
			}
			got.Missing, tt.want.Missing = nil, nil
			if g, w := got, tt.want; g.Sent != w.Sent || g.Delivered != w.Delivered || g.Lost != w.Lost || g.Forgiven != w.Forgiven ||
				g.Duplicated != w.Duplicated || g.Disordered != w.Disordered || g.Strange != w.Strange || g.Recovery != w.Recovery {
				t.Errorf("got %+v, want %+v", g, w)
			}
		})
	}
}
