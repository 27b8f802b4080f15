package bridge

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"cloudbridge/mappings"
)

func whole(n int64) mappings.Value     { return mappings.Value{Kind: mappings.Int, Int: n} }
func decimal(f float64) mappings.Value { return mappings.Value{Kind: mappings.Float, Float: f} }
func words(s string) mappings.Value {
	return mappings.Value{Kind: mappings.Text, Bytes: []byte(s)}
}

// partsOf makes parts of names and values in turn.
func partsOf(list ...any) []mappings.Part {
	var parts []mappings.Part
	for i := 0; i < len(list); i += 2 {
		parts = append(parts, mappings.Part{Name: list[i].(string), Value: list[i+1].(mappings.Value)})
	}
	return parts
}

// show writes parts as "name=value" with the kind of number visible: 3 is whole, 3.0 is not.
func show(parts []mappings.Part) string {
	var out []string
	for _, p := range parts {
		text := string(p.Value.Bytes)
		switch p.Value.Kind {
		case mappings.Int:
			text = strconv.FormatInt(p.Value.Int, 10)
		case mappings.Float:
			if text = strconv.FormatFloat(p.Value.Float, 'g', -1, 64); !strings.ContainsAny(text, ".e") {
				text += ".0"
			}
		}
		out = append(out, p.Name+"="+text)
	}
	return strings.Join(out, " ")
}

func TestAggregates(t *testing.T) {
	ints := []mappings.Value{whole(3), whole(8), whole(1), whole(4)}
	mixed := []mappings.Value{decimal(1.5), whole(2), decimal(-4)}
	tests := []struct {
		aggregate string
		values    []mappings.Value
		want      string
	}{
		{"", ints, "v=4"},
		{"last", ints, "v=4"},
		{"mean", ints, "v=4.0"},
		{"min", ints, "v=1"},
		{"max", ints, "v=8"},
		{"sum", ints, "v=16"},
		{"count", ints, "v=4"},
		{"last", mixed, "v=-4.0"},
		{"mean", mixed, "v=" + strconv.FormatFloat(-0.5/3, 'g', -1, 64)},
		{"min", mixed, "v=-4.0"},
		{"max", mixed, "v=2"},
		{"sum", mixed, "v=-0.5"},
		{"count", mixed, "v=3"},
		{"sum", []mappings.Value{whole(math.MaxInt64), whole(1)}, "v=9.223372036854776e+18"},
		{"sum", []mappings.Value{whole(math.MinInt64), whole(-1)}, "v=-9.223372036854776e+18"},
		{"sum", []mappings.Value{decimal(math.MaxFloat64), decimal(math.MaxFloat64)}, "v=1.7976931348623157e+308"},
		{"count", []mappings.Value{words("open"), words("shut")}, "v=2"},
		{"last", []mappings.Value{words("open"), words("shut")}, "v=shut"},
	}
	for _, tt := range tests {
		g := gathering{aggregate: tt.aggregate}
		for i, v := range tt.values {
			g.add(mappings.Point{Time: at(float64(i)), Parts: partsOf("v", v)})
		}
		if got := show(g.point().Parts); got != tt.want {
			t.Errorf("%s of %s = %s, want %s", tt.aggregate, show(partsOf("v", tt.values[0])), got, tt.want)
		}
		if got := g.point().Time; !got.Equal(at(float64(len(tt.values) - 1))) {
			t.Errorf("%s: time %v, want that of the newest reading", tt.aggregate, got)
		}
	}
}

