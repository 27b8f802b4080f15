// Package adafruitiotest is an emulator of Adafruit IO: its MQTT broker and its REST side, with its limits, its errors
// and its bans, and a small API with which a test plays the people at the dashboard.
//
// What is known of Adafruit IO is enforced; where nobody knows how it reacts there is a setting, and the stricter
// behaviour is the default. Settings of emulator.Options.Set, with their defaults:
//
//	username, key           the account that is there from the start: "learner", "aio_emulator"
//	plan                    free (30 points a minute, 10 feeds) or plus (60 points, no limit of feeds)
//	points_per_minute, max_feeds    instead of the plan's; max_feeds = 0 is no limit
//	feeds                   keys of feeds to begin with, parted by commas
//	minute                  60s   the window in which everything is counted
//	ban                     30s   the first ban; the n-th within 120 of these (an hour) lasts n times as long
//	ban_reply               5s    how long a banned client waits for CONNACK code 7
//	logins_per_minute       20    more are answered with CONNACK code 6
//	subscribes_per_minute   100   more SUBSCRIBE packets bring a ban
//	failures_per_minute     10    more failed SUBSCRIBEs or PUBLISHes bring a ban
//	overruns_per_minute     10    more points, or logins, beyond a limit bring a ban
//	max_value               1024  bytes of a value; 102,400 in a feed without history
//	mqtt5                   false whether level 5 is taken; otherwise CONNACK code 1
//	qos2                    close what a PUBLISH with QoS 2 brings; or accept
//	groups                  create what writing to a group that is not there does; or refuse
//	group_messages          together what subscribers of a group get of one publish; or each feed by itself
//	refused_count           true  whether points that were refused fill the window too
//	empty_values            false whether an empty value is stored
//	default_paths           false whether a feed of the default group also comes as default.key
//
// Events are called login, takeover, publish, subscribe, get, will (published for a client that was lost), dashboard,
// request (HTTP), and, never accepted, throttle and ban; an accepted warning says that few subscriptions are left.
package adafruitiotest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"

	"cloudbridge/platforms/emulator"
)

// Emulator is the emulator as the command line knows it.
var Emulator = emulator.Kind{
	Name: "adafruit-io",
	Start: func(o emulator.Options) (emulator.Emulator, error) {
		c, err := Start(o)
		if err != nil {
			return nil, err
		}
		return c, nil
	},
}

// Cloud is a running emulator. Its methods may be called from any goroutine.
type Cloud struct {
	*emulator.Broker
	rules rules
	done  chan struct{}
	once  sync.Once

	mu       sync.Mutex
	accounts map[string]*account // by the name in lower case
	wills    map[*mochi.Client]mochi.Will
	lastID   int
}

var _ emulator.Emulator = (*Cloud)(nil)

// Point is one value that a feed holds.
type Point struct {
	ID    int
	Value string
	// Lat, Lon and Ele are empty where the point has none.
	Lat, Lon, Ele string
	// Created is the point's own time, Arrived when it came.
	Created, Arrived time.Time
	// Via is mqtt, http or dashboard.
	Via string
}

// Start runs an emulator with one account. Where only a Listener for MQTT is given, as in a bubble of
// testing/synctest, there is no REST side; WebSockets are taken only where a listener or an address for them is given.
func Start(o emulator.Options) (*Cloud, error) {
	r, err := readRules(o)
	if err != nil {
		return nil, err
	}
	c := &Cloud{
		Broker:   emulator.New(o),
		rules:    r,
		done:     make(chan struct{}),
		accounts: map[string]*account{},
		wills:    map[*mochi.Client]mochi.Will{},
	}
	if err := c.AddAccount(r.username, r.key, r.points, r.feeds); err != nil {
		return nil, err
	}
	for _, key := range r.first {
		if err := c.AddFeed(r.username, key); err != nil {
			return nil, err
		}
	}
	setup := emulator.Setup{Hook: &hook{cloud: c}}
	if o.Listener == nil || o.HTTPListener != nil || o.ListenHTTP != "" {
		setup.API = c.api()
	}
	if o.WSListener != nil || o.ListenWS != "" {
		setup.WebSocket = "/mqtt"
	}
	if err := c.Serve(setup); err != nil {
		return nil, err
	}
	return c, nil
}

// Close stops the emulator.
func (c *Cloud) Close() error {
	c.once.Do(func() { close(c.done) })
	return c.Broker.Close()
}

