package adafruitio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
	"cloudbridge/platforms/adafruitio/adafruitiotest"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/platformtest"
)

func TestConformance(t *testing.T) {
	const key = "aio_hunter2hunter2"
	platformtest.Run(t, platformtest.Case{
		Kind: Kind,
		Cloud: func() any {
			c := Kind.NewCloud().(*Cloud)
			c.Username, c.Key = "Alice", key
			return c
		},
		Secrets: []string{key},
		Broken: func() any {
			c := Kind.NewCloud().(*Cloud)
			c.URL, c.Username, c.Key, c.Plan = "mqtts://alice:"+key+"@io.adafruit.com", "", mqtt.Secret(key+" "+key), "pro"
			c.APIURL = "https://alice:" + key + "@io.adafruit.com/api/v2"
			return c
		},
		BrokenKeys: []string{"url", "username", "key", "plan", "api_url"},
		Scope:      mappings.Scope{Bridge: "lab1", Names: []string{"device"}},
		Places: []any{
			&Place{Feed: "lights"}, &Place{Feed: "{device}-status"}, &Place{Group: "{device}"}, &Place{Group: "g", Feed: "{device}", Lat: 1.0, Lon: "2"},
		},
		BadPlaces: []any{&Place{}, &Place{Feed: "Lights"}, &Place{Feed: "{unknown}"}, &Place{Feed: "a", Lat: 1.0}},
		Sources:   []any{&Place{Feed: "lights"}, &Place{Feed: "{device}-led"}, &Place{Group: "station"}},
		Good:      []mappings.Address{{Name: "lights"}, {Name: "station.temp"}, {Name: "group/station"}},
		Bad:       []mappings.Address{{Name: "a/b"}, {Name: "Lights"}, {Name: "a.b.c"}, {Name: "group/a.b"}, {Name: "+"}},
		Points: []mappings.Point{
			point("lights", text("ON")),
			point("lights", text(`{"value":1}`)),
			point("station.temp", float(27.5), float(25), float(121)),
			point("group/station", text(`{"temp":27,"hum":60}`)),
		},
		Echo:           echoed,
		Emulator:       adafruitiotest.Emulator,
		History:        past(),
		HistoryOptions: emulator.Options{Set: map[string]string{"feeds": "lights,station.temp"}},
		Stored:         stored,
	})
}

// past is a history of two feeds, with more than one request takes of the first, at times to the millisecond.
func past() []mappings.Point {
	var all []mappings.Point
	for i := range 12 {
		p := point("lights", text(fmt.Sprintf("教室 <%d>", i)))
		p.Time = noon.Add(time.Duration(i) * 1001 * time.Millisecond)
		all = append(all, p)
	}
	all[3].Parts[0].Value = text(`{"value":"as it is"}`)
	for i, at := range [][]mappings.Value{nil, {float(25.03), float(-121.5)}, {float(25), float(121), float(12)}} {
		p := point("station.temp", float(27.5+float64(i)), at...)
		p.Time = noon.Add(time.Duration(-i) * time.Hour)
		all = append(all, p)
	}
	return all
}

// stored is what the emulator keeps of a feed, in the names of points.
func stored(e emulator.Emulator, feed string) (all []mappings.Point) {
	cloud := e.(*adafruitiotest.Cloud)
	for _, kept := range cloud.Points(cloud.Username(), feed) {
		p := mappings.Point{Name: feed, Time: kept.Created, Parts: []mappings.Part{{Value: text(kept.Value)}}}
		for _, part := range []struct{ name, text string }{{"lat", kept.Lat}, {"lon", kept.Lon}, {"ele", kept.Ele}} {
			if part.text != "" {
				p.Parts = append(p.Parts, mappings.Part{Name: part.name, Value: text(part.text)})
			}
		}
		all = append(all, p)
	}
	return all
}

// echoed is what Adafruit IO stores of a delivery, as its feeds and groups show it.
func echoed(d platforms.Delivery) (all []*mqtt.Message) {
	for _, e := range d.Echoes {
		m := &mqtt.Message{Topic: "Alice/feeds/" + e.Address.Name, Payload: []byte(e.Value)}
		if group, ok := strings.CutPrefix(e.Address.Name, "group/"); ok {
			m.Topic, m.Payload = "Alice/groups/"+group, []byte(`{"feeds":`+e.Value+`}`)
		}
		all = append(all, m)
	}
	return all
}

