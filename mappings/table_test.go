package mappings

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudbridge/internal/mqtt"
)

func uplink(t testing.TB, local, cloud, name, value string) Uplink {
	t.Helper()
	u := Uplink{Local: mustPattern(t, local)}
	scope := Scope{Bridge: "lab1", Names: u.Local.Names()}
	var err error
	if u.Cloud, err = scope.Template(cloud); err != nil {
		t.Fatal(err)
	}
	u.Target = &Target{Parts: []PartSpec{{Name: "v"}}}
	if u.Target.Name, err = scope.Template(name); err != nil {
		t.Fatal(err)
	}
	if value != "" {
		if u.Value, err = scope.Expr(value, WantAny); err != nil {
			t.Fatal(err)
		}
	}
	return u
}

func rulesOf(r *Result) []int {
	var rules []int
	for _, p := range r.Points {
		rules = append(rules, p.Rule)
	}
	return rules
}

func TestTableFilters(t *testing.T) {
	table := NewTable("lab1", []Uplink{
		uplink(t, "a/{x}", "c", "n", ""),
		uplink(t, "a/b", "c", "n", ""),
		uplink(t, "a/+", "c", "n", ""),
		uplink(t, "a/{x...}", "c", "n", ""),
	}, nil)
	filters := table.Filters()
	var got []string
	for _, f := range filters {
		got = append(got, fmt.Sprint(f.Filter, " ", f.QoS, f.Rules))
	}
	if want := []string{"a/+ 1 [0 2]", "a/b 1 [1]", "a/# 1 [3]"}; !slices.Equal(got, want) {
		t.Errorf("filters %q, want %q", got, want)
	}
	plus, one, hash := filters[0].ID, filters[1].ID, filters[2].ID
	var r Result
	for _, c := range []struct {
		ids  []int
		want []int
	}{
		{nil, []int{0, 1, 2, 3}},
		{[]int{plus}, []int{0, 2}},
		{[]int{hash, one}, []int{1, 3}},
		{[]int{plus + 1}, nil},
	} {
		table.Up(&mqtt.Message{Topic: "a/b"}, c.ids, noon, &r)
		if got := rulesOf(&r); !slices.Equal(got, c.want) {
			t.Errorf("ids %v: rules %v, want %v", c.ids, got, c.want)
		}
	}
}

// TestFilterIDsOutliveRules holds that a filter keeps its identifier when the rules around it change: the broker may hold
// messages under it.
func TestFilterIDsOutliveRules(t *testing.T) {
	id := func(filter string, others ...string) int {
		var up []Uplink
		for _, f := range append(others, filter) {
			up = append(up, uplink(t, f, "c", "n", ""))
		}
		filters := NewTable("lab1", up, nil).Filters()
		return filters[len(filters)-1].ID
	}
	for _, f := range []string{"a/b", "iot/{rest...}", "{x}/temp"} {
		alone, among := id(f), id(f, "new", "other/+", "z/#")
		if alone != among || alone < 1 || alone > highestID {
			t.Errorf("%s has identifier %d alone and %d among others", f, alone, among)
		}
	}
	// More filters than there are in any configuration: all identifiers differ.
	var up []Uplink
	for i := range 3000 {
		up = append(up, uplink(t, fmt.Sprint("a/", i), "c", "n", ""))
	}
	seen := map[int]bool{}
	for _, f := range NewTable("lab1", up, nil).Filters() {
		if seen[f.ID] {
			t.Fatalf("identifier %d stands for two filters", f.ID)
		}
		seen[f.ID] = true
	}
}

func TestTablePoint(t *testing.T) {
	u := uplink(t, "a/{x}", "cloud-{x}", "n-{x}", "")
	u.QoS = 2
	table := NewTable("lab1", []Uplink{u}, nil)
	properties := &mqtt.Properties{ContentType: "text/plain"}
	m := &mqtt.Message{Topic: "a/b", Payload: []byte("\xff\x00raw"), Retain: true, Properties: properties}
	var r Result
	table.Up(m, nil, noon, &r)
	want := []Point{{
		Cloud: "cloud-b", Name: "n-b", Parts: []Part{{"v", Value{Kind: Raw, Bytes: []byte("\xff\x00raw")}}},
		Time: noon, Arrived: noon, QoS: 2, Retain: true, Properties: properties, Local: "a/b",
	}}
	if diff := cmp.Diff(want, r.Points); diff != "" {
		t.Error(diff)
	}
	if &r.Points[0].Parts[0].Value.Bytes[0] != &m.Payload[0] {
		t.Error("a payload that nobody looks into was copied")
	}
	kept := r.Points[0].Clone()
	table.Up(&mqtt.Message{Topic: "a/c", Payload: []byte("x")}, nil, noon, &r)
	if diff := cmp.Diff(want[0], kept); diff != "" {
		t.Errorf("the next message changed the clone of a point: %s", diff)
	}
}

