package adafruitiotest

import (
	"strings"
	"testing"
	"time"

	"cloudbridge/internal/faketime"
	"cloudbridge/platforms/emulator"
)

func TestREST(t *testing.T) {
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		want                     string // a part of the answer
		echo                     []string
	}{
		{
			"a value", "POST", "/feeds/lights/data", `{"value":"ON","lat":1.5,"lon":2}`, 200,
			`"lat":1.5,"lon":2,"value":"ON"`,
			[]string{"learner/feeds/lights ON"},
		},
		{"a value in its old form", "POST", "/feeds/lights/data", `{"datum":{"value":7}}`, 200, `"value":"7"`, []string{"learner/feeds/lights 7"}},
		{
			"a value with its time", "POST", "/feeds/lights/data", `{"value":1,"created_at":"2026-01-02T03:04:05+08:00"}`, 200,
			`"created_at":"2026-01-01T19:04:05Z","created_epoch":1767294245`,
			[]string{"learner/feeds/lights 1"},
		},
		{"a value with an epoch", "POST", "/feeds/lights/data", `{"value":1,"epoch":1767294245}`, 200, `"created_at":"2026-01-01T19:04:05Z"`, []string{"learner/feeds/lights 1"}},
		{"a batch", "POST", "/feeds/lights/data/batch", `{"data":[{"value":1},{"value":2}]}`, 200, `"value":"2"}]`, []string{"learner/feeds/lights 1", "learner/feeds/lights 2"}},
		{"a bare batch", "POST", "/feeds/lights/data/batch", `[{"value":1},{"value":2}]`, 200, `"value":"2"}]`, []string{"learner/feeds/lights 1", "learner/feeds/lights 2"}},
		{"a group", "POST", "/groups/station/data", `{"feeds":[{"key":"temp","value":5},{"key":"new","value":6}],"location":{"lat":1,"lon":2}}`, 200, `"feed_key":"station.new"`, []string{
			"learner/feeds/station.temp 5", "learner/feeds/station.new 6",
			`learner/groups/station {"feeds":{"new":"6","temp":"5"},"location":{"lat":1,"lon":2}}`,
		}},
		{"feeds", "GET", "/feeds", "", 200, `"key":"lights","name":"lights"},{`, nil},
		{"throttle", "GET", "/throttle", "", 200, `{"active_data_rate":0,"data_rate_limit":30}`, nil},
		{"no feed", "POST", "/feeds/none/data", `{"value":1}`, 404, `"error":"not found`, nil},
		{"no feed for a batch", "POST", "/feeds/none/data/batch", `[]`, 404, `"error":"not found`, nil},
		{"no feed to read", "GET", "/feeds/none/data", "", 404, `"error":"not found`, nil},
		{"no group", "POST", "/groups/none/data", `{"feeds":[{"key":"a","value":1}]}`, 404, `"error":"not found`, nil},
		{"no path", "GET", "/none", "", 404, `"error":"not found`, nil},
		{"no last value", "GET", "/feeds/lights/data/last", "", 404, `"error":"not found`, nil},
		{"nothing retained", "GET", "/feeds/lights/data/retain", "", 200, "", nil},
		{"no JSON", "POST", "/feeds/lights/data", `{"value":`, 400, `body is not JSON`, nil},
		{"no value", "POST", "/feeds/lights/data", `{"values":1}`, 422, `value is missing`, nil},
		{"no time", "POST", "/feeds/lights/data", `{"value":1,"created_at":"today"}`, 422, `created_at is not a time`, nil},
		{"too long", "POST", "/feeds/lights/data", `{"value":"` + strings.Repeat("x", 1025) + `"}`, 422, `1025 bytes`, nil},
		{"no list", "POST", "/feeds/lights/data/batch", `{"value":1}`, 400, `not a list`, nil},
		{"an empty list", "POST", "/feeds/lights/data/batch", `[]`, 422, `data is missing`, nil},
		{"one bad of two", "POST", "/feeds/lights/data/batch", `[{"value":1},{}]`, 422, `value is missing`, nil},
		{"too many", "POST", "/feeds/lights/data/batch", `[` + strings.Repeat(`{"value":1},`, 30) + `{"value":1}]`, 429, `seconds until throttle released`, nil},
		{"a group without feeds", "POST", "/groups/station/data", `{"feeds":[]}`, 422, `feeds is empty`, nil},
		{"a group as in MQTT", "POST", "/groups/station/data", `{"feeds":{"a":1}}`, 400, `feeds is not a list`, nil},
		{"a limit that is none", "GET", "/feeds/lights/data?limit=few", "", 400, `few`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			faketime.Test(t, func(t *testing.T) {
				cloud, n := start(t, map[string]string{"feeds": "lights,station.temp"})
				c := login(t, n, "c")
				c.subscribe("learner/feeds/+", 1)
				c.subscribe("learner/groups/station", 1)
				status, body := call(t, n, tt.method, tt.path, tt.body)
				if status != tt.status || !strings.Contains(body, tt.want) {
					t.Errorf("%d %s, want %d %s", status, body, tt.status, tt.want)
				}
				c.want(tt.echo...)
				if cloud.Count("request", tt.status < 300) != 1 {
					t.Errorf("not recorded: %+v", cloud.Events())
				}
			})
		})
	}
}