// start runs an emulator, and opens the account that its own configuration describes.
func start(t *testing.T, o emulator.Options) (*adafruitiotest.Cloud, *Platform) {
	t.Helper()
	e, err := adafruitiotest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e, platformtest.At(t, Kind, e).(*Platform)
}

// within polls until ok, for at most ten seconds.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not within ten seconds", what)
		}
		wait, done := context.WithTimeout(t.Context(), time.Millisecond)
		<-wait.Done()
		done()
	}
}

// next is the next event, which comes within ten seconds.
func next(t *testing.T, events <-chan platforms.Event) platforms.Event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("nothing comes")
	}
	return platforms.Event{}
}

// What a rule says is what Adafruit IO has, byte for byte, and what comes back is known as our own.
func TestStoredAsItIs(t *testing.T) {
	cloud, p := start(t, emulator.Options{Set: map[string]string{"points_per_minute": "1000"}})
	events := make(chan platforms.Event, 1000)
	s := platformtest.Dial(t, p, func(o *mqtt.Options) {
		o.OnMessage = func(in *mqtt.Inbound) {
			in.Ack()
			events <- p.Decode(&in.Message)
		}
	})
	var sources []mappings.Source
	for _, pl := range []Place{{Feed: "{x}"}, {Group: "{x}"}} {
		source, err := Kind.Source(p, &pl, mappings.Scope{})
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, *source)
	}
	if refused, err := s.Subscribe(t.Context(), p.Subscriptions(sources)...); err != nil || errors.Join(refused...) != nil {
		t.Fatal(err, refused)
	}
	for _, value := range []string{
		"27", "27.50", "ON", "教室 25 °C", " spaced ", "a,b", `"quoted"`, "two\nlines", "<&>", "\x01\x7f", "null", "true",
		`{"t":1}`, `{"value":1}`, ` {"value": {"value": 1}}`, `{"value":1`, `{"v\u0061lue":"x"}`, `[{"value":1}]`, `{"value":1,"value":2}`,
		`{"value":null}`, `{"lat":1,"value":"\ud83d\ude00"}`, strings.Repeat("x", 1024), `{"value":"` + strings.Repeat(`\"`, 500) + `"}`,
	} {
		for _, at := range [][]mappings.Value{nil, {float(25), float(121)}} {
			all, err := p.Encode([]mappings.Point{point("station.temp", text(value), at...)})
			if err != nil {
				t.Fatalf("%q: %v", value, err)
			}
			before := len(cloud.Points(cloud.Username(), "station.temp"))
			if err := s.Publish(t.Context(), all[0].Message, func(r mqtt.Result) {
				if r.Err != nil {
					t.Errorf("%q: %v", value, r.Err)
				}
			}); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the feed and its group
				e := next(t, events)
				if e.Kind != platforms.Command || len(e.Echoes) != 1 || !slices.Contains(all[0].Echoes, e.Echoes[0]) {
					t.Fatalf("%q comes back as %+v", value, e)
				}
			}
			points := cloud.Points(cloud.Username(), "station.temp")
			if len(points) != before+1 || points[before].Value != value || points[before].Lat != map[bool]string{true: "25"}[at != nil] {
				t.Errorf("%q is stored as %+v", value, points[before:])
			}
		}
	}
	for _, e := range cloud.Events() {
		if !e.Accepted {
			t.Errorf("refused: %+v", e)
		}
	}
}

