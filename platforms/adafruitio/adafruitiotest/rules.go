package adafruitiotest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"cloudbridge/platforms/emulator"
)

// rules are the settings, read.
type rules struct {
	username, key, plan string
	points, feeds       int
	first               []string

	minute, ban, banReply                   time.Duration
	logins, subscribes, failures, overruns  int
	maxValue                                int
	mqtt5, refusedCount, empty, defaultPath bool
	closeQoS2, createGroups, groupsEach     bool
}

// bansInAnHour is the longest ban, in bans of the first length: an hour of 30 seconds each.
const bansInAnHour = 120

// noHistoryValue is how many bytes a value may have in a feed without history.
const noHistoryValue = 102_400

// kickAfter is the moment between a ban and the end of the connections, in which they are told of it.
const kickAfter = 50 * time.Millisecond

var plans = map[string]struct{ points, feeds int }{
	"free": {30, 10},
	"plus": {60, 0},
}

func readRules(o emulator.Options) (rules, error) {
	problem := o.Known("username", "key", "plan", "points_per_minute", "max_feeds", "feeds", "minute", "ban", "ban_reply",
		"logins_per_minute", "subscribes_per_minute", "failures_per_minute", "overruns_per_minute", "max_value",
		"mqtt5", "qos2", "groups", "group_messages", "refused_count", "empty_values", "default_paths")
	keep := func(err error) { problem = errors.Join(problem, err) }
	number := func(name string, otherwise int) int {
		n, err := o.Int(name, otherwise)
		keep(err)
		return n
	}
	lasting := func(name string, otherwise time.Duration) time.Duration {
		d, err := o.Duration(name, otherwise)
		if err == nil && d <= 0 {
			err = fmt.Errorf("%s: %v is no time", name, d)
		}
		keep(err)
		return d
	}
	yes := func(name string, otherwise bool) bool {
		b, err := o.Bool(name, otherwise)
		keep(err)
		return b
	}
	first := func(name, one, other string) bool {
		s := o.Setting(name, one)
		if s != one && s != other {
			keep(fmt.Errorf("%s: %q is neither %s nor %s", name, s, one, other))
		}
		return s == one
	}
	r := rules{
		username: o.Setting("username", "learner"), key: o.Setting("key", "aio_emulator"), plan: o.Setting("plan", "free"),
		minute: lasting("minute", time.Minute), ban: lasting("ban", 30*time.Second), banReply: lasting("ban_reply", 5*time.Second),
		logins: number("logins_per_minute", 20), subscribes: number("subscribes_per_minute", 100),
		failures: number("failures_per_minute", 10), overruns: number("overruns_per_minute", 10),
		maxValue: number("max_value", 1024),
		mqtt5:    yes("mqtt5", false), refusedCount: yes("refused_count", true),
		empty: yes("empty_values", false), defaultPath: yes("default_paths", false),
		closeQoS2: first("qos2", "close", "accept"), createGroups: first("groups", "create", "refuse"),
		groupsEach: !first("group_messages", "together", "each"),
	}
	plan, ok := plans[r.plan]
	if !ok {
		keep(fmt.Errorf("plan: %q is neither free nor plus", r.plan))
	}
	r.points, r.feeds = number("points_per_minute", plan.points), number("max_feeds", plan.feeds)
	for key := range strings.SplitSeq(o.Setting("feeds", ""), ",") {
		if key = strings.TrimSpace(key); key != "" {
			r.first = append(r.first, key)
		}
	}
	return r, problem
}
