package thingspeak

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"cloudbridge/platforms/platformtest"

	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// withKey is a device with a write key for channel 1001.
func withKey(change ...func(*Cloud)) *Cloud {
	c := device()
	c.Channels = map[string]Channel{"1001": {WriteKey: "WRITEKEY1001"}, "1003": {ReadKey: "READKEY1003"}}
	for _, f := range change {
		f(c)
	}
	return c
}

func TestHistoryLimits(t *testing.T) {
	for _, c := range []struct {
		name     string
		cloud    *Cloud
		lane     string
		most     int
		interval time.Duration
	}{
		{"free", withKey(), "channel 1001", 960, 15 * time.Second},
		{"paid", withKey(func(c *Cloud) { c.Plan = "paid" }), "channel 1001", 14_400, 15 * time.Second},
		{"keys alone", keysOnly(), "channel 1002", 960, 15 * time.Second},
		{"a slower interval", withKey(func(c *Cloud) { c.Interval = 20 * time.Second }), "channel 1001", 960, 20 * time.Second},
		{"a quicker interval", withKey(func(c *Cloud) { c.Plan, c.Interval = "paid", 5*time.Second }), "channel 1001", 14_400, 15 * time.Second},
		{"a slower bulk interval", withKey(func(c *Cloud) { c.BulkInterval = time.Minute }), "channel 1001", 960, time.Minute},
		{"a server of one's own", withKey(func(c *Cloud) {
			c.URL, c.APIURL, c.Interval, c.BulkInterval = "mqtt://127.0.0.1", "http://127.0.0.1:8080", 10*time.Millisecond, 150*time.Millisecond
		}), "channel 1001", 960, 150 * time.Millisecond},
		{"a websocket to ThingSpeak", withKey(func(c *Cloud) { c.URL = "wss://mqtt3.thingspeak.com" }), "channel 1001", 960, 15 * time.Second},
		{"a broker elsewhere, REST at ThingSpeak", withKey(func(c *Cloud) { c.URL = "mqtt://127.0.0.1" }), "channel 1001", 0, 0},
		{"the same, with rows by REST", withKey(func(c *Cloud) { c.URL, c.Via = "mqtt://127.0.0.1", "rest" }), "channel 1001", 960, 15 * time.Second},
		{"no key", device(), "channel 1001", 0, 0},
		{"a read key", withKey(), "channel 1003", 0, 0},
		{"another channel", withKey(), "channel 1002", 0, 0},
		{"the old style", legacy(), "channel 1001", 0, 0},
		{"no lane", withKey(), "1001", 0, 0},
	} {
		h, ok := opened(t, c.cloud).History(c.lane)
		want := platforms.HistoryLimits{MostPoints: c.most, Interval: c.interval, CarriesLive: c.most > 0, PerAddress: c.most > 0}
		if h != want || ok != (c.most > 0) {
			t.Errorf("%s: %+v, %v", c.name, h, ok)
		}
	}
	_, err := Open(withKey(func(c *Cloud) { c.BulkInterval = time.Second }))
	if got := keyErrors(t, err); len(got) != 1 || got[0] != "bulk_interval: 1s is quicker than ThingSpeak takes bulk updates on any plan (15s)" {
		t.Errorf("too quick: %q", got)
	}
}

