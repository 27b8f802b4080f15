package thingspeaktest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestLogin(t *testing.T) {
	good := connect{id: "bridge", user: "bridge", password: "secret"}
	with := func(change func(*connect)) connect { c := good; change(&c); return c }
	for _, c := range []struct {
		name string
		set  map[string]string
		connect
		code byte
	}{
		{"a device", nil, good, 0},
		{"MQTT 5", nil, with(func(c *connect) { c.level = 5 }), 1},
		{"MQTT 5 where it is taken", map[string]string{"version_5": "accept"}, with(func(c *connect) { c.level = 5 }), 0},
		{"MQTT 3.1", nil, with(func(c *connect) { c.level = 3 }), 1},
		{"a will", nil, with(func(c *connect) { c.will = true }), 5},
		{"a kept session", nil, with(func(c *connect) { c.kept = true }), 5},
		{"a will where nobody is strict", map[string]string{"strict": "false"}, with(func(c *connect) { c.will, c.kept = true, true }), 0},
		{"a wrong password", nil, with(func(c *connect) { c.password = "guess" }), 5},
		{"a wrong password, code 4", map[string]string{"bad_login": "4"}, with(func(c *connect) { c.password = "guess" }), 4},
		{"a wrong user", nil, with(func(c *connect) { c.user = "alice" }), 5},
		{"another client id", nil, with(func(c *connect) { c.id = "lab1" }), 5},
		{"another client id where any will do", map[string]string{"any_client_id": "true"}, with(func(c *connect) { c.id = "lab1" }), 0},
		{"anybody in the old days", map[string]string{"legacy": "true"}, connect{id: "x", user: "any", password: "thing"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, c.set, func(l *lab) {
				dialled := l.dial()
				if code := dialled.connect(c.connect); code != c.code {
					t.Errorf("code %d, want %d", code, c.code)
				}
				if e := l.last("login"); e.Accepted != (c.code == 0) || (e.Why == "") != e.Accepted || e.ClientID != c.id {
					t.Errorf("recorded %+v", e)
				}
				if c.code != 0 && !dialled.ended(time.Second) {
					t.Error("the connection stays open")
				}
				if l.cloud.Count("login", c.code == 0) != 1 || l.cloud.Count("login", c.code != 0) != 0 {
					t.Error("the count is wrong")
				}
			})
		})
	}
}

func TestTakeover(t *testing.T) {
	inBubble(t, nil, func(l *lab) {
		first := l.login()
		second := l.login()
		if !first.ended(time.Second) {
			t.Error("the first connection lives on")
		}
		second.publish("channels/1001/publish", "field1=1")
		if len(l.cloud.Feed(1001)) != 1 || l.cloud.Count("takeover", false) != 1 {
			t.Errorf("feed %v", l.cloud.Feed(1001))
		}
	})
}

// feed writes what a channel holds in one line.
func feed(entries []Entry) string {
	var all []string
	for _, e := range entries {
		s := fmt.Sprint(e.ID)
		for _, name := range csvColumns {
			if v, ok := e.Values[name]; ok {
				s += fmt.Sprintf(" %s=%q", name, v)
			}
		}
		all = append(all, s)
	}
	return strings.Join(all, "; ")
}

