package demo

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"cloudbridge/bridge"
)

// looking is how often the bridge is asked what it stopped.
const looking = 100 * time.Millisecond

// stops shows what the bridge let go no further, and why: above all its own values when a cloud sends them back.
func (d *demo) stops(ctx context.Context) error {
	tick := time.NewTicker(looking)
	defer tick.Stop()
	seen := map[string]uint64{}
	for {
		for _, why := range news(seen, d.bridge.Status()) {
			d.screen.add(line{at: time.Now(), kind: stopped, who: d.clouds.title(why.cloud), where: why.reason})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

type stop struct{ cloud, reason string }

// news finds the reasons of which there is more than before, and remembers them. What is merged by a limit is left out: the
// row that is sent shows it.
func news(seen map[string]uint64, s bridge.Status) []stop {
	var all []stop
	for _, c := range s.Clouds {
		for _, key := range slices.Sorted(maps.Keys(c.Counts.Reasons)) {
			n := c.Counts.Reasons[key]
			old := seen[c.Name+" "+key]
			seen[c.Name+" "+key] = n
			kind, reason, _ := strings.Cut(key, ": ")
			if n > old && kind == "dropped" {
				all = append(all, stop{c.Name, reason})
			}
		}
	}
	return all
}
