package adafruitio

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
	"cloudbridge/platforms/platformtest"
)

// alice is an account on the free plan.
func alice(t testing.TB, change ...func(*Cloud)) *Platform {
	t.Helper()
	c := Kind.NewCloud().(*Cloud)
	c.Username, c.Key = "Alice", "aio_secret"
	for _, f := range change {
		f(c)
	}
	p, err := Kind.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return p.(*Platform)
}

func TestDefaults(t *testing.T) {
	p := alice(t)
	o, ok := p.Session()
	want := mqtt.Options{
		URL: "mqtts://io.adafruit.com:8883", Protocol: mqtt.V311, Username: "Alice", Password: "aio_secret",
		CleanStart: true, KeepAlive: time.Minute,
	}
	if !ok || !reflect.DeepEqual(o, want) {
		t.Errorf("session %+v", o)
	}
	limits := platforms.Limits{
		Kind: platforms.Budgeted, PerMinute: 30, MaxAddresses: 10, MaxQoS: 1, DefaultQoS: 1, Confirm: platforms.ByQuiet,
		Quiet: 2 * time.Second, EchoesOwn: true, Public: true, LoginsPerMinute: 6, RandomClientID: true,
	}
	if l := p.Limits(); l != limits {
		t.Errorf("limits %+v", l)
	}
	if a := p.Account(); a != "adafruit-io alice" {
		t.Errorf("account %q", a)
	}
}

func TestPlans(t *testing.T) {
	for _, tt := range []struct {
		change        func(*Cloud)
		points, feeds int
	}{
		{func(c *Cloud) { c.Plan = "plus" }, 60, 0},
		{func(c *Cloud) { c.Plan, c.MaxFeeds = "plus", 50 }, 60, 50},
		{func(c *Cloud) { c.ClientID, c.Plan = "mine", "plus" }, 60, 0},
		{func(c *Cloud) { c.PointsPerMinute, c.MaxFeeds = 120, 20 }, 120, 20},
	} {
		p := alice(t, tt.change)
		l := p.Limits()
		if l.PerMinute != tt.points || l.MaxAddresses != tt.feeds {
			t.Errorf("%d points and %d feeds, want %d and %d", l.PerMinute, l.MaxAddresses, tt.points, tt.feeds)
		}
		if o, _ := p.Session(); l.RandomClientID != (o.ClientID == "") {
			t.Errorf("client id %q, random %v", o.ClientID, l.RandomClientID)
		}
	}
}

func TestAccountAndBudgetElsewhere(t *testing.T) {
	p := alice(t, func(c *Cloud) { c.URL = "mqtt://127.0.0.1:1883" })
	if a := p.Account(); a != "adafruit-io alice 127.0.0.1:1883" {
		t.Errorf("account %q", a)
	}
	if r := p.BudgetRequest(); r != nil {
		t.Errorf("the key would go to %s", r.URL)
	}
	p = alice(t, func(c *Cloud) { c.URL, c.APIURL = "mqtt://127.0.0.1:1883", "http://127.0.0.1:8080/api/v2/" })
	if r := p.BudgetRequest(); r == nil || r.URL != "http://127.0.0.1:8080/api/v2/Alice/throttle" {
		t.Errorf("request %+v", r)
	}
	p = alice(t, func(c *Cloud) { c.URL = "io.adafruit.com" })
	if o, _ := p.Session(); o.URL != defaultURL || p.Account() != "adafruit-io alice" {
		t.Errorf("connects to %s as %s", o.URL, p.Account())
	}
}

func TestBudget(t *testing.T) {
	r := alice(t).BudgetRequest()
	if r.Method != "GET" || r.URL != "https://io.adafruit.com/api/v2/Alice/throttle" || r.Header.Get("X-AIO-Key") != "aio_secret" {
		t.Errorf("request %+v", r)
	}
	for _, tt := range []struct {
		status int
		body   string
		want   int
		ok     bool
	}{
		{200, `{"data_rate_limit":60,"active_data_rate":12}`, 60, true},
		{200, `{"data_rate_limit":0}`, 0, false},
		{200, `{"data_rate_limit":"many"}`, 0, false},
		{200, `<html>`, 0, false},
		{429, `{"data_rate_limit":60}`, 0, false},
	} {
		if got, ok := alice(t).ParseBudget(tt.status, []byte(tt.body)); got != tt.want || ok != tt.ok {
			t.Errorf("%d %s: %d, %v", tt.status, tt.body, got, ok)
		}
	}
}

