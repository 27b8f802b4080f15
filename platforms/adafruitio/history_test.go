package adafruitio

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/platformtest"
)

// noon is in another zone than Adafruit IO's.
var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.FixedZone("Taipei", 8*3600))

func TestHistoryLimits(t *testing.T) {
	for _, tt := range []struct {
		change func(*Cloud)
		most   int
	}{
		{func(*Cloud) {}, 10},
		{func(c *Cloud) { c.Plan = "plus" }, 20},
		{func(c *Cloud) { c.PointsPerMinute = 1 }, 1},
		{func(c *Cloud) { c.PointsPerMinute = 3000 }, 100},
		{func(c *Cloud) { c.URL = "mqtt://127.0.0.1:1883" }, 0},
	} {
		h, ok := alice(t, tt.change).History("account")
		want := platforms.HistoryLimits{MostPoints: tt.most, CostPerPoint: tt.most > 0, PerAddress: tt.most > 0}
		if h != want || ok != (tt.most > 0) {
			t.Errorf("%+v, %v, want %+v", h, ok, want)
		}
	}
}

func TestEncodeHistory(t *testing.T) {
	at := func(p mappings.Point, after time.Duration) mappings.Point {
		p.Time = noon.Add(after)
		return p
	}
	lights := func(s string, after time.Duration) mappings.Point { return at(point("lights", text(s)), after) }
	many := make([]mappings.Point, 31)
	for i := range many {
		many[i] = lights(fmt.Sprint(i), time.Duration(i)*time.Second)
	}
	var b strings.Builder
	for _, tt := range []struct {
		name  string
		batch []mappings.Point
	}{
		{"one point", []mappings.Point{lights("27.50", 0)}},
		{"to the millisecond", []mappings.Point{lights("1", 1500*time.Millisecond), lights("2", 1999_999_999), lights("3", 2*time.Second)}},
		{"a place, and text that JSON must escape", []mappings.Point{
			at(point("station.temp", float(27.5), float(25.03), float(-121.5), float(9)), 0), at(point("station.temp", text("\"教室\" <&>\n")), time.Second),
		}},
		{"JSON with value", []mappings.Point{lights(`{"value":27}`, 0)}},
		{"another feed behind", []mappings.Point{lights("1", 0), at(point("station.temp", float(27)), 0), lights("2", 0)}},
		{"what cannot go", []mappings.Point{
			lights("1", 0), lights("", 1), lights(strings.Repeat("x", 1025), 2), lights("\xff", 3), point("lights", text("timeless")), at(point("lights", mappings.Value{}), 4),
			at(point("lights", text("2"), text("north"), float(2)), 5),
		}},
		{"what cannot go first", []mappings.Point{lights("", 0), lights("1", 0)}},
		{"no time first", []mappings.Point{point("lights", text("1"))}},
		{"many", many},
		{"a group", []mappings.Point{
			at(point("group/station", text(`{"Temp": 27.50, "hum": "60", "on": true, "off": null, "溫度": 1}`), float(25), float(121)), 0),
			at(point("group/station", text(`{"temp": 28}`)), time.Second),
		}},
		{"half a place of a group", []mappings.Point{at(point("group/station", text(`{"temp": 27}`), float(25)), 0)}},
		{"a group of nothing", []mappings.Point{at(point("group/station", text(`{"a":null}`)), 0)}},
		{"no time for a group", []mappings.Point{point("group/station", text(`{"a":1}`))}},
		{"a foreign topic", []mappings.Point{at(point("../errors", text("x")), 0)}},
		{"nothing", nil},
	} {
		fmt.Fprintf(&b, "== %s\n", tt.name)
		d, err := alice(t).EncodeHistory(tt.batch)
		if err != nil {
			fmt.Fprintf(&b, "error: %v\n", err)
			continue
		}
		if !json.Valid(d.Request.Body) || d.Request.Header.Get("X-AIO-Key") != "aio_secret" || d.Request.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %+v", tt.name, d.Request)
		}
		b.WriteString(platformtest.Describe([]platforms.Delivery{d}))
		for _, o := range d.Omitted {
			fmt.Fprintf(&b, "\tomitted of point %d, whole %v: %s\n", o.Point, o.Whole, o.Why)
		}
	}
	if _, err := alice(t, func(c *Cloud) { c.URL = "mqtt://127.0.0.1:1883" }).EncodeHistory([]mappings.Point{lights("1", 0)}); err == nil {
		t.Error("history without a REST side")
	}
	platformtest.Golden(t, "history.golden", b.String())
}

