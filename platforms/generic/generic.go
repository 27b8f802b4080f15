// Package generic is the platform "mqtt": any broker of one's own or of somebody else's.
//
// What a broker takes it takes as it is: every point is one message, every topic an address. A broker keeps no history, and so
// what is sent late goes out in order like all else, and tells its time in a user property (mappings.TimeProperty). Package
// hivemqcloud builds on it.
package generic

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"unicode/utf8"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// Cloud is the [cloud.<name>] table of a broker.
type Cloud struct {
	platforms.Connection
	Username string      `toml:"username"`
	Password mqtt.Secret `toml:"password"`
}

// Broker is a platform that is a plain MQTT broker.
type Broker struct {
	// Words is how people call it: "the broker", "HiveMQ".
	Words string
	// Platform and Server are what the account is named by, beside the user.
	Platform, Server string
	Options          mqtt.Options
	Bounds           platforms.Limits
}

var (
	_ platforms.Platform = (*Broker)(nil)
	_ platforms.Layer    = (*Broker)(nil)
)

// The window on MQTT 3.1.1, where no broker tells how much it takes unconfirmed. On 5 the broker tells.
const (
	window      = 8192
	windowBytes = 1 << 20
)

// publicLogins is the most logins in a minute that a broker of somebody else's gets from us.
const publicLogins = 6

// Kind is the platform "mqtt" for the configuration.
var Kind = platforms.Kind{
	Name:          "mqtt",
	Title:         "the broker",
	NewCloud:      func() any { return &Cloud{} },
	NewPlace:      NewPlace,
	Open:          func(cloud any) (platforms.Platform, error) { return Open(cloud.(*Cloud)) },
	Target:        Target,
	Source:        Source,
	Retains:       true,
	TakesAnyTopic: true,
}

// Open checks the table and makes the platform of it.
func Open(c *Cloud) (*Broker, error) {
	o, faults := c.Session("mqtt")
	faults = append(faults, CheckLogin(c.Username, c.Password, c.APIURL)...)
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	o.Username, o.Password = c.Username, c.Password
	server := HostPort(o.URL)
	return &Broker{
		Words: "the broker", Platform: "mqtt", Server: server, Options: o,
		Bounds: LimitsOf(server, o.Protocol, window, windowBytes),
	}, nil
}

// LimitsOf are the limits of a plain broker, which are few.
func LimitsOf(server string, protocol mqtt.Protocol, window, windowBytes int) platforms.Limits {
	l := platforms.Limits{
		Kind: platforms.Ordered, MaxQoS: 2, DefaultQoS: 1, Retain: true, Will: true, Window: window, WindowBytes: windowBytes,
		Confirm: platforms.ByAck, EchoesOwn: protocol == mqtt.V311, Public: platforms.Public(server),
	}
	if l.Public {
		l.LoginsPerMinute = publicLogins
	}
	return l
}

// HostPort is host and port of an address that ParseURL made.
func HostPort(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Host
}

// CheckLogin blames what no MQTT broker can be sent as user and password, and the REST side, which no broker has.
func CheckLogin(username string, password mqtt.Secret, api string) []error {
	var faults []error
	blame := func(key, text, hint string) {
		faults = append(faults, &platforms.KeyError{Key: key, Text: text, Hint: hint})
	}
	if !fitForString(username) {
		blame("username", "this cannot be a user name of MQTT", "copy it again from where the broker's accounts are made")
	}
	if len(password.Reveal()) > 65535 {
		blame("password", "a password in MQTT has at most 65,535 bytes", "copy it again from where the broker's accounts are made")
	}
	if username == "" && password != "" {
		blame("username", "missing: MQTT 3.1.1 takes no password without a user name", "write username too, or leave the password out")
	}
	if api != "" {
		blame("api_url", "a broker has no REST side", "remove it; the address of the broker is url")
	}
	return faults
}

func fitForString(s string) bool {
	return len(s) <= 65535 && utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}

// Format prints the account in every verb: package fmt would look past the type that hides the password, and a proxy's
// stands in its address.
func (b *Broker) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, b.Account()) }

// Account names the broker and the user.
func (b *Broker) Account() string {
	return strings.TrimSpace(b.Platform + " " + b.Server + " " + b.Options.Username)
}

// Session says where and how to connect.
func (b *Broker) Session() (mqtt.Options, bool) { return b.Options, true }

// Limits holds for the one lane that there is.
func (b *Broker) Limits() platforms.Limits { return b.Bounds }

