package bridge

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudbridge/mappings"
)

// showPoints writes points as "name@seconds parts".
func showPoints(points []mappings.Point) []string {
	var out []string
	for _, p := range points {
		out = append(out, fmt.Sprintf("%s@%v %s", p.Name, p.Time.Sub(noon).Seconds(), show(p.Parts)))
	}
	return out
}

func TestSamplerScripts(t *testing.T) {
	const (
		passed, taken, replaced, skipped, problem = samplePassed, sampleTaken, sampleReplaced, sampleSkipped, sampleProblem
	)
	type step struct {
		now  float64 // arrival
		time float64 // the reading's own
		v    mappings.Value
		fate sampleFateKind
		out  string
	}
	on := func(s float64, v mappings.Value, fate sampleFateKind, out string) step {
		return step{s, s, v, fate, out}
	}
	every := func(agg string) samplePolicy { return samplePolicy{Every: 10 * time.Second, Aggregate: agg} }
	tests := []struct {
		name  string
		pol   samplePolicy
		steps []step
		rest  string // at close
	}{
		{"last", every("last"), []step{
			on(0, whole(1), taken, ""),
			on(4, whole(2), replaced, ""),
			on(9.9, whole(3), replaced, ""),
			on(10, whole(4), taken, "a@9.9 v=3"),
			on(25, whole(5), taken, "a@10 v=4"),
		}, "a@25 v=5"},
		{"mean", every("mean"), []step{
			on(0, whole(1), taken, ""), on(5, whole(2), taken, ""), on(12, whole(9), taken, "a@5 v=1.5"),
		}, "a@12 v=9.0"},
		{"count", every("count"), []step{
			on(0, words("x"), taken, ""), on(5, words("y"), taken, ""), on(12, words("z"), taken, "a@5 v=2"),
		}, "a@12 v=1"},
		{"problem", every("mean"), []step{
			on(0, whole(1), taken, ""), on(5, words("x"), problem, ""),
		}, "a@0 v=1.0"},
		{"out of order within the interval", every(""), []step{
			{0, 0, whole(1), taken, ""}, {6, 5, whole(2), replaced, ""}, {7, 3, whole(3), replaced, ""},
		}, "a@5 v=2"},
		{"a late reading goes out by itself", every("mean"), []step{
			{0, 0, whole(1), taken, ""},
			{21, 21, whole(2), taken, "a@0 v=1.0"},
			{22, 12, whole(7), passed, "a@12 v=7.0"},
			{23, -40, whole(8), passed, "a@-40 v=8.0"},
			{24, 24, whole(4), taken, ""},
		}, "a@24 v=3.0"},
		{"a kept history comes at once", every("last"), []step{
			{1000, 0, whole(1), taken, ""},
			{1000, 5, whole(2), replaced, ""},
			{1000, 10, whole(3), taken, "a@5 v=2"},
			{1000, 20, whole(4), taken, "a@10 v=3"},
			{1000, 1000, whole(5), taken, "a@20 v=4"},
		}, "a@1000 v=5"},
		{"only a deadband", samplePolicy{MinChange: 0.5}, []step{
			on(0, decimal(1), passed, "a@0 v=1.0"),
			on(1, decimal(1.4), skipped, ""),
			on(2, decimal(1.6), passed, "a@2 v=1.6"),
		}, ""},
		{"deadband and interval", samplePolicy{Every: 10 * time.Second, MinChange: 0.5}, []step{
			on(0, decimal(1), taken, ""),
			on(1, decimal(1.4), skipped, ""),
			on(2, decimal(1.6), replaced, ""),
			on(11, decimal(1.7), skipped, ""),
			on(12, decimal(3), taken, "a@2 v=1.6"),
		}, "a@12 v=3.0"},
		{"the mean is compared, not its readings", samplePolicy{Every: 10 * time.Second, Aggregate: "mean", MinChange: 1}, []step{
			on(0, decimal(5), taken, ""),
			on(10, decimal(5), taken, "a@0 v=5.0"),
			on(11, decimal(6), taken, ""),
			on(20, decimal(8), taken, ""), // the mean of 5 and 6 is held back
			on(30, decimal(0), taken, "a@20 v=8.0"),
		}, "a@30 v=0.0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSampler()
			for _, st := range tt.steps {
				p := mappings.Point{Name: "a", Time: at(st.time), Arrived: at(st.now), Parts: partsOf("v", st.v)}
				out, fate := s.add(p, tt.pol, at(st.now))
				if got := strings.Join(showPoints(out), ", "); got != st.out || fate.Kind != st.fate {
					t.Errorf("at %v s: %q and fate %d (%s), want %q and %d", st.now, got, fate.Kind, fate.Why, st.out, st.fate)
				}
				if hasWhy := fate.Why != ""; hasWhy != (st.fate == skipped || st.fate == problem) {
					t.Errorf("at %v s: fate %d with reason %q", st.now, fate.Kind, fate.Why)
				}
			}
			if got := strings.Join(showPoints(s.close()), ", "); got != tt.rest {
				t.Errorf("close gives %q, want %q", got, tt.rest)
			}
			if _, ok := s.next(); ok || s.len() != 0 {
				t.Error("something is open after close")
			}
		})
	}
}

