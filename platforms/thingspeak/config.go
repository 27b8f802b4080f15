package thingspeak

import (
	"errors"
	"fmt"
	"net/url"
	"sort"
	"strings"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/platforms"
)

// Where ThingSpeak answers.
const (
	DefaultURL    = "mqtts://mqtt3.thingspeak.com:8883"
	DefaultAPIURL = "https://api.thingspeak.com"
)

// Cloud is the [cloud.<name>] table of a ThingSpeak account. ClientID, Username and Password are the three strings of an
// MQTT device.
type Cloud struct {
	platforms.Connection
	Username string      `toml:"username"`
	Password mqtt.Secret `toml:"password"`
	// Plan is "free" (a row every 15 s per channel) or "paid" (every second).
	Plan string `toml:"plan"`
	// Interval overrides the plan's.
	Interval time.Duration `toml:"interval"`
	// BulkInterval overrides the 15 s between two requests that fill in history.
	BulkInterval time.Duration `toml:"bulk_interval"`
	// Via is "mqtt" or "rest"; empty is MQTT where there is an MQTT device.
	Via string `toml:"via"`
	// Style is empty, or "legacy" for the topics of before 2021 on a server of one's own.
	Style string `toml:"style"`
	// Channels holds keys by the channel's number.
	Channels map[string]Channel `toml:"channels"`
}

// Channel holds the keys of one channel.
type Channel struct {
	WriteKey mqtt.Secret `toml:"write_key"`
	ReadKey  mqtt.Secret `toml:"read_key"`
}

// NewCloud returns the table with its defaults.
func NewCloud() *Cloud {
	return &Cloud{
		Connection: platforms.Connection{URL: DefaultURL, APIURL: DefaultAPIURL},
		Plan:       "free",
	}
}

// whereDevice and whereKey say where on ThingSpeak's site the strings are.
const (
	whereDevice = "on thingspeak.mathworks.com open Devices > MQTT, add a device, allow it to publish to and subscribe to your " +
		"channel, and copy its client_id, username and password"
	whereKey = "on thingspeak.mathworks.com open your channel, then API Keys, and copy the Write API Key"
	whyNew   = "ThingSpeak's own server no longer takes topics like channels/<ID>/publish/<WRITE_KEY>: leave style out, and give " +
		"client_id, username and password (" + whereDevice + "); style = \"legacy\" is for a ThingSpeak server of your own"
)

// Open checks the table and makes the platform of it.
func Open(table *Cloud) (*Platform, error) {
	c := *table
	if c.URL == "" {
		c.URL = DefaultURL
	}
	if c.APIURL == "" {
		c.APIURL = DefaultAPIURL
	}
	if c.Plan == "" {
		c.Plan = "free"
	}
	var faults faults
	c.checkWords(&faults)
	session := c.checkAddresses(&faults)
	c.checkChannels(&faults)
	c.checkLogin(&faults)
	if err := faults.join(); err != nil {
		return nil, err
	}
	p := &Platform{cloud: c, session: session}
	p.host = hostOf(c.APIURL)
	if c.legacy() && c.ownAPIURL() == "" {
		// A server of one's own may have no REST side in the table.
		p.host = hostOf(session.URL)
	}
	p.cloud.APIURL = strings.TrimRight(c.APIURL, "/")
	return p, nil
}

// faults gathers what is wrong with a table, so that all of it is told at once.
type faults []error

func (f *faults) add(key, hint, format string, args ...any) {
	*f = append(*f, &platforms.KeyError{Key: key, Text: fmt.Sprintf(format, args...), Hint: hint})
}

// keep adds a fault that is one already.
func (f *faults) keep(err error) {
	if err != nil {
		*f = append(*f, err)
	}
}

func (f *faults) join() error { return errors.Join(*f...) }

func (c *Cloud) checkWords(f *faults) {
	if c.Plan != "free" && c.Plan != "paid" {
		f.add("plan", `write plan = "free" (a row every 15 s per channel) or plan = "paid" (every second)`,
			"%q is no plan of ThingSpeak's", c.Plan)
	}
	if c.Via != "" && c.Via != "mqtt" && c.Via != "rest" {
		f.add("via", `write via = "mqtt" or via = "rest"`, "%q is no way to ThingSpeak", c.Via)
	}
	if c.Style != "" && c.Style != "legacy" {
		f.add("style", `leave it out, or write style = "legacy" for a ThingSpeak server of your own`, "%q is no style", c.Style)
	}
	if strings.TrimPrefix(c.Protocol, "v") == "5" || c.Protocol == "5.0" {
		f.add("protocol", "leave protocol out", "ThingSpeak speaks MQTT 3.1.1")
	}
	c.checkInterval(f, "interval", c.Interval, paidInterval, "rows")
	c.checkInterval(f, "bulk_interval", c.BulkInterval, bulkInterval, "bulk updates")
}

// checkInterval holds an interval to what ThingSpeak takes. A server of one's own may take more.
func (c *Cloud) checkInterval(f *faults, key string, given, least time.Duration, what string) {
	switch {
	case given < 0:
		f.add(key, fmt.Sprintf(`write a time such as %s = "20s"`, key), "%v is less than nothing", given)
	case given > 0 && given < least && publicHost(c.APIURL) && !c.legacy():
		f.add(key, fmt.Sprintf(`write %s = "%v" at the least`, key, least), "%v is quicker than ThingSpeak takes %s on any plan (%v)",
			given, what, least)
	case key == "interval" && given > 0 && given < freeInterval && c.Plan == "free" && publicHost(c.APIURL) && !c.legacy():
		f.add(key, `write plan = "paid" too if the account has a paid licence, or interval = "15s" at the least`,
			"%v is quicker than the free plan takes rows (15s), and ThingSpeak drops what comes too soon without a word", given)
	}
}

