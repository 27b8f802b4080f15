package generic

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
	"cloudbridge/platforms/platformtest"
)

func open(t testing.TB, url string, change ...func(*Cloud)) *Broker {
	t.Helper()
	c := &Cloud{Username: "alice", Password: "hunter2"}
	c.URL = url
	for _, f := range change {
		f(c)
	}
	b, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOpen(t *testing.T) {
	for _, c := range []struct {
		url, protocol string
		wantURL       string
		want          mqtt.Protocol
		public, echo  bool
		account       string
	}{
		{"broker.emqx.io", "", "mqtt://broker.emqx.io:1883", mqtt.Auto, true, false, "mqtt broker.emqx.io:1883 alice"},
		{"mqtts://10.0.0.2", "auto", "mqtts://10.0.0.2:8883", mqtt.Auto, false, false, "mqtt 10.0.0.2:8883 alice"},
		{"wss://broker.emqx.io:8084", "5", "wss://broker.emqx.io:8084/mqtt", mqtt.V5, true, false, "mqtt broker.emqx.io:8084 alice"},
		{"localhost:1883", "3.1.1", "mqtt://localhost:1883", mqtt.V311, false, true, "mqtt localhost:1883 alice"},
	} {
		b := open(t, c.url, func(k *Cloud) { k.Protocol = c.protocol })
		o, ok := b.Session()
		l := b.Limits()
		if !ok || o.URL != c.wantURL || o.Protocol != c.want || o.Username != "alice" || o.Password.Reveal() != "hunter2" {
			t.Errorf("%s: session %+v", c.url, o)
		}
		if l.Public != c.public || l.EchoesOwn != c.echo || (l.LoginsPerMinute == 6) != c.public || l.Window != 8192 || l.WindowBytes != 1<<20 {
			t.Errorf("%s: limits %+v", c.url, l)
		}
		if b.Account() != c.account {
			t.Errorf("%s: account %q, want %q", c.url, b.Account(), c.account)
		}
	}
}

func TestOpenTellsAllFaults(t *testing.T) {
	c := &Cloud{Password: "hunter2"}
	c.Protocol, c.APIURL, c.KeepAlive = "6", "https://x", time.Nanosecond
	_, err := Open(c)
	if got, want := platformtest.Keys(err), "url protocol keepalive username api_url"; strings.Join(got, " ") != want {
		t.Errorf("blamed %q, want %s", got, want)
	}
	c = &Cloud{Username: "a\x00", Password: mqtt.Secret(strings.Repeat("x", 70000))}
	c.URL = "localhost"
	_, err = Open(c)
	if got, want := platformtest.Keys(err), "username password"; strings.Join(got, " ") != want {
		t.Errorf("blamed %q, want %s", got, want)
	}
}

func TestTarget(t *testing.T) {
	scope := mappings.Scope{Bridge: "lab1", Names: []string{"device"}}
	values := []string{"picow", "iot/picow/temp"} // the captures, and the topic
	for topic, want := range map[string]string{
		"":                         "iot/picow/temp",
		"school/{bridge}/{device}": "school/lab1/picow",
		"school/{device...}":       "school/picow",
		"all":                      "all",
	} {
		target, err := Target(nil, &Place{Topic: topic}, scope)
		if err != nil {
			t.Errorf("topic %q: %v", topic, err)
			continue
		}
		if got := target.Name.Expand(values); got != want || len(target.Parts) != 1 || target.Parts[0].Value != nil {
			t.Errorf("topic %q: %q, parts %+v", topic, got, target.Parts)
		}
	}
	target, err := Target(nil, &Place{Topic: "{device}"}, scope)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := target.Fix("$SYS/x"); err == nil {
		t.Error("$SYS may be published to")
	}
	for _, bad := range []string{"{room}", "a/+", "$SYS/broker", "{"} {
		_, err := Target(nil, &Place{Topic: bad}, scope)
		var e *platforms.KeyError
		if !errors.As(err, &e) || e.Key != "topic" || e.Text == "" {
			t.Errorf("topic %q: %v", bad, err)
		}
	}
}

func TestSource(t *testing.T) {
	scope := mappings.Scope{Bridge: "lab1"}
	s, err := Source(nil, &Place{Topic: "school/{bridge}/cmd/{rest...}"}, scope)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := s.Name.Match("school/lab1/cmd/a/b", nil); !ok || fmt.Sprint(got) != "[a/b]" {
		t.Errorf("matched %v, %v", got, ok)
	}
	for _, bad := range []string{"", "a/#/b", "{a}{b}"} {
		_, err := Source(nil, &Place{Topic: bad}, scope)
		var e *platforms.KeyError
		if !errors.As(err, &e) || e.Key != "topic" || e.Hint == "" {
			t.Errorf("topic %q: %v", bad, err)
		}
	}
}

func TestLane(t *testing.T) {
	b := open(t, "localhost")
	for _, good := range []string{"a", "/a//b", "溫度/一", "$other/x"} {
		if lane, err := b.Lane(mappings.Address{Name: good}); err != nil || lane != "all" {
			t.Errorf("%q: %q, %v", good, lane, err)
		}
	}
	for _, bad := range []mappings.Address{
		{},
		{Name: "a/+"},
		{Name: "#"},
		{Name: "a\x00"},
		{Name: "\xff"},
		{Name: "$SYS/x"},
		{Name: "$share/g/x"},
		{Name: "a", Part: "p"},
		{Name: strings.Repeat("x", 65536)},
	} {
		if lane, err := b.Lane(bad); err == nil {
			t.Errorf("%.20q: lane %q", bad, lane)
		}
	}
}

// points are one of each kind of value that a rule can make.
func points() []mappings.Point {
	props := &mqtt.Properties{
		ContentType: "text/plain", UTF8: true, ResponseTopic: "r", CorrelationData: []byte{1}, Expiry: time.Minute,
		User: []mqtt.UserProperty{{Key: "k", Value: "v"}},
	}
	one := func(v mappings.Value) []mappings.Part { return []mappings.Part{{Value: v}} }
	return []mappings.Point{
		{Name: "iot/temp", QoS: 1, Parts: one(mappings.Value{Kind: mappings.Raw, Bytes: []byte("Pico W temperature=27")})},
		{Name: "/sensors/温度", QoS: 2, Retain: true, Properties: props, Parts: one(mappings.Value{Kind: mappings.Text, Bytes: []byte("溫度：27.5")})},
		{Name: "raw", Parts: one(mappings.Value{Kind: mappings.Raw, Bytes: []byte{0, 0xff, 0xfe}})},
		{Name: "float", QoS: 1, Parts: one(mappings.Value{Kind: mappings.Float, Float: 27.5})},
		{Name: "int", QoS: 1, Parts: one(mappings.Value{Kind: mappings.Int, Int: -7})},
		{Name: "bool", QoS: 1, Parts: one(mappings.Value{Kind: mappings.Bool, Int: 1})},
		{Name: "json", QoS: 1, Parts: one(mappings.Value{Kind: mappings.JSON, Bytes: []byte(`{"a":1}`)})},
		{Name: "empty", QoS: 1, Retain: true, Parts: one(mappings.Value{Kind: mappings.Raw})},
	}
}

func TestEncodeGolden(t *testing.T) {
	b := open(t, "localhost")
	out, err := b.Encode(points())
	if err != nil {
		t.Fatal(err)
	}
	platformtest.Golden(t, "encode.txt", platformtest.Describe(out))
}

// TestTime is about the user property that tells when a reading was made, and about whom it is told.
func TestTime(t *testing.T) {
	b := open(t, "localhost")
	arrived := time.Date(2026, 11, 20, 12, 0, 0, 123_456_789, time.FixedZone("Taipei", 8*3600))
	own := arrived.Add(-time.Hour)
	const arrivedText, ownText = "2026-11-20T04:00:00.123Z", "2026-11-20T03:00:00.123Z"
	kept := &mqtt.Properties{ContentType: "text/plain", User: []mqtt.UserProperty{{Key: "k", Value: "v"}, {Key: "ts", Value: "1"}}}
	for _, c := range []struct {
		name       string
		time       time.Time
		late       bool
		properties *mqtt.Properties
		want       string
	}{
		{"new", arrived, false, nil, "[]"},
		{"new, with properties", arrived, false, kept, "[{k v} {ts 1}]"},
		{"late", arrived, true, nil, "[{ts " + arrivedText + "}]"},
		{"a time of its own", own, false, nil, "[{ts " + ownText + "}]"},
		{"both, with properties", own, true, kept, "[{k v} {ts " + ownText + "}]"},
		{"in another zone", arrived.UTC(), false, nil, "[]"},
		{"no time at all", time.Time{}, true, nil, "[]"},
	} {
		p := mappings.Point{
			Name: "a", QoS: 1, Time: c.time, Arrived: arrived, Late: c.late, Properties: c.properties,
			Parts: []mappings.Part{{Value: mappings.Value{Kind: mappings.Raw, Bytes: []byte("27")}}},
		}
		out, err := b.Encode([]mappings.Point{p})
		if err != nil {
			t.Fatal(err)
		}
		m := out[0].Message
		got := []mqtt.UserProperty{}
		if m.Properties != nil {
			got = m.Properties.User
		}
		if fmt.Sprint(got) != c.want || c.properties != nil && m.Properties.ContentType != "text/plain" {
			t.Errorf("%s: %+v, want %s", c.name, m.Properties, c.want)
		}
	}
	if len(kept.User) != 2 || kept.User[1].Value != "1" {
		t.Errorf("the properties of the message that came in changed: %+v", kept)
	}
}

// A bridge behind this one reads the time of what was sent late.
func TestTimeIsRead(t *testing.T) {
	b := open(t, "localhost")
	arrived := time.Date(2026, 11, 20, 4, 0, 0, 123_000_000, time.UTC)
	late := mappings.Point{Name: "a", Time: arrived, Arrived: arrived, Late: true, Parts: []mappings.Part{{Value: mappings.Value{Kind: mappings.Raw, Bytes: []byte("27")}}}}
	out, err := b.Encode([]mappings.Point{late})
	if err != nil {
		t.Fatal(err)
	}
	pattern, err := mappings.ParsePattern("a", "lab2")
	if err != nil {
		t.Fatal(err)
	}
	scope := mappings.Scope{Bridge: "lab2"}
	cloud, err := scope.Template("far")
	if err != nil {
		t.Fatal(err)
	}
	target, err := Target(b, &Place{}, scope)
	if err != nil {
		t.Fatal(err)
	}
	table := mappings.NewTable("lab2", []mappings.Uplink{{Local: pattern, Cloud: cloud, Target: target}}, nil)
	var r mappings.Result
	now := arrived.Add(3 * time.Hour)
	table.Up(out[0].Message, nil, now, &r)
	if len(r.Points) != 1 || !r.Points[0].Time.Equal(arrived) || !r.Points[0].Arrived.Equal(now) || len(r.Notes) > 0 {
		t.Fatalf("read as %+v", r)
	}
	again, err := b.Encode(r.Points)
	if err != nil || fmt.Sprint(again[0].Message.Properties.User) != fmt.Sprint(out[0].Message.Properties.User) {
		t.Errorf("passed on as %+v, %v", again, err)
	}
}

func TestDecodeGolden(t *testing.T) {
	b := open(t, "localhost")
	var s strings.Builder
	for _, m := range []mqtt.Message{
		{Topic: "school/lab1/cmd/led", Payload: []byte("ON"), QoS: 1},
		{Topic: "/燈", Payload: []byte("開"), Retain: true},
		{Topic: "picture", Payload: []byte(strings.Repeat("x", 200))},
		{Topic: "none"},
		{Topic: ""},
		{Topic: "++++++", Payload: []byte("x")},
	} {
		fmt.Fprintf(&s, "%q %.20q\n\t%s\n", m.Topic, m.Payload, platformtest.DescribeEvent(b.Decode(&m)))
	}
	platformtest.Golden(t, "decode.txt", s.String())
}

func TestEncodeStopsBeforeABadPoint(t *testing.T) {
	b := open(t, "localhost")
	batch := points()[:3]
	batch[1].Name = "a/#"
	out, err := b.Encode(batch)
	if err != nil || len(out) != 1 {
		t.Errorf("%d deliveries, %v; want the one before the bad one", len(out), err)
	}
	for _, bad := range [][]mappings.Part{nil, {{}}, {{}, {}}} {
		batch[0].Parts = bad
		if _, err := b.Encode(batch); err == nil {
			t.Errorf("parts %+v were encoded", bad)
		}
	}
}

func TestFilters(t *testing.T) {
	b := open(t, "localhost")
	for _, c := range []struct{ sources, want string }{
		{"", ""},
		{"a a", "a"},
		{"a/{x} a/b", "a/+"},
		{"a/b a/+/#", "a/+/#"},
		{"a/b/c a/# a/b", "a/#"},
		{"a/{x}/c a/b/{y}", "a/+/+"},
		{"{x}/b a/{y}", "+/b a/+"}, // all that covers both is +/+, which is the whole house
		{"a/{x} b/{y}", "a/+ b/+"},
		{"# $SYS/broker/load/#", "# $SYS/broker/load/#"},
		{"# a b/c", "#"},
	} {
		var sources []mappings.Source
		for _, s := range strings.Fields(c.sources) {
			p, err := mappings.ParsePattern(s, "lab1")
			if err != nil {
				t.Fatal(err)
			}
			sources = append(sources, mappings.Source{Name: p})
		}
		var got []string
		for _, s := range b.Subscriptions(sources) {
			if s.QoS != 1 || !s.NoLocal || !s.RetainAsPublished || !s.SendRetained {
				t.Errorf("subscription %+v", s)
			}
			got = append(got, s.Filter)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: subscribes to %q, want %s", c.sources, got, c.want)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		wide, narrow string
		want         bool
	}{
		{"#", "a/b", true},
		{"#", "$SYS/x", false},
		{"a/#", "a", true},
		{"a/#", "a/+/c", true},
		{"a/+", "a/b", true},
		{"a/+", "a/#", false},
		{"a/b", "a/+", false},
		{"a", "a/b", false},
		{"+/b", "a/b", true},
		{"a/+/c", "a/b/c", true},
		{"a", "a", true},
	} {
		if got := Covers(c.wide, c.narrow); got != c.want {
			t.Errorf("Covers(%s, %s) = %v", c.wide, c.narrow, got)
		}
	}
}

func TestJudge(t *testing.T) {
	b := open(t, "localhost")
	for _, c := range []struct {
		packet   mqtt.Packet
		protocol mqtt.Protocol
		code     byte
		outcome  platforms.Outcome
		cause    platforms.Cause
		words    string
	}{
		{mqtt.Connack, mqtt.V311, 0, platforms.Confirmed, 0, ""},
		{mqtt.Connack, mqtt.V311, 1, platforms.Retry, platforms.WrongProtocol, "does not speak MQTT 3.1.1"},
		{mqtt.Connack, mqtt.V5, 1, platforms.Retry, platforms.WrongProtocol, "does not speak MQTT 5"},
		{mqtt.Connack, mqtt.V5, 0x84, platforms.Retry, platforms.WrongProtocol, "does not speak MQTT 5"},
		{mqtt.Connack, mqtt.V311, 2, platforms.Retry, platforms.ClientIDTaken, "another client_id"},
		{mqtt.Connack, mqtt.V311, 3, platforms.Retry, platforms.Busy, "not available"},
		{mqtt.Connack, mqtt.V5, 0x88, platforms.Retry, platforms.Busy, "not available"},
		{mqtt.Connack, mqtt.V311, 4, platforms.Retry, platforms.BadLogin, "user name or password"},
		{mqtt.Connack, mqtt.V5, 0x86, platforms.Retry, platforms.BadLogin, "user name or password"},
		{mqtt.Connack, mqtt.V311, 5, platforms.Retry, platforms.BadLogin, "may not connect"},
		{mqtt.Connack, mqtt.V5, 0x87, platforms.Retry, platforms.BadLogin, "may not connect"},
		{mqtt.Connack, mqtt.V5, 0x8A, platforms.Retry, platforms.Banned, "banned"},
		{mqtt.Connack, mqtt.V5, 0x97, platforms.Retry, platforms.QuotaUsed, "quota"},
		{mqtt.Connack, mqtt.V5, 0x9D, platforms.Retry, platforms.Busy, `has moved to "other:1883"`},
		{mqtt.Connack, mqtt.V5, 0x9F, platforms.Retry, platforms.SlowDown, "connect too often"},
		{mqtt.Connack, mqtt.V311, 7, platforms.Retry, platforms.Unknown, "code 7"},
		{mqtt.Puback, mqtt.V311, 0, platforms.Confirmed, 0, ""},
		{mqtt.Puback, mqtt.V5, 0x10, platforms.Confirmed, 0, ""},
		{mqtt.Puback, mqtt.V5, 0x87, platforms.Refused, platforms.NotAllowed, "publish to topic t"},
		{mqtt.Pubrec, mqtt.V5, 0x90, platforms.Refused, platforms.Invalid, "topic t"},
		{mqtt.Puback, mqtt.V5, 0x95, platforms.Refused, platforms.TooLarge, "large"},
		{mqtt.Puback, mqtt.V5, 0x97, platforms.Retry, platforms.QuotaUsed, "quota"},
		{mqtt.Puback, mqtt.V5, 0x80, platforms.Refused, platforms.Unknown, "0x80"},
		{mqtt.Pubcomp, mqtt.V5, 0x92, platforms.Confirmed, 0, ""},
		{mqtt.Suback, mqtt.V311, 1, platforms.Confirmed, 0, ""},
		{mqtt.Suback, mqtt.V311, 0x80, platforms.Retry, platforms.NotAllowed, "subscribe to topic t"},
		{mqtt.Suback, mqtt.V5, 0x87, platforms.Retry, platforms.NotAllowed, "subscribe to topic t"},
		{mqtt.Suback, mqtt.V5, 0xA2, platforms.Refused, platforms.Invalid, "wildcards"},
		{mqtt.Disconnect, mqtt.V5, 0, platforms.Retry, platforms.Busy, "goodbye"},
		{mqtt.Disconnect, mqtt.V5, 0x8B, platforms.Retry, platforms.Busy, "shutting down"},
		{mqtt.Disconnect, mqtt.V5, 0x8E, platforms.Retry, platforms.ClientIDTaken, "two programs use it"},
		{mqtt.Disconnect, mqtt.V5, 0x93, platforms.Retry, platforms.SlowDown, "Receive Maximum"},
		{mqtt.Disconnect, mqtt.V5, 0x95, platforms.Retry, platforms.TooLarge, "large"},
		{mqtt.Disconnect, mqtt.V5, 0x96, platforms.Retry, platforms.SlowDown, "too quickly"},
		{mqtt.Disconnect, mqtt.V5, 0x9C, platforms.Retry, platforms.Busy, `another server for now to "other:1883"`},
	} {
		v := b.Judge(platforms.Reply{
			Reason: mqtt.Reason{Packet: c.packet, Protocol: c.protocol, Code: c.code, Server: "other:1883"}, Topic: "t",
		})
		if v.Outcome != c.outcome || v.Cause != c.cause || !strings.Contains(v.Why, c.words) || (c.words == "") != (v.Why == "") {
			t.Errorf("%s %d (MQTT %s): %+v, want %v %v %q", c.packet, c.code, c.protocol, v, c.outcome, c.cause, c.words)
		}
		if c.cause == platforms.NotAllowed && v.After != 10*time.Minute {
			t.Errorf("%s %d: waits %v", c.packet, c.code, v.After)
		}
	}
	v := b.Judge(platforms.Reply{Reason: mqtt.Reason{Packet: mqtt.Puback, Protocol: mqtt.V5, Code: 0x87, Text: "no, " + strings.Repeat("no", 200)}})
	if !strings.Contains(v.Why, `(it says "no, no`) || len(v.Why) > 300 {
		t.Errorf("why: %s", v.Why)
	}
}
