// Package thingspeaktest is an emulator of ThingSpeak: its MQTT broker for devices and its REST side, with the limits and
// the silences of the real one, for tests, for demo and for emulate. It is for loopback.
//
// What ThingSpeak's pages leave open is a setting, so that a bridge can be tried against either answer. The settings, by
// their names in emulator.Options.Set, with their defaults:
//
//	plan = "free"              "paid" allows a row every second, and more messages and bulk rows
//	interval = "15s"           between two writes to one channel, over MQTT and REST together (paid: 1s)
//	bulk_interval = "15s"      between two bulk updates of one channel, on any plan
//	bulk_delay = "1s"          how long after its 202 a bulk update is applied
//	bulk_size = "960"          rows in a bulk update (paid: 14400)
//	bulk_counts = "false"      whether a bulk update takes part in interval too
//	messages = "3000000"       messages a year (paid: 33000000)
//	message_size = "3000"      bytes in a message
//	too_long = "refuse"        a value of more than 255 bytes: "truncate" keeps the beginning
//	too_soon = "zero"          REST answers 200 with 0; "429" answers so
//	bad_key = "zero"           REST answers 400 with 0; "401" answers so
//	bad_login = "5"            the CONNACK code for a wrong user, password or client id; "4"
//	version_5 = "refuse"       a CONNECT of MQTT 5 gets code 1; "accept"
//	any_client_id = "false"    whether a device may use another client id than its own
//	strict = "true"            a will or a kept session gets code 5
//	misuse = "close"           a PUBLISH with QoS 1, 2 or RETAIN; "accept" takes it as QoS 0
//	bad_topic = "drop"         a PUBLISH to a topic that is none, or not the device's; "close"
//	bad_filter = "refuse"      such a SUBSCRIBE gets 0x80; "close"
//	replay = "false"           whether a subscription starts with the latest entry, as the old broker's did
//	legacy = "false"           whether the old topics with keys work too, and any login
//	idle = "60m"               how long a connection may be silent
//	pings_count = "true"       whether a PINGREQ breaks the silence
//	talkback_free = "false"    whether a row with a talkback_key escapes interval
//
// Times that are not set are scaled by emulator.Options.Scale. REST answers in text and JSON, not in XML. Beside logins,
// publishes, subscriptions and requests the record has an event "row" for each row of a bulk update.
package thingspeaktest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cloudbridge/platforms/emulator"
)

// Emulator is ThingSpeak as demo and emulate know it: the devices of [DemoDevices] and the channels of [DemoChannels].
var Emulator = emulator.Kind{
	Name: "thingspeak",
	Start: func(o emulator.Options) (emulator.Emulator, error) {
		c, err := New(Options{Options: o})
		if err != nil {
			return nil, err
		}
		return c, nil
	},
}

// Options say what there is at this ThingSpeak. Without channels it has [DemoChannels], without devices [DemoDevices],
// and without queues none.
type Options struct {
	emulator.Options
	Channels  []Channel
	Devices   []Device
	TalkBacks []TalkBack
}

// Channel is one channel of the account.
type Channel struct {
	ID   int64
	Name string
	// WriteKey and ReadKey are for REST.
	WriteKey, ReadKey string
	// Public channels can be read without a key.
	Public bool
	// Fields are the enabled ones, 1 to 8; nil enables all.
	Fields []int
}

// Device is one MQTT device of the account.
type Device struct {
	ClientID, Username, Password string
	// Publish and Subscribe are the channels that it may use; nil is all of them.
	Publish, Subscribe []int64
}

// TalkBack is a queue of commands.
type TalkBack struct {
	ID  int64
	Key string
}

// DemoChannels are the channels of an emulator that is told of none.
func DemoChannels() []Channel {
	return []Channel{
		{ID: 1001, Name: "weather", WriteKey: "WRITE1001KEYDEMO", ReadKey: "READ1001KEYDEMO0"},
		{ID: 1002, Name: "classroom", WriteKey: "WRITE1002KEYDEMO", ReadKey: "READ1002KEYDEMO0"},
	}
}

// DemoDevice is the first device of an emulator that is told of none, for a bridge. As with real ones, client id and
// username are one string.
func DemoDevice() Device {
	return Device{ClientID: "DemoDeviceClientIdOf23c", Username: "DemoDeviceClientIdOf23c", Password: "demo-device-password-24c"}
}

