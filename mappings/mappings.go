// Package mappings turns messages into points for clouds, and commands into local messages, by rules.
//
// It is pure: no clock, no network, no goroutine. Time comes in as a value; what is compiled once at load is run for each
// message. A rule's result of nil means skipped, an error means that the message could not be read as the rule says.
package mappings

import (
	"time"

	"cloudbridge/internal/intern"
	"cloudbridge/internal/mqtt"
)

// Address names one place in a cloud, in the platform's own words: a channel, a feed key, a topic.
type Address struct {
	Name string `json:"name"`
	// Part is one of the several values that a place may hold ("field1", "status"); empty where it holds one.
	Part string `json:"part,omitempty"`
}

// String writes an address as people read it.
func (a Address) String() string {
	if a.Part == "" {
		return a.Name
	}
	return a.Name + " " + a.Part
}

// Part is one named value of a point.
type Part struct {
	Name  string
	Value Value
}

// Point is what one uplink rule made of one message: the values for one address, at one time.
type Point struct {
	// Rule is the index of the uplink in its table.
	Rule int
	// Also are the indexes of further uplinks whose values are joined into the point.
	Also  []int
	Cloud string
	// Name is the Address.Name all parts go to.
	Name  string
	Parts []Part
	// Time is the reading's own time, or Arrived where it has none.
	Time    time.Time
	Arrived time.Time
	// Late is for whoever sends the point to set, when that is long after its Time: an MQTT cloud, which would take it for
	// new, is then told the time. No record holds it.
	Late   bool
	QoS    byte
	Retain bool
	// Properties pass through to MQTT clouds.
	Properties *mqtt.Properties
	// Local is the topic that it came from, for words.
	Local string
	// Fixed is true where the target had to mend the name: another topic may come to the same. It is not kept in records.
	Fixed bool
}

// Scope is what the templates and expressions of one rule may use.
type Scope struct {
	// Bridge is what {bridge} stands for.
	Bridge string
	// Names are the captures of the rule's pattern, in order.
	Names []string
}

// Target is the compiled destination of an uplink.
type Target struct {
	// Name expands to the point's Name.
	Name *Template
	// Fix, where set, checks or mends an expanded name (a feed key): its error drops the message with that reason.
	Fix func(string) (string, error)
	// Parts are the values to write. An expression of nil is the rule's own value. A part whose value is nil is left
	// out; a point without parts is skipped.
	Parts []PartSpec
}

// PartSpec is one part of a target.
type PartSpec struct {
	Name  string
	Value *Expr
	// Optional parts (lat, lon) never make a point by themselves.
	Optional bool
}

// Each sends a message to the target that its capture selects; a capture with no target is skipped.
type Each struct {
	Capture string
	Targets map[string]*Target
}

// Uplink is one compiled uplink rule.
type Uplink struct {
	Local *Pattern
	// Cloud expands to the name of a cloud.
	Cloud *Template
	// Target or Each, never both.
	Target *Target
	Each   *Each
	// Value is the rule's own value; nil stands for the payload as it is, untouched.
	Value, When, Time *Expr
	// QoS of the points, and Retain: nil keeps the flag as received.
	QoS    byte
	Retain *bool
}

// Source is the compiled origin of a downlink: a pattern over Address.Name, and the part to take.
type Source struct {
	Name *Pattern
	Part string
}

// Downlink is one compiled downlink rule.
type Downlink struct {
	Cloud  string
	Source *Source
	// Local expands to a local topic, with the captures of the source.
	Local *Template
	Value *Expr
	When  *Expr
	// Values translates the value's text; what it does not list is dropped unless it has "*". Nil translates nothing.
	Values map[string]string
	QoS    byte
	Retain bool
}

// Command is a value that came down from a cloud.
type Command struct {
	Cloud      string
	Address    Address
	Payload    []byte
	Properties *mqtt.Properties
}

// Skip says that a rule passed a message by on purpose, and why.
type Skip struct {
	Rule int
	Why  string
}

// Problem says that a message could not be read as a rule says.
type Problem struct {
	Rule int
	Err  error
}

// Note says that a message's own time was replaced by the time of arrival.
type Note struct {
	Rule int
	Text string
}

// Result collects what a table made of one message. Its owner reuses it: Up and Down empty it first. The parts of its points
// go with it; who keeps a point keeps a clone.
type Result struct {
	Points   []Point   // from Up
	Commands []Publish // from Down
	Skips    []Skip
	Problems []Problem
	Notes    []Note

	// parts is the memory of the points' parts, and names what they are called: both are used again.
	parts []Part
	names intern.Pool
	name  []byte
}

// Publish is a local message that a downlink made.
type Publish struct {
	Rule    int
	Message mqtt.Message
	// Made is when the command was made, where its sender tells (TimeProperty), so that an old one is known as old; zero
	// where nobody knows.
	Made time.Time
}
