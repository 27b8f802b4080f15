package mappings

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudbridge/internal/mqtt"
)

func stamped(at string) *mqtt.Properties {
	return &mqtt.Properties{User: []mqtt.UserProperty{{Key: "room", Value: "400"}, {Key: TimeProperty, Value: at}}}
}

func TestWithTime(t *testing.T) {
	at := time.Date(2026, 11, 20, 8, 0, 0, 987_654_321, time.FixedZone("Taipei", 8*3600))
	const want = "2026-11-20T00:00:00.987Z"
	for _, p := range []*mqtt.Properties{nil, {}, stamped("yesterday"), {ContentType: "text/plain", User: make([]mqtt.UserProperty, 1, 9)}} {
		var before mqtt.Properties
		if p != nil {
			before = *p
			before.User = append([]mqtt.UserProperty(nil), p.User...)
		}
		q := WithTime(p, at)
		var times []string
		rest := mqtt.Properties{ContentType: q.ContentType}
		for _, u := range q.User {
			if u.Key == TimeProperty {
				times = append(times, u.Value)
			} else {
				rest.User = append(rest.User, u)
			}
		}
		if strings.Join(times, " ") != want {
			t.Errorf("%+v tells %q", p, times)
		}
		if p == nil {
			continue
		}
		if diff := cmp.Diff(before.User, p.User); len(before.User) > 0 && diff != "" {
			t.Errorf("the original changed:\n%s", diff)
		}
		for _, u := range before.User {
			if u.Key != TimeProperty && (len(rest.User) != 1 || rest.User[0] != u) {
				t.Errorf("%+v became %+v", before, rest)
			}
		}
	}
}

// A time that the message tells already stays as its publisher wrote it.
func TestWithTimeKeepsTheSame(t *testing.T) {
	at := time.Unix(1763636400, 0)
	for _, s := range []string{"1763636400", "1763636400000", "2025-11-20T19:00:00+08:00"} {
		p := stamped(s)
		if q := WithTime(p, at.UTC()); q != p {
			t.Errorf("%s became %+v", s, q)
		}
		if q := WithTime(p, at.Add(time.Millisecond)); q == p || len(q.User) != 2 || q.User[1].Value != "2025-11-20T11:00:00.001Z" {
			t.Errorf("%s and a millisecond became %+v", s, q)
		}
	}
}

// What a bridge tells another one must read as the same time, to the millisecond.
func TestTimeGoesRound(t *testing.T) {
	at := noon.Add(-3*time.Hour - 1234*time.Millisecond)
	if got, told, note := made(WithTime(nil, at), noon); !got.Equal(at) || !told || note != "" || got.Location() != noon.Location() {
		t.Errorf("%v became %v, %v, %q", at, got, told, note)
	}
}

