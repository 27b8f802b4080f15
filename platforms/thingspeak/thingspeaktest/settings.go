package thingspeaktest

import (
	"fmt"
	"slices"
	"strings"
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

// reader reads settings and keeps the first fault.
type reader struct {
	o     emulator.Options
	names []string
	err   error
}

func read(o emulator.Options) (settings, error) {
	r := &reader{o: o}
	var s settings
	s.plan = r.word("plan", "free", "paid")
	p := plans[s.plan]
	s.interval = r.duration("interval", p.interval)
	s.bulkInterval = r.duration("bulk_interval", bulkInterval)
	s.bulkDelay = r.duration("bulk_delay", time.Second)
	s.idle = r.duration("idle", time.Hour)
	s.yearLength = o.Scaled(365 * 24 * time.Hour)
	s.bulkSize = r.number("bulk_size", p.bulkSize)
	s.messages = r.number("messages", p.messages)
	s.messageSize = r.number("message_size", 3000)
	s.truncate = r.word("too_long", "refuse", "truncate") == "truncate"
	s.soon429 = r.word("too_soon", "zero", "429") == "429"
	s.key401 = r.word("bad_key", "zero", "401") == "401"
	s.badLogin4 = r.word("bad_login", "5", "4") == "4"
	s.version5 = r.word("version_5", "refuse", "accept") == "accept"
	s.accept = r.word("misuse", "close", "accept") == "accept"
	s.closeTopic = r.word("bad_topic", "drop", "close") == "close"
	s.closeFilter = r.word("bad_filter", "refuse", "close") == "close"
	s.anyClientID = r.yes("any_client_id", false)
	s.strict = r.yes("strict", true)
	s.replay = r.yes("replay", false)
	s.legacy = r.yes("legacy", false)
	s.pingsCount = r.yes("pings_count", true)
	s.bulkCount = r.yes("bulk_counts", false)
	s.talkbackFree = r.yes("talkback_free", false)
	r.keep(o.Known(r.names...))
	return s, r.err
}

func (r *reader) keep(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reader) duration(name string, otherwise time.Duration) time.Duration {
	r.names = append(r.names, name)
	d, err := r.o.Duration(name, otherwise)
	r.keep(err)
	return d
}

func (r *reader) number(name string, otherwise int) int {
	r.names = append(r.names, name)
	n, err := r.o.Int(name, otherwise)
	r.keep(err)
	return n
}

func (r *reader) yes(name string, otherwise bool) bool {
	r.names = append(r.names, name)
	b, err := r.o.Bool(name, otherwise)
	r.keep(err)
	return b
}

// word reads one of several words, the first of which is the default.
func (r *reader) word(name string, words ...string) string {
	r.names = append(r.names, name)
	s := r.o.Setting(name, words[0])
	if !slices.Contains(words, s) {
		r.keep(fmt.Errorf("%s: %q is none of %s", name, s, strings.Join(words, ", ")))
	}
	return s
}
