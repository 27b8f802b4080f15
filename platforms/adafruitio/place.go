package adafruitio

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// Place holds the place keys of a rule. Feed and Group are templates in an uplink and patterns in a downlink.
type Place struct {
	Feed  string `toml:"feed"`
	Group string `toml:"group"`
	// Lat, Lon and Ele are expressions, or numbers for a board that stays where it is.
	Lat any `toml:"lat"`
	Lon any `toml:"lon"`
	Ele any `toml:"ele"`
}

// The parts of a point. The value is the part without a name.
const (
	partLat = "lat"
	partLon = "lon"
	partEle = "ele"
)

// names are feed and group of a place after what both ways have in common: {bridge} put in as a key, and a feed written
// with its group ("station.temp") taken apart.
type names struct{ group, feed string }

func (pl *Place) names(bridge string) (names, error) {
	n := names{group: pl.Group, feed: pl.Feed}
	if n.group == "" && n.feed == "" {
		return n, &platforms.KeyError{
			Key: "feed", Text: "the place in Adafruit IO is missing",
			Hint: `write feed = "..." for one value, or group = "..." for a JSON object of several`,
		}
	}
	for _, k := range []struct {
		key string
		src *string
	}{{"feed", &n.feed}, {"group", &n.group}} {
		if !strings.Contains(*k.src, "{bridge}") {
			continue
		}
		key, err := Key(bridge)
		if err != nil {
			return n, &platforms.KeyError{
				Key: k.key, Text: fmt.Sprintf("{bridge} stands for %q, which cannot be part of a key", bridge),
				Hint: "give the bridge a name of a-z, 0-9 and dashes: [bridge] name", Err: err,
			}
		}
		*k.src = strings.ReplaceAll(*k.src, "{bridge}", key)
	}
	switch outside := captureText.ReplaceAllString(n.feed, ""); {
	case !strings.Contains(outside, "."):
	case n.group != "":
		return n, &platforms.KeyError{
			Key: "feed", Text: fmt.Sprintf("%q names a group, and so does the key group", pl.Feed),
			Hint: "write the feed without the group before the dot",
		}
	case strings.Count(outside, ".") > 1:
		return n, &platforms.KeyError{
			Key: "feed", Text: fmt.Sprintf("%q has more than one dot", pl.Feed),
			Hint: "a dot stands only between a group and its feed: group.feed",
		}
	default:
		at := dotOutside(n.feed)
		n.group, n.feed = n.feed[:at], n.feed[at+1:]
	}
	return n, nil
}

// captureText is a capture as it stands in a pattern or a template.
var captureText = regexp.MustCompile(`\{[^{}]*\}`)

// dotOutside finds the first dot that is not one of a capture's own ({rest...}).
func dotOutside(s string) int {
	in := captureText.FindAllStringIndex(s, -1)
	for i := 0; i < len(s); i++ {
		if len(in) > 0 && i == in[0][0] {
			i, in = in[0][1]-1, in[1:]
			continue
		}
		if s[i] == '.' {
			return i
		}
	}
	return -1
}

// target compiles a place as the destination of an uplink.
func target(_ platforms.Platform, place any, scope mappings.Scope) (*mappings.Target, error) {
	pl, ok := place.(*Place)
	if !ok {
		return nil, fmt.Errorf("adafruit-io has no place in a %T", place)
	}
	t := &mappings.Target{Parts: []mappings.PartSpec{{}}}
	var problems []error
	if n, err := pl.names(scope.Bridge); err != nil {
		problems = append(problems, err)
	} else if t.Name, t.Fix, err = n.template(scope); err != nil {
		problems = append(problems, err)
	}
	location, err := pl.location(scope)
	if err != nil {
		problems = append(problems, err)
	}
	t.Parts = append(t.Parts, location...)
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return t, nil
}

// template makes the template of the address, and what turns its expansion into keys. A constant is checked here, once.
func (n names) template(scope mappings.Scope) (*mappings.Template, func(string) (string, error), error) {
	group, err := keyTemplate(scope, "group", n.group)
	if err != nil {
		return nil, nil, err
	}
	feed, err := keyTemplate(scope, "feed", n.feed)
	if err != nil {
		return nil, nil, err
	}
	src, fix := n.feed, fixFeed
	switch {
	case n.feed == "" && group.constant:
		src, fix = groupPrefix+n.group, nil
	case n.feed == "":
		src, fix = groupPrefix+n.group, fixGroup
	case group.constant && feed.constant:
		src, fix = feedKey(n.group, n.feed), nil
	case n.group != "":
		src, fix = n.group+"."+n.feed, n.fixer(group.constant, feed.constant)
	}
	t, err := scope.Template(src)
	return t, fix, err
}

// checked is what keyTemplate found: an empty template counts as a constant.
type checked struct{ constant bool }

// keyTemplate checks the template of one key, where the place inside it can still be shown.
func keyTemplate(scope mappings.Scope, key, src string) (checked, error) {
	if src == "" {
		return checked{constant: true}, nil
	}
	t, err := scope.Template(src)
	if err != nil {
		return checked{}, platforms.Blame(key, err)
	}
	text, constant := t.Constant()
	if constant && !isKey(text) {
		return checked{}, notAKey(key, text)
	}
	return checked{constant: constant}, nil
}

// notAKey names the valid key of what is not one, where it has one.
func notAKey(what, name string) error {
	e := &platforms.KeyError{Key: what, Text: fmt.Sprintf("%q is not the key of a %s", name, what)}
	if key, err := Key(name); err != nil {
		e.Hint = "a key has only a-z, 0-9 and dashes; Adafruit IO shows it under " + what + " info"
	} else {
		e.Hint = fmt.Sprintf("write %q: a key has only a-z, 0-9 and dashes, and Adafruit IO gives this one to that name", key)
	}
	return e
}

