package adafruitiotest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudbridge/internal/faketime"
	"cloudbridge/platforms/emulator"
)

func TestLoginsPerMinute(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		cloud, n := start(t, nil)
		for i := range 25 {
			want := byte(0)
			if i >= 20 {
				want = 6
			}
			if _, code := dial(t, n, fmt.Sprint(i), user, key, 4); code != want {
				t.Fatalf("login %d: code %d, want %d", i+1, code, want)
			}
		}
		time.Sleep(time.Minute)
		if _, code := dial(t, n, "later", user, key, 4); code != 0 {
			t.Errorf("a minute later: code %d", code)
		}
		if cloud.Count("ban", false) != 0 {
			t.Error("banned")
		}
		for range 35 {
			dial(t, n, "again", user, key, 4)
		}
		if cloud.Count("ban", false) != 1 {
			t.Error("not banned after 15 logins beyond the limit")
		}
	})
}

func TestFeedQuota(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		cloud, n := start(t, nil)
		c := login(t, n, "c")
		c.subscribe("learner/errors", 1)
		for i := range 11 {
			c.publish(fmt.Sprintf("learner/feeds/f%d", i), "1")
		}
		c.want(`learner/errors "c memory PUBLISH learner/feeds/f10 rejected, feed limit reached: this plan has 10 feeds"`)
		c.publish("learner/groups/g", `{"feeds":{"a":1}}`)
		c.publish("learner/feeds/f3", "2")
		if n := len(cloud.Feeds(user)); n != 10 || len(cloud.Points(user, "f3")) != 2 {
			t.Errorf("%d feeds", n)
		}
		check(t, cloud.WithoutHistory(user, "f3"))
		c.received()
		c.publish("learner/feeds/f3", strings.Repeat("x", noHistoryValue))
		c.want()
	})
}

func TestThrottle(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		cloud, n := start(t, map[string]string{"feeds": "a"})
		c := login(t, n, "c")
		c.subscribe("learner/throttle", 1)
		for range 20 {
			c.publish("learner/feeds/a", "1")
		}
		time.Sleep(20 * time.Second)
		for range 9 {
			c.publish("learner/feeds/a", "1")
		}
		check(t, cloud.Toggle("a", "by hand"))
		c.want()
		if status, body := call(t, n, "POST", "/feeds/a/data", `{"value":1}`); status != 429 || !strings.Contains(body, "40 seconds") {
			t.Errorf("REST: %d %s", status, body)
		}
		c.publish("learner/feeds/a", "dropped")
		c.want(`learner/throttle "learner data rate limit reached, 40 seconds until throttle released"`)
		if err := cloud.Toggle("a", "too much"); err == nil {
			t.Error("the dashboard has no limit")
		}
		if n := len(cloud.Points(user, "a")); n != 30 {
			t.Errorf("%d points", n)
		}
		// Ten and three that were refused are still in the window.
		time.Sleep(40 * time.Second)
		for range 18 {
			c.publish("learner/feeds/a", "2")
		}
		c.want(`learner/throttle "learner data rate limit reached, 20 seconds until throttle released"`)
		if n := cloud.Count("throttle", false); n != 4 {
			t.Errorf("%d times throttled", n)
		}
		if status, body := call(t, n, "GET", "/throttle", ""); status != 200 || body != `{"active_data_rate":31,"data_rate_limit":30}` {
			t.Errorf("REST: %d %s", status, body)
		}
	})
}

func TestGroupCostsEachFeed(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		cloud, n := start(t, map[string]string{"points_per_minute": "5"})
		c := login(t, n, "c")
		c.subscribe("learner/throttle", 1)
		c.publish("learner/groups/g", `{"feeds":{"a":1,"b":2,"c":3}}`)
		c.publish("learner/groups/g", `{"feeds":{"a":1,"b":2,"c":3}}`)
		c.want(`learner/throttle "learner data rate limit reached, 60 seconds until throttle released"`)
		if len(cloud.Points(user, "g.a")) != 1 {
			t.Error("stored beyond the limit")
		}
	})
}

