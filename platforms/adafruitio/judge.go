package adafruitio

import (
	"fmt"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"cloudbridge/internal/mqtt"
	"cloudbridge/platforms"
)

// What Adafruit IO adds to the codes that MQTT 3.1.1 has for a refused login.
const (
	connackThrottled = 6
	connackBanned    = 7
)

// wait is the least time before the next try where Adafruit IO has had enough of us: its own libraries wait as long.
// A ban lasts 30 seconds for each ban of the last hour, so growing by a minute each time is always enough.
const (
	wait    = time.Minute
	longest = time.Hour
)

// afterNotAllowed is the least time before the next try where only a person can help.
const afterNotAllowed = 10 * time.Minute

// Judge reads an answer.
func (p *Platform) Judge(r platforms.Reply) platforms.Verdict {
	if r.HTTPStatus != 0 {
		v := judgeHTTP(r.HTTPStatus, r.Body)
		if r.History {
			return ofHistory(r.HTTPStatus, v)
		}
		return v
	}
	switch r.Packet {
	case mqtt.Connack:
		return p.judgeConnack(r)
	case mqtt.Suback:
		if r.Code < 0x80 {
			return platforms.Verdict{Outcome: platforms.Confirmed}
		}
		return platforms.Verdict{
			Outcome: platforms.Refused,
			Cause:   platforms.NotAllowed,
			Why:     "Adafruit IO refuses the subscription to " + r.Topic + ": look whether the feed or group belongs to the account",
		}
	}
	if r.Code == 0 {
		return platforms.Verdict{Outcome: platforms.Confirmed}
	}
	// MQTT 3.1.1 has no other answer with a code, so whatever this is, it is not the message's fault.
	return platforms.Verdict{
		Outcome: platforms.Retry,
		Why:     fmt.Sprintf("Adafruit IO answered with %s code %d", r.Packet, r.Code),
	}
}

func (p *Platform) judgeConnack(r platforms.Reply) platforms.Verdict {
	refused := func(cause platforms.Cause, why string) platforms.Verdict {
		return platforms.Verdict{Outcome: platforms.Refused, Cause: cause, Why: why}
	}
	switch r.Code {
	case 0:
		return platforms.Verdict{Outcome: platforms.Confirmed}
	case 1:
		return refused(platforms.WrongProtocol, "Adafruit IO does not speak this version of MQTT: it needs 3.1.1")
	case 2:
		return refused(platforms.ClientIDTaken, "Adafruit IO refuses the client id: leave client_id out, and a random one is used")
	case 3:
		return platforms.Verdict{Outcome: platforms.Retry, Cause: platforms.Busy, After: wait, Why: "Adafruit IO is not available at the moment"}
	case 4, 5:
		return refused(platforms.BadLogin, fmt.Sprintf("Adafruit IO refuses the user name %q or its key (a key that was made anew ends the old one): %s",
			p.user, whereIsTheKey))
	case connackThrottled:
		return platforms.Verdict{
			Outcome: platforms.Retry, Cause: platforms.SlowDown, After: wait,
			Why: "Adafruit IO had too many logins of this account in a minute, from here or from another device",
		}
	case connackBanned:
		return platforms.Verdict{
			Outcome: platforms.Retry, Cause: platforms.Banned, After: wait, UpTo: longest,
			Why: "Adafruit IO has locked the account for a while, for all its devices and the browser; another device of the account may be the cause",
		}
	}
	return platforms.Verdict{
		Outcome: platforms.Retry, After: wait,
		Why: fmt.Sprintf("Adafruit IO refused the login with code %d", r.Code),
	}
}

// judgeHTTP reads an answer of the REST side.
func judgeHTTP(status int, body []byte) platforms.Verdict {
	told := errorIn(body)
	lower := strings.ToLower(told)
	verdict := func(outcome platforms.Outcome, cause platforms.Cause, why string) platforms.Verdict {
		if told != "" && outcome != platforms.Confirmed {
			why += " (" + told + ")"
		}
		return platforms.Verdict{Outcome: outcome, Cause: cause, Why: why}
	}
	if status >= 400 && (strings.Contains(lower, "banned") || strings.Contains(lower, "blocked")) {
		v := verdict(platforms.Retry, platforms.Banned, "Adafruit IO has locked the account for a while")
		v.After, v.UpTo = wait, longest
		return v
	}
	switch {
	case status >= 200 && status < 300:
		return verdict(platforms.Confirmed, platforms.Unknown, "")
	case status == 429:
		v := verdict(platforms.Retry, platforms.SlowDown, "Adafruit IO asks to slow down")
		v.After = max(wait, min(secondsIn(lower), longest))
		return v
	case status >= 500:
		return verdict(platforms.Retry, platforms.Busy, "Adafruit IO is not available at the moment")
	case status == 401:
		return verdict(platforms.Refused, platforms.BadLogin, "Adafruit IO refuses the key: "+whereIsTheKey)
	case status == 403:
		return verdict(platforms.Refused, platforms.NotAllowed, "this key may not use that feed")
	case status == 404:
		return verdict(platforms.Refused, platforms.NotAllowed, "Adafruit IO has no such feed or group: make it at io.adafruit.com")
	case status == 413:
		return verdict(platforms.Refused, platforms.TooLarge, "the value is larger than Adafruit IO takes")
	case strings.Contains(lower, "feed") && strings.Contains(lower, "limit"):
		return verdict(platforms.Refused, platforms.QuotaUsed, "the account has all the feeds that its plan allows")
	case status >= 400:
		return verdict(platforms.Refused, platforms.Invalid, fmt.Sprintf("Adafruit IO cannot read the request, status %d", status))
	}
	return verdict(platforms.Retry, platforms.Unknown, fmt.Sprintf("Adafruit IO answered with status %d, which it does not document", status))
}

// ofHistory is the verdict on a request that fills in history. It must not be lost for what a person can lift: a key that was made
// anew, a feed too many. And a feed that nothing was written to over MQTT yet is not there for REST.
func ofHistory(status int, v platforms.Verdict) platforms.Verdict {
	if v.Outcome != platforms.Refused {
		return v
	}
	switch {
	case status == 404:
		v.Outcome, v.Cause, v.After = platforms.Retry, platforms.NotThere, wait
		v.Why = "Adafruit IO has no such feed or group yet: the first value of now makes it"
	case v.Cause == platforms.BadLogin, v.Cause == platforms.NotAllowed, v.Cause == platforms.QuotaUsed:
		v.Outcome, v.After = platforms.Retry, afterNotAllowed
	}
	return v
}

// errorIn is the text of an error's body, {"error": "..."} or {"error": ["...", "..."]}.
func errorIn(body []byte) string {
	if !gjson.ValidBytes(body) {
		return ""
	}
	e := gjson.GetBytes(body, "error")
	if !e.IsArray() {
		return platforms.Shorten(e.String(), quoted)
	}
	var all []string
	for _, one := range e.Array() {
		all = append(all, one.String())
	}
	return platforms.Shorten(strings.Join(all, "; "), quoted)
}
