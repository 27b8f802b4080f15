package thingspeak

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// How long to leave ThingSpeak alone after an answer that only a person can change.
const (
	afterBadKey     = time.Minute
	afterNotAllowed = 10 * time.Minute
	afterQuota      = time.Hour
)

// Judge says what an answer means at ThingSpeak. A refusal that a person can lift, by another key, another setting or a new
// licence, is worth another try later: what waits is not lost meanwhile.
func (p *Platform) Judge(r platforms.Reply) platforms.Verdict {
	if r.HTTPStatus != 0 {
		v := p.judgeHTTP(r.HTTPStatus, bytes.TrimSpace(r.Body))
		if r.History {
			return p.ofHistory(v)
		}
		return v
	}
	switch r.Packet {
	case mqtt.Connack:
		return p.judgeConnack(r.Reason)
	case mqtt.Suback:
		if r.Code <= 2 {
			return platforms.Verdict{}
		}
		if p.cloud.legacy() {
			return retry(platforms.NotAllowed, afterNotAllowed, "the server does not let us subscribe to %s: look at the read_key of the channel",
				place(r.Topic))
		}
		return retry(platforms.NotAllowed, afterNotAllowed, "ThingSpeak does not let this MQTT device subscribe to %s: on "+
			"thingspeak.mathworks.com open Devices > MQTT, edit the device and tick Allow Subscribe for the channel", place(r.Topic))
	case mqtt.Unsuback:
		return platforms.Verdict{}
	}
	if r.Code == 0 {
		return platforms.Verdict{}
	}
	return platforms.Verdict{
		Outcome: platforms.Retry, Cause: platforms.Unknown,
		Why: fmt.Sprintf("ThingSpeak answers with code %d to a %s, which its MQTT 3.1.1 does not have", r.Code, r.Packet),
	}
}

func (p *Platform) judgeConnack(r mqtt.Reason) platforms.Verdict {
	switch r.Code {
	case 0:
		return platforms.Verdict{}
	case 1, 0x84:
		return retry(platforms.WrongProtocol, 0, "this broker does not speak MQTT 3.1.1: look at url")
	case 2, 0x85:
		return retry(platforms.ClientIDTaken, 0, "ThingSpeak does not know this client_id: copy it from Devices > MQTT, as it stands there")
	case 3, 0x88, 0x89:
		return retry(platforms.Busy, 0, "ThingSpeak is not available at the moment")
	case 4, 0x86, 5, 0x87:
		if p.cloud.legacy() {
			return retry(platforms.BadLogin, 0, "the server refuses username and password")
		}
		return retry(platforms.BadLogin, 0, "ThingSpeak refuses the login: copy client_id, username and password once more from Devices > "+
			"MQTT; a new password there makes the old one void")
	}
	return retry(platforms.Unknown, 0, "ThingSpeak refuses the connection with code %d, which has no meaning in MQTT 3.1.1", r.Code)
}

func (p *Platform) judgeHTTP(status int, body []byte) platforms.Verdict {
	none := string(body) == "0" || string(body) == "-1"
	switch {
	case status >= 200 && status < 300:
		return p.judgeSuccess(none, body)
	case status >= 300 && status < 400:
		return retry(platforms.Unknown, afterNotAllowed, "ThingSpeak's address has moved (HTTP %d): look at api_url", status)
	case status >= 500:
		return retry(platforms.Busy, 0, "ThingSpeak is not available at the moment (HTTP %d)", status)
	}
	switch status {
	case http.StatusBadRequest:
		if none {
			return badKey(status)
		}
		return refused(platforms.Invalid, "ThingSpeak cannot read the row (HTTP 400%s)", said(body))
	case http.StatusUnauthorized, http.StatusForbidden:
		return badKey(status)
	case http.StatusPaymentRequired:
		return retry(platforms.QuotaUsed, afterQuota, "the messages of this ThingSpeak licence are used up (HTTP 402): "+
			"your account on thingspeak.mathworks.com shows the licence")
	case http.StatusNotFound:
		return retry(platforms.NotAllowed, afterNotAllowed, "ThingSpeak does not find the channel (HTTP 404): look at the channel's "+
			"number, and at api_url if you have set it")
	case http.StatusRequestTimeout:
		return retry(platforms.Busy, 0, "ThingSpeak gave up waiting for the row (HTTP 408)")
	case http.StatusConflict:
		return refused(platforms.Invalid, "ThingSpeak has a row of this time already (HTTP 409)")
	case http.StatusRequestEntityTooLarge:
		return refused(platforms.TooLarge, "the row is longer than ThingSpeak takes (HTTP 413)")
	case http.StatusUnprocessableEntity:
		return refused(platforms.Invalid, "ThingSpeak cannot read a character of the row (HTTP 422)")
	case http.StatusTooManyRequests:
		return retry(platforms.SlowDown, p.cloud.interval(), "too soon after the channel's last row (HTTP 429): something else writes to "+
			"this channel too, or the plan is slower than %v", p.cloud.interval())
	}
	return refused(platforms.Unknown, "ThingSpeak refuses the row (HTTP %d%s)", status, said(body))
}

