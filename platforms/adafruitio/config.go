package adafruitio

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/platforms"
)

// Kind is Adafruit IO as the configuration knows it.
var Kind = platforms.Kind{
	Name:  "adafruit-io",
	Title: "Adafruit IO",
	NewCloud: func() any {
		return &Cloud{
			Connection: platforms.Connection{URL: defaultURL, KeepAlive: defaultKeepAlive},
			Plan:       "free",
		}
	},
	NewPlace: func() any { return &Place{} },
	Open:     open,
	Target:   target,
	Source:   source,
}

// What holds where the configuration says nothing.
const (
	defaultHost      = "io.adafruit.com"
	defaultURL       = "mqtts://" + defaultHost + ":8883"
	defaultAPI       = "https://" + defaultHost + "/api/v2"
	defaultKeepAlive = time.Minute
	// maxKeepAlive: clients that are silent for five minutes are dropped.
	maxKeepAlive = 5 * time.Minute
)

// whereIsTheKey is the hint for both strings of the login.
const whereIsTheKey = `sign in at io.adafruit.com and click the yellow key icon: "Username" and "Active Key" stand there`

// Cloud holds the keys of a [cloud.x] table with platform = "adafruit-io".
type Cloud struct {
	platforms.Connection
	Username string      `toml:"username"`
	Key      mqtt.Secret `toml:"key"`
	// Plan is "free" or "plus" (IO+).
	Plan string `toml:"plan"`
	// PointsPerMinute and MaxFeeds replace the plan's figures; zero keeps them.
	PointsPerMinute int `toml:"points_per_minute"`
	MaxFeeds        int `toml:"max_feeds"`
}

// plan is what an account of Adafruit IO may do; no feeds means that there is no known limit.
type plan struct{ points, feeds int }

var plans = map[string]plan{
	"free": {points: 30, feeds: 10},
	"plus": {points: 60},
}

// open checks the table and makes the platform of it.
func open(cloud any) (platforms.Platform, error) {
	c, ok := cloud.(*Cloud)
	if !ok {
		return nil, fmt.Errorf("adafruit-io cannot be opened with a %T", cloud)
	}
	var problems []error
	blame := func(key, text, hint string) {
		problems = append(problems, &platforms.KeyError{Key: key, Text: text, Hint: hint})
	}
	checkLogin(c, blame)
	session, faults := c.Session("mqtts")
	problems = append(problems, faults...)
	checkConnection(c, &session, blame)
	if c.APIURL != "" {
		if err := platforms.CheckAPI(c.APIURL, defaultAPI); err != nil {
			problems = append(problems, err)
		}
	}
	chosen, ok := plans[c.Plan]
	if !ok {
		blame("plan", fmt.Sprintf("there is no plan %q", c.Plan),
			`write "free" (30 points a minute, 10 feeds) or "plus" (60 points a minute); with IO Boost add points_per_minute`)
	}
	if c.PointsPerMinute < 0 {
		blame("points_per_minute", fmt.Sprintf("%d is not a number of points", c.PointsPerMinute), "the free plan has 30, IO+ has 60")
	} else if c.PointsPerMinute > 0 {
		chosen.points = c.PointsPerMinute
	}
	if c.MaxFeeds < 0 {
		blame("max_feeds", fmt.Sprintf("%d is not a number of feeds", c.MaxFeeds), "the free plan has 10")
	} else if c.MaxFeeds > 0 {
		chosen.feeds = c.MaxFeeds
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	at, err := url.Parse(session.URL)
	if err != nil {
		return nil, err
	}
	return &Platform{user: c.Username, session: session, plan: chosen, host: at.Host, api: apiOf(c, at.Hostname())}, nil
}

func checkLogin(c *Cloud, blame func(key, text, hint string)) {
	switch {
	case c.Username == "":
		blame("username", "the name of the Adafruit account is missing", whereIsTheKey)
	case strings.Contains(c.Username, "@"):
		blame("username", fmt.Sprintf("%q is an e-mail address", c.Username), "write the user name, not the address: "+whereIsTheKey)
	case strings.ContainsFunc(c.Username, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("/+#$", r) }):
		// The name becomes the first level of every topic: with a slash or a wildcard it would lead out of the account.
		blame("username", fmt.Sprintf("%q cannot be a user name of Adafruit IO", c.Username), whereIsTheKey)
	}
	switch key := c.Key.Reveal(); {
	case key == "":
		blame("key", "the key of the Adafruit account is missing", whereIsTheKey+"; put it into a file and write key_file")
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		blame("key", "the key has a space or another character that no key has", "copy it again: "+whereIsTheKey)
	}
}

// checkConnection adds to what holds for any cloud what holds here.
func checkConnection(c *Cloud, o *mqtt.Options, blame func(key, text, hint string)) {
	if o.Protocol == mqtt.V5 {
		blame("protocol", "Adafruit IO speaks MQTT 3.1.1, not 5", `leave it out, or write "3.1.1"`)
	}
	if o.KeepAlive > maxKeepAlive {
		blame("keepalive", fmt.Sprintf("%v is too long", o.KeepAlive), `Adafruit IO drops who is silent for 5 minutes: write "60s"`)
	}
	// Adafruit IO documents no kept session, and whoever takes a client id that is in use ends the other connection. A
	// will must be a feed, and one that is not locks the account: there is none.
	o.Protocol, o.CleanStart = mqtt.V311, true
	if o.KeepAlive == 0 {
		o.KeepAlive = defaultKeepAlive
	}
	o.Username, o.Password = c.Username, c.Key
}

// apiOf is the REST side. An address of MQTT that is not Adafruit's own, as of an emulator or a proxy, says nothing of
// a REST side, and the account's key must not go to the real one unasked.
func apiOf(c *Cloud, host string) string {
	switch {
	case c.APIURL != "":
		return strings.TrimSuffix(c.APIURL, "/")
	case strings.EqualFold(host, defaultHost):
		return defaultAPI
	}
	return ""
}
