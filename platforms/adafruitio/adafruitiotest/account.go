package adafruitiotest

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/tidwall/gjson"

	"cloudbridge/platforms/emulator"
)

// account is one user. The mutex of the Cloud guards it.
type account struct {
	name, key        string
	points, maxFeeds int
	feeds            map[string]*feed // by key, "temp" or "station.temp"
	groups           map[string]bool

	spent, logins, subscribes, failures, overruns, bans window
	bannedUntil                                         time.Time
}

type feed struct {
	key       string
	id        int
	points    []Point
	shared    bool
	noHistory bool
}

// kept is how many points a feed holds at least; an emulator that runs for days must not grow.
const kept = 10_000

// defaultGroup holds the feeds whose key names no group.
const defaultGroup = "default"

// split takes a feed's key apart.
func split(key string) (group, feed string) {
	if group, feed, ok := strings.Cut(key, "."); ok {
		return group, feed
	}
	return defaultGroup, key
}

// keys are the keys of the feeds, sorted.
func (a *account) keys() []string { return slices.Sorted(maps.Keys(a.feeds)) }

// window counts what happened within a span of time that slides along.
type window struct{ at []time.Time }

func (w *window) add(now time.Time, n int) {
	for range n {
		w.at = append(w.at, now)
	}
}

// count forgets what is older than span, and counts the rest.
func (w *window) count(now time.Time, span time.Duration) int {
	old := 0
	for old < len(w.at) && now.Sub(w.at[old]) >= span {
		old++
	}
	w.at = w.at[old:]
	return len(w.at)
}

// free is how long it takes until at most n are left. It follows a count.
func (w *window) free(now time.Time, span time.Duration, n int) time.Duration {
	if len(w.at) <= n {
		return 0
	}
	return w.at[len(w.at)-n-1].Add(span).Sub(now)
}

// asPlatform writes a time of ours as the platform would name it: with shortened limits a whole minute is still sixty
// seconds in words, so that a bridge which shortens its own times by as much understands it.
func (c *Cloud) asPlatform(d time.Duration) int {
	s := float64(d) / float64(c.rules.minute) * 60
	n := int(s)
	if float64(n) < s {
		n++
	}
	return max(n, 1)
}

// throttledError is how a write beyond the budget is refused.
type throttledError struct {
	user    string
	seconds int
}

func (e *throttledError) Error() string {
	return fmt.Sprintf("%s data rate limit reached, %d seconds until throttle released", e.user, e.seconds)
}

var errBlocked = errors.New("rejected, user is temporarily blocked")

func (c *Cloud) banned(a *account) bool { return time.Now().Before(a.bannedUntil) }

// ban locks an account and ends its connections a moment later, when they have been told.
func (c *Cloud) ban(a *account, why string) {
	now := time.Now()
	if c.banned(a) {
		return
	}
	n := min(a.bans.count(now, bansInAnHour*c.rules.ban)+1, bansInAnHour)
	a.bans.add(now, 1)
	a.bannedUntil = now.Add(time.Duration(n) * c.rules.ban)
	c.Add(emulator.Event{What: "ban", Topic: a.name, Why: why})
	c.tell(a, "errors", fmt.Sprintf("%s enforcement limit reached, your account is banned for %d seconds", a.name, 30*n))
	c.After(kickAfter, func() {
		for _, cl := range c.Server.Clients.GetAll() {
			if !cl.Net.Inline && strings.EqualFold(string(cl.Properties.Username), a.name) {
				c.Kick(cl, packets.ErrBanned)
			}
		}
	})
}

// tell sends a notice to the account's own topic throttle or errors. They were seen to come in double quotes.
func (c *Cloud) tell(a *account, topic, text string) {
	_ = c.Publish(a.name+"/"+topic, []byte(`"`+text+`"`), 1, false)
}

// fail tells of a PUBLISH or SUBSCRIBE that was refused, and bans who has too many of them.
func (c *Cloud) fail(a *account, cl *mochi.Client, action, topic string, why error) {
	host, _, err := net.SplitHostPort(cl.Net.Remote)
	if err != nil {
		host = cl.Net.Remote
	}
	c.tell(a, "errors", fmt.Sprintf("%s %s %s %s %s", cl.ID, host, action, topic, why))
	now := time.Now()
	a.failures.add(now, 1)
	if a.failures.count(now, c.rules.minute) > c.rules.failures {
		c.ban(a, fmt.Sprintf("more than %d failures in a minute", c.rules.failures))
	}
}

