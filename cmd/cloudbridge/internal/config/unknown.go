package config

import (
	"fmt"
	"slices"
	"strings"

	"cloudbridge/platforms"
)

// tablesOf gives our own tables by name, to say where a key belongs that stands in the wrong one.
func tablesOf() map[string]any {
	return map[string]any{
		"bridge": &bridgeTable{}, "local": &localTable{}, "log": &Log{}, "web": &Web{}, "metrics": &Metrics{}, "queue": &queueTable{},
	}
}

// includeHint is for whoever writes include where it looks right in TOML, at the end of the file.
const includeHint = "include is a key of the whole file: put it above the first table"

// unknownTop reports a name at the top of the file.
func (l *loader) unknownTop(name string, c *node) {
	if c.kind == broken {
		return
	}
	message := fmt.Sprintf("there is no %q at the top of a file", name)
	hint := "known are " + listed(topLevel)
	if near, ok := nearest(name, topLevel); ok {
		hint = "did you mean " + headerOf(near) + "?"
	} else if slices.Contains([]string{"clouds", "uplinks", "downlinks", "rules"}, name) {
		hint = "write " + headerOf(strings.TrimSuffix(name, "s"))
	} else if k := l.kindNamed(name); k != nil {
		hint = fmt.Sprintf("a cloud has a name of yours: write [cloud.%s] with platform = %q below it", cloudKeyOf(name), name)
	} else if t := l.tableWith(name); t != "" && !c.table() {
		hint = t
	}
	l.fault(c.src, c.key, name, message, hint)
}

func cloudKeyOf(platform string) string {
	s, _, _ := strings.Cut(platform, "-")
	return s
}

func headerOf(name string) string {
	switch name {
	case "uplink", "downlink", "twoway":
		return "[[" + name + "]]"
	case "cloud":
		return "[cloud.<name>]"
	case "include":
		return "include = [...]"
	}
	return "[" + name + "]"
}

func (l *loader) kindNamed(name string) *platforms.Kind {
	for i := range l.kinds {
		if l.kinds[i].Name == name {
			return &l.kinds[i]
		}
	}
	return nil
}

// tableWith names the tables of ours that have a key, as a hint; empty where none has.
func (l *loader) tableWith(key string) string {
	var found []string
	for _, name := range []string{"bridge", "local", "log", "web", "metrics", "queue"} {
		if slices.Contains(keysOf(tablesOf()[name]), key) {
			found = append(found, "["+name+"]")
		}
	}
	if len(found) == 0 {
		return ""
	}
	return "it belongs below " + listed(found)
}

// unknownIn reports keys of a table of ours.
func (l *loader) unknownIn(table string) func(string, *node, []string) {
	return func(key string, c *node, keys []string) {
		hint := "known are " + listed(keys)
		if near, ok := nearest(key, keys); ok {
			hint = "did you mean " + near + "?"
		} else if key == "include" {
			hint = includeHint
		} else if t := l.tableWith(key); t != "" {
			hint = t
		}
		l.fault(c.src, c.key, key, fmt.Sprintf("unknown key %q in %s", key, table), hint)
	}
}

// unknownInCloud reports keys of a cloud's table.
func (l *loader) unknownInCloud(c *cloud) func(string, *node, []string) {
	return func(key string, n *node, keys []string) {
		message := fmt.Sprintf("unknown key %q in [cloud.%s], which is %s", key, c.name, c.kind.Name)
		owners := l.owners(key, func(k *platforms.Kind) []string { return keysOf(k.NewCloud()) })
		hint := "known are " + listed(keys)
		near, ok := nearest(key, keys)
		switch {
		case key == "include":
			hint = includeHint
		case len(owners) > 0:
			hint = fmt.Sprintf("%s is a key of %s; this platform knows %s", key, listed(owners), listed(l.ownKeys(c.kind)))
		case ok:
			hint = "did you mean " + near + "?"
		case slices.Contains(keysOf(&uplinkTable{}), key):
			hint = "it belongs into a rule: [[uplink]]"
		}
		l.fault(n.src, n.key, key, message, hint)
	}
}

// ownKeys are the keys of a platform's cloud without those that all have.
func (l *loader) ownKeys(k *platforms.Kind) []string {
	shared := keysOf(&platforms.Connection{})
	return slices.DeleteFunc(keysOf(k.NewCloud()), func(key string) bool { return slices.Contains(shared, key) })
}

// owners names the platforms that have a key.
func (l *loader) owners(key string, keys func(*platforms.Kind) []string) []string {
	var out []string
	for i := range l.kinds {
		if slices.Contains(keys(&l.kinds[i]), key) {
			out = append(out, l.kinds[i].Name)
		}
	}
	return out
}

func placeKeys(k *platforms.Kind) []string { return keysOf(k.NewPlace()) }

// unknownInRule reports keys of a rule; kind is nil where its cloud is not known.
func (l *loader) unknownInRule(sort string, kind *platforms.Kind) func(string, *node, []string) {
	return func(key string, n *node, keys []string) {
		owners := l.owners(key, placeKeys)
		if kind == nil && len(owners) > 0 {
			return
		}
		message := fmt.Sprintf("unknown key %q in a rule of [[%s]]", key, sort)
		near, ok := nearest(key, keys)
		hint := "known are " + listed(keys)
		switch {
		case key == "include":
			hint = includeHint
		case len(owners) > 0:
			message = fmt.Sprintf("unknown key %q: the rule's cloud is %s", key, kind.Name)
			hint = fmt.Sprintf("%s is a key of %s; a place in %s is written with %s", key, listed(owners), kind.Name, listed(placeKeys(kind)))
		case sort == "twoway" && (slices.Contains(keysOf(&uplinkTable{}), key) || slices.Contains(keysOf(&downlinkTable{}), key)):
			message = fmt.Sprintf("a rule of [[twoway]] has no %s", key)
			hint = "it carries each message as it is; to change or choose values write an [[uplink]] and a [[downlink]]"
		case sort == "uplink" && slices.Contains(keysOf(&downlinkTable{}), key):
			message, hint = fmt.Sprintf("a rule of [[uplink]] has no %s", key), key+" belongs into a [[downlink]], from a cloud to the local broker"
		case sort == "downlink" && slices.Contains(keysOf(&uplinkTable{}), key):
			message, hint = fmt.Sprintf("a rule of [[downlink]] has no %s", key), key+" belongs into an [[uplink]], from the local broker to a cloud"
		case ok:
			hint = "did you mean " + near + "?"
		}
		l.fault(n.src, n.key, key, message, hint)
	}
}

// title is how people call a platform.
func title(k *platforms.Kind) string {
	if k.Title != "" {
		return k.Title
	}
	return k.Name
}
