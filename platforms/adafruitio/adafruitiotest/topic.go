package adafruitiotest

import (
	"errors"
	"strings"
)

var (
	errTopic  = errors.New("rejected, not a valid resource topic")
	errShared = errors.New("rejected, only shared feeds may be published to")
	errAccess = errors.New("rejected, resource not available or not authorized")
	errName   = errors.New("rejected, Validation failed: Name may contain only letters, digits, underscores, spaces, or dashes")
)

// place is a topic, taken apart.
type place struct {
	user   string
	group  bool
	key    string // normal
	format string // "", json or csv
	get    bool
}

// path is the topic without /get, in the words of the one who wrote it.
func (p place) path(topic string) string { return strings.TrimSuffix(topic, "/get") }

// readTopic reads a topic that is published to.
func readTopic(topic string) (place, error) {
	levels := strings.Split(topic, "/")
	if len(levels) < 3 || levels[0] == "" {
		return place{}, errTopic
	}
	p := place{user: levels[0]}
	switch levels[1] {
	case "feeds", "f":
	case "groups", "g":
		p.group = true
	default:
		return place{}, errTopic
	}
	rest := levels[3:]
	if len(rest) > 0 && (rest[0] == "json" || rest[0] == "csv") {
		p.format, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 && rest[0] == "get" {
		p.get, rest = true, rest[1:]
	}
	if len(rest) > 0 || levels[2] == "" {
		return place{}, errTopic
	}
	var err error
	if p.key, err = normal(levels[2]); err != nil {
		return place{}, err
	}
	if p.group && strings.Contains(p.key, ".") {
		return place{}, errTopic
	}
	return p, nil
}

// normal turns the name of a feed into its key. "default.temp" is the feed that "temp" is.
func normal(name string) (string, error) {
	group, feed, dotted := strings.Cut(name, ".")
	group, err := slug(group)
	if err != nil || !dotted {
		return group, err
	}
	if feed, err = slug(feed); err != nil {
		return "", err
	}
	if group == defaultGroup {
		return feed, nil
	}
	return group + "." + feed, nil
}

func slug(name string) (string, error) {
	out := make([]byte, 0, len(name))
	for _, c := range []byte(strings.ToLower(name)) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			out = append(out, c)
		case c == ' ', c == '_', c == '-':
			if n := len(out); n > 0 && out[n-1] != '-' {
				out = append(out, '-')
			}
		default:
			return "", errName
		}
	}
	key := strings.TrimSuffix(string(out), "-")
	if key == "" || len(key) > 128 {
		return "", errName
	}
	return key, nil
}

// checkFilter says whether an account may subscribe to a filter. shared asks whether a feed of another account is open.
func checkFilter(user, filter string, shared func(user, key string) bool) error {
	levels := strings.Split(filter, "/")
	if len(levels) == 2 && levels[0] == "time" && levels[1] != "" {
		return nil
	}
	if len(levels) < 2 || strings.ContainsAny(levels[0], "+#") {
		return errTopic
	}
	own := strings.EqualFold(levels[0], user)
	switch levels[1] {
	case "errors", "throttle":
		if len(levels) != 2 {
			return errTopic
		}
		if !own {
			return errAccess
		}
		return nil
	case "integration", "integrations":
		if len(levels) < 3 {
			return errTopic
		}
		if !own {
			return errAccess
		}
		return nil
	case "feeds", "f", "groups", "g":
	default:
		return errTopic
	}
	if err := checkKeyLevels(levels[2:]); err != nil {
		return err
	}
	if own {
		return nil
	}
	if (levels[1] == "feeds" || levels[1] == "f") && shared(levels[0], levels[2]) {
		return nil
	}
	return errAccess
}

// checkKeyLevels checks what follows feeds or groups: a key, and json or csv.
func checkKeyLevels(levels []string) error {
	if len(levels) == 0 || len(levels) > 2 {
		return errTopic
	}
	if levels[0] == "#" && len(levels) == 1 {
		return nil
	}
	if levels[0] != "+" {
		if _, err := normal(levels[0]); err != nil {
			return errTopic
		}
	}
	if len(levels) == 2 {
		switch levels[1] {
		case "json", "csv", "+", "#":
		default:
			return errTopic
		}
	}
	return nil
}