// overrun counts one thing too many of those that are refused without being wrong.
func (c *Cloud) overrun(a *account, now time.Time, n int) {
	a.overruns.add(now, n)
	if a.overruns.count(now, c.rules.minute) > c.rules.overruns {
		c.ban(a, fmt.Sprintf("went on more than %d times beyond a limit", c.rules.overruns))
	}
}

// write is one value on its way into a feed.
type write struct {
	key           string
	value         string
	lat, lon, ele string
	created       time.Time
}

// store takes values into their feeds, all of them or none, and sends them to whoever reads. The topic was checked.
func (c *Cloud) store(a *account, writes []write, via string) error {
	now := time.Now()
	if c.banned(a) {
		return errBlocked
	}
	for _, w := range writes {
		if err := c.checkValue(a, w); err != nil {
			return err
		}
	}
	if err := c.checkFeeds(a, writes); err != nil {
		return err
	}
	if err := c.spend(a, now, len(writes)); err != nil {
		return err
	}
	if err := c.makeFeeds(a, writes); err != nil {
		return err
	}
	for i := range writes {
		w := &writes[i]
		f := a.feeds[w.key]
		if w.created.IsZero() {
			w.created = now
		}
		c.lastID++
		f.points = append(f.points, Point{
			ID: c.lastID, Value: w.value, Lat: w.lat, Lon: w.lon, Ele: w.ele, Created: w.created, Arrived: now, Via: via,
		})
	}
	for _, w := range writes {
		if f := a.feeds[w.key]; len(f.points) > 2*kept {
			f.points = append([]Point(nil), f.points[len(f.points)-kept:]...)
		}
	}
	c.fanOut(a, writes)
	return nil
}

// spend takes points from the budget of the minute.
func (c *Cloud) spend(a *account, now time.Time, n int) error {
	span := c.rules.minute
	used := a.spent.count(now, span)
	if used+n <= a.points {
		a.spent.add(now, n)
		return nil
	}
	if c.rules.refusedCount {
		a.spent.add(now, n)
	}
	err := &throttledError{a.name, c.asPlatform(a.spent.free(now, span, max(a.points-n, 0)))}
	c.Add(emulator.Event{What: "throttle", Topic: a.name, Why: err.Error()})
	c.overrun(a, now, n)
	return err
}

func (c *Cloud) checkValue(a *account, w write) error {
	most := c.rules.maxValue
	if f := a.feeds[w.key]; f != nil && f.noHistory {
		most = noHistoryValue
	}
	switch {
	case len(w.value) > most:
		return fmt.Errorf("rejected, value of %d bytes is larger than the limit of %d bytes", len(w.value), most)
	case w.value == "" && !c.rules.empty:
		return errors.New("rejected, value is missing")
	case !utf8.ValidString(w.value):
		return errors.New("rejected, value is not valid UTF-8")
	}
	for _, n := range []string{w.lat, w.lon, w.ele} {
		if n != "" && (!gjson.Valid(n) || gjson.Parse(n).Type != gjson.Number) {
			return fmt.Errorf("rejected, location %q is not a number", n)
		}
	}
	return nil
}

// checkFeeds says whether all these feeds are there, or can be made.
func (c *Cloud) checkFeeds(a *account, writes []write) error {
	missing := map[string]bool{}
	for _, w := range writes {
		if a.feeds[w.key] != nil {
			continue
		}
		missing[w.key] = true
		if group, _ := split(w.key); !a.groups[group] && !c.rules.createGroups {
			return errAccess
		}
	}
	if a.maxFeeds > 0 && len(missing) > 0 && len(a.feeds)+len(missing) > a.maxFeeds {
		return fmt.Errorf("rejected, feed limit reached: this plan has %d feeds", a.maxFeeds)
	}
	return nil
}

// makeFeeds makes those of the feeds that are not there.
func (c *Cloud) makeFeeds(a *account, writes []write) error {
	if err := c.checkFeeds(a, writes); err != nil {
		return err
	}
	for _, w := range writes {
		if a.feeds[w.key] == nil {
			group, _ := split(w.key)
			a.groups[group] = true
			c.lastID++
			a.feeds[w.key] = &feed{key: w.key, id: c.lastID}
		}
	}
	return nil
}
