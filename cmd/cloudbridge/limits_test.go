package main

import (
	"testing"
	"time"

	"cloudbridge/bridge"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

func template(t *testing.T, src string, names ...string) *mappings.Template {
	t.Helper()
	tmpl, err := mappings.Scope{Bridge: "lab1", Names: names}.Template(src)
	if err != nil {
		t.Fatal(err)
	}
	return tmpl
}

func TestHowOften(t *testing.T) {
	rows := platforms.Limits{Kind: platforms.Rows, Interval: 15 * time.Second}
	points := platforms.Limits{Kind: platforms.Budgeted, PerMinute: 30, MaxAddresses: 10}
	tests := []struct {
		name   string
		limits platforms.Limits
		rule   bridge.Uplink
		feed   string
		want   string
	}{
		{"row", rows, bridge.Uplink{}, "1001", "at most one row every 15.75 s"},
		{"quicker than allowed", rows, bridge.Uplink{Every: time.Second}, "1001", "at most one row every 15.75 s"},
		{"mean", rows, bridge.Uplink{Every: time.Minute, Aggregate: "mean"}, "1001", "at most one row every 60 s: the mean of the readings"},
		{"count", rows, bridge.Uplink{Every: time.Minute, Aggregate: "count"}, "1001", "at most one row every 60 s: the number of the readings"},
		{"one feed", points, bridge.Uplink{}, "temp", "about every 2.1 s (1 feed has 30 points a minute)"},
		{"many feeds", points, bridge.Uplink{}, "{device}-temp", "about every 21 s (10 feeds at most share 30 points a minute)"},
		{"all", points, bridge.Uplink{Keep: "all"}, "temp", "every reading, 30 points a minute for the whole account"},
		{"plain", platforms.Limits{}, bridge.Uplink{}, "t", "each reading, at once"},
		{"latest", platforms.Limits{}, bridge.Uplink{Keep: "latest"}, "t", "the newest, at once"},
		{"sampled", platforms.Limits{}, bridge.Uplink{Every: time.Minute, Aggregate: "max"}, "t", "at most every 60 s: the maximum of the readings"},
		{
			"deadband",
			platforms.Limits{},
			bridge.Uplink{MinChange: 0.5, AtLeastEvery: 5 * time.Minute},
			"t",
			"each reading, at once, when it changed by 0.5 or more, at least every 5 min",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.rule.Cloud = template(t, "home")
			tt.rule.Target = &mappings.Target{Name: template(t, tt.feed, "device")}
			cfg := &bridge.Config{
				Clouds:  []bridge.Cloud{{Name: "other", Platform: stubPlatform{}}, {Name: "home", Platform: stubPlatform{limits: tt.limits}}},
				Uplinks: []bridge.Uplink{tt.rule},
			}
			if got := howOften(cfg, &cfg.Uplinks[0]); got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestRuleCount(t *testing.T) {
	cfg := &bridge.Config{
		Uplinks:   []bridge.Uplink{{}, {Twoway: true}},
		Downlinks: []bridge.Downlink{{}, {Twoway: true}},
	}
	if got := ruleCount(cfg); got != 3 {
		t.Errorf("%d rules, want 3: a twoway rule is one", got)
	}
}
