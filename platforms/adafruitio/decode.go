package adafruitio

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// unsaid is how long to wait where a notice asks to but names no time. Every limit of Adafruit IO counts one minute.
const unsaid = time.Minute

// Decode reads what Adafruit IO sends: values of feeds and groups, and its two kinds of notice. The command of a group
// is the object of its feeds ({"temp":"27"}), just as a rule for a group writes it.
func (p *Platform) Decode(m *mqtt.Message) platforms.Event {
	user, rest, _ := strings.Cut(m.Topic, "/")
	if !strings.EqualFold(user, p.user) {
		return platforms.Event{}
	}
	kind, key, _ := strings.Cut(rest, "/")
	switch kind {
	case "throttle":
		return throttled(unquote(m.Payload))
	case "errors":
		return p.complaint(unquote(m.Payload))
	case "feeds", "f":
		return feedCommand(key, m.Payload)
	case "groups", "g":
		return groupCommand(key, m.Payload)
	}
	return platforms.Event{}
}

// feedCommand is a value of a feed. The same value again as JSON or CSV, a level below, is no second one, and neither is
// that of a feed of the default group under its long name: we always ask for the bare one.
func feedCommand(key string, payload []byte) platforms.Event {
	if checkName(key) != nil || strings.Contains(key, "/") || strings.HasPrefix(key, defaultGroup+".") {
		return platforms.Event{}
	}
	address := mappings.Address{Name: key}
	return platforms.Event{
		Kind:    platforms.Command,
		Address: address,
		Payload: payload,
		Echoes:  []platforms.Echo{{Address: address, Value: string(payload)}},
	}
}

// groupCommand is a group's message: those of its feeds that were just written.
func groupCommand(key string, payload []byte) platforms.Event {
	if !isKey(key) || !gjson.ValidBytes(payload) {
		return platforms.Event{}
	}
	written := gjson.GetBytes(payload, "feeds")
	if !written.IsObject() {
		return platforms.Event{}
	}
	var feeds []pair
	written.ForEach(func(name, value gjson.Result) bool {
		feeds = append(feeds, pair{strings.TrimPrefix(name.String(), key+"."), valueText(value)})
		return true
	})
	if len(feeds) == 0 {
		return platforms.Event{}
	}
	address := mappings.Address{Name: groupPrefix + key}
	return platforms.Event{
		Kind:    platforms.Command,
		Address: address,
		Payload: appendPairs(nil, feeds),
		Echoes:  []platforms.Echo{{Address: address, Value: canonical(feeds)}},
	}
}

// unquote takes off the double quotes in which notices were seen to come.
func unquote(payload []byte) string {
	s := strings.TrimSpace(string(payload))
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		if u, err := strconv.Unquote(s); err == nil {
			return u
		}
		return s[1 : len(s)-1]
	}
	return s
}

var seconds = regexp.MustCompile(`(\d+) seconds?\b`)

// secondsIn is the time that a notice names.
func secondsIn(text string) time.Duration {
	m := seconds.FindStringSubmatch(text)
	if m == nil {
		return unsaid
	}
	n, err := strconv.Atoi(m[1])
	if err != nil || n > 86_400 {
		return time.Hour // Adafruit IO never locks an account for longer; what says more is not to be believed.
	}
	return time.Duration(n) * time.Second
}

// throttled reads a notice that the account is too quick, or nearly so: both ask for the same.
func throttled(text string) platforms.Event {
	wait := secondsIn(text)
	return platforms.Event{
		Kind: platforms.Throttled,
		For:  wait,
		Why:  "Adafruit IO asks to slow down: waiting " + inSeconds(wait),
	}
}

// inSeconds writes a time as a person would say it.
func inSeconds(d time.Duration) string { return strconv.Itoa(int(d/time.Second)) + " s" }

// locks are the complaints after which the account is, or is about to be, locked.
var locks = []string{"banned", "temporarily blocked", "request flood", "too many requests"}

// about finds the topic in a complaint: client, address, action, topic, and then the words.
var about = regexp.MustCompile(`(?i)\b(PUBLISH|SUBSCRIBE)\s+(\S+/\S+)`)

// complaint reads a message of the errors topic.
func (p *Platform) complaint(text string) platforms.Event {
	lower := strings.ToLower(text)
	for _, l := range locks {
		if strings.Contains(lower, l) {
			wait := secondsIn(lower)
			return platforms.Event{
				Kind:   platforms.Throttled,
				For:    wait,
				Banned: true,
				Why:    "Adafruit IO has locked the account for a while (" + text + "): waiting " + inSeconds(wait),
			}
		}
	}
	if strings.Contains(lower, "throttle") || strings.Contains(lower, "rate limit") {
		return throttled(lower)
	}
	e := platforms.Event{Kind: platforms.Rejected, Topic: p.topicIn(text)}
	switch {
	case strings.Contains(lower, "not a valid resource topic"):
		e.Why = "Adafruit IO has no such topic; a topic there is a feed or a group of the account"
	case strings.Contains(lower, "only shared feeds"):
		e.Why = "the topic belongs to another account, and only feeds that are shared can be written there"
	case strings.Contains(lower, "not available or not authorized"):
		e.Why = "Adafruit IO has no such feed, or this key may not use it"
	case strings.Contains(lower, "validation failed"):
		e.Why = "Adafruit IO does not take this name of a feed or this value: " + text
	case strings.Contains(lower, "feed") && (strings.Contains(lower, "limit") || strings.Contains(lower, "quota")):
		e.Why = "the account has all the feeds that its plan allows: delete one at io.adafruit.com, or upgrade the plan"
	default:
		e.Why = "Adafruit IO complains: " + text
	}
	return e
}

// topicIn is the topic that a complaint is about, empty where it names none.
func (p *Platform) topicIn(text string) string {
	if m := about.FindStringSubmatch(text); m != nil {
		return strings.Trim(m[2], `"',;:`)
	}
	own := strings.ToLower(p.user) + "/"
	for _, word := range strings.Fields(text) {
		if word = strings.Trim(word, `"',;:`); strings.HasPrefix(strings.ToLower(word), own) {
			return word
		}
	}
	return ""
}