func TestSamplerHeldBackIsTold(t *testing.T) {
	s := newSampler()
	pol := samplePolicy{Every: 10 * time.Second, Aggregate: "mean", MinChange: 1}
	for _, sec := range []float64{0, 10, 20} {
		if _, fate := s.add(reading("a", sec, 5), pol, at(sec)); fate.Kind != sampleTaken {
			t.Fatalf("fate %+v", fate)
		}
	}
	if out := s.due(at(30)); len(out) != 0 {
		t.Errorf("a mean that did not change went out: %v", showPoints(out))
	}
	if got := s.skipped(); len(got) != 2 || !strings.Contains(got[0].Why, "min_change") {
		t.Errorf("skipped = %+v, want two", got)
	}
	if got := s.skipped(); len(got) != 0 {
		t.Errorf("told twice: %+v", got)
	}
}

func TestSamplerDue(t *testing.T) {
	s := newSampler()
	pol := samplePolicy{Every: 10 * time.Second}
	if _, ok := s.next(); ok {
		t.Fatal("an empty sampler is due")
	}
	s.add(reading("a", 0, 1), pol, at(0))
	// The clock of b's board is an hour slow: its interval lasts as long as any other.
	b := reading("b", -3600, 1)
	s.add(b, pol, at(3))
	// c began at 1 s and its second interval has 6 s left at 15 s.
	s.add(reading("c", 1, 1), pol, at(1))
	s.add(reading("c", 15, 2), pol, at(15))
	for _, want := range []struct {
		at  float64
		out []string
	}{
		{10, []string{"a@0 v=1"}},
		{13, []string{"b@-3600 v=1"}},
		{21, []string{"c@15 v=2"}},
	} {
		next, ok := s.next()
		if !ok || !next.Equal(at(want.at)) {
			t.Fatalf("next = %v s %v, want %v", next.Sub(noon).Seconds(), ok, want.at)
		}
		if out := s.due(next.Add(-1)); len(out) != 0 {
			t.Errorf("before %v s: %v", want.at, showPoints(out))
		}
		got := showPoints(s.due(next))
		for i := range got {
			got[i] = strings.Replace(got[i], "value=", "v=", 1)
		}
		if !slices.Equal(got, want.out) {
			t.Errorf("at %v s: %v, want %v", want.at, got, want.out)
		}
	}
}

// Rules and addresses do not share intervals, and a newer reading replaces an older one whole.
func TestSamplerKeys(t *testing.T) {
	s := newSampler()
	pol := samplePolicy{Every: 10 * time.Second}
	p := mappings.Point{Name: "a", Time: at(0), Parts: partsOf("value", whole(1), "lat", decimal(25), "lon", decimal(121))}
	s.add(p, pol, at(0))
	q := mappings.Point{Name: "a", Rule: 1, Time: at(0), Parts: partsOf("value", whole(9))}
	if _, fate := s.add(q, pol, at(0)); fate.Kind != sampleTaken {
		t.Errorf("another rule's reading: %+v", fate)
	}
	p.Time, p.Parts = at(1), partsOf("value", whole(2))
	if _, fate := s.add(p, pol, at(1)); fate.Kind != sampleReplaced {
		t.Errorf("a second reading: %+v", fate)
	}
	want := []string{"a@0 value=9", "a@1 value=2"}
	if got := showPoints(s.close()); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSamplerForgets(t *testing.T) {
	s := newSampler()
	pol := samplePolicy{MinChange: 1}
	for i := range 2 * mostSampled {
		p := reading(fmt.Sprint("address", i), float64(i), 1)
		if out, _ := s.add(p, pol, at(float64(i)/100)); len(out) != 1 {
			t.Fatal("the first reading of an address did not pass")
		}
	}
	if len(s.states) > mostSampled {
		t.Errorf("%d addresses are remembered, at most %d are wanted", len(s.states), mostSampled)
	}
}

func BenchmarkSampler(b *testing.B) {
	s := newSampler()
	pol := samplePolicy{Every: 15 * time.Second, Aggregate: "mean"}
	p := reading("a", 0, 1)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p.Time = at(float64(i) / 10)
		s.add(p, pol, p.Time)
	}
}