func TestUnfit(t *testing.T) {
	tests := []struct {
		aggregate string
		parts     []mappings.Part
		want      bool
	}{
		{"mean", partsOf("field1", whole(1)), false},
		{"mean", partsOf("field1", words("connected")), true},
		{"max", partsOf("field1", whole(1), "field2", words("connected")), true},
		{"max", partsOf("field1", whole(1), "status", words("connected")), false},
		{"count", partsOf("field1", words("connected")), false},
		{"last", partsOf("field1", words("connected")), false},
		{"", partsOf("field1", words("connected")), false},
	}
	for _, tt := range tests {
		why := unfit(&mappings.Point{Parts: tt.parts}, tt.aggregate)
		if (why != "") != tt.want {
			t.Errorf("%s of %s: %q", tt.aggregate, show(tt.parts), why)
		}
		if tt.want && !strings.Contains(why, "aggregate = \""+tt.aggregate+"\" wants numbers") {
			t.Errorf("the reason does not say what to do: %q", why)
		}
	}
}

// A status beside numbers that are averaged keeps the newest text.
func TestStatusUnderMean(t *testing.T) {
	g := gathering{aggregate: "mean", joined: true}
	g.add(mappings.Point{Time: at(0), Parts: partsOf("field1", whole(1), "status", words("old"))})
	g.add(mappings.Point{Time: at(1), Parts: partsOf("field1", whole(2), "status", words("new"))})
	if got, want := show(g.point().Parts), "field1=1.5 status=new"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestChanges(t *testing.T) {
	type step struct {
		at    float64
		parts []mappings.Part
		want  bool
	}
	half := samplePolicy{MinChange: 0.5}
	minutes := samplePolicy{MinChange: 0.5, AtLeastEvery: at(300).Sub(at(0))}
	tests := []struct {
		name  string
		pol   samplePolicy
		steps []step
	}{
		{"no deadband", samplePolicy{}, []step{{0, partsOf("v", whole(1)), true}, {1, partsOf("v", whole(1)), true}}},
		{"compares with the last that passed", half, []step{
			{0, partsOf("v", decimal(20)), true},
			{1, partsOf("v", decimal(20.3)), false},
			{2, partsOf("v", decimal(20.49)), false},
			{3, partsOf("v", decimal(20.5)), true},
			{4, partsOf("v", decimal(20.1)), false},
			{5, partsOf("v", decimal(20)), true},
		}},
		{"decimals as people count them", half, []step{
			{0, partsOf("v", decimal(19.8)), true},
			{1, partsOf("v", decimal(20.3)), true},
		}},
		{"each part has its own memory", half, []step{
			{0, partsOf("a", whole(1)), true},
			{1, partsOf("b", whole(1)), true},
			{2, partsOf("a", whole(1)), false},
			{3, partsOf("a", whole(1), "b", whole(2)), true},
			{4, partsOf("b", whole(1)), true},
		}},
		{"text", half, []step{
			{0, partsOf("v", words("on")), true},
			{1, partsOf("v", words("on")), false},
			{2, partsOf("v", words("off")), true},
			{3, partsOf("v", whole(1)), true},
		}},
		{"at least every", minutes, []step{
			{0, partsOf("v", whole(1)), true},
			{299, partsOf("v", whole(1)), false},
			{300, partsOf("v", whole(1)), true},
			{301, partsOf("v", whole(1)), false},
		}},
		{"at least every, part by part", minutes, []step{
			{0, partsOf("a", whole(1)), true},
			{200, partsOf("b", whole(1)), true},
			{301, partsOf("a", whole(1)), true},
			{302, partsOf("b", whole(1)), false},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c changes
			for _, s := range tt.steps {
				why, ok := c.pass(&mappings.Point{Time: at(s.at), Parts: s.parts}, tt.pol, at(s.at))
				if ok != s.want || (why == "") != ok {
					t.Errorf("at %v s %s: %v %q, want %v", s.at, show(s.parts), ok, why, s.want)
				}
			}
		})
	}

	// What a board kept comes all at once; then only the readings' own times are apart.
	var c changes
	for i := range 3 {
		p := mappings.Point{Time: at(float64(i) * 300), Parts: partsOf("v", whole(1))}
		if _, ok := c.pass(&p, minutes, at(5000)); !ok {
			t.Errorf("kept reading %d is skipped though it is 300 s from the one before", i)
		}
	}
}
