package thingspeak

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// keyErrors are the KeyErrors inside err, as "key: text".
func keyErrors(t *testing.T, err error) []string {
	t.Helper()
	var all []string
	for _, e := range unjoin(err) {
		var k *platforms.KeyError
		if !errors.As(e, &k) {
			t.Errorf("%v blames no key", e)
			continue
		}
		all = append(all, k.Error())
	}
	return all
}

func unjoin(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

func TestOpenFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Cloud)
		want   []string
	}{
		{"nothing given", func(c *Cloud) { *c = *NewCloud() }, []string{"client_id: missing: ThingSpeak needs client_id, username and password of an MQTT device, or"}},
		{"half a device", func(c *Cloud) { c.Username, c.Password = "", "" }, []string{"username: missing", "password: missing"}},
		{"mqtt without a device", func(c *Cloud) { *c = *keysOnly(); c.Via = "mqtt" }, []string{"client_id: missing", "username: missing", "password: missing"}},
		{"rest without a key", func(c *Cloud) { c.Via = "rest" }, []string{`via: via = "rest" needs the write key`}},
		{"several at once", func(c *Cloud) { c.Plan, c.Via, c.Style = "premium", "http", "old" }, []string{"plan: ", "via: ", "style: "}},
		{"MQTT 5", func(c *Cloud) { c.Protocol = "5" }, []string{"protocol: ThingSpeak speaks MQTT 3.1.1"}},
		{"too quick for any plan", func(c *Cloud) { c.Interval = 500 * time.Millisecond }, []string{"interval: 500ms is quicker than"}},
		{"too quick for the free plan", func(c *Cloud) { c.Interval = 2 * time.Second }, []string{"interval: 2s is quicker than the free plan"}},
		{"a negative interval", func(c *Cloud) { c.Interval = -time.Second }, []string{"interval: -1s is less than nothing"}},
		{"a web address", func(c *Cloud) { c.URL = "https://mqtt3.thingspeak.com" }, []string{"url: "}},
		{"an MQTT address for REST", func(c *Cloud) { c.APIURL = "mqtt://api.thingspeak.com" }, []string{"api_url: mqtt:// is not a way to a REST service"}},
		{"no address", func(c *Cloud) { c.APIURL = "api.thingspeak.com" }, []string{"api_url: "}},
		{"a password in an address", func(c *Cloud) { c.APIURL = "https://me:hunter2@api.thingspeak.com" }, []string{"api_url: a user name or password"}},
		{"a channel by name", func(c *Cloud) { c.Channels = map[string]Channel{"weather": {}} }, []string{`channels.weather: "weather" is not the number`}},
		{"a key with a blank", func(c *Cloud) { c.Channels = map[string]Channel{"7": {WriteKey: "hunter2 KEY", ReadKey: "hunter2/+"}} }, []string{
			"channels.7.write_key: a key of ThingSpeak's has only", "channels.7.read_key: a key of ThingSpeak's has only",
		}},
		{"legacy without url", func(c *Cloud) { *c = *legacy(); c.URL = DefaultURL }, []string{"style: ThingSpeak's own server no longer takes topics like channels/<ID>/publish/<WRITE_KEY>"}},
		{"legacy without keys", func(c *Cloud) { *c = *legacy(); c.Channels = nil }, []string{`channels: style = "legacy" needs the write key`}},
		{"legacy over REST to nowhere", func(c *Cloud) { *c = *legacy(); c.Via = "rest" }, []string{`api_url: style = "legacy" with via = "rest"`}},
	} {
		cloud := device()
		cloud.Password = "hunter2-password"
		c.change(cloud)
		p, err := Open(cloud)
		got := keyErrors(t, err)
		ok := len(got) == len(c.want) && p == nil
		for i := range min(len(got), len(c.want)) {
			ok = ok && strings.HasPrefix(got[i], c.want[i])
		}
		if !ok {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, cloud), "hunter2") && cloud.APIURL == DefaultAPIURL {
			t.Errorf("%s: a secret shows", c.name)
		}
		if strings.Contains(fmt.Sprint(err), "hunter2") {
			t.Errorf("%s: a secret shows: %v", c.name, err)
		}
	}
}

func TestFaultsSayWhere(t *testing.T) {
	_, err := Open(NewCloud())
	var k *platforms.KeyError
	if !errors.As(err, &k) || !strings.Contains(k.Hint, "Devices > MQTT") {
		t.Errorf("the hint does not say where the strings are: %+v", k)
	}
}