func TestTableDownCopies(t *testing.T) {
	local, err := Scope{}.Topic("lamp")
	if err != nil {
		t.Fatal(err)
	}
	properties := &mqtt.Properties{ContentType: "x"}
	table := NewTable("lab1", nil, []Downlink{
		{Cloud: "c", Source: &Source{Name: mustPattern(t, "f")}, Local: local, QoS: 1, Retain: true},
	})
	c := &Command{Cloud: "c", Address: Address{Name: "f"}, Payload: []byte("\xffON"), Properties: properties}
	var r Result
	table.Down(c, noon, &r)
	want := []Publish{{Message: mqtt.Message{Topic: "lamp", Payload: []byte("\xffON"), QoS: 1, Retain: true, Properties: properties}}}
	if diff := cmp.Diff(want, r.Commands); diff != "" {
		t.Error(diff)
	}
	c.Payload[1] = 'X'
	if got := string(r.Commands[0].Message.Payload); got != "\xffON" {
		t.Errorf("the payload is shared with the command: %q", got)
	}
}

// A capture can hold what no topic may: feed keys come from a cloud.
func TestTableDownTopic(t *testing.T) {
	scope := Scope{Names: []string{"x"}}
	local, err := scope.Topic("cmd/{x}")
	if err != nil {
		t.Fatal(err)
	}
	table := NewTable("lab1", nil, []Downlink{{Cloud: "c", Source: &Source{Name: mustPattern(t, "{x}")}, Local: local}})
	var r Result
	table.Down(&Command{Cloud: "c", Address: Address{Name: "a+b"}, Payload: []byte("1")}, noon, &r)
	if len(r.Commands) != 0 || len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Err.Error(), `local: "cmd/a+b"`) {
		t.Errorf("got %v, %v", r.Commands, r.Problems)
	}
}

// Config refuses such a rule; a table that gets it all the same must not end the program.
func TestTableEachWithoutCapture(t *testing.T) {
	u := uplink(t, "a/b", "c", "n", "")
	u.Target, u.Each = nil, &Each{Capture: "device"}
	var r Result
	NewTable("lab1", []Uplink{u}, nil).Up(&mqtt.Message{Topic: "a/b"}, nil, noon, &r)
	if len(r.Problems) != 1 || r.Problems[0].Err.Error() != "each: the topic has no {device}" {
		t.Errorf("problems %v", r.Problems)
	}
}

// The tree over the filters must find exactly the rules whose pattern matches.
func FuzzTable(f *testing.F) {
	f.Add("a/+\na/#\n#\na/{x}\na/{x...}\n{x...}/b\na/b", "a/b")
	f.Add("+/+\n$SYS/#\n/{a}-{b}", "/x-y")
	f.Fuzz(func(t *testing.T, patterns, topic string) {
		var up []Uplink
		var want []int
		for i, src := range strings.Split(patterns, "\n") {
			p, err := ParsePattern(src, "lab1")
			if err != nil || len(up) == 20 {
				return
			}
			u := uplink(t, "x", "c", "n", "")
			u.Local = p
			up = append(up, u)
			if _, ok := p.Match(topic, nil); ok {
				want = append(want, i)
			}
		}
		var r Result
		NewTable("lab1", up, nil).Up(&mqtt.Message{Topic: topic}, nil, noon, &r)
		if got := rulesOf(&r); !slices.Equal(got, want) {
			t.Fatalf("%q on %q: rules %v, want %v", patterns, topic, got, want)
		}
	})
}