func TestJudgeHistory(t *testing.T) {
	p := alice(t)
	for _, tt := range []struct {
		status int
		body   string
		want   platforms.Outcome
		cause  platforms.Cause
		after  time.Duration
	}{
		{200, `[{"value":"1"}]`, platforms.Confirmed, platforms.Unknown, 0},
		{401, `{"error":"request failed - invalid API key provided"}`, platforms.Retry, platforms.BadLogin, 10 * time.Minute},
		{403, "", platforms.Retry, platforms.NotAllowed, 10 * time.Minute},
		{404, "", platforms.Retry, platforms.NotThere, time.Minute},
		{413, "", platforms.Refused, platforms.TooLarge, 0},
		{422, `{"error":"value is missing"}`, platforms.Refused, platforms.Invalid, 0},
		{422, `{"error":"rejected, feed limit reached"}`, platforms.Retry, platforms.QuotaUsed, 10 * time.Minute},
		{429, `{"error":"data rate limit reached, 90 seconds until throttle released"}`, platforms.Retry, platforms.SlowDown, 90 * time.Second},
		{503, "", platforms.Retry, platforms.Busy, 0},
	} {
		v := p.Judge(platforms.Reply{HTTPStatus: tt.status, Body: []byte(tt.body), History: true})
		if v.Outcome != tt.want || v.Cause != tt.cause || v.After != tt.after || (v.Why == "") != (tt.want == platforms.Confirmed) {
			t.Errorf("%d %s: %+v", tt.status, tt.body, v)
		}
	}
	if v := p.Judge(platforms.Reply{HTTPStatus: 404}); v.Outcome != platforms.Refused {
		t.Errorf("404 to something else: %+v", v)
	}
}

// What history fills in comes back to whoever reads the feed or its group, and is known as our own.
func TestHistoryEchoes(t *testing.T) {
	cloud, p := start(t, emulator.Options{Set: map[string]string{"feeds": "station.temp", "group_messages": "each"}})
	events := make(chan platforms.Event, 100)
	s := platformtest.Dial(t, p, func(o *mqtt.Options) {
		o.OnMessage = func(in *mqtt.Inbound) { in.Ack(); events <- p.Decode(&in.Message) }
	})
	var sources []mappings.Source
	for _, pl := range []Place{{Feed: "{x}"}, {Group: "{x}"}} {
		source, err := Kind.Source(p, &pl, mappings.Scope{})
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, *source)
	}
	if _, err := s.Subscribe(t.Context(), p.Subscriptions(sources)...); err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	feed, group := point("station.temp", text("27")), point("group/station", text(`{"temp":28,"hum":60}`))
	for i, batch := range [][]mappings.Point{{feed, feed}, {group}} {
		for j := range batch {
			batch[j].Time = noon.Add(time.Duration(j) * time.Second)
		}
		d, err := p.EncodeHistory(batch)
		if err != nil {
			t.Fatal(err)
		}
		left := make(map[platforms.Echo]int)
		for _, e := range d.Echoes {
			left[e]++
		}
		q, err := http.NewRequestWithContext(t.Context(), d.Request.Method, d.Request.URL, bytes.NewReader(d.Request.Body))
		if err != nil {
			t.Fatal(err)
		}
		q.Header = d.Request.Header
		a, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		_ = a.Body.Close()
		if a.StatusCode != http.StatusOK {
			t.Fatalf("batch %d: HTTP %d: %s", i, a.StatusCode, platformtest.Events(cloud))
		}
		for range 4 { // two values, each by itself and in its group
			e := next(t, events)
			if len(e.Echoes) != 1 || left[e.Echoes[0]] == 0 {
				t.Fatalf("batch %d comes back as %+v, which is none of %+v", i, e, left)
			}
			left[e.Echoes[0]]--
		}
	}
	if got := cloud.Points(cloud.Username(), "station.hum"); len(got) != 1 || !got[0].Created.Equal(noon) || got[0].Value != "60" {
		t.Errorf("the group's feed has %+v", got)
	}
}