func TestOpen(t *testing.T) {
	with := func(c *Cloud, change func(*Cloud)) *Cloud { change(c); return c }
	for _, c := range []struct {
		name, url, account string
		cloud              *Cloud
		mqtt               bool
		interval           time.Duration
		messages           int
	}{
		{"a device", DefaultURL, "thingspeak api.thingspeak.com", device(), true, 15 * time.Second, 3_000_000},
		{"keys alone", "", "thingspeak api.thingspeak.com", keysOnly(), false, 15 * time.Second, 3_000_000},
		{"paid", DefaultURL, "thingspeak api.thingspeak.com", with(device(), func(c *Cloud) { c.Plan = "paid" }), true, time.Second, 33_000_000},
		{"an interval", DefaultURL, "thingspeak api.thingspeak.com", with(device(), func(c *Cloud) { c.Interval = 20 * time.Second }), true, 20 * time.Second, 3_000_000},
		{"a quick interval on the paid plan", DefaultURL, "thingspeak api.thingspeak.com", with(device(), func(c *Cloud) { c.Plan, c.Interval = "paid", 2*time.Second }), true, 2 * time.Second, 33_000_000},
		{"empty words", DefaultURL, "thingspeak api.thingspeak.com", with(device(), func(c *Cloud) { c.Plan, c.URL, c.APIURL = "", "", "" }), true, 15 * time.Second, 3_000_000},
		{"a websocket", "wss://mqtt3.thingspeak.com:443/mqtt", "thingspeak api.thingspeak.com", with(device(), func(c *Cloud) { c.URL = "wss://mqtt3.thingspeak.com" }), true, 15 * time.Second, 3_000_000},
		{"another server", "mqtt://127.0.0.1:1884", "thingspeak 127.0.0.1:8080", with(device(), func(c *Cloud) {
			c.URL, c.APIURL, c.Interval = "mqtt://127.0.0.1:1884", "http://127.0.0.1:8080/", 150*time.Millisecond
		}), true, 150 * time.Millisecond, 3_000_000},
		{"legacy", "mqtt://things.school.lan:1883", "thingspeak things.school.lan", legacy(), true, 15 * time.Second, 3_000_000},
		{"both, rows by REST", DefaultURL, "thingspeak api.thingspeak.com", with(device(), func(c *Cloud) {
			c.Via, c.Channels, c.APIURL = "rest", keysOnly().Channels, "https://API.thingspeak.com:443"
		}), true, 15 * time.Second, 3_000_000},
	} {
		p, err := Open(c.cloud)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		o, ok := p.Session()
		if ok != c.mqtt || ok && o.URL != c.url || p.Account() != c.account {
			t.Errorf("%s: session %q %v, account %q", c.name, o.URL, ok, p.Account())
		}
		if ok && (o.Protocol != mqtt.V311 || !o.CleanStart || o.Will != nil || o.ClientID != c.cloud.ClientID || o.Username != c.cloud.Username ||
			o.Password != c.cloud.Password) {
			t.Errorf("%s: session %+v", c.name, o)
		}
		l := p.Limits()
		if l.Kind != platforms.Rows || l.Interval != c.interval || l.MessagesPerYear != c.messages || l.Retain || l.Will || l.MaxQoS != 0 ||
			l.Confirm != platforms.ByPing || !l.EchoesOwn || !l.Public || l.LoginsPerMinute != 6 {
			t.Errorf("%s: limits %+v", c.name, l)
		}
	}
}

func TestKind(t *testing.T) {
	if _, err := Kind.Open("a string"); err == nil {
		t.Error("it opens anything")
	}
	if p, err := Kind.Open(Kind.NewCloud()); p != nil || err == nil {
		t.Errorf("an empty table gives %v, %v", p, err)
	}
	if _, err := Kind.Target(opened(t, device()), "a string", mappings.Scope{}); err == nil {
		t.Error("it takes any place")
	}
	if _, err := Kind.Source(nil, Kind.NewPlace(), mappings.Scope{}); err == nil {
		t.Error("it takes any platform")
	}
}

func number64(n int64) *int64 { return &n }

