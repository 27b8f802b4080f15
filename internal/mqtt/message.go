// Package mqtt is one MQTT session over one network connection, in MQTT 5 or 3.1.1.
//
// It knows nothing of clouds, rules or retries: [Dial] makes one attempt with one protocol version, a [Session] lives
// as long as its connection, and whoever owns the session decides what a loss or a refusal means.
package mqtt

import "time"

// Message is one application message, on its way in or out.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	// Duplicate is the DUP flag of a message that was received.
	Duplicate bool
	// Properties is nil where there are none, and always nil in MQTT 3.1.1.
	Properties *Properties
	// Subscriptions are the subscription identifiers that a received copy carries (MQTT 5), in ascending order. Messages share
	// them, and nobody changes them.
	Subscriptions []int
}

// Properties are the MQTT 5 properties of a message that pass through a bridge.
type Properties struct {
	ContentType     string
	ResponseTopic   string
	CorrelationData []byte
	// UTF8 is the payload format indicator.
	UTF8 bool
	// Expiry is the message expiry interval; zero means none.
	Expiry time.Duration
	User   []UserProperty
}

// UserProperty is one name and value that a publisher added to a message.
type UserProperty struct{ Key, Value string }

// Subscription is one topic filter with its MQTT 5 options; a 3.1.1 session uses only Filter and QoS.
type Subscription struct {
	Filter            string
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	// SendRetained is true where retained messages found at subscribing are wanted (Retain Handling 1: when the
	// subscription is new), false where they are not (2).
	SendRetained bool
	// ID is the subscription identifier; 0 sends none.
	ID int
}

// Protocol is a version of MQTT.
type Protocol byte

// The protocol versions. Auto is for configurations only: [Dial] wants one of the others.
const (
	Auto Protocol = 0
	V311 Protocol = 4
	V5   Protocol = 5
)

// String gives the version as people write it.
func (p Protocol) String() string {
	switch p {
	case V311:
		return "3.1.1"
	case V5:
		return "5"
	}
	return "auto"
}
