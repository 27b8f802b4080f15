package thingspeaktest

import (
	"time"

	"cloudbridge/platforms/emulator"
)

// plan is what a licence allows (license_faq on api.thingspeak.com, and ThingSpeak's page on bulk updates).
type plan struct {
	interval time.Duration
	bulkSize int
	messages int
}

var plans = map[string]plan{
	"free": {interval: 15 * time.Second, bulkSize: 960, messages: 3_000_000},
	"paid": {interval: time.Second, bulkSize: 14_400, messages: 33_000_000},
}

// bulkInterval is between two bulk updates of a channel, on any plan.
const bulkInterval = 15 * time.Second

// valueSize is the longest text of a field or the status in bytes; keptEntries is how many one answer can show.
const (
	valueSize   = 255
	keptEntries = 8000
)

// settings are the options of this platform, read.
type settings struct {
	plan                                  string
	interval, bulkInterval, bulkDelay     time.Duration
	idle, yearLength                      time.Duration
	bulkSize, messages, messageSize       int
	truncate, soon429, key401, badLogin4  bool
	version5, anyClientID, strict, accept bool
	closeTopic, closeFilter               bool
	replay, legacy, pingsCount, bulkCount bool
	talkbackFree                          bool
}

func read(o emulator.Options) (settings, error) {
	set := o.Settings()
	var s settings
	s.plan = set.Word("plan", "free", "paid")
	p := plans[s.plan]
	s.interval = set.Duration("interval", p.interval)
	s.bulkInterval = set.Duration("bulk_interval", bulkInterval)
	s.bulkDelay = set.Duration("bulk_delay", time.Second)
	s.idle = set.Duration("idle", time.Hour)
	s.yearLength = o.Scaled(365 * 24 * time.Hour)
	s.bulkSize = set.Int("bulk_size", p.bulkSize)
	s.messages = set.Int("messages", p.messages)
	s.messageSize = set.Int("message_size", 3000)
	s.truncate = set.Word("too_long", "refuse", "truncate") == "truncate"
	s.soon429 = set.Word("too_soon", "zero", "429") == "429"
	s.key401 = set.Word("bad_key", "zero", "401") == "401"
	s.badLogin4 = set.Word("bad_login", "5", "4") == "4"
	s.version5 = set.Word("version_5", "refuse", "accept") == "accept"
	s.accept = set.Word("misuse", "close", "accept") == "accept"
	s.closeTopic = set.Word("bad_topic", "drop", "close") == "close"
	s.closeFilter = set.Word("bad_filter", "refuse", "close") == "close"
	s.anyClientID = set.Bool("any_client_id", false)
	s.strict = set.Bool("strict", true)
	s.replay = set.Bool("replay", false)
	s.legacy = set.Bool("legacy", false)
	s.pingsCount = set.Bool("pings_count", true)
	s.bulkCount = set.Bool("bulk_counts", false)
	s.talkbackFree = set.Bool("talkback_free", false)
	return s, set.Err()
}