// faults writes down every KeyError of an error.
func faults(err error) string {
	var b strings.Builder
	var walk func(error)
	walk = func(err error) {
		var all interface{ Unwrap() []error }
		if e, ok := err.(*platforms.KeyError); ok {
			fmt.Fprintf(&b, "%s\n  hint: %s\n", e.Error(), e.Hint)
		} else if errors.As(err, &all) {
			for _, e := range all.Unwrap() {
				walk(e)
			}
		} else if err != nil {
			fmt.Fprintf(&b, "?? %v\n", err)
		}
	}
	walk(err)
	return b.String()
}

func TestOpenFaults(t *testing.T) {
	var b strings.Builder
	for _, tt := range []struct {
		name   string
		change func(*Cloud)
	}{
		{"nothing given", func(c *Cloud) { *c = Cloud{Connection: platforms.Connection{URL: defaultURL}, Plan: "free"} }},
		{"e-mail and a key with its line", func(c *Cloud) { c.Username, c.Key = "alice@example.org", "aio_secret hidden" }},
		{"a name that leads elsewhere", func(c *Cloud) { c.Username = "alice/feeds" }},
		{"plan", func(c *Cloud) { c.Plan = "pro" }},
		{"figures", func(c *Cloud) { c.PointsPerMinute, c.MaxFeeds = -1, -2 }},
		{"connection", func(c *Cloud) {
			c.URL, c.APIURL, c.Protocol, c.KeepAlive = "https://io.adafruit.com", "io.adafruit.com", "5", 10*time.Minute
		}},
	} {
		c := Kind.NewCloud().(*Cloud)
		c.Username, c.Key = "alice", "aio_secret"
		tt.change(c)
		_, err := Kind.Open(c)
		fmt.Fprintf(&b, "== %s\n%s", tt.name, faults(err))
	}
	if strings.Contains(b.String(), "secret") {
		t.Error("a key is printed")
	}
	platformtest.Golden(t, "open.golden", b.String())
}

func TestLane(t *testing.T) {
	p := alice(t)
	for _, name := range []string{"lights", "station.temp", "group/station"} {
		if l, err := p.Lane(mappings.Address{Name: name}); l != "account" || err != nil {
			t.Errorf("%s: %q, %v", name, l, err)
		}
	}
	for _, name := range []string{"", "Lights", "a/b", "a.b.c", "group/", "group/a.b", "group/a/b", "../feeds", "a/#", "+", "溫度", ".a", "a."} {
		if l, err := p.Lane(mappings.Address{Name: name}); err == nil {
			t.Errorf("%q has lane %q", name, l)
		}
	}
}

func text(s string) mappings.Value {
	return mappings.Value{Kind: mappings.Text, Bytes: []byte(s)}
}

func float(f float64) mappings.Value { return mappings.Value{Kind: mappings.Float, Float: f} }

func point(name string, v mappings.Value, at ...mappings.Value) mappings.Point {
	pt := mappings.Point{Name: name, QoS: 1, Parts: []mappings.Part{{Value: v}}}
	for i, v := range at {
		pt.Parts = append(pt.Parts, mappings.Part{Name: []string{"lat", "lon", "ele"}[i], Value: v})
	}
	return pt
}