// Lane is one for the whole broker, so that messages keep their order whatever their topics.
func (b *Broker) Lane(addr mappings.Address) (string, error) {
	if addr.Part != "" {
		return "", fmt.Errorf("%s: a topic has no parts", addr)
	}
	if err := CheckTopic(addr.Name); err != nil {
		return "", err
	}
	return "all", nil
}

// CheckTopic says why a message cannot be published to a topic.
func CheckTopic(topic string) error {
	switch {
	case topic == "":
		return errors.New("the topic is empty")
	case len(topic) > 65535:
		return fmt.Errorf("the topic has %d bytes: MQTT allows 65,535", len(topic))
	case !utf8.ValidString(topic):
		return fmt.Errorf("topic %q is not UTF-8", topic)
	case mqtt.OnlyInFilters(topic):
		return fmt.Errorf("topic %q: a message cannot be published to a topic with + or # or NUL", topic)
	case strings.HasPrefix(topic, "$SYS/"), strings.HasPrefix(topic, "$share/"):
		return fmt.Errorf("topic %q belongs to the broker itself", topic)
	}
	return nil
}

// Encode makes one message of each point. It stops before a point that can never be sent, so that the ones before go.
func (b *Broker) Encode(batch []mappings.Point) ([]platforms.Delivery, error) {
	out := make([]platforms.Delivery, 0, len(batch))
	for i := range batch {
		m, err := b.message(&batch[i])
		if err != nil {
			if i == 0 {
				return nil, err
			}
			break
		}
		out = append(out, platforms.Delivery{Message: m, Points: 1, Echoes: echoes(m.Topic, m.Payload)})
	}
	return out, nil
}

func (b *Broker) message(p *mappings.Point) (*mqtt.Message, error) {
	m := &mqtt.Message{}
	if err := b.Lay(p, m); err != nil {
		return nil, err
	}
	return m, nil
}

// Lay lays the message of a point out. The payload may be the point's.
func (b *Broker) Lay(p *mappings.Point, m *mqtt.Message) error {
	if err := CheckTopic(p.Name); err != nil {
		return err
	}
	if len(p.Parts) != 1 {
		return fmt.Errorf("topic %q: %d values for one message", p.Name, len(p.Parts))
	}
	v := &p.Parts[0].Value
	payload := v.Bytes
	switch v.Kind {
	case mappings.NoValue:
		return fmt.Errorf("topic %q: no value", p.Name)
	case mappings.Raw, mappings.Text, mappings.JSON:
	default:
		payload = v.AppendText(nil)
	}
	*m = mqtt.Message{
		Topic: p.Name, Payload: payload, QoS: min(p.QoS, b.Bounds.MaxQoS), Retain: p.Retain && b.Bounds.Retain, Properties: properties(p),
	}
	return nil
}

// properties are those of the point, and its time where a receiver would take another one for it: a reading with a time of its own,
// and one that is sent late. What is new needs none, and goes on as it came. On MQTT 3.1.1, which has no properties, nobody is told.
func properties(p *mappings.Point) *mqtt.Properties {
	if p.Time.IsZero() || !p.Late && p.Time.Equal(p.Arrived) {
		return p.Properties
	}
	return mappings.WithTime(p.Properties, p.Time)
}

// longest is how much of a payload an echo holds as it is. Of a longer one it holds a digest: a picture must not be kept
// twice to be known again.
const longest = 128

func echoes(topic string, payload []byte) []platforms.Echo {
	e := platforms.Echo{Address: mappings.Address{Name: topic}}
	if len(payload) <= longest {
		e.Value = string(payload)
	} else {
		sum := sha256.Sum256(payload)
		e.Value = "sha256:" + hex.EncodeToString(sum[:])
	}
	return []platforms.Echo{e}
}

// Decode takes every message for a command: nothing comes that was not subscribed to.
func (b *Broker) Decode(m *mqtt.Message) platforms.Event {
	if m.Topic == "" || mqtt.OnlyInFilters(m.Topic) {
		return platforms.Event{}
	}
	return platforms.Event{
		Kind: platforms.Command, Address: mappings.Address{Name: m.Topic}, Payload: m.Payload, Echoes: echoes(m.Topic, m.Payload),
	}
}

// Judge says what an answer means at a plain broker.
func (b *Broker) Judge(r platforms.Reply) platforms.Verdict { return Judge(b.Words, r) }
