package adafruitiotest

import (
	"errors"
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
	s := o.Settings()
	r := rules{
		username: s.Text("username", "learner"), key: s.Text("key", "aio_emulator"), plan: s.Word("plan", "free", "plus"),
		minute: s.Duration("minute", time.Minute), ban: s.Duration("ban", 30*time.Second), banReply: s.Duration("ban_reply", 5*time.Second),
		logins: s.Int("logins_per_minute", 20), subscribes: s.Int("subscribes_per_minute", 100),
		failures: s.Int("failures_per_minute", 10), overruns: s.Int("overruns_per_minute", 10),
		maxValue: s.Int("max_value", 1024),
		mqtt5:    s.Bool("mqtt5", false), refusedCount: s.Bool("refused_count", true),
		empty: s.Bool("empty_values", false), defaultPath: s.Bool("default_paths", false),
		closeQoS2: s.Word("qos2", "close", "accept") == "close", createGroups: s.Word("groups", "create", "refuse") == "create",
		groupsEach: s.Word("group_messages", "together", "each") == "each",
	}
	plan := plans[r.plan]
	r.points, r.feeds = s.Int("points_per_minute", plan.points), s.Int("max_feeds", plan.feeds)
	for key := range strings.SplitSeq(s.Text("feeds", ""), ",") {
		if key = strings.TrimSpace(key); key != "" {
			r.first = append(r.first, key)
		}
	}
	if err := s.Err(); err != nil {
		return r, err
	}
	if r.minute == 0 || r.ban == 0 || r.banReply == 0 {
		return r, errors.New("minute, ban and ban_reply are times of more than nothing")
	}
	return r, nil
}
