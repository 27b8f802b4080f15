package config

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloudbridge/bridge"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// forecast warns of what a configuration that has no fault will run into. It says only what can be known without seeing a
// reading: the plan's figures, and those of the rules that name their rate.
func (l *loader) forecast() {
	l.forecastIdle()
	for _, c := range l.opened() {
		lim := c.platform.Limits()
		switch {
		case lim.PerMinute > 0:
			l.forecastBudget(c, lim)
		case lim.Interval > 0:
			l.forecastRows(c, lim)
		}
		l.forecastAge(c)
		if c.kind.TakesAnyTopic && everybodys(c.platform) {
			l.forecastPublic(c)
		}
	}
	for _, u := range l.up {
		l.forecastEach(u)
	}
	l.forecastShared()
}

// opened lists the clouds in the order of the files.
func (l *loader) opened() []*cloud {
	var out []*cloud
	for _, name := range l.cloudNames() {
		if c := l.clouds[name]; c != nil && c.platform != nil {
			out = append(out, c)
		}
	}
	return out
}

func (u *uplink) goesTo(c *cloud) bool { return slices.Contains(u.clouds, c) }

func (l *loader) forecastIdle() {
	if len(l.up)+len(l.down) == 0 {
		l.warn(l.root, "there is no rule, so nothing is carried", "write an [[uplink]] or a [[downlink]]")
		return
	}
	for _, c := range l.opened() {
		used := slices.ContainsFunc(l.up, func(u uplink) bool { return u.goesTo(c) }) ||
			slices.ContainsFunc(l.down, func(d downlink) bool { return d.Cloud == c.name })
		if !used {
			l.warn(c.table, fmt.Sprintf("no rule names cloud %q: it is connected to and nothing more", c.name), "write a rule, or take the table out")
		}
	}
}

// named is one place that uplinks write to: its name at the cloud, and the rule that names it first.
type named struct {
	name, written string
	rule          *uplink
	// every is the quickest sampling that a rule asks for; zero where one asks for none.
	every time.Duration
}

// namesOf lists the constant names that rules write to in an account, and says whether there may be more, which only the
// captures will tell.
func (l *loader) namesOf(c *cloud) (list []named, open bool) {
	account, at := c.platform.Account(), map[string]int{}
	for i := range l.up {
		u := &l.up[i]
		if !slices.ContainsFunc(u.clouds, func(o *cloud) bool { return o.platform.Account() == account }) {
			continue
		}
		for _, t := range u.inOrder() {
			name, ok := constant(t)
			if ok && c.fillsNone(name, t) {
				ok = false
			}
			if !ok {
				open = true
				continue
			}
			if j, ok := at[name]; ok {
				l.oneKey(u, list[j], t.Name.String())
				list[j].every = min(list[j].every, u.Every)
				continue
			}
			at[name] = len(list)
			list = append(list, named{name: name, written: t.Name.String(), rule: u, every: u.Every})
		}
	}
	return list, open
}

// fillsNone says whether a name, such as a group of feeds, stands for places that only the message will name.
func (c *cloud) fillsNone(name string, t *mappings.Target) bool {
	filler, ok := c.platform.(platforms.Filler)
	if !ok {
		return false
	}
	p := mappings.Point{Name: name}
	for _, s := range t.Parts {
		p.Parts = append(p.Parts, mappings.Part{Name: s.Name})
	}
	return len(filler.Fills(p)) == 0
}

// oneKey warns where two names that differ become one at the cloud.
func (l *loader) oneKey(u *uplink, first named, written string) {
	if written != first.written {
		l.warn(u.table, fmt.Sprintf("%q and %q (%s) are one at the cloud: %q", written, first.written, first.rule.label, first.name),
			"write the same name if that is meant, or names that differ in more than capitals and signs")
	}
}

// forecastBudget is for an account with so many points a minute.
func (l *loader) forecastBudget(c *cloud, lim platforms.Limits) {
	list, open := l.namesOf(c)
	if lim.MaxAddresses > 0 && len(list) > lim.MaxAddresses {
		var over []string
		for _, n := range list[lim.MaxAddresses:] {
			over = append(over, n.name)
		}
		l.warn(c.table, fmt.Sprintf("the rules name %d feeds and the account of cloud %q has %d: %s will be refused",
			len(list), c.name, lim.MaxAddresses, strings.Join(over, ", ")), "use fewer, or set max_feeds if your plan has more")
	}
	feeds := max(len(list), 1)
	fair := bridge.FairShare(feeds, lim.PerMinute)
	about := "each about every " + short(fair)
	if open {
		about += ", and longer with each feed that a capture adds"
	}
	for i := range l.up {
		u := &l.up[i]
		if !u.goesTo(c) {
			continue
		}
		key, ok := u.table.child["every"]
		if ok && u.Every < fair && u.Keep != "all" {
			l.warn(key, fmt.Sprintf("every = %q is quicker than cloud %q allows: %d points a minute for %s, %s",
				short(u.Every), c.name, lim.PerMinute, count(feeds, "feed"), about), "it is raised to that")
		}
		if u.Keep == "all" {
			l.keepAll(c, u, lim, feeds, about)
		}
	}
}

// keepAll answers keep = "all" on a rate-limited account with the figures.
func (l *loader) keepAll(c *cloud, u *uplink, lim platforms.Limits, feeds int, about string) {
	message := fmt.Sprintf("keep = \"all\": cloud %q takes %d points a minute for %s, %s; what comes quicker waits, later and later",
		c.name, lim.PerMinute, count(feeds, "feed"), about)
	if u.Every > 0 {
		made := float64(time.Minute) / float64(u.Every) * float64(u.places())
		if made <= float64(lim.PerMinute)/1.05 {
			return
		}
		message = fmt.Sprintf("keep = \"all\": this rule makes %.0f points a minute and cloud %q takes %d for all its rules: "+
			"%.0f a minute would wait, later and later", made, c.name, lim.PerMinute, made-float64(lim.PerMinute)/1.05)
	}
	l.warn(u.table.child["keep"], message, "leave keep out to send the newest, or set a longer every")
}