func TestPublish(t *testing.T) {
	long := strings.Repeat("溫", 85)
	for _, c := range []struct {
		name           string
		set            map[string]string
		as             string
		topic, payload string
		want           string // of channel 1001 and 1002
		why            string
	}{
		{"a field", nil, "", "channels/1001/publish", "field1=27.5", `1 field1="27.5"`, ""},
		{"all there is", nil, "", "channels/1001/publish", "field1=1&field8=8&lat=25.03&long=121.5&elevation=12&status=all%20is+well", `1 field1="1" field8="8" latitude="25.03" longitude="121.5" elevation="12" status="all is well"`, ""},
		{"the value alone", nil, "", "channels/1001/publish/fields/field3", "a+b%20c", `1 field3="a+b%20c"`, ""},
		{"Chinese", nil, "", "channels/1001/publish", "status=%E6%BA%AB%E5%BA%A6", `1 status="溫度"`, ""},
		{"bytes that should have been escaped", nil, "", "channels/1001/publish", "field1=2\x017&status=溫27", `1 field1="27" status="27"`, ""},
		{"a semicolon separates", nil, "", "channels/1001/publish", "field1=1;field2=2", `1 field1="1" field2="2"`, ""},
		{"unknown keys", nil, "", "channels/1001/publish", "field9=1&temp=2&latitude=3&field1=4", `1 field1="4"`, ""},
		{"only unknown keys", nil, "", "channels/1001/publish", "field9=1&temp=2", "", "nothing to keep"},
		{"only blanks", nil, "", "channels/1001/publish", "field1=&status=", "", "nothing to keep"},
		{"a field that is not enabled", nil, "", "channels/1002/publish", "field1=1&field2=2", `1 field1="1"`, ""},
		{"only a field that is not enabled", nil, "", "channels/1002/publish/fields/field2", "2", "", "nothing to keep"},
		{"255 bytes", nil, "", "channels/1001/publish/fields/field1", long, `1 field1="` + long + `"`, ""},
		{"256 bytes", nil, "", "channels/1001/publish/fields/field1", long + "x", "", "256 bytes are more than 255"},
		{"256 bytes, cut", map[string]string{"too_long": "truncate"}, "", "channels/1001/publish/fields/field1", long[3:] + "xx溫", `1 field1="` + long[3:] + `xx"`, ""},
		{"a long status", nil, "", "channels/1001/publish", "status=" + strings.Repeat("x", 256), "", "status: 256 bytes"},
		{"a long message", nil, "", "channels/1001/publish", "field1=1&x=" + strings.Repeat("x", 3000), "", "more than a message may have"},
		{"not UTF-8", nil, "", "channels/1001/publish", "field1=%FF", "", "not UTF-8"},
		{"half an escape", nil, "", "channels/1001/publish", "field1=%F", "", "percent sign"},
		{"off the earth", nil, "", "channels/1001/publish", "field1=1&lat=91", "", "no such place"},
		{"a channel that is none", nil, "", "channels/9/publish", "field1=1", "", "no such channel"},
		{"a topic of the old days", nil, "", "channels/1001/publish/WRITE1001", "field1=1", "", "no topic of ThingSpeak's"},
		{"a field that is none", nil, "", "channels/1001/publish/fields/field9", "1", "", "no such field"},
		{"a foreign topic", nil, "", "iot/ece2026/picow/temp", "27", "", "no topic of ThingSpeak's"},
		{"a channel of others", nil, "board", "channels/1002/publish", "field1=1", "", "may not publish to this channel"},
		{"its own channel", nil, "board", "channels/1001/publish", "field1=1", `1 field1="1"`, ""},
		{"the old topic", map[string]string{"legacy": "true"}, "", "channels/1001/publish/WRITE1001", "field1=1", `1 field1="1"`, ""},
		{"the old topic of a field", map[string]string{"legacy": "true"}, "", "channels/1001/publish/fields/field2/WRITE1001", "1", `1 field2="1"`, ""},
		{"the old topic with a wrong key", map[string]string{"legacy": "true"}, "", "channels/1001/publish/READ1001", "field1=1", "", "the write key is not the channel's"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, c.set, func(l *lab) {
				if c.as == "" {
					c.as = "bridge"
				}
				l.loginAs(c.as).publish(c.topic, c.payload) // A silent drop leaves the connection as it was: it pings.
				if got := feed(l.cloud.Feed(1001)) + feed(l.cloud.Feed(1002)); got != c.want {
					t.Errorf("kept %s, want %s", got, c.want)
				}
				e := l.last("publish")
				if e.Accepted != (c.want != "") || !strings.Contains(e.Why, c.why) || (e.Why == "") != e.Accepted || e.Topic != c.topic {
					t.Errorf("recorded %+v", e)
				}
			})
		})
	}
}

func TestCreatedAt(t *testing.T) {
	inBubble(t, map[string]string{"interval": "0s"}, func(l *lab) {
		c := l.login()
		now := time.Now().UTC()
		for i, x := range []struct{ sent, want string }{
			{"2026-11-20T11:00:00Z", "2026-11-20T11:00:00Z"},
			{"2026-11-20T19:00:00%2B08:00", "2026-11-20T11:00:00Z"},
			{"2014-12-31%2023:59:59", "2014-12-31T23:59:59Z"},
			{"1763636400", "2025-11-20T11:00:00Z"},
			{"yesterday", now.Format(time.RFC3339)},
			{"", now.Format(time.RFC3339)},
		} {
			c.publish("channels/1001/publish", "field1=1&created_at="+x.sent)
			if got := l.cloud.Feed(1001)[i].Created.Format(time.RFC3339); got != x.want {
				t.Errorf("%q became %s, want %s", x.sent, got, x.want)
			}
		}
	})
}