// ofHistory is the verdict on a bulk update: it has a longer interval than a row, and many rows to be at fault.
func (p *Platform) ofHistory(v platforms.Verdict) platforms.Verdict {
	switch v.Cause {
	case platforms.SlowDown:
		v.After = p.cloud.bulkInterval()
		v.Why = fmt.Sprintf("too soon after the last history that was filled in: ThingSpeak takes some every %v, and something else "+
			"may fill in this channel too", v.After)
	case platforms.TooLarge:
		v.Why = "these are more rows of history than ThingSpeak takes at once (HTTP 413)"
	}
	return v
}

// judgeSuccess looks into the body: ThingSpeak says 200 also to a row that it did not keep.
func (p *Platform) judgeSuccess(none bool, body []byte) platforms.Verdict {
	if none {
		return retry(platforms.SlowDown, p.cloud.interval(), "ThingSpeak did not keep the row (it answers %s): too soon after the "+
			"channel's last one, because something else writes to it too or the plan is slower than %v; or the write key is wrong",
			body, p.cloud.interval())
	}
	// An update answers with the entry or its number, a bulk update with {"success":true}.
	var answer struct {
		EntryID json.Number `json:"entry_id"`
		Success *bool       `json:"success"`
		Error   any         `json:"error"`
	}
	var id json.Number
	switch {
	case json.Unmarshal(body, &id) == nil && id != "":
		return platforms.Verdict{}
	case json.Unmarshal(body, &answer) != nil:
		return retry(platforms.Unknown, afterBadKey, "this does not answer as ThingSpeak does: look at api_url, or at a login page in between")
	case answer.Error == nil && (answer.EntryID != "" || answer.Success != nil && *answer.Success):
		return platforms.Verdict{}
	}
	return retry(platforms.Unknown, p.cloud.interval(), "ThingSpeak did not keep the row%s", said(body))
}

func badKey(status int) platforms.Verdict {
	return retry(platforms.BadLogin, afterBadKey, "ThingSpeak does not accept the write key of this channel (HTTP %d): copy the Write API "+
		"Key from the channel's API Keys page", status)
}

func retry(cause platforms.Cause, after time.Duration, format string, args ...any) platforms.Verdict {
	return platforms.Verdict{Outcome: platforms.Retry, Cause: cause, After: after, Why: fmt.Sprintf(format, args...)}
}

func refused(cause platforms.Cause, format string, args ...any) platforms.Verdict {
	return platforms.Verdict{Outcome: platforms.Refused, Cause: cause, Why: fmt.Sprintf(format, args...)}
}

// said gives ThingSpeak's own words, where it sent any that can be shown.
func said(body []byte) string {
	var answer struct {
		Error struct {
			Code    string `json:"error_code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &answer) == nil && answer.Error.Code != "" {
		if answer.Error.Message != "" {
			return ": " + platforms.Shorten(answer.Error.Message, quoted)
		}
		return ": " + answer.Error.Code
	}
	return ""
}

// place names what a topic of ThingSpeak's is about. The topic itself is not shown: in the old style a key is part of it.
func place(topic string) string {
	channel, part, ok := readTopic(topic)
	if !ok {
		return "this topic"
	}
	return "channel " + mappings.Address{Name: channel, Part: part}.String()
}
