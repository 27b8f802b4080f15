package generic

import (
	"slices"
	"strings"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
)

// Subscriptions asks for what the downlinks read. A broker may send one message once for each filter that matches it, and
// a command must not fire twice: so filters that overlap are replaced by the narrowest one that covers them, unless that
// would be nothing but wildcards.
func (b *Broker) Subscriptions(sources []mappings.Source) []mqtt.Subscription {
	var filters []string
	for _, s := range sources {
		filters = addFilter(filters, s.Name.Filter())
	}
	slices.Sort(filters)
	subs := make([]mqtt.Subscription, 0, len(filters))
	for _, f := range filters {
		subs = append(subs, mqtt.Subscription{
			// Commands are kept by the engine, not by a second handshake: QoS 1 is enough.
			Filter: f, QoS: 1, NoLocal: true, RetainAsPublished: true,
			// What a rule does not want retained is dropped and counted, and so must come.
			SendRetained: true,
		})
	}
	return subs
}

// addFilter adds f to filters of which no two overlap, and keeps it so.
func addFilter(filters []string, f string) []string {
	for {
		merged := false
		for i, g := range filters {
			if g == f || Covers(g, f) {
				return filters
			}
			if !overlap(f, g) {
				continue
			}
			common := narrowest(f, g)
			if f != common && wildcardsOnly(common) {
				continue // Two copies of the few messages that match both are less than all messages of the broker.
			}
			filters, f, merged = slices.Delete(filters, i, i+1), common, true
			break
		}
		if !merged {
			return append(filters, f)
		}
	}
}

// Covers says whether each topic that matches the filter f, which may be a topic, also matches the filter g.
func Covers(g, f string) bool { return overlap(f, g) && narrowest(f, g) == g }

func system(f string) bool { return strings.HasPrefix(f, "$") }

// overlap says whether some topic matches both filters.
func overlap(f, g string) bool {
	if system(f) != system(g) {
		return false // A leading wildcard does not match topics that begin with $.
	}
	a, b := strings.Split(f, "/"), strings.Split(g, "/")
	for i := 0; ; i++ {
		switch {
		case i < len(a) && a[i] == "#", i < len(b) && b[i] == "#":
			return true
		case i == len(a) || i == len(b):
			// What is left of the longer one may be a # alone, which also stands for nothing.
			rest := append(a[i:], b[i:]...)
			return len(rest) == 0 || len(rest) == 1 && rest[0] == "#"
		case a[i] != b[i] && a[i] != "+" && b[i] != "+":
			return false
		}
	}
}

// narrowest is the narrowest filter that covers two that overlap.
func narrowest(f, g string) string {
	a, b := strings.Split(f, "/"), strings.Split(g, "/")
	var out []string
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(a) || i >= len(b) || a[i] == "#" || b[i] == "#":
			return strings.Join(append(out, "#"), "/")
		case a[i] == b[i]:
			out = append(out, a[i])
		default:
			out = append(out, "+")
		}
	}
	return strings.Join(out, "/")
}

func wildcardsOnly(f string) bool {
	for _, l := range strings.Split(f, "/") {
		if l != "+" && l != "#" {
			return false
		}
	}
	return true
}
