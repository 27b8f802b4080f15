package thingspeaktest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestUpdate(t *testing.T) {
	const entry = `{"channel_id":1002,"created_at":"2026-11-20T11:00:00Z","entry_id":1,"field1":"27","latitude":"25","longitude":null,"elevation":null,"status":null}`
	const at = "&created_at=2026-11-20T11:00:00Z"
	unauthorised := `{"error":{"details":"","error_code":"error_auth_required","message":"no channel has this write key"},"status":"401"}`
	for _, c := range []struct {
		name               string
		set                map[string]string
		method, path, form string
		status             int
		body               string
	}{
		{"a form, answered in text", nil, "POST", "/update", "api_key=WRITE1002&field1=27", 200, "1"},
		{"a query", nil, "GET", "/update?api_key=WRITE1002&field1=27", "", 200, "1"},
		{"answered in JSON", nil, "POST", "/update.json", "api_key=WRITE1002&field1=27&lat=25" + at, 200, entry},
		{"sent as JSON", nil, "POST", "/update.json", `{"api_key":"WRITE1002","field1":27,"lat":"25","created_at":"2026-11-20T11:00:00Z"}`, 200, entry},
		{"a wrong key", nil, "POST", "/update.json", "api_key=READ1002&field1=27", 400, "0"},
		{"no key", nil, "POST", "/update.json", "field1=27", 400, "0"},
		{"a wrong key, 401", map[string]string{"bad_key": "401"}, "POST", "/update.json", "api_key=READ1002&field1=27", 401, unauthorised},
		{"a wrong key, 401 in text", map[string]string{"bad_key": "401"}, "POST", "/update", "field1=27", 401, "error_auth_required"},
		{"nothing to keep", nil, "POST", "/update", "api_key=WRITE1002&field2=27", 200, "0"},
		{"another method", nil, "PUT", "/update", "api_key=WRITE1002&field1=27", 405, "error_method_invalid"},
		{"too long a value", nil, "POST", "/update", "api_key=WRITE1002&field1=" + strings.Repeat("x", 256), 400, "error_bad_request"},
		{"too long a message", nil, "POST", "/update", "api_key=WRITE1002&field1=1&x=" + strings.Repeat("x", 3000), 413, "error_request_too_large"},
		{"not UTF-8", nil, "POST", "/update", "api_key=WRITE1002&field1=%FF", 422, "error_invalid_byte_sequence"},
		{"half an escape", nil, "POST", "/update", "api_key=WRITE1002&field1=%F", 400, "error_bad_request"},
		{"not JSON", nil, "POST", "/update.json", `{"api_key":`, 400, ""},
		{"nothing there", nil, "GET", "/apps", "", 404, "error_resource_not_found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, c.set, func(l *lab) {
				l.want(c.status, c.body, c.method, c.path, c.form)
				stored := c.status == 200 && c.body != "0"
				if len(l.cloud.Feed(1002)) == 1 != stored {
					t.Errorf("kept %s", feed(l.cloud.Feed(1002)))
				}
				if e := l.last("request"); e.Accepted != stored || (e.Why == "") != stored {
					t.Errorf("recorded %+v", e)
				}
			})
		})
	}
}

func TestUpdateKeyInHeader(t *testing.T) {
	inBubble(t, nil, func(l *lab) {
		if status, body := l.do("POST", "/update", "field1=27", "THINGSPEAKAPIKEY", "WRITE1001"); status != 200 || body != "1" {
			t.Errorf("got %d %s", status, body)
		}
	})
}

func TestTooSoon(t *testing.T) {
	inBubble(t, map[string]string{"too_soon": "429"}, func(l *lab) {
		l.want(200, "1", "POST", "/update", "api_key=WRITE1001&field1=27")
		l.want(429, "error_too_many_requests", "POST", "/update", "api_key=WRITE1001&field1=28")
	})
}