// Config is the [cloud.<name>] table for the first account.
func (c *Cloud) Config(name string) string {
	pairs := []string{"platform", "adafruit-io", "url", c.URL()}
	if c.APIURL() != "" {
		pairs = append(pairs, "api_url", c.APIURL()+apiPath)
	}
	pairs = append(pairs, "username", c.rules.username, "key", c.rules.key, "plan", c.rules.plan)
	table := emulator.Table("cloud."+name, pairs...)
	if c.rules.points != plans[c.rules.plan].points {
		table += fmt.Sprintf("points_per_minute = %d\n", c.rules.points)
	}
	if c.rules.feeds != plans[c.rules.plan].feeds {
		most := c.rules.feeds
		if most == 0 {
			most = 1_000_000
		}
		table += fmt.Sprintf("max_feeds = %d\n", most)
	}
	return table
}

// AddAccount adds an account with these limits; a limit of feeds of zero is none.
func (c *Cloud) AddAccount(username, key string, pointsPerMinute, maxFeeds int) error {
	if username == "" || strings.ContainsAny(username, "/+# ") || key == "" {
		return fmt.Errorf("%q with this key cannot be an account", username)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.accounts[strings.ToLower(username)] != nil {
		return fmt.Errorf("there is an account %q already", username)
	}
	c.accounts[strings.ToLower(username)] = &account{
		name: username, key: key,
		points: pointsPerMinute, maxFeeds: maxFeeds,
		feeds: map[string]*feed{}, groups: map[string]bool{defaultGroup: true},
	}
	return nil
}

// AddFeed makes a feed, "lights" or "station.temp", as people do on the web site: no point is spent.
func (c *Cloud) AddFeed(username, key string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.accounts[strings.ToLower(username)]
	if a == nil {
		return errNoAccount
	}
	key, err := normal(key)
	if err != nil {
		return err
	}
	group, _ := split(key)
	a.groups[group] = true
	return c.makeFeeds(a, []write{{key: key}})
}

// Share lets other accounts write to a feed and read it.
func (c *Cloud) Share(username, key string) error {
	return c.change(username, key, func(f *feed) { f.shared = true })
}

// WithoutHistory turns off a feed's history, which lets larger values in.
func (c *Cloud) WithoutHistory(username, key string) error {
	return c.change(username, key, func(f *feed) { f.noHistory = true })
}

var (
	errNoAccount = errors.New("no such account")
	errNoFeed    = errors.New("no such feed")
)

func (c *Cloud) change(username, key string, do func(*feed)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.accounts[strings.ToLower(username)]
	if a == nil {
		return errNoAccount
	}
	f := a.feeds[key]
	if f == nil {
		return errNoFeed
	}
	do(f)
	return nil
}

// Toggle is somebody at the dashboard of the first account, who sets a feed to a value.
func (c *Cloud) Toggle(feed, value string) error { return c.ToggleOf(c.rules.username, feed, value) }

// ToggleOf is Toggle for any account. A dashboard's write costs a point like any other, and makes no feed.
func (c *Cloud) ToggleOf(username, key, value string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.accounts[strings.ToLower(username)]
	if a == nil {
		return errNoAccount
	}
	err := errNoFeed
	if a.feeds[key] != nil {
		err = c.store(a, []write{{key: key, value: value}}, "dashboard")
	}
	c.note("dashboard", "", a.name+"/feeds/"+key, value, err)
	return err
}

// Ban locks an account, as if it had broken a rule.
func (c *Cloud) Ban(username string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.accounts[strings.ToLower(username)]
	if a == nil {
		return errNoAccount
	}
	c.ban(a, "asked for by a test")
	return nil
}

// Feeds are the keys of an account's feeds, sorted.
func (c *Cloud) Feeds(username string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.accounts[strings.ToLower(username)]
	if a == nil {
		return nil
	}
	return a.keys()
}

// Points are what a feed holds, in the order of arrival.
func (c *Cloud) Points(username, key string) []Point {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.accounts[strings.ToLower(username)]; a != nil && a.feeds[key] != nil {
		return append([]Point(nil), a.feeds[key].points...)
	}
	return nil
}

// Last is the newest value of a feed of the first account, and whether it has one.
func (c *Cloud) Last(key string) (string, bool) {
	points := c.Points(c.rules.username, key)
	if len(points) == 0 {
		return "", false
	}
	return points[len(points)-1].Value, true
}

// Username is the first account's name.
func (c *Cloud) Username() string { return c.rules.username }

// note records an event; err, where there is one, is why it was refused.
func (c *Cloud) note(what, client, topic, payload string, err error) {
	e := emulator.Event{What: what, ClientID: client, Topic: topic, Payload: payload, Accepted: err == nil}
	if err != nil {
		e.Why = err.Error()
	}
	c.Add(e)
}