// fixFeed is Key for what a capture brought, with the way out where it cannot be a key.
func fixFeed(name string) (string, error) {
	key, err := Key(name)
	if err != nil {
		return "", fmt.Errorf("%w; name the feed in the rule, with each.<capture>.<its text> = { feed = \"...\" }", err)
	}
	return key, nil
}

func fixGroup(name string) (string, error) {
	key, err := fixFeed(strings.TrimPrefix(name, groupPrefix))
	if err != nil {
		return "", err
	}
	return groupPrefix + key, nil
}

// fixer mends group and feed of an expanded name. A dot that a capture brought is like any other character that no key
// has; only where group and feed both have captures can it not be told from the dot between them. What is mended already,
// the bare key of a feed of the default group too, stays as it is.
func (n names) fixer(groupFixed, feedFixed bool) func(string) (string, error) {
	return func(name string) (string, error) {
		group, feed, dotted := strings.Cut(name, ".")
		switch {
		case groupFixed:
			group, feed = n.group, strings.TrimPrefix(name, n.group+".")
		case !dotted:
			group, feed = defaultGroup, name
		case feedFixed:
			group, feed = strings.TrimSuffix(name, "."+n.feed), n.feed
		case strings.Contains(feed, "."):
			return "", fmt.Errorf("%q cannot be told apart into a group and a feed: write a constant group or feed", name)
		}
		g, err := fixFeed(group)
		if err != nil {
			return "", fmt.Errorf("group: %w", err)
		}
		f, err := fixFeed(feed)
		if err != nil {
			return "", err
		}
		return feedKey(g, f), nil
	}
}

// location compiles lat, lon and ele. Adafruit IO takes a position whole or not at all.
func (pl *Place) location(scope mappings.Scope) ([]mappings.PartSpec, error) {
	var parts []mappings.PartSpec
	var problems []error
	for _, k := range []struct {
		key string
		src any
	}{{partLat, pl.Lat}, {partLon, pl.Lon}, {partEle, pl.Ele}} {
		if k.src == nil {
			continue
		}
		e, err := number(scope, k.key, k.src)
		if err != nil {
			problems = append(problems, err)
		}
		parts = append(parts, mappings.PartSpec{Name: k.key, Value: e, Optional: true})
	}
	if len(parts) > 0 && (pl.Lat == nil || pl.Lon == nil) {
		missing := partLat
		if pl.Lat != nil {
			missing = partLon
		}
		problems = append(problems, &platforms.KeyError{
			Key: missing, Text: "a position needs both lat and lon", Hint: "add " + missing,
		})
	}
	return parts, errors.Join(problems...)
}

// number is an expression, or a number written as such.
func number(scope mappings.Scope, key string, src any) (*mappings.Expr, error) {
	var f float64
	switch v := src.(type) {
	case string:
		e, err := scope.Expr(v, mappings.WantAny)
		if err != nil {
			return nil, platforms.Blame(key, err)
		}
		return e, nil
	case int64:
		f = float64(v)
	case float64:
		f = v
	default:
		return nil, &platforms.KeyError{Key: key, Text: "neither a number nor an expression", Hint: `write 25.03 or "json.` + key + `"`}
	}
	if err := inRange(key, f); err != nil {
		return nil, &platforms.KeyError{Key: key, Text: err.Error(), Hint: "write degrees, as 25.03 for the north and -25.03 for the south", Err: err}
	}
	return mappings.ConstNumber(f), nil
}

// source compiles a place as the source of a downlink.
func source(p platforms.Platform, place any, scope mappings.Scope) (*mappings.Source, error) {
	pl, ok := place.(*Place)
	if !ok {
		return nil, fmt.Errorf("adafruit-io has no place in a %T", place)
	}
	for key, src := range map[string]any{partLat: pl.Lat, partLon: pl.Lon, partEle: pl.Ele} {
		if src != nil {
			return nil, &platforms.KeyError{Key: key, Text: "a downlink reads values, not positions", Hint: "leave it out"}
		}
	}
	n, err := pl.names(scope.Bridge)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkPattern("group", n.group), checkPattern("feed", n.feed)); err != nil {
		return nil, err
	}
	src, blamed := feedKey(n.group, n.feed), "feed"
	if n.feed == "" {
		src, blamed = groupPrefix+n.group, "group"
	}
	pattern, err := mappings.ParsePattern(src, scope.Bridge)
	if err != nil {
		return nil, platforms.Blame(blamed, err)
	}
	return &mappings.Source{Name: pattern}, nil
}

// checkPattern refuses a pattern that no key could match. A bare + is fine: it is every feed.
func checkPattern(what, src string) error {
	if src == "" || src == "+" {
		return nil
	}
	if strings.Contains(src, "...}") || strings.Contains(src, "#") {
		return &platforms.KeyError{
			Key: what, Text: fmt.Sprintf("%q asks for several levels, and a key has none", src),
			Hint: `write "{name}" for any ` + what,
		}
	}
	if strings.Contains(src, "+") {
		return &platforms.KeyError{Key: what, Text: fmt.Sprintf("a + in %q must be alone", src), Hint: "write {name} instead"}
	}
	// A capture may stand for any characters of a key, and "x" is one.
	if isKey(captureText.ReplaceAllString(src, "x")) {
		return nil
	}
	if !strings.Contains(src, "{") {
		return notAKey(what, src)
	}
	return &platforms.KeyError{
		Key: what, Text: fmt.Sprintf("no key matches %q", src),
		Hint: "a key has only a-z, 0-9 and dashes: write everything outside the braces so",
	}
}