// TestYear is about the messages of a year, over all channels and both paths.
func TestYear(t *testing.T) {
	inBubble(t, map[string]string{"messages": "3", "interval": "0s", "bulk_delay": "0s"}, func(l *lab) {
		c := l.login()
		c.publish("channels/1001/publish", "field1=1")
		l.want(202, "", "POST", "/channels/1002/bulk_update.json", `{"write_api_key":"WRITE1002","updates":[{"created_at":"1763636400","field1":1},{"created_at":"1763636401","field1":2},{"created_at":"1763636402","field1":3}]}`)
		if n := len(l.cloud.Feed(1002)); n != 2 || l.cloud.Count("row", false) != 1 || l.cloud.Messages() != 3 {
			t.Errorf("%d rows, %d messages", n, l.cloud.Messages())
		}
		l.want(402, "error_payment_required", "POST", "/update", "api_key=WRITE1001&field1=2")
		l.want(402, "", "POST", "/channels/1001/bulk_update.json", `{"write_api_key":"WRITE1001","updates":[{"created_at":"1763636400","field1":1}]}`)
		c.publish("channels/1001/publish", "field1=3")
		if e := l.last("publish"); e.Accepted || !strings.Contains(e.Why, "messages of the year") {
			t.Errorf("recorded %+v", e)
		}
		if n := len(l.cloud.Feed(1001)); n != 1 {
			t.Errorf("%d rows", n)
		}
	})
}

func bulkOf(n int) string {
	var rows []string
	for i := range n {
		rows = append(rows, fmt.Sprintf(`{"created_at":%d,"field1":%d}`, 1763636400+i, i))
	}
	return `{"write_api_key":"WRITE1001","updates":[` + strings.Join(rows, ",") + `]}`
}

