package thingspeak

import (
	"fmt"
	"math"
	"net/url"
	"sort"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
	"cloudbridge/platforms/platformtest"
)

func device() *Cloud {
	c := NewCloud()
	c.ClientID, c.Username, c.Password = "device-id", "device-id", "device-password"
	return c
}

func keysOnly() *Cloud {
	c := NewCloud()
	c.Channels = map[string]Channel{"1001": {WriteKey: "WRITEKEY1001"}, "1002": {WriteKey: "WRITEKEY1002"}}
	return c
}

func legacy() *Cloud {
	c := keysOnly()
	c.Style, c.URL = "legacy", "mqtt://things.school.lan"
	c.Channels["1003"] = Channel{WriteKey: "WRITEKEY1003", ReadKey: "READKEY1003"}
	return c
}

func opened(t testing.TB, c *Cloud) *Platform {
	t.Helper()
	p, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var at = time.Date(2026, 11, 20, 19, 0, 0, 987_654_321, time.FixedZone("Taipei", 8*3600))

func text(s string) mappings.Value  { return mappings.Value{Kind: mappings.Text, Bytes: []byte(s)} }
func raw(s string) mappings.Value   { return mappings.Value{Kind: mappings.Raw, Bytes: []byte(s)} }
func whole(n int64) mappings.Value  { return mappings.Value{Kind: mappings.Int, Int: n} }
func real(f float64) mappings.Value { return mappings.Value{Kind: mappings.Float, Float: f} }
func point(channel string, parts ...mappings.Part) mappings.Point {
	return mappings.Point{Name: channel, Parts: parts, Time: at, Arrived: at}
}

func part(name string, v mappings.Value) mappings.Part { return mappings.Part{Name: name, Value: v} }

func TestEncode(t *testing.T) {
	long := strings.Repeat("溫", 85) // 255 bytes
	full := point("1001")
	for i := range fields {
		full.Parts = append(full.Parts, part(partNames[i], text(long)))
	}
	timeless := point("1001", part("field2", raw("27 & more")))
	timeless.Time = time.Time{}
	cases := []struct {
		name  string
		cloud *Cloud
		point mappings.Point
	}{
		{"one number", device(), point("1001", part("field1", whole(27)))},
		{"numbers are shortest and exact", device(), point("1001", part("field1", real(27.5)), part("field2", real(0.1)), part("field3", real(1.0/3)),
			part("field4", real(-1e-7)), part("field5", whole(9007199254740993)), part("field6", real(1e6)))},
		{"parts in the order of the row", device(), point("1001", part("elevation", whole(12)), part("long", real(121.5)), part("lat", real(25.03)),
			part("status", text("ok")), part("field8", whole(8)), part("field1", whole(1)))},
		{"what needs escaping", device(), point("1001", part("field1", text(`" % & + ; = ? # /`)), part("status", text("a b\tc\nd\x00e~-._")))},
		{"Chinese", device(), point("1001", part("field1", whole(27)), part("status", text("溫度太高")))},
		{"the payload as it is", device(), point("1001", part("field1", raw("ESP32 alive 3")))},
		{"a part named twice", device(), point("1001", part("field1", whole(1)), part("field1", whole(2)))},
		{"255 bytes fit", device(), point("1001", part("field1", text(long)))},
		{"256 bytes do not, the rest goes", device(), point("1001", part("field1", text(long+"x")), part("field2", whole(2)), part("status", text(long+"x")))},
		{"nothing but what does not fit", device(), point("1001", part("field1", text(long+"x")))},
		{"3,000 bytes are the most", device(), full},
		{"not UTF-8", device(), point("1001", part("field1", raw("\xff\xfe")), part("field2", whole(2)))},
		{"an empty value", device(), point("1001", part("field1", raw("")), part("field2", whole(2)))},
		{"a place off the earth", device(), point("1001", part("field1", whole(1)), part("lat", real(90.5)), part("long", real(-180)), part("elevation", text("high")))},
		{"a place as a board writes it", device(), point("1001", part("field1", whole(1)), part("lat", raw(" 25.0330\n")), part("long", text("-0")), part("elevation", real(math.NaN())))},
		{"a place alone", device(), point("1001", part("lat", real(25)))},
		{"an unknown part", device(), point("1001", part("field9", whole(1)), part("field1", whole(1)))},
		{"no channel", device(), point("weather", part("field1", whole(1)))},
		{"an empty point", device(), point("1001")},
		{"no time", device(), timeless},
		{"over REST", keysOnly(), point("1002", part("field1", whole(27)), part("status", text("ok & well")))},
		{"over REST without the key", keysOnly(), point("1003", part("field1", whole(27)))},
		{"legacy", legacy(), point("1001", part("field1", whole(27)))},
		{"legacy, one field without a time", legacy(), timeless},
		{"legacy without the key", legacy(), point("9", part("field1", whole(27)))},
	}
	var out strings.Builder
	for _, c := range cases {
		fmt.Fprintf(&out, "== %s\n", c.name)
		ds, err := opened(t, c.cloud).Encode([]mappings.Point{c.point, c.point})
		if err != nil {
			fmt.Fprintf(&out, "error: %v\n", err)
			continue
		}
		for _, d := range ds {
			show(&out, d)
		}
	}
	platformtest.Golden(t, "up.golden", out.String())
}

// show writes a delivery as the golden file has it.
func show(out *strings.Builder, d platforms.Delivery) {
	if m := d.Message; m != nil {
		fmt.Fprintf(out, "PUBLISH %s qos %d retain %v (%d bytes)\n%s\n", m.Topic, m.QoS, m.Retain, len(m.Payload), m.Payload)
	}
	if r := d.Request; r != nil {
		fmt.Fprintf(out, "%s %s\n", r.Method, r.URL)
		names := make([]string, 0, len(r.Header))
		for name := range r.Header {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			fmt.Fprintf(out, "%s: %s\n", name, r.Header.Get(name))
		}
		fmt.Fprintf(out, "%s\n", r.Body)
	}
	fmt.Fprintf(out, "points %d\n", d.Points)
	for _, why := range d.Left {
		fmt.Fprintf(out, "left out: %s\n", why)
	}
	for _, e := range d.Echoes {
		fmt.Fprintf(out, "echo: %s: %q\n", e.Address, e.Value)
	}
}

func TestEncodeNothing(t *testing.T) {
	if ds, err := opened(t, device()).Encode(nil); len(ds) != 0 || err != nil {
		t.Errorf("got %v, %v", ds, err)
	}
}

func TestDecode(t *testing.T) {
	entry := `{"channel_id":1001,"created_at":"2026-11-20T11:00:00Z","entry_id":7,"field1":"27","field2":null,"field3":"a\nb","latitude":"25.03",` +
		`"longitude":null,"elevation":null,"status":"ok"}`
	var out strings.Builder
	for _, m := range []mqtt.Message{
		{Topic: "channels/1001/subscribe/fields/field1", Payload: []byte("27.5")},
		{Topic: "channels/1001/subscribe/fields/field8", Payload: []byte("溫度")},
		{Topic: "channels/1001/subscribe/fields/field8", Payload: nil},
		{Topic: "channels/1001/subscribe/fields/field1/READKEY1001", Payload: []byte("1")},
		{Topic: "channels/1001/subscribe", Payload: []byte(entry)},
		{Topic: "channels/1001/subscribe/json/READKEY1001", Payload: []byte(entry)},
		{Topic: "channels/1001/subscribe", Payload: []byte(`{"field1":27.50,"field2":true}`)},
		{Topic: "channels/1001/subscribe", Payload: []byte("27")},
		{Topic: "channels/1001/subscribe", Payload: []byte("null")},
		{Topic: "channels/1001/subscribe", Payload: []byte(`{"field1":`)},
		{Topic: "channels/1001/subscribe/fields/field9", Payload: []byte("1")},
		{Topic: "channels/1001/subscribe/fields/status", Payload: []byte("1")},
		{Topic: "channels/1001/subscribe/xml", Payload: []byte("1")},
		{Topic: "channels/1001/publish", Payload: []byte("field1=1")},
		{Topic: "channels/abc/subscribe/fields/field1", Payload: []byte("1")},
		{Topic: "channels/01001/subscribe/fields/field1", Payload: []byte("1")},
		{Topic: "channels", Payload: []byte("1")},
		{Topic: "", Payload: []byte("1")},
	} {
		e := opened(t, device()).Decode(&m)
		fmt.Fprintf(&out, "== %s %s\n", m.Topic, m.Payload)
		if e.Kind == platforms.Nothing {
			fmt.Fprintln(&out, "nothing")
			continue
		}
		fmt.Fprintf(&out, "kind %d: %s: %q\n", e.Kind, e.Address, e.Payload)
		for _, echo := range e.Echoes {
			fmt.Fprintf(&out, "echo: %s: %q\n", echo.Address, echo.Value)
		}
	}
	platformtest.Golden(t, "down.golden", out.String())
}

// TestEchoes sends a row round: what ThingSpeak tells its subscribers must be known again as our own.
func TestEchoes(t *testing.T) {
	p := opened(t, device())
	ds, err := p.Encode([]mappings.Point{point("1001", part("field1", real(27.5)), part("status", text("溫 & 濕")))})
	if err != nil {
		t.Fatal(err)
	}
	sent := make(map[platforms.Echo]bool)
	for _, e := range ds[0].Echoes {
		sent[e] = true
	}
	for _, m := range []mqtt.Message{
		{Topic: "channels/1001/subscribe/fields/field1", Payload: []byte("27.5")},
		{Topic: "channels/1001/subscribe", Payload: []byte(`{"channel_id":1001,"entry_id":1,"field1":"27.5","field2":null,"status":"溫 \u0026 濕"}`)},
	} {
		e := p.Decode(&m)
		if len(e.Echoes) != 1 || !sent[e.Echoes[0]] {
			t.Errorf("%s: echo %q is none of %q", m.Topic, e.Echoes, ds[0].Echoes)
		}
	}
}

func TestSubscriptions(t *testing.T) {
	source := func(channel, part string) mappings.Source {
		name, err := mappings.ParsePattern(channel, "lab1")
		if err != nil {
			t.Fatal(err)
		}
		return mappings.Source{Name: name, Part: part}
	}
	sources := []mappings.Source{source("1001", "field1"), source("1003", "field2"), source("1001", "field1"), source("1001", ""), source("1003", "")}
	for _, c := range []struct {
		cloud *Cloud
		want  string
	}{
		{device(), "channels/1001/subscribe/fields/field1 channels/1003/subscribe/fields/field2 channels/1001/subscribe channels/1003/subscribe"},
		{legacy(), "channels/1001/subscribe/fields/field1 channels/1003/subscribe/fields/field2/READKEY1003 channels/1001/subscribe/json " +
			"channels/1003/subscribe/json/READKEY1003"},
	} {
		var filters []string
		for _, s := range opened(t, c.cloud).Subscriptions(sources) {
			if s.QoS != 0 || s.ID != 0 {
				t.Errorf("%s: QoS %d, id %d", s.Filter, s.QoS, s.ID)
			}
			filters = append(filters, s.Filter)
		}
		if got := strings.Join(filters, " "); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	if subs := opened(t, device()).Subscriptions(nil); len(subs) != 0 {
		t.Errorf("without a downlink it subscribes to %v", subs)
	}
}

func TestLane(t *testing.T) {
	p := opened(t, device())
	for _, c := range []struct{ name, part, want string }{
		{"1001", "field1", "channel 1001"},
		{"1001", "", "channel 1001"},
		{"1001", "elevation", "channel 1001"},
		{"1002", "status", "channel 1002"},
		{"0", "field1", ""},
		{"-1", "field1", ""},
		{"+1", "field1", ""},
		{"0001", "field1", ""},
		{"weather", "field1", ""},
		{"", "field1", ""},
		{"1001", "field9", ""},
		{"1001", "latitude", ""},
		{"99999999999999999999", "", ""},
	} {
		got, err := p.Lane(mappings.Address{Name: c.name, Part: c.part})
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q %q: got %q, %v", c.name, c.part, got, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	p := opened(t, device())
	got := p.Warnings(point("1001", part("field1", raw("27")), part("field2", raw("ESP32 alive")), part("field3", real(1.5)), part("field4", raw("Inf")),
		part("field5", raw("0x1p4")), part("field6", raw("-1.5e3")), part("status", text("words are fine"))))
	for i, want := range []string{"field 2", "field 4", "field 5"} {
		if i >= len(got) || !strings.HasPrefix(got[i], "channel 1001 "+want+" gets text: ThingSpeak draws only numbers") {
			t.Fatalf("got %q", got)
		}
	}
	if len(got) != 3 {
		t.Errorf("got %q", got)
	}
	if w := p.Warnings(point("1001", part("field2", raw("ESP32 connected")))); w[0] != got[0] {
		t.Errorf("the same fault must be said in the same words, to be said once:\n%s\n%s", w[0], got[0])
	}
}

func TestJudge(t *testing.T) {
	connack := func(code byte) platforms.Reply {
		return platforms.Reply{Reason: mqtt.Reason{Packet: mqtt.Connack, Protocol: mqtt.V311, Code: code}}
	}
	suback := func(code byte) platforms.Reply {
		return platforms.Reply{Reason: mqtt.Reason{Packet: mqtt.Suback, Code: code}, Topic: "channels/1001/subscribe/fields/field1"}
	}
	http := func(status int, body string) platforms.Reply {
		return platforms.Reply{HTTPStatus: status, Body: []byte(body)}
	}
	feed := `{"channel_id":1001,"created_at":"2026-11-20T11:00:00Z","entry_id":3,"field1":"27","latitude":null,"status":"all is well"}`
	replies := []platforms.Reply{
		connack(0), connack(1), connack(2), connack(3), connack(4), connack(5), connack(6), suback(0), suback(1), suback(0x80),
		{Reason: mqtt.Reason{Packet: mqtt.Unsuback}},
		{Reason: mqtt.Reason{Packet: mqtt.Disconnect, Code: 0x8B}},
		http(200, "0"), http(200, "0\n"), http(200, "17"), http(200, feed), http(202, `{"success":true}`), http(202, `{"success":false}`),
		http(200, "-1"), http(200, ""), http(200, "<html>Welcome to the school's network</html>"), http(200, `{"status":"401","error":{"error_code":"error_auth_required"}}`),
		http(302, ""), http(400, "0"), http(400, `{"status":"400","error":{"error_code":"error_bad_request","message":"The request cannot be fulfilled."}}`),
		http(401, ""), http(402, ""), http(403, ""), http(404, ""), http(405, `{"error":{"error_code":"error_method_invalid"}}`), http(408, ""), http(409, ""),
		http(413, ""), http(421, "error_no_action"), http(422, ""), http(429, ""), http(500, ""), http(502, "<html>"), http(503, ""),
	}
	outcomes := map[platforms.Outcome]string{platforms.Confirmed: "confirmed", platforms.Retry: "retry", platforms.Refused: "refused"}
	var out strings.Builder
	p := opened(t, device())
	for i, r := range append(replies, suback(0x80)) {
		if i == len(replies) {
			p = opened(t, legacy())
			fmt.Fprintln(&out, "== a server of one's own")
		}
		if r.HTTPStatus != 0 {
			fmt.Fprintf(&out, "== HTTP %d %q\n", r.HTTPStatus, r.Body)
		} else {
			fmt.Fprintf(&out, "== %s %d\n", r.Packet, r.Code)
		}
		v := p.Judge(r)
		fmt.Fprintf(&out, "%s, cause %d, after %v\n", outcomes[v.Outcome], v.Cause, v.After)
		if v.Why != "" {
			fmt.Fprintf(&out, "%s\n", v.Why)
		}
	}
	platformtest.Golden(t, "judge.golden", out.String())
}

// TestKeysInTopicsStayHidden is about the old style, where a topic holds a key.
func TestKeysInTopicsStayHidden(t *testing.T) {
	p := opened(t, legacy())
	for _, topic := range []string{"channels/1003/subscribe/json/READKEY1003", "channels/1003/subscribe/fields/field2/READKEY1003", "odd/READKEY1003"} {
		v := p.Judge(platforms.Reply{Reason: mqtt.Reason{Packet: mqtt.Suback, Code: 0x80}, Topic: topic})
		if v.Cause != platforms.NotAllowed || strings.Contains(v.Why, "READKEY") {
			t.Errorf("%s: %+v", topic, v)
		}
	}
}

func TestAdvice(t *testing.T) {
	for _, c := range []struct{ topic, want string }{
		{"channels/1001/publish/SECRETKEY", "[[uplink]] with channel = 1001 and field = 1"},
		{"channels/1001/publish/fields/field3/SECRETKEY", "[[uplink]] with channel = 1001 and field = 3"},
		{"channels/<channelID>/publish/<apikey>", "[[uplink]] with channel = <ID> and field = 1"},
		{"channels/1001/subscribe/fields/field2/SECRETKEY", "[[downlink]] with channel = 1001 and field = 2"},
		{"iot/ece2026/picow/temp", ""},
		{"channels/1001", ""},
	} {
		got := Advice(c.topic)
		if !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("%s: %q", c.topic, got)
		}
		if strings.Contains(got, "SECRETKEY") {
			t.Errorf("%s: the answer shows the key: %q", c.topic, got)
		}
	}
}

// FuzzEncode holds Encode to its word: whatever the value, what goes out is within ThingSpeak's limits, plain ASCII, and reads
// back as the value.
func FuzzEncode(f *testing.F) {
	for _, s := range []string{"27.5", "", "溫度", "a b+c%20&d=e;f", "\x00\xff", strings.Repeat("溫", 86)} {
		f.Add(s, "25.03")
	}
	p, err := Open(device())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, field, lat string) {
		pt := point("1001", part("field1", raw(field)), part("field2", whole(1)), part("lat", raw(lat)))
		ds, err := p.Encode([]mappings.Point{pt})
		if err != nil {
			t.Fatal(err)
		}
		form := string(ds[0].Message.Payload)
		if len(form) > messageSize || strings.ContainsFunc(form, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("%q", form)
		}
		values, err := url.ParseQuery(form)
		if err != nil {
			t.Fatal(err)
		}
		fits := field != "" && len(field) <= textSize && utf8.ValidString(field)
		if values.Has("field1") != fits || (fits && values.Get("field1") != field) || values.Get("field2") != "1" {
			t.Errorf("%q became %q", field, form)
		}
		if values.Has("lat") == strings.Contains(strings.Join(ds[0].Left, "\n"), "lat:") {
			t.Errorf("lat %q is neither sent nor left out: %q, %q", lat, form, ds[0].Left)
		}
	})
}

// FuzzDecode wants of any topic and payload an event that Lane knows, or none.
func FuzzDecode(f *testing.F) {
	f.Add("channels/1001/subscribe/fields/field1", []byte("1"))
	f.Add("channels/1001/subscribe", []byte(`{"field1":"1"}`))
	f.Add("channels/1/subscribe/json/K", []byte(`[]`))
	p, err := Open(device())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		e := p.Decode(&mqtt.Message{Topic: topic, Payload: payload})
		if e.Kind == platforms.Nothing {
			return
		}
		if _, err := p.Lane(e.Address); err != nil || e.Kind != platforms.Command || len(e.Echoes) != 1 || e.Echoes[0].Address != e.Address {
			t.Errorf("%q gives %+v: %v", topic, e, err)
		}
	})
}
