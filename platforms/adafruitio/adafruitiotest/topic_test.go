package adafruitiotest

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"cloudbridge/internal/faketime"
)

func TestPaths(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		cloud, n := start(t, nil)
		c := login(t, n, "c")
		for _, f := range []string{"learner/feeds/#", "learner/f/temp/+", "learner/groups/default", "learner/g/+/csv"} {
			if code := c.subscribe(f, 2); code != 1 {
				t.Errorf("%s: granted %d, want 1", f, code)
			}
		}
		c.publish("learner/f/Temp", "27")
		got := c.received()
		want := []string{
			"learner/feeds/temp 27",
			`learner/feeds/temp/json {"value":"27"}`,
			"learner/feeds/temp/csv 27,,,",
			`learner/f/temp/json {"value":"27"}`,
			"learner/f/temp/csv 27,,,",
			`learner/groups/default {"feeds":{"temp":"27"}}`,
			"learner/g/default/csv temp,27\n",
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("received %q", got)
		}
		if v, _ := cloud.Last("temp"); v != "27" {
			t.Errorf("stored %q", v)
		}
		if f := cloud.Feeds(user); !reflect.DeepEqual(f, []string{"temp"}) {
			t.Errorf("feeds %q", f)
		}
	})
}

func TestPayloads(t *testing.T) {
	for _, tt := range []struct{ topic, payload, feed, value, at string }{
		{"feeds/a", "27.50", "a", "27.50", ",,"},
		{"feeds/a", `{"value":27.50}`, "a", "27.50", ",,"},
		{"feeds/a", `{"value":"on","lat":25.03,"lon":121.5,"ele":9}`, "a", "on", "25.03,121.5,9"},
		{"feeds/a", `{"value":{"x": [1, 2]}}`, "a", `{"x":[1,2]}`, ",,"},
		{"feeds/a", `{"value":"{\"x\": 1}"}`, "a", `{"x": 1}`, ",,"},
		{"feeds/a", `{"t": 1}`, "a", `{"t": 1}`, ",,"},
		{"feeds/a", "溫度", "a", "溫度", ",,"},
		{"feeds/a/json", `{"value":1,"lat":1,"lon":2}`, "a", "1", "1,2,"},
		{"feeds/a/csv", `"3,4",1,2,3`, "a", "3,4", "1,2,3"},
		{"f/a", "1", "a", "1", ",,"},
		{"feeds/station.temp", "5", "station.temp", "5", ",,"},
		{"feeds/default.temp", "5", "temp", "5", ",,"},
		{"groups/station", `{"feeds":{"hum":60},"location":{"lat":1,"lon":2}}`, "station.hum", "60", "1,2,"},
		{"g/station/csv", "hum,61\nlocation,3,4,5\n", "station.hum", "61", "3,4,5"},
		{"groups/default/json", `{"feeds":{"x":"y"}}`, "x", "y", ",,"},
	} {
		t.Run(tt.topic+" "+tt.payload, func(t *testing.T) {
			faketime.Test(t, func(t *testing.T) {
				cloud, n := start(t, nil)
				c := login(t, n, "c")
				c.subscribe("learner/errors", 1)
				c.publish("learner/"+tt.topic, tt.payload)
				c.want()
				points := cloud.Points(user, tt.feed)
				if len(points) != 1 {
					t.Fatalf("%d points", len(points))
				}
				p := points[0]
				if at := p.Lat + "," + p.Lon + "," + p.Ele; p.Value != tt.value || at != tt.at || p.Via != "mqtt" {
					t.Errorf("stored %q at %s, want %q at %s", p.Value, at, tt.value, tt.at)
				}
			})
		})
	}
}

func TestRefusedPublishes(t *testing.T) {
	const topic, name = "rejected, not a valid resource topic", "rejected, Validation failed: Name may contain only letters, digits, underscores, spaces, or dashes"
	for _, tt := range []struct{ topic, payload, why string }{
		{"tele/x/LWT", "Online", topic},
		{"learner", "x", topic},
		{"learner/throttle", "x", topic},
		{"learner/feeds", "x", topic},
		{"learner/feeds/a/b", "x", topic},
		{"time/seconds", "x", topic},
		{"learner/feeds/+", "x", topic},
		{"$SYS/feeds/a", "x", topic},
		{"learner/groups/a.b", `{"feeds":{"a":1}}`, topic},
		{"learner/feeds/溫度", "x", name},
		{"learner/groups/g", `{"feeds":{"溫度":1}}`, name},
		{"other/feeds/a", "x", "rejected, resource not available or not authorized"},
		{"other/groups/a", `{"feeds":{"a":1}}`, "rejected, only shared feeds may be published to"},
		{"learner/feeds/a", strings.Repeat("x", 1025), "rejected, value of 1025 bytes is larger than the limit of 1024 bytes"},
		{"learner/feeds/a", "", "rejected, value is missing"},
		{"learner/feeds/a", "\xff", "rejected, value is not valid UTF-8"},
		{"learner/feeds/a", `{"value":1,"lat":"north"}`, `rejected, location "north" is not a number`},
		{"learner/feeds/a/json", `{"t":1}`, "rejected, payload is not valid for this topic"},
		{"learner/feeds/a/csv", "1,2,3,4,5", "rejected, payload is not valid for this topic"},
		{"learner/groups/g", "27", "rejected, payload is not valid for this topic"},
		{"learner/groups/g", `{"feeds":{}}`, "rejected, payload is not valid for this topic"},
		{"learner/groups/g/csv", "a,b,c,d\n", "rejected, payload is not valid for this topic"},
	} {
		t.Run(tt.topic, func(t *testing.T) {
			faketime.Test(t, func(t *testing.T) {
				cloud, n := start(t, nil)
				c := login(t, n, "c")
				c.subscribe("learner/errors", 1)
				c.publish(tt.topic, tt.payload)
				c.want(fmt.Sprintf(`learner/errors "c memory PUBLISH %s %s"`, tt.topic, tt.why))
				if len(cloud.Feeds(user)) != 0 || cloud.Count("publish", false) != 1 || cloud.Count("publish", true) != 0 {
					t.Error("stored, or not recorded as refused")
				}
			})
		})
	}
}