func publicHost(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	host := strings.ToLower(u.Hostname())
	return host == "thingspeak.com" || strings.HasSuffix(host, ".thingspeak.com")
}

func (c *Cloud) checkAddresses(f *faults) mqtt.Options {
	if c.legacy() && c.ownURL() == "" {
		f.add("style", "", "%s", whyNew)
		return mqtt.Options{}
	}
	o, wrong := c.Session("mqtts")
	*f = append(*f, wrong...)
	// ThingSpeak's pages speak of MQTT 3.1.1 alone; and a will or a kept session is answered with a refusal.
	o.Protocol, o.CleanStart = mqtt.V311, true
	o.Username, o.Password = c.Username, c.Password
	f.keep(platforms.CheckAPI(c.APIURL, DefaultAPIURL))
	if c.legacy() && c.Via == "rest" && c.ownAPIURL() == "" {
		f.add("api_url", `write api_url = "http://..." with the address of your ThingSpeak server`,
			`style = "legacy" with via = "rest" needs the address of your server`)
	}
	return o
}

func (c *Cloud) checkChannels(f *faults) {
	ids := make([]string, 0, len(c.Channels))
	for id := range c.Channels {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	for _, id := range ids {
		key := "channels." + id
		if checkChannel(id) != nil {
			f.add(key, "the number is the Channel ID at the top of the channel's page", "%q is not the number of a channel", id)
		}
		for _, k := range []struct {
			name  string
			value mqtt.Secret
		}{{"write_key", c.Channels[id].WriteKey}, {"read_key", c.Channels[id].ReadKey}} {
			if strings.ContainsFunc(k.value.Reveal(), unfitForKey) {
				f.add(key+"."+k.name, whereKey, "a key of ThingSpeak's has only letters and digits")
			}
		}
	}
}

// unfitForKey keeps out what would change the topic or the header that a key is written into.
func unfitForKey(r rune) bool {
	return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '-' && r != '_'
}

func (c *Cloud) checkLogin(f *faults) {
	if c.legacy() {
		if !c.hasWriteKey() {
			f.add("channels", "write [cloud.<name>.channels.<ID>] write_key = \"...\"",
				`style = "legacy" needs the write key of each channel`)
		}
		return
	}
	if c.Via == "rest" && !c.hasWriteKey() {
		f.add("via", whereKey, `via = "rest" needs the write key of each channel: [cloud.<name>.channels.<ID>] write_key = "..."`)
	}
	device := []struct{ key, value string }{
		{"client_id", c.ClientID}, {"username", c.Username}, {"password", c.Password.Reveal()},
	}
	given := 0
	for _, d := range device {
		if d.value != "" {
			given++
		}
	}
	switch {
	case given == len(device):
	case given > 0 || c.Via == "mqtt":
		for _, d := range device {
			if d.value == "" {
				f.add(d.key, whereDevice, "missing: an MQTT device of ThingSpeak's has three strings, client_id, username and password")
			}
		}
	case !c.hasWriteKey():
		f.add("client_id", whereDevice, "missing: ThingSpeak needs client_id, username and password of an MQTT device, or the write "+
			"key of each channel")
	}
}

func (c *Cloud) hasWriteKey() bool {
	for _, ch := range c.Channels {
		if ch.WriteKey != "" {
			return true
		}
	}
	return false
}

func (c *Cloud) legacy() bool { return c.Style == "legacy" }

// overMQTT is whether there is an MQTT connection at all, for rows or for commands.
func (c *Cloud) overMQTT() bool { return c.ClientID != "" || c.legacy() }

// rowsOverREST is whether rows go as HTTP requests.
func (c *Cloud) rowsOverREST() bool { return c.Via == "rest" || !c.overMQTT() }

func (c *Cloud) interval() time.Duration {
	switch {
	case c.Interval > 0:
		return c.Interval
	case c.Plan == "paid":
		return paidInterval
	}
	return freeInterval
}

// bulkInterval is never shorter than the interval: a bulk update may count as a row too, which nobody tells.
func (c *Cloud) bulkInterval() time.Duration {
	if c.BulkInterval > 0 {
		return max(c.BulkInterval, c.interval())
	}
	return max(bulkInterval, c.interval())
}

func (c *Cloud) bulkRows() int {
	if c.Plan == "paid" {
		return paidBulk
	}
	return freeBulk
}

func (c *Cloud) messages() int {
	if c.Plan == "paid" {
		return paidMessages
	}
	return freeMessages
}

// ownURL and ownAPIURL are the addresses that the table gives, as against the defaults.
func (c *Cloud) ownURL() string {
	if c.URL == DefaultURL {
		return ""
	}
	return c.URL
}

func (c *Cloud) ownAPIURL() string {
	if c.APIURL == DefaultAPIURL {
		return ""
	}
	return c.APIURL
}

// hostOf gives the host of an address, without the port where the scheme implies it, so that https://api.thingspeak.com and
// https://api.thingspeak.com:443 are one server. It is empty for what is no address.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	implied := map[string]string{"http": ":80", "https": ":443", "mqtt": ":1883", "mqtts": ":8883"}[u.Scheme]
	return strings.TrimSuffix(strings.ToLower(u.Host), implied)
}