func TestBulk(t *testing.T) {
	const json, csv = "/channels/1001/bulk_update.json", "/channels/1001/bulk_update.csv"
	for _, c := range []struct {
		name       string
		set        map[string]string
		path, body string
		status     int
		want       string
		refused    int
	}{
		{"JSON", nil, json, `{"write_api_key":"WRITE1001","updates":[{"created_at":"2026-11-20 10:00:00","field1":1,"latitude":25},{"created_at":"2026-11-20T10:00:15Z","field8":"x","status":"ok"}]}`, 202, `1 field1="1" latitude="25"; 2 field8="x" status="ok"`, 0},
		{"JSON, relative", nil, json, `{"write_api_key":"WRITE1001","updates":[{"delta_t":0,"field1":1},{"delta_t":"15","field1":2}]}`, 202, `1 field1="1"; 2 field1="2"`, 0},
		{"JSON, relative without a step", nil, json, `{"write_api_key":"WRITE1001","updates":[{"delta_t":0,"field1":1},{"delta_t":0,"field1":2}]}`, 202, `1 field1="1"`, 1},
		{"a time twice", nil, json, `{"write_api_key":"WRITE1001","updates":[{"created_at":1763636400,"field1":1},{"created_at":"1763636400","field1":2},{"created_at":1763636401,"field1":3}]}`, 202, `1 field1="1"; 2 field1="3"`, 1},
		{"a time that is none", nil, json, `{"write_api_key":"WRITE1001","updates":[{"created_at":"noon","field1":1}]}`, 202, "", 1},
		{"a misspelt field makes an empty entry", nil, json, `{"write_api_key":"WRITE1001","updates":[{"created_at":1763636400,"feild1":1}]}`, 202, "1", 0},
		{"a value that is too long", nil, json, `{"write_api_key":"WRITE1001","updates":[{"created_at":1763636400,"field1":"` + strings.Repeat("x", 256) + `"}]}`, 202, "", 1},
		{"both ways to tell time", nil, json, `{"write_api_key":"WRITE1001","updates":[{"created_at":1763636400,"field1":1},{"delta_t":1,"field1":2}]}`, 400, "", 0},
		{"no time", nil, json, `{"write_api_key":"WRITE1001","updates":[{"field1":1}]}`, 400, "", 0},
		{"no rows", nil, json, `{"write_api_key":"WRITE1001","updates":[]}`, 400, "", 0},
		{"a wrong key", nil, json, `{"write_api_key":"READ1001","updates":[{"created_at":1763636400,"field1":1}]}`, 401, "", 0},
		{"another channel's key", nil, json, `{"write_api_key":"WRITE1002","updates":[{"created_at":1763636400,"field1":1}]}`, 401, "", 0},
		{"not JSON", nil, json, `{"write_api_key"`, 400, "", 0},
		{"a channel that is none", nil, "/channels/9/bulk_update.json", `{"write_api_key":"WRITE1001","updates":[{"created_at":1763636400,"field1":1}]}`, 404, "", 0},
		{"961 rows", nil, json, bulkOf(961), 413, "", 0},
		{"961 rows on a paid plan", map[string]string{"plan": "paid"}, json, bulkOf(961), 202, "961 rows", 0},
		{"CSV", nil, csv, "write_api_key=WRITE1001&time_format=absolute&updates=2026-11-20T10:00:00Z,1,,,,,,,8,25,121,12,fine|2026-11-20T10:00:15Z,2", 202, `1 field1="1" field8="8" latitude="25" longitude="121" elevation="12" status="fine"; 2 field1="2"`, 0},
		{"CSV, relative", nil, csv, "write_api_key=WRITE1001&time_format=relative&updates=0,1|15,2|30,3", 202, `1 field1="1"; 2 field1="2"; 3 field1="3"`, 0},
		{"CSV, escaped", nil, csv, "write_api_key=WRITE1001&time_format=absolute&updates=2026-11-20%2010%3A00%3A00%20%2B0800%2C1%7C", 202, `1 field1="1"`, 0},
		{"CSV without a format", nil, csv, "write_api_key=WRITE1001&updates=0,1", 400, "", 0},
		{"CSV with a cell too many", nil, csv, "write_api_key=WRITE1001&time_format=relative&updates=0,1,2,3,4,5,6,7,8,9,10,11,12,13", 400, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, c.set, func(l *lab) {
				want := ""
				if c.status == 202 {
					want = `{"success":true}`
				}
				l.want(c.status, want, "POST", c.path, c.body)
				if n := len(l.cloud.Feed(1001)); n != 0 {
					t.Errorf("%d rows are there at once", n)
				}
				time.Sleep(2 * time.Second)
				got := feed(l.cloud.Feed(1001))
				if n := len(l.cloud.Feed(1001)); n > 100 {
					got = fmt.Sprint(n, " rows")
				}
				if got != c.want || l.cloud.Count("row", false) != c.refused {
					t.Errorf("kept %s, refused %d rows; want %s", got, l.cloud.Count("row", false), c.want)
				}
			})
		})
	}
}

// TestBulkTimes is about what relative rows count from, and rows that are there already, whichever way they came.
func TestBulkTimes(t *testing.T) {
	inBubble(t, nil, func(l *lab) {
		if _, err := l.cloud.Update(1001, map[string]string{"field1": "1", "created_at": "2026-11-20T10:00:00Z"}); err != nil {
			t.Fatal(err)
		}
		l.want(202, "", "POST", "/channels/1001/bulk_update.csv", "write_api_key=WRITE1001&time_format=relative&updates=5,2|15,3")
		time.Sleep(15 * time.Second)
		l.want(202, "", "POST", "/channels/1001/bulk_update.csv", "write_api_key=WRITE1001&time_format=absolute&updates=2026-11-20T10:00:00Z,4|2026-11-20T10:00:05Z,5|2026-11-20T09:00:00Z,6")
		time.Sleep(2 * time.Second)
		var times []string
		for _, e := range l.cloud.Feed(1001) {
			times = append(times, e.Created.Format("15:04:05")+"="+e.Values["field1"])
		}
		if got := strings.Join(times, " "); got != "10:00:00=1 10:00:05=2 10:00:20=3 09:00:00=6" {
			t.Errorf("kept %s", got)
		}
		// REST shows them in the order of their times, and the last of them by that order; the last entry is the one that came last.
		const first = `{"created_at":"2026-11-20T09:00:00Z","entry_id":4,"field1":"6"`
		shown := func(results string) (all []string) {
			status, body := l.do("GET", "/channels/1001/feeds.json?api_key=READ1001&results="+results, "")
			var got struct{ Feeds []map[string]any }
			if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 {
				t.Fatal(status, err)
			}
			for _, e := range got.Feeds {
				all = append(all, fmt.Sprint(e["field1"]))
			}
			return all
		}
		if got := fmt.Sprint(shown("100"), shown("2")); got != "[6 1 2 3] [2 3]" {
			t.Errorf("feeds.json shows %s", got)
		}
		if _, body := l.do("GET", "/channels/1001/feeds/last.json?api_key=READ1001", ""); !strings.HasPrefix(body, first) {
			t.Errorf("the last entry is %s", body)
		}
	})
}