func TestRefusedSubscriptions(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		for _, ok := range []string{
			"learner/feeds/a", "learner/f/+", "learner/groups/g/json", "learner/errors", "learner/throttle", "time/seconds", "time/#",
			"learner/integration/weather/1/current", "LEARNER/feeds/a", "learner/feeds/not-there-yet",
		} {
			_, n := start(t, nil)
			if code := login(t, n, "c").subscribe(ok, 0); code != 0 {
				t.Errorf("%s: code %x", ok, code)
			}
		}
		for _, bad := range []string{
			"#", "+/feeds/a", "learner/#", "learner/feeds", "learner/feeds/a/b", "learner/feeds/a/json/x", "other/feeds/a",
			"other/throttle", "other/integration/weather/1/current", "learner/integration", "learner/errors/x", "tele/x/LWT", "learner/feeds/溫度", "learner/feeds/a+b",
		} {
			cloud, n := start(t, nil)
			c := login(t, n, "c")
			c.subscribe("learner/errors", 0)
			if code := c.subscribe(bad, 1); code != 0x80 {
				t.Errorf("%s: code %x, want 80", bad, code)
			}
			got := c.received()
			if len(got) != 1 || !strings.Contains(got[0], " SUBSCRIBE "+bad+" rejected, ") || cloud.Count("subscribe", false) != 1 {
				t.Errorf("%s: told %q", bad, got)
			}
		}
	})
}

func TestShared(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		cloud, n := start(t, nil)
		check(t, cloud.AddAccount("Other", "aio_2", 30, 10))
		check(t, cloud.AddFeed("other", "open"))
		check(t, cloud.Share("other", "open"))
		c := login(t, n, "c")
		if code := c.subscribe("Other/feeds/open", 1); code != 1 {
			t.Errorf("code %x", code)
		}
		c.publish("Other/feeds/open", "1")
		c.want("Other/feeds/open 1")
		if len(cloud.Points("other", "open")) != 1 {
			t.Error("not stored")
		}
		if cloud.Share("other", "none") == nil || cloud.Share("nobody", "x") == nil || cloud.AddAccount("OTHER", "k", 1, 1) == nil {
			t.Error("shared what is not there, or added twice")
		}
	})
}

func TestGroupsRefused(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		cloud, n := start(t, map[string]string{"groups": "refuse", "group_messages": "each", "feeds": "station.temp, lights"})
		c := login(t, n, "c")
		c.subscribe("learner/errors", 1)
		c.subscribe("learner/groups/+", 1)
		c.publish("learner/groups/other", `{"feeds":{"a":1}}`)
		c.want(`learner/errors "c memory PUBLISH learner/groups/other rejected, resource not available or not authorized"`)
		c.publish("learner/groups/station", `{"feeds":{"temp":1,"hum":2}}`)
		c.want(`learner/groups/station {"feeds":{"temp":"1"}}`, `learner/groups/station {"feeds":{"hum":"2"}}`)
		if f := cloud.Feeds(user); !reflect.DeepEqual(f, []string{"lights", "station.hum", "station.temp"}) {
			t.Errorf("feeds %q", f)
		}
	})
}

func TestGet(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		cloud, n := start(t, map[string]string{"feeds": "lights"})
		c, other := login(t, n, "c"), login(t, n, "other")
		for _, cl := range []*client{c, other} {
			cl.subscribe("learner/feeds/lights", 1)
			cl.subscribe("learner/feeds/lights/csv", 1)
			cl.subscribe("learner/groups/default", 1)
		}
		c.publish("learner/feeds/lights/get", "")
		c.want() // It has no value yet.
		check(t, cloud.Toggle("lights", "ON"))
		c.received()
		other.received()
		c.publish("learner/feeds/lights/get", "\x00")
		c.want("learner/feeds/lights ON")
		c.publish("learner/feeds/lights/csv/get", "")
		c.want("learner/feeds/lights/csv ON,,,")
		c.publish("learner/groups/default/get", "")
		c.want(`learner/groups/default {"feeds":{"lights":"ON"}}`)
		c.publish("learner/feeds/lights/json/get", "")
		c.want() // It has not subscribed to that.
		other.want()
		if n := len(cloud.Points(user, "lights")); n != 1 {
			t.Errorf("%d points", n)
		}
	})
}

func TestRetainAndQoS2(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		cloud, n := start(t, nil)
		c := login(t, n, "c")
		c.packet(0x31, str("learner/feeds/a"), []byte("1")) // retained
		c.want()
		c.subscribe("learner/feeds/a", 1)
		c.want()
		c.packet(0x34, str("learner/feeds/a"), []byte{0, 9}, []byte("2"))
		if _, ok := c.wait(5); ok {
			t.Error("QoS 2 is answered")
		}
		if n := len(cloud.Points(user, "a")); n != 1 {
			t.Errorf("%d points", n)
		}
	})
	faketime.Test(t, func(t *testing.T) {
		cloud, n := start(t, map[string]string{"qos2": "accept"})
		c := login(t, n, "c")
		c.packet(0x34, str("learner/feeds/a"), []byte{0, 9}, []byte("2"))
		if _, ok := c.wait(5); !ok || len(cloud.Points(user, "a")) != 1 {
			t.Error("QoS 2 is not taken")
		}
	})
}