func TestBans(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		cloud, n := start(t, map[string]string{"feeds": "a"})
		for i := 1; i <= 3; i++ {
			c, watcher := login(t, n, "c"), login(t, n, "watcher")
			watcher.subscribe("learner/errors", 1)
			for range 11 {
				c.packet(0x30, str("tele/x/LWT"), []byte("Online"))
			}
			if _, ok := watcher.wait(13); ok {
				t.Fatal("the other connection stays")
			}
			last := watcher.messages[len(watcher.messages)-1]
			if want := fmt.Sprintf(`learner/errors "learner enforcement limit reached, your account is banned for %d seconds"`, 30*i); last != want {
				t.Errorf("told %s, want %s", last, want)
			}
			if _, ok := c.wait(13); ok {
				t.Fatal("the connection stays")
			}
			if status, _ := call(t, n, "GET", "/throttle", ""); status != 429 {
				t.Errorf("REST: %d", status)
			}
			if err := cloud.Toggle("a", "1"); !errors.Is(err, errBlocked) {
				t.Errorf("dashboard: %v", err)
			}
			time.Sleep(time.Duration(30*i)*time.Second - 6*time.Second)
			if _, code := dial(t, n, "c", user, key, 4); code != 7 {
				t.Errorf("code %d, want 7", code)
			}
			time.Sleep(40 * time.Second)
		}
		time.Sleep(time.Hour)
		check(t, cloud.Ban(user))
		time.Sleep(31 * time.Second)
		login(t, n, "free again after the first length")
	})
}

func TestFailuresAndFlood(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(c *client)
	}{
		{"subscriptions", func(c *client) {
			for range 11 {
				c.subscribe("tele/#", 1)
			}
		}},
		{"packets", func(c *client) {
			for range 101 {
				c.subscribe("learner/feeds/a", 1)
			}
		}},
		{"points", func(c *client) {
			for range 41 {
				c.publish("learner/feeds/a", "1")
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			faketime.Test(t, func(t *testing.T) {
				cloud, n := start(t, nil)
				c := login(t, n, "c")
				c.subscribe("learner/throttle", 1)
				tt.do(c)
				if cloud.Count("ban", false) != 1 {
					t.Error("not banned")
				}
				c.publish("learner/feeds/a", "1") // In the moment before the connections end.
				time.Sleep(time.Second)
				if _, ok := c.wait(13); ok {
					t.Error("the connection stays")
				}
				if tt.name == "packets" && !strings.Contains(c.messages[0], "only 5 attempts remaining in the next 60 seconds") {
					t.Errorf("warned by %q", c.messages)
				}
			})
		})
	}
}

// TestOpenQuestions is about what nobody has written down: each answer has a setting.
func TestOpenQuestions(t *testing.T) {
	for counted, kept := range map[string]int{"true": 3, "false": 4} {
		faketime.Test(t, func(t *testing.T) {
			cloud, n := start(t, map[string]string{"points_per_minute": "2", "refused_count": counted})
			c := login(t, n, "c")
			for _, at := range []time.Duration{0, 0, 30 * time.Second, 31 * time.Second, 0} {
				time.Sleep(at)
				c.publish("learner/feeds/a", "1")
			}
			if n := len(cloud.Points(user, "a")); n != kept {
				t.Errorf("refused_count %s: %d points, want %d", counted, n, kept)
			}
		})
	}
	faketime.Test(t, func(t *testing.T) {
		_, n := start(t, map[string]string{"empty_values": "true", "default_paths": "true"})
		c := login(t, n, "c")
		c.subscribe("learner/feeds/+", 1)
		c.publish("learner/feeds/a", "")
		c.want("learner/feeds/a ", "learner/feeds/default.a ")
	})
}

// TestSmallerLimits shortens what TestBans and TestFailuresAndFlood find at its real size.
func TestSmallerLimits(t *testing.T) {
	for _, tt := range []struct {
		set map[string]string
		do  func(*client)
		why string
	}{
		{map[string]string{"failures_per_minute": "1"}, func(c *client) { c.publish("x/y", "1") }, "more than 1 failures in a minute"},
		{map[string]string{"subscribes_per_minute": "1"}, func(c *client) { c.subscribe("learner/feeds/a", 0) }, "more than 1 SUBSCRIBEs in a minute"},
		{
			map[string]string{"overruns_per_minute": "1", "points_per_minute": "0"},
			func(c *client) { c.publish("learner/feeds/a", "1") },
			"went on more than 1 times beyond a limit",
		},
		{map[string]string{"max_value": "2", "failures_per_minute": "1"}, func(c *client) { c.publish("learner/feeds/a", "123") }, "more than 1 failures in a minute"},
	} {
		faketime.Test(t, func(t *testing.T) {
			cloud, n := start(t, tt.set)
			c := login(t, n, "c")
			tt.do(c)
			if cloud.Count("ban", false) != 0 {
				t.Errorf("%v: banned at the limit", tt.set)
			}
			tt.do(c)
			if e := cloud.Events(); cloud.Count("ban", false) != 1 || !slices.ContainsFunc(e, func(e emulator.Event) bool { return e.Why == tt.why }) {
				t.Errorf("%v: %+v", tt.set, e)
			}
		})
	}
}