func TestBulkInterval(t *testing.T) {
	row := func(n int) string {
		return fmt.Sprintf("write_api_key=WRITE1001&time_format=absolute&updates=%d,1", 1763636400+n)
	}
	const path = "/channels/1001/bulk_update.csv"
	for _, set := range []map[string]string{nil, {"plan": "paid"}} {
		inBubble(t, set, func(l *lab) {
			l.want(202, "", "POST", path, row(1))
			l.want(200, "1", "POST", "/update", "api_key=WRITE1001&field1=2") // A single row is another limit.
			l.want(429, "", "POST", path, row(2))
			time.Sleep(15*time.Second - time.Millisecond)
			l.want(429, "", "POST", path, row(3))
			time.Sleep(time.Millisecond)
			l.want(202, "", "POST", path, row(4))
			time.Sleep(time.Minute)
			if n := len(l.cloud.Feed(1001)); n != 3 {
				t.Errorf("%d rows", n)
			}
		})
	}
	inBubble(t, map[string]string{"bulk_counts": "true"}, func(l *lab) {
		l.want(200, "1", "POST", "/update", "api_key=WRITE1001&field1=2")
		l.want(429, "", "POST", path, row(1))
		time.Sleep(15 * time.Second)
		l.want(202, "", "POST", path, row(1))
		l.want(200, "0", "POST", "/update", "api_key=WRITE1001&field1=2")
	})
}

