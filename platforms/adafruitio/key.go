package adafruitio

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxKey is the longest feed or group key that Adafruit IO makes.
const maxKey = 128

// groupPrefix marks the address of a whole group. A key has no slash, so no feed, and no pattern for feeds, can be taken
// for one.
const groupPrefix = "group/"

// defaultGroup is where Adafruit IO puts every feed whose key has no group.
const defaultGroup = "default"

// Key turns a name into the key that Adafruit IO gives a feed or a group of that name: lower case letters, digits and
// single dashes. Different names can have one key; whoever has several names compares their keys to see it.
func Key(name string) (string, error) {
	if name == "" {
		return "", errors.New("an empty name cannot be the key of a feed")
	}
	var b strings.Builder
	for _, r := range name {
		switch {
		case r >= utf8.RuneSelf:
			return "", fmt.Errorf("%q cannot be the key of a feed: Adafruit IO takes only a-z, 0-9 and dashes", name)
		case r >= 'A' && r <= 'Z':
			b.WriteRune(r + 'a' - 'A')
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		default:
			// Everything else parts words. A key that Adafruit IO makes of a name has one dash between two words and none at
			// an end.
			if s := b.String(); s != "" && !strings.HasSuffix(s, "-") {
				b.WriteByte('-')
			}
		}
	}
	key := strings.TrimSuffix(b.String(), "-")
	if key == "" {
		return "", fmt.Errorf("%q cannot be the key of a feed: it has neither a letter nor a digit", name)
	}
	if len(key) > maxKey {
		return "", fmt.Errorf("%q is too long for the key of a feed: %d characters, Adafruit IO takes %d", name, len(key), maxKey)
	}
	return key, nil
}

// isKey says whether s is a key already.
func isKey(s string) bool {
	key, err := Key(s)
	return err == nil && key == s
}

// feedKey puts group and feed together. The bare key and the key in the default group are one feed, so it has one name.
func feedKey(group, feed string) string {
	if group == "" || group == defaultGroup {
		return feed
	}
	return group + "." + feed
}

// splitFeed takes feedKey apart; a bare key is in the default group.
func splitFeed(name string) (group, feed string) {
	if group, feed, ok := strings.Cut(name, "."); ok {
		return group, feed
	}
	return defaultGroup, name
}

// checkName says whether an address name is a feed or a group of this account, and nothing else: what passes here can
// be put into a topic.
func checkName(name string) error {
	if group, ok := strings.CutPrefix(name, groupPrefix); ok {
		if !isKey(group) {
			return fmt.Errorf("%q is not the key of a group", group)
		}
		return nil
	}
	group, feed, dotted := strings.Cut(name, ".")
	if !dotted {
		feed = group
	}
	if !isKey(group) || !isKey(feed) {
		return fmt.Errorf("%q is not the key of a feed", name)
	}
	return nil
}