func TestEncodeHistory(t *testing.T) {
	long := strings.Repeat("溫", 85) // 255 bytes
	on := func(seconds float64, parts ...mappings.Part) mappings.Point {
		p := point("1001", parts...)
		p.Time = at.Truncate(time.Second).Add(time.Duration(seconds * float64(time.Second)))
		return p
	}
	one, two, three, four := part("field1", whole(1)), part("field1", whole(2)), part("field1", whole(3)), part("field1", whole(4))
	full := on(0)
	for i := range fields {
		full.Parts = append(full.Parts, part(partNames[i], text(long)))
	}
	timeless, elsewhere := on(30, two), on(30, two)
	timeless.Time, elsewhere.Name = time.Time{}, "1002"
	cases := []struct {
		name  string
		cloud *Cloud
		batch []mappings.Point
	}{
		{"one row", withKey(), []mappings.Point{on(0, one)}},
		{"the names of a bulk update", withKey(), []mappings.Point{
			on(0, part("elevation", whole(12)), part("long", real(-121.5)), part("lat", raw(" +25.030")), part("status", text("ok")), part("field8", whole(8)), one),
		}},
		{"whole seconds, as the live row has", withKey(), []mappings.Point{on(0.999, one), on(15.001, two)}},
		{"what JSON must escape", withKey(), []mappings.Point{on(0, part("field1", text("\"\\ <&> \n\x00 溫")), part("status", raw("27.50")))}},
		{"two rows in a second", withKey(), []mappings.Point{on(0, one), on(0.5, two), on(15, three)}},
		{"rows that move leave the others theirs", withKey(), []mappings.Point{on(0, one), on(0, two), on(0, three), on(1, four), on(3, one)}},
		{"out of order", withKey(), []mappings.Point{on(15, one), on(0, two), on(15, three)}},
		{"too long, the rest goes", withKey(), []mappings.Point{on(0, one, part("status", text(long+"x"))), on(15, two)}},
		{"a row of 3,000 bytes", withKey(), []mappings.Point{full, on(15, two)}},
		{"a row without a field between others", withKey(), []mappings.Point{on(0, one), on(15, part("lat", real(25))), on(30, part("field1", text(long+"x"))), on(45, two)}},
		{"a row without a time", withKey(), []mappings.Point{on(0, one), timeless, on(45, three)}},
		{"such a row first", withKey(), []mappings.Point{timeless, on(45, three)}},
		{"nothing but what does not fit first", withKey(), []mappings.Point{on(0, part("field1", text(long+"x"))), on(15, two)}},
		{"another channel behind", keysOnly(), []mappings.Point{on(0, one), elsewhere, on(45, three)}},
		{"without a key", device(), []mappings.Point{on(0, one)}},
		{"the old style", legacy(), []mappings.Point{on(0, one)}},
		{"no channel", withKey(), []mappings.Point{{Name: "weather", Parts: []mappings.Part{one}, Time: at}}},
		{"keys alone", keysOnly(), []mappings.Point{on(0, one)}},
		{"a server of one's own", withKey(func(c *Cloud) { c.URL, c.APIURL = "mqtt://127.0.0.1", "http://127.0.0.1:8080/" }), []mappings.Point{on(0, one)}},
		{"nothing", withKey(), nil},
	}
	var out strings.Builder
	for _, c := range cases {
		fmt.Fprintf(&out, "== %s\n", c.name)
		d, err := opened(t, c.cloud).EncodeHistory(c.batch)
		if err != nil {
			fmt.Fprintf(&out, "error: %v\n", err)
			continue
		}
		var whole struct{ Updates []json.RawMessage }
		if err := json.Unmarshal(d.Request.Body, &whole); err != nil {
			t.Errorf("%s: %v: %s", c.name, err, d.Request.Body)
		}
		if len(whole.Updates) > 0 {
			d.Request.Body = []byte(strings.ReplaceAll(string(d.Request.Body), "},{", "},\n{"))
		}
		show(&out, d)
		for _, o := range d.Omitted {
			fmt.Fprintf(&out, "omitted of point %d, whole %v: %s\n", o.Point, o.Whole, o.Why)
		}
	}
	platformtest.Golden(t, "history.golden", out.String())
}

// TestHistorySizes cuts a batch where it has too many rows or bytes, and loses none.
func TestHistorySizes(t *testing.T) {
	long := strings.Repeat("x", 255)
	for _, c := range []struct {
		plan string
		long bool
		want []int
	}{
		{"free", false, []int{960, 960, 80}},
		{"free", true, []int{960, 960, 80}},
		{"paid", false, []int{2000}},
		{"paid", true, []int{1915, 85}},
	} {
		p := opened(t, withKey(func(k *Cloud) { k.Plan = c.plan }))
		var batch []mappings.Point
		for i := range 2000 {
			pt := point("1001", part("field1", whole(int64(i))))
			pt.Time = at.Add(time.Duration(i) * 15 * time.Second)
			if c.long {
				for _, name := range partNames[1:9] {
					pt.Parts = append(pt.Parts, part(name, text(long)))
				}
			}
			batch = append(batch, pt)
		}
		var got []int
		next := 0
		for len(batch) > 0 {
			d, err := p.EncodeHistory(batch)
			if err != nil {
				t.Fatal(err)
			}
			if len(d.Request.Body) > bulkSize+2 {
				t.Errorf("%d bytes", len(d.Request.Body))
			}
			var body struct {
				Key     string              `json:"write_api_key"`
				Updates []map[string]string `json:"updates"`
			}
			if err := json.Unmarshal(d.Request.Body, &body); err != nil || body.Key != "WRITEKEY1001" || len(body.Updates) != d.Points {
				t.Fatalf("%d updates for %d points, key %q, %v", len(body.Updates), d.Points, body.Key, err)
			}
			for _, u := range body.Updates {
				if u["field1"] != fmt.Sprint(next) || u["created_at"] != at.Add(time.Duration(next)*15*time.Second).UTC().Format(time.RFC3339) {
					t.Fatalf("row %d is %v", next, u)
				}
				next++
			}
			got = append(got, d.Points)
			batch = batch[d.Points:]
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s, long %v: %v, want %v", c.plan, c.long, got, c.want)
		}
	}
}