// TestInterval is about the limit of a channel: shared by MQTT and REST, not shared by channels, counted from the last row that was
// kept, and without a word over MQTT.
func TestInterval(t *testing.T) {
	inBubble(t, nil, func(l *lab) {
		c := l.login()
		c.publish("channels/1001/publish", "field1=1")
		c.publish("channels/1001/publish", "field1=2")
		c.publish("channels/1002/publish", "field1=3")
		time.Sleep(14 * time.Second)
		l.want(200, "0", "POST", "/update", "api_key=WRITE1001&field1=4")
		time.Sleep(time.Second - time.Millisecond)
		c.publish("channels/1001/publish", "field1=5")
		time.Sleep(time.Millisecond)
		l.want(200, "2", "POST", "/update", "api_key=WRITE1001&field1=6")
		c.publish("channels/1001/publish", "field1=7")
		if got := feed(l.cloud.Feed(1001)); got != `1 field1="1"; 2 field1="6"` {
			t.Errorf("kept %s", got)
		}
		if got := feed(l.cloud.Feed(1002)); got != `1 field1="3"` {
			t.Errorf("kept %s", got)
		}
		if l.cloud.Count("publish", true) != 2 || l.cloud.Count("publish", false) != 3 || l.cloud.Count("request", false) != 1 {
			t.Errorf("recorded %+v", l.cloud.Events())
		}
		if e := l.last("publish"); !strings.Contains(e.Why, "too soon") {
			t.Errorf("recorded %+v", e)
		}
	})
}

func TestIntervalIsScaledAndSet(t *testing.T) {
	for _, c := range []struct {
		set  map[string]string
		want time.Duration
	}{
		{map[string]string{"plan": "paid"}, time.Second},
		{map[string]string{"interval": "150ms"}, 150 * time.Millisecond},
	} {
		inBubble(t, c.set, func(l *lab) {
			for _, wait := range []time.Duration{0, c.want - time.Millisecond, time.Millisecond} {
				time.Sleep(wait)
				_, _ = l.cloud.Update(1001, map[string]string{"field1": wait.String()})
			}
			if n := len(l.cloud.Feed(1001)); n != 2 {
				t.Errorf("%v: %d rows", c.set, n)
			}
		})
	}
}

func TestSubscribe(t *testing.T) {
	for _, c := range []struct {
		filter string
		as     string
		legacy bool
		code   byte
	}{
		{"channels/1001/subscribe", "bridge", false, 0},
		{"channels/1001/subscribe/fields/field1", "bridge", false, 0},
		{"channels/1001/subscribe/fields/+", "bridge", false, 0},
		{"channels/1002/subscribe/fields/field1", "board", false, 0},
		{"channels/1001/subscribe/fields/field1", "board", false, 0x80},
		{"channels/+/subscribe", "bridge", false, 0x80},
		{"channels/1001/#", "bridge", false, 0x80},
		{"#", "bridge", false, 0x80},
		{"channels/1001/subscribe/fields/field9", "bridge", false, 0x80},
		{"channels/1001/subscribe/json", "bridge", false, 0x80},
		{"channels/1001/publish", "bridge", false, 0x80},
		{"channels/9/subscribe", "bridge", false, 0x80},
		{"channels/1001/subscribe/json", "bridge", true, 0},
		{"channels/1001/subscribe/fields/field1/READ1001", "bridge", true, 0},
	} {
		inBubble(t, map[string]string{"legacy": fmt.Sprint(c.legacy)}, func(l *lab) {
			if code := l.loginAs(c.as).subscribe(c.filter, 2); code != c.code {
				t.Errorf("%s as %s: code %#x, want %#x", c.filter, c.as, code, c.code)
			}
			if e := l.last("subscribe"); e.Accepted != (c.code == 0) || (e.Why == "") != e.Accepted || e.Topic != c.filter {
				t.Errorf("%s: recorded %+v", c.filter, e)
			}
		})
	}
}

func TestSubscribeCloses(t *testing.T) {
	inBubble(t, map[string]string{"bad_filter": "close"}, func(l *lab) {
		c := l.login()
		c.send(0x82, []byte{0, 9}, str("#"), []byte{0})
		if !c.ended(time.Second) {
			t.Error("the connection stays open")
		}
	})
}

// TestEmissions is about what subscribers see: rows over either path, from whoever wrote them, and never a bulk update's.
func TestEmissions(t *testing.T) {
	inBubble(t, map[string]string{"interval": "0s"}, func(l *lab) {
		writer, reader := l.login(), l.loginAs("board")
		for _, filter := range []string{"channels/1002/subscribe", "channels/1002/subscribe/fields/+"} {
			if code := reader.subscribe(filter, 0); code != 0 {
				t.Fatal(code)
			}
		}
		if code := writer.subscribe("channels/1002/subscribe/fields/field1", 1); code != 0 {
			t.Errorf("QoS 1 is granted as %d", code)
		}
		want := func(c *client, messages ...string) {
			t.Helper()
			for _, m := range messages {
				if got := c.message(); got != m {
					t.Errorf("got  %s\nwant %s", got, m)
				}
			}
		}
		writer.send(0x30, str("channels/1002/publish"), []byte("field1=%22on%22&field2=2&lat=25&created_at=2026-11-20T11:00:00Z"))
		want(reader, `channels/1002/subscribe {"channel_id":1002,"created_at":"2026-11-20T11:00:00Z","entry_id":1,"field1":"\"on\"","latitude":"25",`+
			`"longitude":null,"elevation":null,"status":null}`, `channels/1002/subscribe/fields/field1 "on"`)
		want(writer, `channels/1002/subscribe/fields/field1 "on"`) // Its own write comes back to it.
		writer.ping()

		l.want(202, `{"success":true}`, "POST", "/channels/1002/bulk_update.json", `{"write_api_key":"WRITE1002","updates":[{"created_at":"2026-11-20T12:00:00Z","field1":"off"}]}`)
		time.Sleep(2 * time.Second)
		l.want(200, "3", "GET", "/update?api_key=WRITE1002&field1=live", "")
		want(writer, "channels/1002/subscribe/fields/field1 live")
	})
}

