package demo

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"cloudbridge/platforms/emulator"
)

// rowInterval is the shortest time between two rows that the pretend ThingSpeak takes. The real one's fifteen seconds would
// make the demo dull.
const rowInterval = 3 * time.Second

// cloud is one emulator of the demo: what the config calls it, and what people call it.
type cloud struct {
	emulator.Emulator
	name, platform, title string
}

// clouds are the emulators, and what has happened at them.
type clouds struct {
	all        []*cloud
	screen     *screen
	lamp, bell wish

	mu sync.Mutex
	// lastRow is when each channel took its last row, closest the shortest time between two.
	lastRow map[string]time.Time
	closest time.Duration
}

// settings are what the emulators are told; the rest of their rules is the platforms' own.
var settings = map[string]map[string]string{
	"thingspeak":  {"interval": rowInterval.String()},
	"adafruit-io": {"plan": "plus"},
}

func openClouds(kinds []emulator.Kind, s *screen) (*clouds, error) {
	c := &clouds{screen: s, lastRow: map[string]time.Time{}}
	for _, cl := range []*cloud{
		{name: "weather", platform: "thingspeak", title: "ThingSpeak"},
		{name: "home", platform: "adafruit-io", title: "Adafruit IO"},
		{name: "hive", platform: "hivemq-cloud", title: "HiveMQ Cloud"},
	} {
		if err := c.start(cl, kinds); err != nil {
			return nil, errors.Join(fmt.Errorf("start the pretend %s: %w", cl.title, err), c.close())
		}
	}
	return c, nil
}

func (c *clouds) start(cl *cloud, kinds []emulator.Kind) error {
	for _, k := range kinds {
		if k.Name != cl.platform {
			continue
		}
		em, err := k.Start(emulator.Options{Set: settings[k.Name], Log: func(e emulator.Event) { c.event(cl, e) }})
		if err != nil {
			return err
		}
		cl.Emulator = em
		c.all = append(c.all, cl)
		return nil
	}
	return errors.New("there is no such emulator")
}

func (c *clouds) close() error {
	var err error
	for _, cl := range c.all {
		err = errors.Join(err, cl.Close())
	}
	return err
}

// title is what people call the cloud that the config calls name.
func (c *clouds) title(name string) string {
	for _, cl := range c.all {
		if cl.name == name {
			return cl.title
		}
	}
	return name
}

// event shows what a cloud took or refused. Logins and subscriptions are shown only where they fail.
func (c *clouds) event(cl *cloud, e emulator.Event) {
	l := line{at: e.Time, kind: taken, who: cl.title, where: e.Topic, what: e.Payload}
	switch {
	case !e.Accepted:
		l.kind, l.note = refused, e.Why
	case e.What != "publish" || e.ClientID == phone:
		return
	case cl.platform == "thingspeak":
		l.where, l.what = row(e)
		l.note = c.gap(l.where, e.Time)
	case cl.platform == "adafruit-io":
		l.where = feed(e.Topic)
	}
	c.screen.add(l)
}

// gap notes a row and says how long ago the last one of its channel was.
func (c *clouds) gap(channel string, now time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, ok := c.lastRow[channel]
	c.lastRow[channel] = now
	if !ok {
		return ""
	}
	d := now.Sub(last)
	if c.closest == 0 || d < c.closest {
		c.closest = d
	}
	return seconds(d.Round(100*time.Millisecond)) + " after the last row"
}

// row reads an update of a channel: channel 1001, and field 1 is 27, field 2 is 45.
func row(e emulator.Event) (where, what string) {
	levels := strings.Split(e.Topic, "/")
	where = e.Topic
	if len(levels) > 1 {
		where = "channel " + levels[1]
	}
	form, err := url.ParseQuery(e.Payload)
	if err != nil {
		return where, e.Payload
	}
	var fields []string
	for n := 1; n <= 8; n++ {
		if v := form.Get("field" + strconv.Itoa(n)); v != "" {
			fields = append(fields, fmt.Sprintf("field %d = %s", n, v))
		}
	}
	return where, strings.Join(fields, ", ")
}

// feed reads a topic of Adafruit IO: user/feeds/key.
func feed(topic string) string {
	levels := strings.Split(topic, "/")
	if len(levels) < 3 {
		return topic
	}
	return "feed " + levels[2]
}

// configText is the config of the demo. It is what a class would write, with the emulators in the place of the clouds.
func configText(local string, c *clouds) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[bridge]\nname = \"lab1\"\n\n[local]\nurl = %q\n", local)
	for _, cl := range c.all {
		b.WriteString("\n" + strings.TrimSpace(cl.Config(cl.name)) + "\n")
	}
	return b.String() + rules
}

const rules = `
[[uplink]]                                # "Pico W temperature=27" -> 27
local   = "iot/ece2026/picow/temp"
cloud   = "weather"
channel = 1001
field   = 1
value   = 'after(text, "temperature=")'

[[uplink]]                                # a number as it is, into the same row
local   = "iot/ece2026/esp32/humidity"
cloud   = "weather"
channel = 1001
field   = 2

[[uplink]]                                # one JSON message -> two fields
local   = "iot/ece2026/pi/air"
cloud   = "weather"
channel = 1002
field1  = "json.temperature"
field2  = "json.humidity"
time    = "json.timestamp"

[[uplink]]                                # picow-status, esp32-status
local   = "iot/ece2026/{device}/status"
cloud   = "home"
feed    = "{device}-status"

[[uplink]]                                # what the lamp says of itself goes up ...
local   = "iot/ece2026/lamp/state"
cloud   = "home"
feed    = "lights"

[[downlink]]                              # ... and a tap on the dashboard comes down
cloud   = "home"
feed    = "lights"
local   = "iot/ece2026/lamp/set"
values  = { ON = "1", OFF = "0" }

[[uplink]]                                # everything, under the same names
local   = "iot/{rest...}"
cloud   = "hive"
topic   = "school/{bridge}/{rest}"
qos     = 1

[[downlink]]
cloud   = "hive"
topic   = "school/{bridge}/cmd/{rest...}"
local   = "cmd/{rest}"
`