func TestRESTReads(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		cloud, n := start(t, map[string]string{"feeds": "lights"})
		check(t, cloud.Toggle("lights", "1"))
		check(t, cloud.Toggle("lights", "a,b"))
		for path, want := range map[string]string{
			"/feeds/lights/data?limit=1":  `"value":"a,b"}]`,
			"/feeds/lights/data":          `"value":"1"}]`,
			"/feeds/lights/data/last":     `"value":"a,b"`,
			"/feeds/lights/data/retain":   `"a,b",,,`,
			"/throttle?x-aio-key=ignored": `"active_data_rate":2`,
			"/feeds":                      `"last_value":"a,b"`,
		} {
			if status, body := call(t, n, "GET", path, ""); status != 200 || !strings.Contains(body, want) {
				t.Errorf("%s: %d %s", path, status, body)
			}
		}
		if err := cloud.Toggle("none", "1"); err == nil {
			t.Error("a dashboard without the feed")
		}
	})
}

func TestRESTKey(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		_, n := start(t, nil)
		for _, tt := range []struct {
			url, key string
			status   int
		}{
			{"/learner/throttle", "aio_wrong", 401},
			{"/learner/throttle", "", 401},
			{"/nobody/throttle", key, 401},
			{"/Learner/throttle", key, 200},
			{"/learner/throttle?x-aio-key=" + key, "", 200},
		} {
			if status, body := request(t, web(n), "GET", "http://aio.test:80"+apiPath+tt.url, tt.key, ""); status != tt.status {
				t.Errorf("%s with %q: %d %s", tt.url, tt.key, status, body)
			}
		}
	})
}

// Times of the platform shrink; what it says of them in words does not.
func TestScale(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		n := emulator.NewNetwork()
		l, err := n.Listen("aio.test:1883")
		check(t, err)
		cloud := run(t, emulator.Options{Listener: l, Scale: 0.01, Set: map[string]string{"feeds": "a", "points_per_minute": "2"}})
		if cloud.APIURL() != "" || strings.Contains(cloud.Config("home"), "api_url") {
			t.Error("a REST side, on a real network")
		}
		c := login(t, n, "c")
		c.subscribe("learner/throttle", 1)
		for range 3 {
			c.publish("learner/feeds/a", "1")
			time.Sleep(150 * time.Millisecond)
		}
		c.want(`learner/throttle "learner data rate limit reached, 45 seconds until throttle released"`)
		time.Sleep(600 * time.Millisecond)
		c.publish("learner/feeds/a", "1")
		c.want()
		check(t, cloud.Ban(user))
		if err := cloud.Toggle("a", "1"); err == nil {
			t.Error("not banned")
		}
		time.Sleep(300 * time.Millisecond)
		check(t, cloud.Toggle("a", "1"))
	})
}

func TestSettings(t *testing.T) {
	for name, value := range map[string]string{
		"minuet": "1s", "minute": "soon", "ban": "0s", "plan": "pro", "qos2": "maybe", "mqtt5": "perhaps", "max_feeds": "ten",
		"feeds": "溫度", "username": "a/b",
	} {
		c, err := Start(emulator.Options{Set: map[string]string{name: value}})
		if err == nil {
			_ = c.Close()
			t.Errorf("%s = %s is taken", name, value)
		}
	}
}