// TestDistinctMany is about many rows of one second, as of a board whose clock stands still: each gets a second.
func TestDistinctMany(t *testing.T) {
	batch := make([]mappings.Point, 14_400)
	for i := range batch {
		batch[i].Time = at.Add(time.Duration(i%2) * 10 * time.Second)
	}
	seen := map[int64]bool{}
	for i, s := range distinct(batch) {
		if seen[s] || s < batch[i].Time.Unix() || s > at.Unix()+14_410 {
			t.Fatalf("row %d gets second %d", i, s-at.Unix())
		}
		seen[s] = true
	}
}

func TestJudgeHistory(t *testing.T) {
	reply := func(status int, body string) platforms.Reply {
		return platforms.Reply{HTTPStatus: status, Body: []byte(body), History: true}
	}
	paid := opened(t, withKey(func(c *Cloud) { c.Plan = "paid" }))
	for _, c := range []struct {
		status int
		body   string
		want   platforms.Outcome
		cause  platforms.Cause
		after  time.Duration
	}{
		{202, `{"success":true}`, platforms.Confirmed, platforms.Unknown, 0},
		{202, `{"success": true}` + "\n", platforms.Confirmed, platforms.Unknown, 0},
		{200, `{"success":true}`, platforms.Confirmed, platforms.Unknown, 0},
		{202, `{"success":false}`, platforms.Retry, platforms.Unknown, time.Second},
		{202, "", platforms.Retry, platforms.Unknown, time.Minute},
		{200, "0", platforms.Retry, platforms.SlowDown, 15 * time.Second},
		{429, "", platforms.Retry, platforms.SlowDown, 15 * time.Second},
		{429, `{"status":"429","error":{"error_code":"error_too_many_requests"}}`, platforms.Retry, platforms.SlowDown, 15 * time.Second},
		{401, "", platforms.Retry, platforms.BadLogin, time.Minute},
		{402, "", platforms.Retry, platforms.QuotaUsed, time.Hour},
		{404, "", platforms.Retry, platforms.NotAllowed, 10 * time.Minute},
		{409, "", platforms.Refused, platforms.Invalid, 0},
		{413, "", platforms.Refused, platforms.TooLarge, 0},
		{400, `{"error":{"error_code":"error_bad_request"}}`, platforms.Refused, platforms.Invalid, 0},
		{503, "", platforms.Retry, platforms.Busy, 0},
	} {
		v := paid.Judge(reply(c.status, c.body))
		if v.Outcome != c.want || v.Cause != c.cause || v.After != c.after || (v.Why == "") != (c.want == platforms.Confirmed) {
			t.Errorf("%d %q: %+v", c.status, c.body, v)
		}
	}
}

// FuzzEncodeHistory holds a bulk update to its word: valid JSON, each second once, and every value as it was.
func FuzzEncodeHistory(f *testing.F) {
	f.Add("27.5", "a", int64(0), int64(0))
	f.Add("溫\x00\"", "<&>", int64(1), int64(-1))
	f.Add("\xff", strings.Repeat("x", 256), int64(5), int64(1e9))
	p, err := Open(withKey())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, a, b string, first, second int64) {
		var batch []mappings.Point
		for i, s := range []string{a, b, a, b} {
			pt := point("1001", part("field1", raw(s)), part("field2", whole(int64(i))))
			pt.Time = at.Add(time.Duration(first%100+int64(i)*(second%3)) * time.Second)
			batch = append(batch, pt)
		}
		d, err := p.EncodeHistory(batch)
		if err != nil {
			t.Fatal(err)
		}
		var body struct{ Updates []map[string]string }
		if err := json.Unmarshal(d.Request.Body, &body); err != nil || len(body.Updates) != 4 || d.Points != 4 {
			t.Fatalf("%v: %d points, %s", err, d.Points, d.Request.Body)
		}
		seen := map[string]bool{}
		for i, u := range body.Updates {
			if seen[u["created_at"]] {
				t.Errorf("%s is there twice: %s", u["created_at"], d.Request.Body)
			}
			seen[u["created_at"]] = true
			sent, ok := u["field1"]
			want := []string{a, b, a, b}[i]
			_, why := fit(mappings.Part{Name: "field1", Value: mappings.Value{Kind: mappings.Text, Bytes: []byte(want)}}, false)
			if ok != (why == "") || ok && sent != want || u["field2"] != fmt.Sprint(i) {
				t.Errorf("%q became %v", want, u)
			}
		}
	})
}
