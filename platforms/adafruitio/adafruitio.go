// Package adafruitio is Adafruit IO: feeds and groups of one account, over MQTT 3.1.1.
//
// An address is a feed ("lights", or "station.temp" for the feed temp of the group station) or a whole group
// ("group/station"). A key has neither a slash nor a dot, so these names cannot be mistaken for each other.
// All addresses share one lane, for Adafruit IO counts the points of the whole account, and locks the whole account for
// topics that are not its own: nothing that this package makes leads out of {username}/feeds and {username}/groups.
//
// History goes over REST, for over MQTT a value cannot have a time of its own; it spends the same budget.
//
// Of the two families of topics, feeds and f, only feeds is used, for writing and for reading: both carry the same, and
// the echo of a publish then comes on the topic of that publish.
package adafruitio

import (
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// Platform is one account at Adafruit IO.
type Platform struct {
	user    string
	session mqtt.Options
	plan    plan
	// host is host and port of MQTT; api is the REST side, or empty.
	host, api string
}

var (
	_ platforms.Platform   = (*Platform)(nil)
	_ platforms.Restorer   = (*Platform)(nil)
	_ platforms.Budgeter   = (*Platform)(nil)
	_ platforms.Filler     = (*Platform)(nil)
	_ platforms.Backfiller = (*Platform)(nil)
)

// Format prints the account in every verb: package fmt would look past the type that hides the key inside an unexported
// field.
func (p *Platform) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, p.Account()) }

// Account names the budget: the user, whom Adafruit IO knows in any case, and the host if it is not Adafruit's own.
func (p *Platform) Account() string {
	account := "adafruit-io " + strings.ToLower(p.user)
	if host, _, err := net.SplitHostPort(p.host); err != nil || !strings.EqualFold(host, defaultHost) {
		account += " " + strings.ToLower(p.host)
	}
	return account
}

// Session says where to connect: with MQTT 3.1.1, clean, and without a will.
func (p *Platform) Session() (mqtt.Options, bool) { return p.session, true }

// Limits are those of the plan. There is no limit for the payload as a whole: Encode knows that of each value.
func (p *Platform) Limits() platforms.Limits {
	return platforms.Limits{
		Kind:            platforms.Budgeted,
		PerMinute:       p.plan.points,
		MaxAddresses:    p.plan.feeds,
		MaxQoS:          1,
		DefaultQoS:      1,
		Confirm:         platforms.ByQuiet,
		Quiet:           2 * time.Second,
		EchoesOwn:       true,
		Public:          true,
		LoginsPerMinute: 6,
		RandomClientID:  p.session.ClientID == "", // The user may have said otherwise.
	}
}

// lane is the one lane that all feeds of an account share.
const lane = "account"

// Lane is the same for every feed and group: they share one budget.
func (p *Platform) Lane(addr mappings.Address) (string, error) {
	if err := checkName(addr.Name); err != nil {
		return "", err
	}
	return lane, nil
}

// topic is where the address is written and read.
func (p *Platform) topic(name string) string {
	if group, ok := strings.CutPrefix(name, groupPrefix); ok {
		return p.user + "/groups/" + group
	}
	return p.user + "/feeds/" + name
}

// Subscriptions covers the sources, and always the notices: without them nobody would tell that the account must slow
// down or is about to be locked.
func (p *Platform) Subscriptions(sources []mappings.Source) []mqtt.Subscription {
	subs := []mqtt.Subscription{
		{Filter: p.user + "/throttle", QoS: 1},
		{Filter: p.user + "/errors", QoS: 1},
	}
	known := map[string]bool{}
	for _, s := range sources {
		filter := p.filter(s)
		if !known[filter] {
			known[filter] = true
			subs = append(subs, mqtt.Subscription{Filter: filter, QoS: 1})
		}
	}
	return subs
}

// filter is what to subscribe to for a source. A pattern becomes the wildcard of one level and never of many, for
// below a feed's topic Adafruit IO sends the same value again as JSON and as CSV.
func (p *Platform) filter(s mappings.Source) string {
	if s.Name.MatchesOne() {
		return p.topic(s.Name.Filter())
	}
	if strings.HasPrefix(s.Name.String(), groupPrefix) {
		return p.user + "/groups/+"
	}
	return p.user + "/feeds/+"
}

// Restore asks for the last value: Adafruit IO sends it on the source's own topic, to the asking connection alone.
func (p *Platform) Restore(s mappings.Source) *mqtt.Message {
	if !s.Name.MatchesOne() {
		return nil
	}
	return &mqtt.Message{Topic: p.topic(s.Name.Filter()) + "/get", QoS: 1}
}
