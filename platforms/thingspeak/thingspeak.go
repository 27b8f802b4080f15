// Package thingspeak describes ThingSpeak by MathWorks: channels of up to eight fields, one row per channel and interval.
//
// Rows go up over MQTT 3.1.1 as an "MQTT device" (Devices > MQTT on ThingSpeak's site), or over REST with the write key
// of each channel. Over MQTT ThingSpeak never says whether it kept a row, so a row counts as sent and not as confirmed;
// over REST each row is confirmed. Rows of the past go up many at once by bulk update, where the channel's write key is known;
// ThingSpeak takes these in later, and says only that they came. Commands come down from fields that somebody else writes.
package thingspeak

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// Kind is ThingSpeak as the configuration knows it.
var Kind = platforms.Kind{
	Name:     "thingspeak",
	Title:    "ThingSpeak",
	NewCloud: func() any { return NewCloud() },
	NewPlace: func() any { return new(Place) },
	Open: func(cloud any) (platforms.Platform, error) {
		c, ok := cloud.(*Cloud)
		if !ok {
			return nil, fmt.Errorf("open thingspeak: %T is not its configuration", cloud)
		}
		p, err := Open(c)
		if err != nil {
			return nil, err
		}
		return p, nil
	},
	Target: target,
	Source: source,
}

// What ThingSpeak allows.
const (
	freeInterval = 15 * time.Second
	paidInterval = time.Second
	freeMessages = 3_000_000
	paidMessages = 33_000_000
	// bulkInterval is between two bulk updates of a channel, on any plan, and these are the most rows of one.
	bulkInterval = 15 * time.Second
	freeBulk     = 960
	paidBulk     = 14_400
	// messageSize is the longest message in bytes.
	messageSize = 3000
	// textSize is the longest text of a field or of the status, in bytes before any escaping.
	textSize = 255
	// fields is how many fields a channel has.
	fields = 8
)

// quoted is how many characters of a text a message shows.
const quoted = 40

// Platform is one account at ThingSpeak.
type Platform struct {
	cloud   Cloud
	session mqtt.Options
	// host is the host of the REST side: the name of the server, whichever of its doors a row takes.
	host string
}

var (
	_ platforms.Platform   = (*Platform)(nil)
	_ platforms.Warner     = (*Platform)(nil)
	_ platforms.Backfiller = (*Platform)(nil)
)

// Format prints the account in every verb: package fmt would look past the type that hides a key inside an unexported field.
func (p *Platform) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, p.Account()) }

// Account is the server and not the user: the number of a channel is unique on its server, and it is the channel that has
// a limit. Two tables that write to one channel, as two MQTT devices or over two paths, must share its pace.
func (p *Platform) Account() string { return "thingspeak " + p.host }

// Session is the connection of an MQTT device. A table with write keys alone has none.
func (p *Platform) Session() (mqtt.Options, bool) {
	if !p.cloud.overMQTT() {
		return p.session, false // Its proxy and certificates are for REST too.
	}
	return p.session, true
}

// Limits are those of the plan, for each channel.
func (p *Platform) Limits() platforms.Limits {
	return platforms.Limits{
		Kind:            platforms.Rows,
		Interval:        p.cloud.interval(),
		MessagesPerYear: p.cloud.messages(),
		MaxPayload:      messageSize,
		Confirm:         platforms.ByPing,
		// What we publish for a channel comes back on the topic on which its commands come down.
		EchoesOwn:       true,
		Public:          true,
		LoginsPerMinute: 6,
		Window:          20,
	}
}

// lanePrefix stands before the number of a channel in the name of its lane.
const lanePrefix = "channel "

// Lane is the channel: all its fields share one row and one limit.
func (p *Platform) Lane(addr mappings.Address) (string, error) {
	if err := checkChannel(addr.Name); err != nil {
		return "", err
	}
	if addr.Part != "" && partOrder(addr.Part) < 0 {
		return "", fmt.Errorf("channel %s: a ThingSpeak channel has no %q: it has field1 to field8, status, lat, long and "+
			"elevation", addr.Name, addr.Part)
	}
	return lanePrefix + addr.Name, nil
}

// Subscriptions are one topic per field, or the whole channel where a downlink names no field.
func (p *Platform) Subscriptions(sources []mappings.Source) []mqtt.Subscription {
	var subs []mqtt.Subscription
	seen := make(map[string]bool)
	for _, s := range sources {
		filter := p.subscribeTopic(s.Name.String(), s.Part)
		if !seen[filter] {
			seen[filter] = true
			subs = append(subs, mqtt.Subscription{Filter: filter})
		}
	}
	return subs
}

func (p *Platform) subscribeTopic(channel, part string) string {
	t := "channels/" + channel + "/subscribe"
	if part != "" {
		t += "/fields/" + part
	}
	if !p.cloud.legacy() {
		return t
	}
	// The old API names a format for whole entries, and wants the read key of a private channel in the topic.
	if part == "" {
		t += "/json"
	}
	if key := p.cloud.Channels[channel].ReadKey.Reveal(); key != "" {
		t += "/" + key
	}
	return t
}

func checkChannel(name string) error {
	n, err := strconv.ParseUint(name, 10, 63)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != name {
		return fmt.Errorf("channel %q: a ThingSpeak channel is named by its number, as in channel = 1001", name)
	}
	return nil
}

// partNames are the values that a row may hold, in the order in which they are written.
var partNames = [...]string{
	"field1", "field2", "field3", "field4", "field5", "field6", "field7", "field8",
	"status", "lat", "long", "elevation",
}

func partOrder(name string) int {
	for i, n := range partNames {
		if n == name {
			return i
		}
	}
	return -1
}
