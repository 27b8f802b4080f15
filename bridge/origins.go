package bridge

import (
	"sync"

	"cloudbridge/mappings"
)

// origins remembers which local topic wrote to a place that a name was mended for: two boards called "Pico W" and
// "pico-w" would fill one feed, and nobody would see why its graph jumps.
type origins struct {
	mu   sync.Mutex
	from map[origin]string
}

type origin struct {
	rule int
	name string
}

// mostOrigins bounds what is remembered; places are few where names are mended.
const mostOrigins = 1000

// twin says whether another topic was written to the point's place by the same rule before, and names it.
func (o *origins) twin(p *mappings.Point) (other string, twin bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := origin{p.Rule, p.Name}
	other, known := o.from[key]
	if known {
		return other, other != p.Local
	}
	if !p.Fixed {
		return "", false
	}
	if o.from == nil {
		o.from = make(map[origin]string)
	}
	if len(o.from) < mostOrigins {
		o.from[key] = p.Local
	}
	return "", false
}