func TestTableConcurrent(t *testing.T) {
	table := NewTable("lab1", []Uplink{
		uplink(t, "a/{x}", "c", "{x}", "json.v * 2"), uplink(t, "a/{x}", "c", "{x}", `text + x`),
	}, nil)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			var r Result
			for i := range 200 {
				n := g*1000 + i
				table.Up(&mqtt.Message{Topic: fmt.Sprintf("a/%d", n), Payload: fmt.Appendf(nil, `{"v":%d}`, n)}, nil, noon, &r)
				got := fmt.Sprintf("%s %s %s", r.Points[0].Name, r.Points[0].Parts[0].Value, r.Points[1].Parts[0].Value)
				if want := fmt.Sprintf(`%d %d {"v":%d}%d`, n, 2*n, n, n); got != want {
					t.Errorf("got %s, want %s", got, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestTableNearest(t *testing.T) {
	table := NewTable("lab1", []Uplink{
		uplink(t, "home/+/light", "c", "n", ""), uplink(t, "iot/{device}/temp", "c", "n", ""),
	}, nil)
	for _, c := range []struct {
		topic string
		rule  int
		why   string
	}{
		{"/iot/pico/temp", 1, "your topic starts with / and the rule does not"},
		{"iot/pico/tmp", 1, "level 3 is tmp, the rule wants temp"},
		{"home/kitchen/lamp", 0, "level 3 is lamp, the rule wants light"},
		{"iot/pico/temp", -1, ""},
	} {
		if rule, why := table.Nearest(c.topic); rule != c.rule || why != c.why {
			t.Errorf("%s: got %d %q, want %d %q", c.topic, rule, why, c.rule, c.why)
		}
	}
	if rule, _ := NewTable("lab1", nil, nil).Nearest("a"); rule != -1 {
		t.Errorf("no rules, but %d is the nearest", rule)
	}
}

func TestMixes(t *testing.T) {
	each := func(capture string, targets map[string]string) *Each {
		e := &Each{Capture: capture, Targets: map[string]*Target{}}
		for text, place := range targets {
			name, part, _ := strings.Cut(place, " ")
			template, err := Scope{Names: []string{"d", "k"}}.Template(name)
			if err != nil {
				t.Fatal(err)
			}
			e.Targets[text] = &Target{Name: template, Parts: []PartSpec{{Name: part}, {Name: "lat", Optional: true}}}
		}
		return e
	}
	for _, c := range []struct {
		local, cloud, name string
		each               *Each
		want               string
	}{
		{"a/b", "c", "n", nil, ""},
		{"a/{d}", "c", "n", nil, "{d}"},
		{"a/{d}", "c", "n-{d}", nil, ""},
		{"a/{d}", "c-{d}", "n", nil, ""},
		{"a/{d}/{k}", "c", "{k}", nil, "{d}"},
		{"a/+/{k}/#", "c", "{k}", nil, "+ #"},
		{"a/+/{k}/#", "c", "x/{topic}", nil, ""},
		{"{d...}/{k}-x", "c", "n", nil, "{d} {k}"},
		{"a/{d}/{k}", "c", "", each("d", map[string]string{"x": "1 f1", "y": "1 f2"}), "{k}"},
		{"a/{d}", "c", "", each("d", map[string]string{"x": "1 f1", "y": "1 f2"}), ""},
		{"a/{d}", "c", "", each("d", map[string]string{"x": "1 f1", "y": "1 f1"}), "{d}"},
		{"a/{d}", "c", "", each("d", map[string]string{"x": "{d} f1", "y": "{d} f1"}), ""},
		{"a/{d}/+", "c", "", each("d", map[string]string{"x": "1 f1", "y": "2 f1"}), "+"},
	} {
		u := uplink(t, c.local, c.cloud, c.name, "")
		if c.each != nil {
			u.Each, u.Target = c.each, nil
		}
		if got := strings.Join(u.Mixes(), " "); got != c.want {
			t.Errorf("%s to %s %s: mixes %q, want %q", c.local, c.cloud, c.name, got, c.want)
		}
	}
}

func TestReadTime(t *testing.T) {
	for _, c := range []struct {
		x    any
		want string // of UTC, or "" for arrival
		note string
	}{
		{nil, "", ""},
		{int64(1795147100), "2026-11-20T03:58:20Z", ""},
		{1795147100.25, "2026-11-20T03:58:20.25Z", ""},
		{int64(1795147100123), "2026-11-20T03:58:20.123Z", ""},
		{"1795147100", "2026-11-20T03:58:20Z", ""},
		{"2026-11-20T11:58:20+08:00", "2026-11-20T03:58:20Z", ""},
		{"2026-11-20T03:58:20.5Z", "2026-11-20T03:58:20.5Z", ""},
		{"2026-11-20 11:58:20", "2026-11-20T03:58:20Z", ""},
		{"2026-11-20T11:58", "2026-11-20T03:58:00Z", ""},
		{"2026-11-20t03:58:20z", "2026-11-20T03:58:20Z", ""},
		{"2026-11-20T11:58:20+0800", "2026-11-20T03:58:20Z", ""},
		{noon.Add(-time.Hour), "2026-11-20T03:00:00Z", ""},
		{noon.Add(24 * time.Hour), "2026-11-21T04:00:00Z", ""},
		{noon.Add(24*time.Hour + time.Second), "", "cannot be right"},
		{"2023-12-31T23:59:59Z", "", "cannot be right"},
		{"2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z", ""},
		{int64(848462300), "", "boards counting from 2000: add 946684800"},
		{int64(12), "", "the board's clock is not set"},
		{int64(1609459230), "", "the board's clock is not set"},
		{"soon", "", `the time "soon" is neither`},
		{true, "", "the time true or false is neither"},
		{[]any{}, "", "is neither"},
		{1e300, "", "is neither"},
		{"", "", "is neither"},
	} {
		at, note := readTime(c.x, noon)
		want := noon
		if c.want != "" {
			want, _ = time.Parse(time.RFC3339Nano, c.want)
		}
		if !at.Equal(want) || (note == "") != (c.note == "") || !strings.Contains(note, c.note) {
			t.Errorf("%v: got %v, %q; want %v, %q", c.x, at, note, want, c.note)
		}
	}
}

func TestValueText(t *testing.T) {
	for _, c := range []struct {
		v      Value
		text   string
		number float64
		ok     bool
	}{
		{Value{}, "", 0, false},
		{Value{Kind: Raw, Bytes: []byte("22.50")}, "22.50", 22.5, true},
		{Value{Kind: Raw, Bytes: []byte(" 27\r\n")}, " 27\r\n", 27, true},
		{Value{Kind: Raw, Bytes: []byte("\xff")}, "\xff", 0, false},
		{Value{Kind: Raw}, "", 0, false},
		{Value{Kind: Text, Bytes: []byte("-3e2")}, "-3e2", -300, true},
		{Value{Kind: Text, Bytes: []byte("27 C")}, "27 C", 0, false},
		{Value{Kind: Text, Bytes: []byte("0x10")}, "0x10", 0, false},
		{Value{Kind: Text, Bytes: []byte("inf")}, "inf", 0, false},
		{Value{Kind: Text, Bytes: []byte("1e999")}, "1e999", 0, false},
		{Value{Kind: Text, Bytes: []byte(".5")}, ".5", 0.5, true},
		{Value{Kind: Text, Bytes: []byte("1_000")}, "1_000", 0, false},
		{Value{Kind: Text, Bytes: []byte("+5")}, "+5", 5, true},
		{Value{Kind: Text, Bytes: []byte("-")}, "-", 0, false},
		{Value{Kind: Int, Int: -9223372036854775808}, "-9223372036854775808", -9223372036854775808, true},
		{Value{Kind: Int, Int: 9007199254740993}, "9007199254740993", 9007199254740992, true},
		{Value{Kind: Float, Float: 27}, "27", 27, true},
		{Value{Kind: Float, Float: 22.5}, "22.5", 22.5, true},
		{Value{Kind: Float, Float: 0.1}, "0.1", 0.1, true},
		{Value{Kind: Float, Float: 1e6}, "1000000", 1e6, true},
		{Value{Kind: Float, Float: 1e20}, "100000000000000000000", 1e20, true},
		{Value{Kind: Float, Float: 1e21}, "1e+21", 1e21, true},
		{Value{Kind: Float, Float: 0.000001}, "0.000001", 0.000001, true},
		{Value{Kind: Float, Float: -1e-10}, "-1e-10", -1e-10, true},
		{Value{Kind: Float, Float: negativeZero()}, "0", 0, true},
		{Value{Kind: Bool, Int: 1}, "true", 0, false},
		{Value{Kind: Bool}, "false", 0, false},
		{Value{Kind: JSON, Bytes: []byte("[1]")}, "[1]", 0, false},
	} {
		if got := c.v.String(); got != c.text {
			t.Errorf("%v: text %q, want %q", c.v, got, c.text)
		}
		if got, ok := c.v.Number(); got != c.number || ok != c.ok {
			t.Errorf("%v: number %v %v, want %v %v", c.v, got, ok, c.number, c.ok)
		}
	}
	if got := string((Value{Kind: Int, Int: 5}).AppendText([]byte("v="))); got != "v=5" {
		t.Errorf("AppendText gives %q", got)
	}
	if e := ConstNumber(25.03); e.String() != "25.03" {
		t.Errorf("ConstNumber(25.03) is %s", e)
	}
}

func negativeZero() float64 { zero := 0.0; return -zero }
