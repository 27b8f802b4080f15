package generic

import (
	"fmt"
	"net/http"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/platforms"
)

// afterNotAllowed is how long a topic rests that the broker refused for want of permission: until a person has had a
// look, and until the broker has noticed what the person changed.
const afterNotAllowed = 10 * time.Minute

// Judge says what an answer of a plain MQTT broker means; words is how people call the broker.
func Judge(words string, r platforms.Reply) platforms.Verdict {
	if r.HTTPStatus != 0 {
		return judgeHTTP(words, r.HTTPStatus)
	}
	var v platforms.Verdict
	switch r.Packet {
	case mqtt.Connack:
		v = judgeConnack(r.Reason)
	case mqtt.Puback, mqtt.Pubrec, mqtt.Pubcomp:
		v = judgePublish(r)
	case mqtt.Suback:
		v = judgeSuback(r)
	case mqtt.Unsuback:
		v = judgeUnsuback(r)
	case mqtt.Disconnect:
		v = judgeDisconnect(r.Reason)
	default:
		v = unknown(r.Reason)
	}
	if v.Outcome == platforms.Confirmed {
		return v
	}
	v.Why = words + " " + v.Why
	if r.Text != "" {
		v.Why += fmt.Sprintf(" (it says %q)", platforms.Shorten(r.Text, quoted))
	}
	return v
}

// quoted is how much of a broker\'s words is shown: a talkative one must not fill the log.
const quoted = 200

func retry(c platforms.Cause, format string, args ...any) platforms.Verdict {
	return platforms.Verdict{Outcome: platforms.Retry, Cause: c, Why: fmt.Sprintf(format, args...)}
}

func refused(c platforms.Cause, format string, args ...any) platforms.Verdict {
	return platforms.Verdict{Outcome: platforms.Refused, Cause: c, Why: fmt.Sprintf(format, args...)}
}

func unknown(r mqtt.Reason) platforms.Verdict {
	packet := string(r.Packet)
	if packet == "" {
		packet = "something"
	}
	return retry(platforms.Unknown, "answers with %s code %d (0x%02X), which has no meaning there", packet, r.Code, r.Code)
}

// meaning is what a code of MQTT 5 says when it ends or refuses a connection.
type meaning struct {
	cause platforms.Cause
	why   string
}

var meanings = map[byte]meaning{
	0x80: {platforms.Unknown, "gives no reason"},
	0x81: {platforms.Invalid, "cannot read a packet of ours (malformed packet)"},
	0x82: {platforms.Invalid, "says that we broke the protocol (protocol error)"},
	0x83: {platforms.Unknown, "refuses for a reason of its own"},
	0x84: {platforms.WrongProtocol, `does not speak MQTT 5: write protocol = "auto" or "3.1.1"`},
	0x85: {platforms.ClientIDTaken, "does not accept this client id: write another client_id"},
	0x86: {platforms.BadLogin, "refuses user name or password"},
	0x87: {platforms.BadLogin, "refuses the login: user name or password are wrong, or this user may not connect"},
	0x88: {platforms.Busy, "is not available at the moment"},
	0x89: {platforms.Busy, "is busy"},
	0x8A: {platforms.Banned, "has banned this client"},
	0x8B: {platforms.Busy, "is shutting down"},
	0x8C: {platforms.BadLogin, "wants another way of logging in than user name and password"},
	0x8D: {platforms.Busy, "heard nothing from us for longer than the keepalive"},
	0x8E: {platforms.ClientIDTaken, "gave the connection to another client with the same client id: two programs use it; choose another client_id"},
	0x8F: {platforms.Invalid, "does not accept a topic filter"},
	0x90: {platforms.Invalid, "does not accept a topic"},
	0x93: {platforms.SlowDown, "got more unconfirmed messages from us than its Receive Maximum"},
	0x94: {platforms.Invalid, "does not accept a topic alias"},
	0x95: {platforms.TooLarge, "does not take a message as large as ours"},
	0x96: {platforms.SlowDown, "says that we send too quickly (message rate too high)"},
	0x97: {platforms.QuotaUsed, "says that a quota of the account is used up"},
	0x98: {platforms.Unknown, "was told by its administrator to close this connection"},
	0x99: {platforms.Invalid, "says that a payload is not of the format that was declared"},
	0x9A: {platforms.Invalid, "does not keep retained messages: write retain = false"},
	0x9B: {platforms.Invalid, "does not take this QoS: write a lower qos"},
	0x9C: {platforms.Busy, "asks us to use another server for now"},
	0x9D: {platforms.Busy, "has moved"},
	0x9E: {platforms.Invalid, "has no shared subscriptions: remove share"},
	0x9F: {platforms.SlowDown, "says that we connect too often"},
	0xA0: {platforms.Busy, "ended the connection because of its age"},
	0xA1: {platforms.Invalid, "has no subscription identifiers"},
	0xA2: {platforms.Invalid, "does not allow wildcards in topic filters"},
}