func TestTarget(t *testing.T) {
	scope := mappings.Scope{Bridge: "lab1", Names: []string{"device"}}
	for _, c := range []struct {
		name  string
		cloud *Cloud
		place Place
		want  string // parts, or faults
	}{
		{"a field", device(), Place{Channel: number64(1001), Field: number64(1)}, "1001 field1"},
		{"expressions", device(), Place{Channel: number64(1001), Field8: "json.t ?? json.temp", Field1: "number(text)", Status: "device"}, "1001 field1=number(text) field8=json.t ?? json.temp status=device"},
		{"a field and more", device(), Place{Channel: number64(1001), Field: number64(2), Field1: "json.t", Lat: 25.03, Long: "json.long", Elevation: int64(12)}, "1001 field2 field1=json.t lat=25.03? long=json.long? elevation=12?"},
		{"status alone", device(), Place{Channel: number64(1001), Status: "text"}, "1001 status=text"},
		{"with a key", keysOnly(), Place{Channel: number64(1002), Field: number64(1)}, "1002 field1"},
		{"field 9", device(), Place{Channel: number64(1001), Field: number64(9)}, "field: field 9: a ThingSpeak channel has fields 1 to 8"},
		{"field 0", device(), Place{Channel: number64(1001), Field: number64(0)}, "field: field 0: a ThingSpeak channel has fields 1 to 8"},
		{"no channel", device(), Place{Field: number64(1)}, "channel: missing: ThingSpeak needs the number of a channel"},
		{"channel 0", device(), Place{Channel: number64(0), Field: number64(1)}, "channel: channel 0: the number of a ThingSpeak channel is 1 or more"},
		{"no field", device(), Place{Channel: number64(1001)}, "channel: channel 1001 is named without a field"},
		{"a place without a field", device(), Place{Channel: number64(1001), Lat: 25.0}, "channel: channel 1001 is named without a field"},
		{"one field twice", device(), Place{Channel: number64(1001), Field: number64(1), Field1: "json.t"}, "field1: field = 1 and field1 name the same field"},
		{"a bad expression", device(), Place{Channel: number64(1001), Field1: "json."}, "field1: "},
		{"an unknown name", device(), Place{Channel: number64(1001), Field1: "room"}, "field1: "},
		{"off the earth", device(), Place{Channel: number64(1001), Field1: "text", Lat: 91.0}, "lat: 91 is outside -90 to 90"},
		{"a truth", device(), Place{Channel: number64(1001), Field1: true}, "field1: true is neither an expression nor a number"},
		{"no key over REST", keysOnly(), Place{Channel: number64(7), Field: number64(1)}, "channel: channel 7 has no write key here: add [cloud.<name>.channels.7]"},
		{"no key for the old topics", legacy(), Place{Channel: number64(7), Field: number64(1)}, "channel: channel 7 has no write key here"},
		{"all at once", device(), Place{Field: number64(9), Lat: -91.0}, "channel: missing|field: field 9|lat: -91"},
	} {
		target, err := Kind.Target(opened(t, c.cloud), &c.place, scope)
		if err != nil {
			got, want := keyErrors(t, err), strings.Split(c.want, "|")
			ok := len(got) == len(want)
			for i := range min(len(got), len(want)) {
				ok = ok && strings.HasPrefix(got[i], want[i])
			}
			if !ok {
				t.Errorf("%s: got %q, want %q", c.name, got, want)
			}
			continue
		}
		got, _ := target.Name.Constant()
		for _, p := range target.Parts {
			got += " " + p.Name
			if p.Value != nil {
				got += "=" + p.Value.String()
			}
			if p.Optional {
				got += "?"
			}
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestTargetKeepsThePlaceOfASyntaxError(t *testing.T) {
	_, err := Kind.Target(opened(t, device()), &Place{Channel: number64(1001), Field1: "json.t +"}, mappings.Scope{})
	var syntax *mappings.SyntaxError
	if !errors.As(err, &syntax) || syntax.Source != "json.t +" {
		t.Errorf("%v has no place in the expression: %+v", err, syntax)
	}
}

func TestSource(t *testing.T) {
	scope := mappings.Scope{Bridge: "lab1"}
	for _, c := range []struct {
		name  string
		cloud *Cloud
		place Place
		want  string
	}{
		{"a field", device(), Place{Channel: number64(1001), Field: number64(3)}, "1001 field3"},
		{"whole entries", device(), Place{Channel: number64(1001)}, "1001 "},
		{"the old topics", legacy(), Place{Channel: number64(1001), Field: number64(3)}, "1001 field3"},
		{"no channel", device(), Place{Field: number64(3)}, "channel: missing"},
		{"field 9", device(), Place{Channel: number64(1001), Field: number64(9)}, "field: field 9: a ThingSpeak channel has fields 1 to 8"},
		{"an expression", device(), Place{Channel: number64(1001), Field1: "text"}, "field1: field1 says what to write, and a downlink reads"},
		{"write keys alone", keysOnly(), Place{Channel: number64(1001), Field: number64(1)}, "channel: commands come down over MQTT"},
	} {
		s, err := Kind.Source(opened(t, c.cloud), &c.place, scope)
		if err != nil {
			if got := keyErrors(t, err); len(got) != 1 || !strings.HasPrefix(got[0], c.want) {
				t.Errorf("%s: got %q, want %q", c.name, got, c.want)
			}
			continue
		}
		if got := s.Name.String() + " " + s.Part; got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