func TestFeeds(t *testing.T) {
	inBubble(t, nil, func(l *lab) {
		if status, body := l.do("GET", "/channels/1002/feeds/last.json", ""); status != 200 || body != "-1" {
			t.Errorf("an empty channel: %d %s", status, body)
		}
		for i := range 3 {
			if _, err := l.cloud.Update(1002, map[string]string{"field1": fmt.Sprint(i), "lat": "25"}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(15 * time.Second)
		}
		_, body := l.do("GET", "/channels/1002/feeds.json?results=2", "")
		var got struct {
			Channel map[string]any
			Feeds   []map[string]any
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Feeds) != 2 || got.Feeds[1]["field1"] != "2" || got.Feeds[1]["entry_id"] != 3.0 || len(got.Feeds[1]) != 3 {
			t.Errorf("got %v", got.Feeds)
		}
		if got.Channel["id"] != 1002.0 || got.Channel["name"] != "lamp" || got.Channel["last_entry_id"] != 3.0 || got.Channel["field2"] != nil {
			t.Errorf("got %v", got.Channel)
		}
		l.want(200, `{"created_at":"2000-01-01T00:00:30Z","entry_id":3,"field1":"2"}`, "GET", "/channels/1002/feeds/last.json", "")
		l.want(401, "", "GET", "/channels/1001/feeds.json", "")
		l.want(401, "", "GET", "/channels/1001/feeds/last.json?api_key=READ1002", "")
		l.want(200, "", "GET", "/channels/1001/feeds.json?api_key=READ1001", "")
		l.want(400, "", "GET", "/channels/1002/feeds.json?results=all", "")
		l.want(404, "", "GET", "/channels/9/feeds.json", "")
	})
}

func TestTalkBack(t *testing.T) {
	inBubble(t, nil, func(l *lab) {
		l.want(200, "", "POST", "/talkbacks/7/commands/execute", "api_key=TALK7")
		l.want(200, "1", "POST", "/talkbacks/7/commands", "api_key=TALK7&command_string=ON")
		l.want(200, "2", "POST", "/talkbacks/7/commands", "api_key=TALK7&command_string=OFF")
		l.want(200, `{"id":3,"command_string":"FIRST","position":1,"executed_at":null,"created_at":"2000-01-01T00:00:00Z"}`, "POST",
			"/talkbacks/7/commands.json", "api_key=TALK7&command_string=FIRST&position=1")
		l.want(200, `{"id":3,"command_string":"FIRST","position":1,"executed_at":"2000-01-01T00:00:00Z","created_at":"2000-01-01T00:00:00Z"}`, "GET",
			"/talkbacks/7/commands/execute.json?api_key=TALK7", "")
		l.want(200, "ON", "POST", "/talkbacks/7/commands/execute", "api_key=TALK7")
		l.want(200, "OFF", "POST", "/update", "api_key=WRITE1001&field1=1&talkback_key=TALK7")
		l.want(200, "0", "POST", "/update", "api_key=WRITE1001&field1=2&talkback_key=TALK7")
		if status, body := l.do("POST", "/talkbacks/7/commands/execute", "api_key=TALK7"); status != 200 || body != "" {
			t.Errorf("an empty queue: %d %q", status, body)
		}
		l.want(401, "", "POST", "/talkbacks/7/commands", "api_key=WRITE1001&command_string=ON")
		l.want(404, "", "POST", "/talkbacks/8/commands", "api_key=TALK7&command_string=ON")
		l.want(400, "", "POST", "/talkbacks/7/commands", "api_key=TALK7&command_string="+strings.Repeat("x", 256))
		l.want(400, "", "POST", "/talkbacks/7/commands", "api_key=TALK7")
		l.cloud.talkbacks[7].waiting = make([]command, mostCommands-1)
		l.want(200, "", "POST", "/talkbacks/7/commands", "api_key=TALK7&command_string=ON")
		l.want(400, "", "POST", "/talkbacks/7/commands", "api_key=TALK7&command_string=ON")
	})
	inBubble(t, map[string]string{"talkback_free": "true"}, func(l *lab) {
		l.want(200, "1", "POST", "/update", "api_key=WRITE1001&field1=1")
		l.want(200, "", "POST", "/update", "api_key=WRITE1001&field1=2&talkback_key=TALK7")
		if n := len(l.cloud.Feed(1001)); n != 2 {
			t.Errorf("%d rows", n)
		}
	})
}

// TestKept is about an emulator that runs for days.
func TestKept(t *testing.T) {
	inBubble(t, map[string]string{"interval": "0s"}, func(l *lab) {
		for i := range keptEntries + 10 {
			if _, err := l.cloud.Update(1001, map[string]string{"field1": "1", "created_at": fmt.Sprint(1763636400 + i)}); err != nil {
				t.Fatal(err)
			}
		}
		entries := l.cloud.Feed(1001)
		if len(entries) != keptEntries || entries[0].ID != 11 || len(l.cloud.channels[1001].times) != keptEntries {
			t.Errorf("%d entries from %d, %d times", len(entries), entries[0].ID, len(l.cloud.channels[1001].times))
		}
	})
}

func FuzzReadForm(f *testing.F) {
	for _, s := range []string{"field1=27&status=a%20b", "a;b=%", "%zz=1", "\xff=\x00", "===&&;;"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		values, err := readForm(raw)
		if err != nil {
			return
		}
		for name, value := range values {
			if len(name)+len(value) > len(raw) {
				t.Errorf("%q has %q=%q", raw, name, value)
			}
		}
		if at, ok := readTime(raw); ok && at.Nanosecond() != 0 {
			t.Errorf("%q is %v", raw, at)
		}
	})
}