func TestReplay(t *testing.T) {
	inBubble(t, map[string]string{"replay": "true"}, func(l *lab) {
		if _, err := l.cloud.Update(1002, map[string]string{"field1": "on"}); err != nil {
			t.Fatal(err)
		}
		c := l.login()
		c.send(0x82, []byte{0, 9}, str("channels/1002/subscribe/fields/+"), []byte{0})
		if got := c.message(); got != "channels/1002/subscribe/fields/field1 on" {
			t.Error(got)
		}
	})
	inBubble(t, nil, func(l *lab) {
		if _, err := l.cloud.Update(1002, map[string]string{"field1": "on"}); err != nil {
			t.Fatal(err)
		}
		c := l.login()
		if code := c.subscribe("channels/1002/subscribe/fields/field1", 0); code != 0 {
			t.Error(code)
		}
		c.ping() // and nothing comes before its answer
	})
}

func TestMisuse(t *testing.T) {
	for name, first := range map[string]byte{"QoS 1": 0x32, "QoS 2": 0x34, "retain": 0x31} {
		id := []byte{0, 7}
		if first == 0x31 {
			id = nil
		}
		inBubble(t, nil, func(l *lab) {
			c := l.login()
			c.send(first, str("channels/1001/publish"), id, []byte("field1=1"))
			if !c.ended(time.Second) || len(l.cloud.Feed(1001)) != 0 || l.cloud.Count("publish", false) != 1 {
				t.Errorf("%s: kept %s", name, feed(l.cloud.Feed(1001)))
			}
		})
		inBubble(t, map[string]string{"misuse": "accept"}, func(l *lab) {
			c := l.login()
			c.send(first, str("channels/1001/publish"), id, []byte("field1=1"))
			if id != nil {
				if answer, _, ok := c.read(); !ok || (answer != 0x40 && answer != 0x50) {
					t.Errorf("%s: answer %x %v", name, answer, ok)
				}
			}
			c.ping()
			if got := feed(l.cloud.Feed(1001)); got != `1 field1="1"` {
				t.Errorf("%s: kept %s", name, got)
			}
			reader := l.login()
			if code := reader.subscribe("channels/1001/subscribe/fields/field1", 0); code != 0 {
				t.Error(code)
			}
			reader.ping() // Nothing was retained.
		})
	}
	inBubble(t, map[string]string{"bad_topic": "close"}, func(l *lab) {
		c := l.login()
		c.send(0x30, str("iot/temp"), []byte("27"))
		if !c.ended(time.Second) {
			t.Error("the connection stays open")
		}
	})
}

func TestSilence(t *testing.T) {
	for _, c := range []struct {
		name      string
		set       map[string]string
		keepalive uint16
		pings     bool
		closed    time.Duration
	}{
		{"no ping within one and a half keepalives", nil, 60, false, 90 * time.Second},
		{"an hour without a word", nil, 50_000, false, time.Hour},
		{"pings count", nil, 50_000, true, 0},
		{"pings do not count", map[string]string{"pings_count": "false"}, 50_000, true, time.Hour},
		{"a shorter silence", map[string]string{"idle": "10s"}, 60, false, 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, c.set, func(l *lab) {
				x := l.dial()
				if code := x.connect(connect{id: "bridge", user: "bridge", password: "secret", keepalive: c.keepalive}); code != 0 {
					t.Fatal(code)
				}
				start := time.Now()
				if c.pings {
					for range 3 {
						time.Sleep(19 * time.Minute)
						x.ping()
					}
				}
				closed := x.ended(2 * time.Hour)
				took := time.Since(start).Round(time.Second)
				if c.closed == 0 {
					if want := 57*time.Minute + time.Hour; !closed || took != want {
						t.Errorf("closed %v after %v, want %v", closed, took, want)
					}
					return
				}
				if !closed || took != c.closed {
					t.Errorf("closed %v after %v, want %v", closed, took, c.closed)
				}
			})
		})
	}
}