func TestMadeUp(t *testing.T) {
	at := noon.Add(-2 * time.Hour)
	own := noon.Add(-time.Hour)
	for _, c := range []struct {
		name       string
		time       string
		payload    string
		properties *mqtt.Properties
		want       time.Time
		note       string
	}{
		{"no property", "", "{}", nil, noon, ""},
		{"another property", "", "{}", &mqtt.Properties{User: []mqtt.UserProperty{{Key: "TS", Value: "1"}}}, noon, ""},
		{"the message tells", "", "{}", stamped(at.Format(time.RFC3339)), at, ""},
		{"in seconds", "", "{}", stamped("1763636400"), time.Unix(1763636400, 0), ""},
		{"nonsense", "", "{}", stamped("yesterday"), noon, `the user property ts: the time "yesterday" is neither`},
		{"empty", "", "{}", stamped(""), noon, "the user property ts: "},
		{"a clock that is not set", "", "{}", stamped("1970-01-01T00:00:07Z"), noon, "the user property ts: the time 1970-01-01 00:00:07 UTC cannot be right"},
		{"days ahead", "", "{}", stamped(noon.Add(48 * time.Hour).Format(time.RFC3339)), noon, "cannot be right"},
		{"the rule tells", "json.at", `{"at":"` + own.Format(time.RFC3339) + `"}`, stamped(at.Format(time.RFC3339)), own, ""},
		{"the rule tells, and the property is nonsense", "json.at", `{"at":"` + own.Format(time.RFC3339) + `"}`, stamped("yesterday"), own, ""},
		{"the rule finds nothing", "json.at", "{}", stamped(at.Format(time.RFC3339)), at, ""},
		{"the rule finds nothing, and the property is nonsense", "json.at", "{}", stamped("yesterday"), noon, "the user property ts"},
		{"the rule finds nonsense", "json.at", `{"at":"noon"}`, stamped(at.Format(time.RFC3339)), noon, `the time "noon" is neither`},
		{"the rule corrects it", "date(time) - duration(\"1h\")", "{}", stamped(own.Format(time.RFC3339)), at, ""},
	} {
		rule := "local = a\ncloud = c\nname = n\n. = time"
		if c.time != "" {
			rule += "\ntime = " + c.time
		}
		table := NewTable("lab1", []Uplink{parseUplink(t, rule)}, nil)
		m := &mqtt.Message{Topic: "a", Payload: []byte(c.payload), Properties: c.properties}
		var r Result
		table.Up(m, nil, noon, &r)
		if len(r.Points) != 1 {
			t.Fatalf("%s: %+v", c.name, r)
		}
		p := r.Points[0]
		if !p.Time.Equal(c.want) || !p.Arrived.Equal(noon) {
			t.Errorf("%s: time %v, arrived %v; want %v", c.name, p.Time, p.Arrived, c.want)
		}
		if got := p.Parts[0].Value.String(); got != p.Time.Format(time.RFC3339Nano) {
			t.Errorf("%s: the expression time gives %s, the point has %v", c.name, got, p.Time)
		}
		var notes []string
		for _, n := range r.Notes {
			notes = append(notes, n.Text)
		}
		if got := strings.Join(notes, "; "); !strings.Contains(got, c.note) || (got == "") != (c.note == "") {
			t.Errorf("%s: notes %q", c.name, got)
		}
		if e := table.Explain(m, noon)[0]; cmp.Diff(r.Points, e.Points) != "" || cmp.Diff(notes, e.Notes) != "" {
			t.Errorf("%s: Explain differs: %+v", c.name, e)
		}
	}
}

// A reading of the message before must not lend its time.
func TestMadeIsForgotten(t *testing.T) {
	table := NewTable("lab1", []Uplink{parseUplink(t, "local = #\ncloud = c\nname = n\n. = time")}, nil)
	var r Result
	for range 3 {
		table.Up(&mqtt.Message{Topic: "a", Properties: stamped("2026-11-01T00:00:00Z")}, nil, noon, &r)
		table.Up(&mqtt.Message{Topic: "a"}, nil, noon, &r)
		if p := r.Points[0]; !p.Time.Equal(noon) {
			t.Fatalf("time %v", p.Time)
		}
	}
}

func TestMadeDown(t *testing.T) {
	at := noon.Add(-2 * time.Hour)
	for _, c := range []struct {
		properties *mqtt.Properties
		made       time.Time
		text, note string
	}{
		{nil, time.Time{}, noon.Format(time.RFC3339Nano), ""},
		{stamped(at.Format(time.RFC3339)), at, at.In(noon.Location()).Format(time.RFC3339Nano), ""},
		{stamped("yesterday"), time.Time{}, noon.Format(time.RFC3339Nano), "the user property ts"},
	} {
		table := NewTable("lab1", nil, []Downlink{parseDownlink(t, "cloud = c\nsource = s\nlocal = l\nvalue = time")})
		cmd := &Command{Cloud: "c", Address: Address{Name: "s"}, Payload: []byte("x"), Properties: c.properties}
		var r Result
		table.Down(cmd, noon, &r)
		if len(r.Commands) != 1 || !r.Commands[0].Made.Equal(c.made) || string(r.Commands[0].Message.Payload) != c.text {
			t.Errorf("%+v: %+v, want %v %s", c.properties, r.Commands, c.made, c.text)
		}
		if (len(r.Notes) == 1) != (c.note != "") || len(r.Notes) == 1 && !strings.Contains(r.Notes[0].Text, c.note) {
			t.Errorf("%+v: notes %+v", c.properties, r.Notes)
		}
		if e := table.ExplainDown(cmd, noon)[0]; cmp.Diff(r.Commands, e.Commands) != "" {
			t.Errorf("ExplainDown differs: %+v", e)
		}
	}
}