func (m meaning) retry(r mqtt.Reason) platforms.Verdict {
	v := retry(m.cause, "%s", m.why)
	if r.Code == 0x9C || r.Code == 0x9D {
		if r.Server != "" {
			v.Why += fmt.Sprintf(" to %q: write that in url", platforms.Shorten(r.Server, quoted))
		} else {
			v.Why += ", and does not say where"
		}
	}
	return v
}

func judgeConnack(r mqtt.Reason) platforms.Verdict {
	// Some brokers of MQTT 3.1.1 answer with its codes to a CONNECT of MQTT 5 too.
	switch r.Code {
	case 0:
		return platforms.Verdict{}
	case 1, 0x84:
		if r.Protocol == mqtt.V311 {
			return retry(platforms.WrongProtocol, `does not speak MQTT 3.1.1: write protocol = "auto" or "5"`)
		}
		return meanings[0x84].retry(r)
	case 2:
		return meanings[0x85].retry(r)
	case 3:
		return meanings[0x88].retry(r)
	case 4:
		return meanings[0x86].retry(r)
	case 5:
		return meanings[0x87].retry(r)
	}
	if m, ok := meanings[r.Code]; ok {
		return m.retry(r)
	}
	return unknown(r)
}

// judgePublish takes a refusal for final: in a queue that keeps its order a message that is tried again and again holds up
// all the others.
func judgePublish(r platforms.Reply) platforms.Verdict {
	switch {
	case r.Code < 0x80: // Among these is 0x10, nobody subscribes to the topic, which is no fault.
		return platforms.Verdict{}
	case r.Packet == mqtt.Pubcomp && r.Code == 0x92:
		// The broker forgot the handshake after it had taken the message.
		return platforms.Verdict{}
	}
	switch r.Code {
	case 0x87:
		v := refused(platforms.NotAllowed, "does not let this user publish to %s", about(r, "the topic"))
		v.After = afterNotAllowed
		return v
	case 0x90:
		return refused(platforms.Invalid, "does not accept %s", about(r, "the topic"))
	case 0x91:
		return retry(platforms.Unknown, "says that a packet identifier is still in use")
	case 0x95, 0x99, 0x9A, 0x9B:
		m := meanings[r.Code]
		return refused(m.cause, "%s", m.why)
	case 0x88, 0x89, 0x93, 0x96, 0x97:
		return meanings[r.Code].retry(r.Reason)
	}
	return refused(platforms.Unknown, "refuses the message for %s with code %d (0x%02X)", about(r, "a topic"), r.Code, r.Code)
}

func judgeSuback(r platforms.Reply) platforms.Verdict {
	switch r.Code {
	case 0, 1, 2:
		return platforms.Verdict{}
	case 0x80, 0x83, 0x87:
		v := retry(platforms.NotAllowed, "does not let this user subscribe to %s", about(r, "the topic"))
		v.After = afterNotAllowed
		return v
	case 0x91:
		return retry(platforms.Unknown, "says that a packet identifier is still in use")
	case 0x97:
		return meanings[r.Code].retry(r.Reason)
	case 0x8F, 0x9E, 0xA1, 0xA2:
		return refused(platforms.Invalid, "%s: %s", meanings[r.Code].why, about(r, "the topic"))
	}
	return unknown(r.Reason)
}

func judgeUnsuback(r platforms.Reply) platforms.Verdict {
	// 0x11 says that there was no such subscription, which is what was wanted.
	if r.Code < 0x80 {
		return platforms.Verdict{}
	}
	return retry(platforms.Unknown, "does not end the subscription to %s (code %d)", about(r, "the topic"), r.Code)
}

// judgeDisconnect never confirms: whatever the code, what was under way has no answer.
func judgeDisconnect(r mqtt.Reason) platforms.Verdict {
	switch r.Code {
	case 0:
		return retry(platforms.Busy, "said goodbye")
	case 0x87:
		return retry(platforms.NotAllowed, "closed the connection: this user may not do what it did")
	}
	if m, ok := meanings[r.Code]; ok {
		return m.retry(r)
	}
	return retry(platforms.Unknown, "closed the connection with code %d (0x%02X)", r.Code, r.Code)
}

// judgeHTTP is about the door to a WebSocket.
func judgeHTTP(words string, status int) platforms.Verdict {
	switch {
	case status == http.StatusSwitchingProtocols, status >= 200 && status < 300:
		return platforms.Verdict{}
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return retry(platforms.BadLogin, "%s does not let us open its WebSocket (HTTP %d)", words, status)
	case status == http.StatusNotFound:
		return retry(platforms.Invalid, "%s has no WebSocket at this path (HTTP 404): look at the end of url, most have /mqtt", words)
	case status == http.StatusTooManyRequests:
		return retry(platforms.SlowDown, "%s says that we connect too often (HTTP 429)", words)
	case status >= 500:
		return retry(platforms.Busy, "%s is not available at the moment (HTTP %d)", words, status)
	}
	return retry(platforms.Unknown, "%s answers with HTTP %d where its WebSocket should be", words, status)
}

// about names the topic of a reply where it is known.
func about(r platforms.Reply, otherwise string) string {
	if r.Topic == "" {
		return otherwise
	}
	return "topic " + platforms.Shorten(r.Topic, quoted)
}