// DemoDevices are the devices of an emulator that is told of none: one for a bridge, one to publish by hand, and one to look
// on by hand. Three programs need three, for a second login as one device ends the first.
func DemoDevices() []Device {
	return []Device{
		DemoDevice(),
		{ClientID: "DemoPublisherClientId23", Username: "DemoPublisherClientId23", Password: "demo-publisher-passwd-24"},
		{ClientID: "DemoOnlookerClientIdO23", Username: "DemoOnlookerClientIdO23", Password: "demo-onlooker-password24"},
	}
}

// Cloud is a running emulator.
type Cloud struct {
	*emulator.Broker
	settings settings
	devices  []Device

	mu        sync.Mutex
	channels  map[int64]*channel
	order     []int64
	talkbacks map[int64]*talkback
	// year is when the count of messages began, and used how many there were since.
	year time.Time
	used int
}

var _ emulator.Emulator = (*Cloud)(nil)

// New starts an emulator.
func New(o Options) (*Cloud, error) {
	s, err := read(o.Options)
	if err != nil {
		return nil, fmt.Errorf("thingspeak emulator: %w", err)
	}
	if o.Channels == nil {
		o.Channels = DemoChannels()
	}
	if o.Devices == nil {
		o.Devices = DemoDevices()
	}
	c := &Cloud{
		Broker:    emulator.New(o.Options),
		settings:  s,
		devices:   slices.Clone(o.Devices),
		channels:  make(map[int64]*channel),
		talkbacks: make(map[int64]*talkback),
	}
	for _, ch := range o.Channels {
		if c.channels[ch.ID] != nil {
			return nil, fmt.Errorf("thingspeak emulator: channel %d is there twice", ch.ID)
		}
		c.channels[ch.ID] = newChannel(ch)
		c.order = append(c.order, ch.ID)
	}
	for _, t := range o.TalkBacks {
		c.talkbacks[t.ID] = &talkback{TalkBack: t}
	}
	if err := c.Serve(emulator.Setup{Hook: &hook{cloud: c}, API: c.api()}); err != nil {
		return nil, fmt.Errorf("thingspeak emulator: %w", err)
	}
	return c, nil
}

// Config is the table that connects a bridge to the emulator, as its first device and with the keys of all channels.
func (c *Cloud) Config(name string) string {
	table := "cloud." + name
	pairs := []string{"platform", "thingspeak", "url", c.URL(), "api_url", c.APIURL()}
	if len(c.devices) > 0 {
		d := c.devices[0]
		pairs = append(pairs, "client_id", d.ClientID, "username", d.Username, "password", d.Password)
	}
	if c.settings.plan != "free" {
		pairs = append(pairs, "plan", c.settings.plan)
	}
	if c.settings.interval != plans[c.settings.plan].interval {
		pairs = append(pairs, "interval", c.settings.interval.String())
	}
	if c.settings.bulkInterval != bulkInterval {
		pairs = append(pairs, "bulk_interval", c.settings.bulkInterval.String())
	}
	var b strings.Builder
	b.WriteString(emulator.Table(table, pairs...))
	for _, id := range c.order {
		ch := c.channels[id]
		b.WriteString(emulator.Table(table+".channels."+strconv.FormatInt(id, 10), "write_key", ch.WriteKey, "read_key", ch.ReadKey))
	}
	return b.String()
}

// Feed is the entries that a channel keeps, in the order in which they came, which is that of their numbers; the last 8,000 at
// most. ByTime puts them into the order of REST.
func (c *Cloud) Feed(id int64) []Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := c.channels[id]
	if ch == nil {
		return nil
	}
	return slices.Clone(ch.entries)
}

// Update writes one row as somebody else would who has the write key: a web page, a telephone. It is held to the same
// limits as anybody, and gives the number of the entry.
func (c *Cloud) Update(id int64, values map[string]string) (int64, error) {
	c.mu.Lock()
	ch := c.channels[id]
	c.mu.Unlock()
	if ch == nil {
		return 0, fmt.Errorf("there is no channel %d", id)
	}
	e, err := c.write(ch, values, false)
	if err != nil {
		return 0, err
	}
	return e.ID, nil
}

// Messages is how many messages of the year are used.
func (c *Cloud) Messages() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used
}
