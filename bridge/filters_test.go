package bridge

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms/generic"
)

func TestNarrow(t *testing.T) {
	for _, c := range []struct {
		filters string
		want    string // groups, as filters=ids
	}{
		{"a/b c/d", "[a/b c/d]=[1 2]"},
		{"a/+ a/b", "[a/+]=[1 2]"},
		{"a/b a/#", "[a/#]=[1 2]"},
		{"a/+/c a/b/+", "[a/+/+]=[1 2]"},
		{"a/+/c a/b/+ a/x/y", "[a/+/+]=[1 2 3]"},
		{"+/b a/#", "[+/b]=[1] [a/#]=[2]"}, // their common filter would be #, so the second has a session of its own
		{"# a/b", "[#]=[1 2]"},
		{"a/b #", "[#]=[1 2]"},
		{"$SYS/x #", "[$SYS/x #]=[1 2]"},
		{"a/b/c a/+ x", "[a/b/c a/+ x]=[1 2 3]"},
		{"", ""},
	} {
		var list []mappings.Filter
		for i, f := range strings.Fields(c.filters) {
			list = append(list, mappings.Filter{Filter: f, ID: i + 1})
		}
		var got []string
		for _, g := range narrow(list) {
			got = append(got, fmt.Sprintf("%v=%v", g.filters, g.ids))
			for i, a := range g.filters {
				for _, b := range g.filters[i+1:] {
					if filtersOverlap(a, b) {
						t.Errorf("%s: %s and %s still overlap in one session", c.filters, a, b)
					}
				}
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: got %s, want %s", c.filters, s, c.want)
		}
	}
}

// TestNarrowFindsEachOverlap holds the search of the set against comparing all pairs, over random filters.
func TestNarrowFindsEachOverlap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	levels := []string{"a", "b", "+", "$x", "c", "#"}
	for range 2000 {
		var list []mappings.Filter
		for id := range 2 + random.IntN(8) {
			var parts []string
			for range 1 + random.IntN(4) {
				level := levels[random.IntN(len(levels))]
				parts = append(parts, level)
				if level == "#" {
					break
				}
			}
			list = append(list, mappings.Filter{Filter: strings.Join(parts, "/"), ID: id + 1})
		}
		served := 0
		for _, g := range narrow(list) {
			for i, a := range g.filters {
				for _, b := range g.filters[i+1:] {
					if filtersOverlap(a, b) {
						t.Fatalf("%v: %s and %s overlap in one session", list, a, b)
					}
				}
			}
			for _, id := range g.ids {
				served++
				if f := list[id-1].Filter; !slices.ContainsFunc(g.filters, func(w string) bool { return common(w, f) == w }) {
					t.Fatalf("%v: %s is served by none of %v", list, f, g.filters)
				}
			}
		}
		if served != len(list) {
			t.Fatalf("%v: %d of %d filters are served", list, served, len(list))
		}
	}
}

// FuzzCommon holds that what either filter matches, the common one matches too.
func FuzzCommon(f *testing.F) {
	f.Add("a/+", "a/b/#", "a/b")
	f.Add("+/+", "/a", "/a")
	f.Add("#", "$SYS/a", "$SYS/a")
	f.Fuzz(func(t *testing.T, a, b, topic string) {
		pa, err := mappings.ParsePattern(a, "x")
		if err != nil || len(pa.Names()) > 0 || pa.Filter() != a {
			t.Skip("no filter")
		}
		pb, err := mappings.ParsePattern(b, "x")
		if err != nil || len(pb.Names()) > 0 || pb.Filter() != b {
			t.Skip("no filter")
		}
		_, inA := pa.Match(topic, nil)
		_, inB := pb.Match(topic, nil)
		if inA && inB && !filtersOverlap(a, b) {
			t.Errorf("%q matches %q and %q, which are said not to overlap", topic, a, b)
		}
		if !filtersOverlap(a, b) {
			return
		}
		pc, err := mappings.ParsePattern(common(a, b), "x")
		if err != nil {
			t.Fatalf("common filter %q of %q and %q: %v", common(a, b), a, b, err)
		}
		if _, in := pc.Match(topic, nil); (inA || inB) && !in {
			t.Errorf("%q matches %q or %q but not their common filter %q", topic, a, b, common(a, b))
		}
	})
}

// TestOverlappingRulesNeverDouble has rules whose filters overlap, with and without subscription identifiers: each rule
// takes each message once.
func TestOverlappingRulesNeverDouble(t *testing.T) {
	for _, protocol := range []mqtt.Protocol{mqtt.V5, mqtt.V311} {
		t.Run(protocol.String(), func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				b.broker("far:1883")
				phone := join(b.T, mqtt.Options{URL: "mqtt://far:1883", DialContext: b.net.DialContext}, "#")
				l := b.lab().cloud("far", generic.Kind, anyBroker("mqtt://far:1883", "5"))
				l.cfg.Local.Session.Protocol = protocol
				l.up("iot/+/temp", "far", topic("one"))
				l.up("iot/picow/#", "far", topic("two"))
				l.up("+/picow/temp", "far", topic("three"))
				l.up("iot/picow/temp", "far", topic("four"))
				br, stop := l.run()
				online(b.T, br)
				time.Sleep(time.Second) // The second session of 3.1.1 has connected too.
				board := b.board()
				board.publish("iot/picow/temp", "1")
				board.publish("iot/esp32/temp", "2")
				board.publish("x/picow/temp", "3")
				time.Sleep(5 * time.Second)
				count := map[string]int{}
				for _, m := range phone.messages() {
					count[m.Topic+"="+string(m.Payload)]++
				}
				want := map[string]int{"one=1": 1, "two=1": 1, "three=1": 1, "four=1": 1, "one=2": 1, "three=3": 1}
				if fmt.Sprint(count) != fmt.Sprint(want) {
					b.Errorf("the cloud got %v, want %v", count, want)
				}
				stop()
			})
		})
	}
}