// The notices that the emulator sends are the ones that Decode knows.
func TestNotices(t *testing.T) {
	cloud, p := start(t, emulator.Options{Set: map[string]string{"points_per_minute": "1", "max_feeds": "1", "failures_per_minute": "2"}})
	events := make(chan platforms.Event, 100)
	s := platformtest.Dial(t, p, func(o *mqtt.Options) {
		o.OnMessage = func(in *mqtt.Inbound) { in.Ack(); events <- p.Decode(&in.Message) }
	})
	if _, err := s.Subscribe(t.Context(), p.Subscriptions(nil)...); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		topic string
		want  platforms.Event
	}{
		{"learner/feeds/a", platforms.Event{}},
		{"learner/feeds/a", platforms.Event{Kind: platforms.Throttled, For: time.Minute}},
		{"learner/feeds/b", platforms.Event{Kind: platforms.Rejected, Topic: "learner/feeds/b"}},
		{"tele/x/LWT", platforms.Event{Kind: platforms.Rejected, Topic: "tele/x/LWT"}},
		{"tele/x/LWT", platforms.Event{Kind: platforms.Rejected, Topic: "tele/x/LWT"}},
		{"", platforms.Event{Kind: platforms.Throttled, For: 30 * time.Second, Banned: true}},
	} {
		if tt.topic != "" {
			if err := s.Publish(t.Context(), &mqtt.Message{Topic: tt.topic, Payload: []byte("1"), QoS: 1}, func(mqtt.Result) {}); err != nil {
				t.Fatal(err)
			}
		}
		if tt.want.Kind == platforms.Nothing {
			continue
		}
		e := next(t, events)
		if e.Kind != tt.want.Kind || e.Topic != tt.want.Topic || e.Banned != tt.want.Banned || e.For > tt.want.For || (e.For > 0) != (tt.want.For > 0) {
			t.Errorf("%s: %+v, want %+v", tt.topic, e, tt.want)
		}
	}
	select {
	case <-s.Done():
	case <-time.After(10 * time.Second):
		t.Error("the ban does not end the connection")
	}
	if cloud.Count("ban", false) != 1 {
		t.Error("no ban")
	}
}

// The codes that only Adafruit IO has come through the session as they are.
func TestRefusedLogins(t *testing.T) {
	for _, tt := range []struct {
		set     map[string]string
		prepare func(*adafruitiotest.Cloud, *mqtt.Options) error
		code    byte
		cause   platforms.Cause
	}{
		{nil, func(_ *adafruitiotest.Cloud, o *mqtt.Options) error { o.Protocol = mqtt.V5; return nil }, 1, platforms.WrongProtocol},
		{nil, func(_ *adafruitiotest.Cloud, o *mqtt.Options) error { o.Password = "aio_old"; return nil }, 5, platforms.BadLogin},
		{map[string]string{"logins_per_minute": "0"}, nil, 6, platforms.SlowDown},
		{map[string]string{"ban_reply": "1ms"}, func(c *adafruitiotest.Cloud, _ *mqtt.Options) error { return c.Ban(c.Username()) }, 7, platforms.Banned},
	} {
		cloud, p := start(t, emulator.Options{Set: tt.set})
		o, _ := p.Session()
		if tt.prepare != nil {
			if err := tt.prepare(cloud, &o); err != nil {
				t.Fatal(err)
			}
		}
		_, err := mqtt.Dial(t.Context(), o)
		var refused *mqtt.RefusedError
		if !errors.As(err, &refused) || refused.Code != tt.code {
			t.Errorf("%v, want code %d", err, tt.code)
			continue
		}
		if v := p.Judge(platforms.Reply{Reason: refused.Reason}); v.Cause != tt.cause {
			t.Errorf("code %d: %+v", tt.code, v)
		}
	}
}

func TestRestoreAndBudget(t *testing.T) {
	cloud, p := start(t, emulator.Options{Set: map[string]string{"feeds": "lights", "points_per_minute": "77"}})
	if err := cloud.Toggle("lights", "ON"); err != nil {
		t.Fatal(err)
	}
	events := make(chan platforms.Event, 10)
	s := platformtest.Dial(t, p, func(o *mqtt.Options) {
		o.OnMessage = func(in *mqtt.Inbound) { in.Ack(); events <- p.Decode(&in.Message) }
	})
	source, err := Kind.Source(p, &Place{Feed: "lights"}, mappings.Scope{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Subscribe(t.Context(), p.Subscriptions([]mappings.Source{*source})...); err != nil {
		t.Fatal(err)
	}
	if err := s.Publish(t.Context(), p.Restore(*source), func(mqtt.Result) {}); err != nil {
		t.Fatal(err)
	}
	if e := next(t, events); e.Kind != platforms.Command || e.Address.Name != "lights" || string(e.Payload) != "ON" {
		t.Errorf("restored %+v", e)
	}
	within(t, "the request is recorded", func() bool { return cloud.Count("get", true) == 1 })

	r := p.BudgetRequest()
	q, err := http.NewRequestWithContext(t.Context(), r.Method, r.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header = r.Header
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := p.ParseBudget(a.StatusCode, body); n != 77 || !ok {
		t.Errorf("%d %s: %d, %v", a.StatusCode, body, n, ok)
	}
	if l := p.Limits(); l.PerMinute != 77 || l.MaxAddresses != 10 {
		t.Errorf("its configuration gives %+v", l)
	}
}