func TestEncode(t *testing.T) {
	raw := func(s string) mappings.Value { return mappings.Value{Kind: mappings.Raw, Bytes: []byte(s)} }
	json := func(s string) mappings.Value { return mappings.Value{Kind: mappings.JSON, Bytes: []byte(s)} }
	var b strings.Builder
	for _, tt := range []struct {
		name  string
		point mappings.Point
	}{
		{"a number", point("lights", float(27.5))},
		{"a whole number", point("lights", mappings.Value{Kind: mappings.Int, Int: 3})},
		{"a bool", point("lights", mappings.Value{Kind: mappings.Bool, Int: 1})},
		{"a payload as it is", point("station.temp", raw("Pico W temperature=27"))},
		{"Chinese", point("lights", raw("教室 25 °C <&>"))},
		{"JSON without value", point("lights", raw(`{"t": 27}`))},
		{"JSON with value", point("lights", raw(`{"unit":"°C", "value":27}`))},
		{"JSON with value, made by an expression", point("lights", json(`{"value":27}`))},
		{"JSON with value, spelt otherwise", point("lights", raw(`{"v\u0061lue":27}`))},
		{"JSON with value further down", point("lights", raw(`{"a":{"value":27}}`))},
		{"a JSON list", point("lights", raw(`[{"value":27}]`))},
		{"almost JSON", point("lights", raw(`{"value":27`))},
		{"a place", point("lights", float(27.5), float(25.0329694), float(121.565418), float(9))},
		{"a place without height", point("lights", text(`say "hi"`), float(-25), text("121.5"), mappings.Value{})},
		{"half a place", point("lights", float(1), float(25), mappings.Value{})},
		{"no number for a place", point("lights", float(1), text("north"), float(2))},
		{"out of the world", point("lights", float(1), float(25), float(181))},
		{"a group", point("group/station", raw(`{"Temp": 27.50, "hum": "60", "on": true, "off": null, "more": {"a": [1, 2]}}`))},
		{"a group with a place", point("group/station", raw(`{"temp": 27}`), float(25), float(121))},
		{"a group of bare feeds", point("group/default", raw(`{"temp": 27}`))},
		{"a group with feeds that cannot be", point("group/station", raw(`{"溫度":1, "b_c":2, "b c":3, "d":"", "e":"`+strings.Repeat("x", 1025)+`"}`))},
		{"a group of feeds that cannot be", point("group/station", raw(`{"溫度":1}`))},
		{"a group of nothing", point("group/station", raw(`{"a":null}`))},
		{"no group", point("group/station", raw(`27`))},
		{"an empty value", point("lights", raw(""))},
		{"no value", point("lights", mappings.Value{})},
		{"too long", point("lights", raw(strings.Repeat("x", 1025)))},
		{"just not too long", point("lights", raw(strings.Repeat("x", 1024)))},
		{"no UTF-8", point("lights", raw("\xb4\xfa"))},
		{"a foreign topic", point("../errors", raw("x"))},
		{"a foreign group", point("group/../../bob/feeds/x", raw(`{"a":1}`))},
	} {
		fmt.Fprintf(&b, "== %s\n", tt.name)
		all, err := alice(t).Encode([]mappings.Point{tt.point})
		if err != nil {
			fmt.Fprintf(&b, "error: %v\n", err)
			continue
		}
		if len(all) != 1 || all[0].Points != 1 {
			t.Errorf("%s: %+v", tt.name, all)
		}
		d := all[0]
		fmt.Fprintf(&b, "%s (QoS %d, retain %v, cost %d)\n%s\n", d.Message.Topic, d.Message.QoS, d.Message.Retain, d.Cost, cut300(d.Message.Payload))
		for _, e := range d.Echoes {
			fmt.Fprintf(&b, "  echo %s: %s\n", e.Address, cut300([]byte(e.Value)))
		}
		for _, l := range d.Left {
			fmt.Fprintf(&b, "  left out %s\n", l)
		}
		fmt.Fprintf(&b, "  fills %s\n", strings.Join(alice(t).Fills(tt.point), ", "))
		if !strings.HasPrefix(d.Message.Topic, "Alice/feeds/") && !strings.HasPrefix(d.Message.Topic, "Alice/groups/") {
			t.Errorf("%s: topic %s", tt.name, d.Message.Topic)
		}
	}
	platformtest.Golden(t, "encode.golden", b.String())
}

func cut300(b []byte) string {
	if len(b) > 300 {
		return fmt.Sprintf("%s... (%d bytes)", b[:20], len(b))
	}
	return string(b)
}

func TestEncodeBatch(t *testing.T) {
	p := alice(t)
	good, bad := point("a", float(1)), point("a", text(""))
	bad.QoS, good.QoS = 2, 2
	if all, err := p.Encode([]mappings.Point{good, good, bad, good}); err != nil || len(all) != 2 || all[0].Message.QoS != 1 {
		t.Errorf("%d deliveries, %v", len(all), err)
	}
	if all, err := p.Encode([]mappings.Point{bad, good}); err == nil {
		t.Errorf("%d deliveries and no error", len(all))
	}
	good.QoS = 0
	if all, _ := p.Encode([]mappings.Point{good}); all[0].Message.QoS != 0 {
		t.Error("QoS is raised")
	}
}