// places is how many places a rule is known to write to.
func (u *uplink) places() int {
	if u.Each != nil {
		return max(len(u.Each.Targets), 1)
	}
	return 1
}

// forecastRows is for a cloud that takes one row in an interval and so many a year.
func (l *loader) forecastRows(c *cloud, lim platforms.Limits) {
	list, open := l.namesOf(c)
	least := bridge.Paced(lim.Interval)
	const year = 365 * 24 * time.Hour
	rows := 0.0
	for _, n := range list {
		rows += float64(year) / float64(max(least, n.every))
	}
	same := l.together(c)
	told := same[0] != c && same[0].platform.Limits() == lim
	if lim.MessagesPerYear > 0 && rows > float64(lim.MessagesPerYear) && !told {
		more := ""
		if open {
			more = " at the least"
		}
		enough := time.Duration(float64(year)*float64(len(list))/float64(lim.MessagesPerYear)).Truncate(time.Second) + time.Second
		l.warn(c.table, fmt.Sprintf("%s of %s, written as often as the plan allows, make %s messages a year%s; it has %s",
			count(len(list), "channel"), cloudWords(same), millions(rows), more, millions(float64(lim.MessagesPerYear))),
			fmt.Sprintf("if readings come that often all year, write every = %q into the rules", short(enough)))
	}
	for i := range l.up {
		u := &l.up[i]
		if key, ok := u.table.child["every"]; ok && u.goesTo(c) && u.Every < least {
			l.warn(key, fmt.Sprintf("every = %q is quicker than cloud %q allows, a row each %s and a margin", short(u.Every), c.name, short(lim.Interval)),
				"it is raised to "+short(least))
		}
	}
}

// together lists the clouds whose places count together, for they may be of one account.
func (l *loader) together(c *cloud) []*cloud {
	return slices.DeleteFunc(l.opened(), func(o *cloud) bool { return o.platform.Account() != c.platform.Account() })
}

// cloudWords names clouds as people do.
func cloudWords(list []*cloud) string {
	var names []string
	for _, c := range list {
		names = append(names, strconv.Quote(c.name))
	}
	if len(names) == 1 {
		return "cloud " + names[0]
	}
	return "clouds " + strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1] + " together"
}

// forecastAge warns where some downlinks of a cloud have no age and others do: one connection serves them all.
func (l *loader) forecastAge(c *cloud) {
	var without, with *downlink
	for i := range l.down {
		d := &l.down[i]
		if d.Cloud != c.name {
			continue
		}
		if d.MaxAge == 0 {
			without = d
		} else {
			with = d
		}
	}
	if without != nil && with != nil {
		l.warn(without.table.child["max_age"], fmt.Sprintf("max_age = \"none\" here and %s at %s share cloud %q: while the bridge is away the cloud keeps nothing for either",
			short(with.MaxAge), with.label, c.name), "for data that must not be lost give it a cloud table of its own, where every rule says \"none\"")
	}
}

// publicBrokers are open to everybody, whatever username is given.
var publicBrokers = []string{
	"broker.hivemq.com", "broker.emqx.io", "test.mosquitto.org", "mqtt.eclipseprojects.io", "mqtt.fluux.io", "broker.mqttdashboard.com",
}

// everybodys says whether a broker lets everybody in: one of the known test brokers, or one outside of this network that
// asks for no login.
func everybodys(p platforms.Platform) bool {
	o, ok := p.Session()
	if !ok {
		return false
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return false
	}
	host := strings.ToLower(u.Hostname())
	if slices.Contains(publicBrokers, host) {
		return true
	}
	return o.Username == "" && o.TLS.ClientCertFile == "" && platforms.Public(host)
}

// forecastPublic warns of what strangers will read, and of whom they can command.
func (l *loader) forecastPublic(c *cloud) {
	for i := range l.up {
		u := &l.up[i]
		if f := u.Local.Filter(); u.goesTo(c) && (strings.HasSuffix(f, "#") || strings.HasPrefix(f, "+")) {
			l.warn(u.table.child["local"], fmt.Sprintf("every message of %s goes to cloud %q, which everybody can read", f, c.name),
				"name the topics that strangers may see")
		}
	}
	for i := range l.down {
		if d := &l.down[i]; d.Cloud == c.name {
			l.warn(d.table, fmt.Sprintf("commands come from cloud %q, where everybody can publish: strangers can switch what this rule switches", c.name),
				"use a broker with a password for commands")
		}
	}
}

// forecastEach warns of entries that no topic selects.
func (l *loader) forecastEach(u uplink) {
	if u.Each == nil || strings.Contains(u.Local.String(), "{"+u.Each.Capture+"...}") {
		return
	}
	list := u.table.child["each"].child[u.Each.Capture]
	for _, value := range list.names {
		if value == "" || strings.ContainsAny(value, "/") {
			l.warn(list.child[value], fmt.Sprintf("no topic can select this entry: {%s} is one level of a topic and never %q", u.Each.Capture, value), "")
		}
	}
}

// short writes a time without the zeros that Go's own form has.
func short(d time.Duration) string {
	switch {
	case d >= time.Minute:
		d = d.Round(time.Second)
	default: // The pace of a free ThingSpeak channel is 15.75s, and is called so everywhere.
		d = d.Round(10 * time.Millisecond)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func millions(f float64) string { return fmt.Sprintf("%.1f million", f/1e6) }
