package main

import (
	"fmt"
	"time"

	"cloudbridge/bridge"
	"cloudbridge/platforms"
)

// howOften says for people how often readings of a rule go up, and why not more often.
func howOften(cfg *bridge.Config, u *bridge.Uplink) string {
	cl := cloudOf(cfg, u)
	if cl == nil {
		return ""
	}
	text := pace(cfg, u, cl.Platform)
	if u.MinChange > 0 {
		text += fmt.Sprintf(", when it changed by %s or more", number(u.MinChange))
	}
	if u.AtLeastEvery > 0 {
		text += ", at least every " + span(u.AtLeastEvery)
	}
	return text
}

func pace(cfg *bridge.Config, u *bridge.Uplink, p platforms.Platform) string {
	l := p.Limits()
	switch {
	case l.Kind == platforms.Rows && l.Interval > 0:
		return fmt.Sprintf("at most one row every %s%s", span(max(bridge.Paced(l.Interval), u.Every)), aggregate(u, " of the readings"))
	case l.Kind == platforms.Budgeted && l.PerMinute > 0 && u.Keep == "all":
		return fmt.Sprintf("every reading, %d points a minute for the whole account", l.PerMinute)
	case l.Kind == platforms.Budgeted && l.PerMinute > 0:
		n, open := addresses(cfg, p.Account())
		share := "feeds share"
		if open && l.MaxAddresses > n {
			n, share = l.MaxAddresses, "feeds at most share"
		}
		if n == 1 {
			share = "feed has"
		}
		each := bridge.FairShare(n, l.PerMinute)
		return fmt.Sprintf("about every %s%s (%d %s %d points a minute)", span(max(each.Round(100*time.Millisecond), u.Every)),
			aggregate(u, " of the readings"), n, share, l.PerMinute)
	case u.Every > 0:
		return "at most every " + span(u.Every) + aggregate(u, " of the readings")
	case u.Keep == "latest":
		return "the newest, at once"
	}
	return "each reading, at once"
}

// aggregate says what becomes of the readings of one interval.
func aggregate(u *bridge.Uplink, of string) string {
	switch u.Aggregate {
	case "", "last":
		return ""
	case "min", "max":
		return ": the " + u.Aggregate + "imum" + of
	case "count":
		return ": the number" + of
	}
	return ": the " + u.Aggregate + of
}

// cloudOf gives the cloud that a rule writes to; the first one where the rule's cloud is a template.
func cloudOf(cfg *bridge.Config, u *bridge.Uplink) *bridge.Cloud {
	for i := range cfg.Clouds {
		if u.Cloud.Could(cfg.Clouds[i].Name) {
			return &cfg.Clouds[i]
		}
	}
	return nil
}

func cloudNamed(cfg *bridge.Config, name string) *bridge.Cloud {
	for i := range cfg.Clouds {
		if cfg.Clouds[i].Name == name {
			return &cfg.Clouds[i]
		}
	}
	return nil
}

// addresses counts the places that the rules of an account write to; open is true where a rule can write to more than one,
// so that nobody knows how many there will be.
func addresses(cfg *bridge.Config, account string) (n int, open bool) {
	seen := map[string]bool{}
	for i := range cfg.Uplinks {
		u := &cfg.Uplinks[i]
		cl := cloudOf(cfg, u)
		if cl == nil || cl.Platform.Account() != account {
			continue
		}
		for _, t := range targets(u) {
			name, constant := t.target.Name.Constant()
			if !constant {
				open = true
				continue
			}
			seen[name] = true
		}
	}
	return max(len(seen), 1), open
}