func TestDecode(t *testing.T) {
	in, err := os.ReadFile(filepath.Join("testdata", "decode.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(in)) {
		topic, payload, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		fmt.Fprintf(&b, "%s %s\n", topic, payload)
		e := alice(t).Decode(&mqtt.Message{Topic: topic, Payload: []byte(payload)})
		switch e.Kind {
		case platforms.Nothing:
			b.WriteString("  nothing\n")
		case platforms.Command:
			fmt.Fprintf(&b, "  command %s = %s\n", e.Address, e.Payload)
			for _, x := range e.Echoes {
				fmt.Fprintf(&b, "  echo of %s: %s\n", x.Address, x.Value)
			}
		case platforms.Throttled:
			fmt.Fprintf(&b, "  throttled for %v, banned %v: %s\n", e.For, e.Banned, e.Why)
		case platforms.Rejected:
			fmt.Fprintf(&b, "  rejected %q: %s\n", e.Topic, e.Why)
		}
	}
	platformtest.Golden(t, "decode.golden", b.String())
}

// A message that costs more than a minute's budget would be refused for ever, and each try counts towards a ban.
func TestGroupWithinTheBudget(t *testing.T) {
	p := alice(t, func(c *Cloud) { c.PointsPerMinute, c.MaxFeeds = 3, 50 })
	pt := point("group/station", text(`{"a":1,"b":2,"c":3,"d":4,"e":5}`))
	got, err := p.Encode([]mappings.Point{pt})
	if err != nil || len(got) != 1 {
		t.Fatalf("%d deliveries, %v", len(got), err)
	}
	if d := got[0]; d.Cost != 3 || string(d.Message.Payload) != `{"feeds":{"a":"1","b":"2","c":"3"}}` || len(d.Left) != 2 {
		t.Errorf("cost %d, payload %s, left %q", d.Cost, d.Message.Payload, d.Left)
	}
	if fills := p.Fills(pt); len(fills) != 3 {
		t.Errorf("fills %q, and what is left out fills nothing", fills)
	}
}

// Whatever is sent must be recognised when it comes back, feed by feed and as a group.
func TestEchoes(t *testing.T) {
	p := alice(t)
	for _, tt := range []struct {
		point mappings.Point
		back  []mqtt.Message
	}{
		{point("lights", text("ON")), []mqtt.Message{
			{Topic: "Alice/feeds/lights", Payload: []byte("ON")},
			{Topic: "Alice/groups/default", Payload: []byte(`{"feeds": {"lights": "ON"}}`)},
		}},
		{point("station.temp", text(`{"value":1}`), float(1), float(2)), []mqtt.Message{
			{Topic: "Alice/f/station.temp", Payload: []byte(`{"value":1}`)},
			{Topic: "Alice/g/station", Payload: []byte(`{"feeds":{"temp":"{\"value\":1}"},"location":{"lat":1,"lon":2}}`)},
			{Topic: "Alice/groups/station", Payload: []byte(`{"feeds":{"station.temp":"{\"value\":1}"}}`)},
		}},
		{point("group/station", text(`{"b":2,"a":1.0}`)), []mqtt.Message{
			{Topic: "Alice/feeds/station.a", Payload: []byte("1.0")},
			{Topic: "Alice/feeds/station.b", Payload: []byte("2")},
			{Topic: "Alice/groups/station", Payload: []byte(`{"feeds":{"a":"1.0","b":"2"}}`)},
			{Topic: "Alice/groups/station", Payload: []byte(`{"feeds":{"b":"2"}}`)},
		}},
	} {
		all, err := p.Encode([]mappings.Point{tt.point})
		if err != nil {
			t.Fatal(err)
		}
		noted := map[platforms.Echo]bool{}
		for _, e := range all[0].Echoes {
			noted[e] = true
		}
		for _, m := range tt.back {
			e := p.Decode(&m)
			if e.Kind != platforms.Command || len(e.Echoes) != 1 || !noted[e.Echoes[0]] {
				t.Errorf("%s %s is not recognised: %+v of %+v", m.Topic, m.Payload, e.Echoes, all[0].Echoes)
			}
		}
	}
}

func TestJudge(t *testing.T) {
	var b strings.Builder
	say := func(what string, r platforms.Reply) {
		v := alice(t).Judge(r)
		outcome := [...]string{"confirmed", "retry", "refused"}[v.Outcome]
		fmt.Fprintf(&b, "%s: %s, cause %d", what, outcome, v.Cause)
		if v.After > 0 {
			fmt.Fprintf(&b, ", after %v up to %v", v.After, v.UpTo)
		}
		fmt.Fprintf(&b, "\n  %s\n", v.Why)
	}
	for code := range byte(9) {
		say(fmt.Sprintf("CONNACK %d", code), platforms.Reply{Reason: mqtt.Reason{Packet: mqtt.Connack, Protocol: mqtt.V311, Code: code}})
	}
	for _, code := range []byte{1, 0x80} {
		say(fmt.Sprintf("SUBACK %x", code), platforms.Reply{Reason: mqtt.Reason{Packet: mqtt.Suback, Code: code}, Topic: "Alice/feeds/lights"})
	}
	say("PUBACK 0", platforms.Reply{Reason: mqtt.Reason{Packet: mqtt.Puback}})
	say("PUBACK 87", platforms.Reply{Reason: mqtt.Reason{Packet: mqtt.Puback, Code: 0x87}})
	for _, r := range []platforms.Reply{
		{HTTPStatus: 200},
		{HTTPStatus: 201},
		{HTTPStatus: 302},
		{HTTPStatus: 400, Body: []byte(`{"error":"request failed - body is missing"}`)},
		{HTTPStatus: 401, Body: []byte(`{"error":"request failed - invalid API key provided"}`)},
		{HTTPStatus: 403},
		{HTTPStatus: 403, Body: []byte(`{"error":"user is temporarily blocked"}`)},
		{HTTPStatus: 404},
		{HTTPStatus: 406},
		{HTTPStatus: 413},
		{HTTPStatus: 422, Body: []byte(`{"error":["Value is too long","Name is not"]}`)},
		{HTTPStatus: 422, Body: []byte(`{"error":"rejected, feed limit reached"}`)},
		{HTTPStatus: 429, Body: []byte(`{"error":"data rate limit reached, 90 seconds until throttle released"}`)},
		{HTTPStatus: 429, Body: []byte(`<html>`)},
		{HTTPStatus: 500},
		{HTTPStatus: 503},
	} {
		say(fmt.Sprintf("HTTP %d %s", r.HTTPStatus, r.Body), r)
	}
	platformtest.Golden(t, "judge.golden", b.String())
}

func FuzzDecode(f *testing.F) {
	in, _ := os.ReadFile(filepath.Join("testdata", "decode.txt"))
	for line := range strings.Lines(string(in)) {
		topic, payload, _ := strings.Cut(line, " ")
		f.Add(topic, []byte(payload))
	}
	p := alice(f)
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		e := p.Decode(&mqtt.Message{Topic: topic, Payload: payload})
		if e.Kind == platforms.Throttled && (e.For < 0 || e.For > time.Hour*24) {
			t.Errorf("waits %v", e.For)
		}
		if e.Kind == platforms.Command {
			if _, err := p.Lane(e.Address); err != nil {
				t.Errorf("%s: command from %v: %v", topic, e.Address, err)
			}
		}
	})
}

func FuzzEncode(f *testing.F) {
	f.Add("lights", "27")
	f.Add("group/station", `{"a":1}`)
	p := alice(f)
	f.Fuzz(func(t *testing.T, name, value string) {
		all, err := p.Encode([]mappings.Point{point(name, text(value))})
		if err != nil {
			return
		}
		m := all[0].Message
		levels := strings.Split(m.Topic, "/")
		if len(levels) != 3 || levels[0] != "Alice" || levels[1] != "feeds" && levels[1] != "groups" || strings.ContainsAny(levels[2], "+#$ ") {
			t.Errorf("%q leads to %q", name, m.Topic)
		}
		if len(all[0].Echoes) < 2 || all[0].Cost < 1 {
			t.Errorf("%+v", all[0])
		}
	})
}
