package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
)

func TestNegativeLast(t *testing.T) {
	tests := []struct{ args, want string }{
		{"explain temp 27", "explain temp 27"},
		{"explain temp -5.2", "explain temp -- -5.2"},
		{"explain temp -5.2 --json", "explain temp --json -- -5.2"},
		{"explain temp -.5", "explain temp -- -.5"},
		{"emulate thingspeak --scale -1", "emulate thingspeak --scale=-1"},
		{"explain --field -1 temp -5", "explain --field=-1 temp -- -5"},
		{"explain -c x.toml temp -", "explain -c x.toml temp -"},
		{"explain --json -- temp -5", "explain --json -- temp -5"},
	}
	for _, tt := range tests {
		if got := strings.Join(negativeLast(strings.Fields(tt.args)), " "); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.args, got, tt.want)
		}
	}
}

func TestSpan(t *testing.T) {
	tests := []struct {
		d    time.Duration
		want string
	}{
		{250 * time.Millisecond, "250 ms"},
		{1700 * time.Millisecond, "1.7 s"},
		{15750 * time.Millisecond, "15.75 s"},
		{time.Minute, "60 s"},
		{5 * time.Minute, "5 min"},
		{90 * time.Minute, "90 min"},
		{24 * time.Hour, "24 h"},
	}
	for _, tt := range tests {
		if got := span(tt.d); got != tt.want {
			t.Errorf("span(%v) = %q, want %q", tt.d, got, tt.want)
		}
	}
}

func TestNearest(t *testing.T) {
	patterns := []string{"iot/{device}/humidity", "iot/{device}/temp", "/sensors/temperature", "home/{rest...}"}
	tests := []struct{ topic, want string }{
		{"iot/picow/tmp", "iot/{device}/humidity"},
		{"iot/picow/Temp", "iot/{device}/temp"},
		{"sensors/temperature", "/sensors/temperature"},
		{"home", "home/{rest...}"},
		{"/iot/picow/temp", "iot/{device}/temp"},
		{"iot/picow/sub/temp", "iot/{device}/humidity"},
	}
	for _, tt := range tests {
		best := slices.MaxFunc(patterns, func(a, b string) int {
			return closeness(tt.topic, a) - closeness(tt.topic, b)
		})
		if best != tt.want {
			t.Errorf("nearest to %q is %q, want %q", tt.topic, best, tt.want)
		}
	}
}

func TestOutdatedTopic(t *testing.T) {
	const key = "ABCDEFGHIJKLMNOP"
	for _, tt := range []struct{ topic, channel, field string }{
		{"channels/123/publish/" + key, "channel = 123", "field   = 1"},
		{"channels/123/publish/fields/field3/" + key, "channel = 123", "field   = 3"},
		{"channels/CHANNEL_ID/publish/WRITE_API_KEY", "channel = 1001", "field   = 1"},
		{"channels/123/subscribe/fields/field2", "channel = 123", "field   = 2"},
	} {
		got := outdatedTopic(tt.topic)
		if strings.Contains(got, key) {
			t.Errorf("%s: the key is repeated:\n%s", tt.topic, got)
		}
		for _, want := range []string{tt.channel, tt.field, `platform  = "thingspeak"`, "client_id"} {
			if !strings.Contains(got, want) {
				t.Errorf("%s: no %q in\n%s", tt.topic, want, got)
			}
		}
	}
	for _, topic := range []string{"iot/picow/temp", "channels", "channels/1", "iot/channels/123/publish"} {
		if got := outdatedTopic(topic); got != "" {
			t.Errorf("%s: answered with %q", topic, got)
		}
	}
}

func TestHide(t *testing.T) {
	secrets := []mqtt.Secret{"WRITEKEY", "abc", "WRITEKEY-LONGER", "cloudpw"}
	got := hide("channels/1/publish/WRITEKEY-LONGER?k=WRITEKEY&abc&cloudpw", secrets)
	if want := "channels/1/publish/***?k=***&abc&***"; got != want {
		t.Errorf("hidden: %s, want %s", got, want)
	}
	if secrets[0] != "WRITEKEY" {
		t.Error("the order of the config's secrets was changed")
	}
}

func TestNotClose(t *testing.T) {
	for _, pattern := range []string{"iot/temp", "/sensors/{x}", "home/{rest...}"} {
		if got := closeness("office/printer/3", pattern); got > closeEnough {
			t.Errorf("closeness to %s is %d", pattern, got)
		}
	}
}
