package bridge

import (
	"maps"
	"slices"
	"sync"
	"time"

	"cloudbridge/internal/queue"
	"cloudbridge/mappings"
)

// A lane keeps so many refused points, with records of so many bytes; the oldest goes when there is more.
const (
	mostRejected      = 100
	mostRejectedBytes = 1 << 20
)

// refusal is a point that a cloud refused for good, with what it takes to send it again.
type refusal struct {
	id   uint64
	lane string
	time time.Time
	// address, value and why are for people.
	address, value, why string
	// record is the point as its lane's queue takes it, of no rule; nil where it cannot be sent again. boot is the run of
	// the machine in which it was made.
	record []byte
	boot   string
	// rule and also made it; -1 after a start, for the rules may have changed since.
	rule int
	also []int
	// retry says that somebody asked for it while no bridge ran: the next start sends it.
	retry bool
}

// rejectedLists keep the last refused points of each lane of each cloud. They are safe for concurrent use.
type rejectedLists struct {
	mu sync.Mutex
	// last is the number that was given last. Numbers are never used again.
	last  uint64
	lists map[rejectedLane][]refusal
	// strangers are lines of the file that belong to no cloud of this configuration: they are kept as they are.
	strangers []rejectedLine
	// foreign says that the file is not ours to write: another version wrote it.
	foreign bool
	// changed tells whoever saves the lists.
	changed chan struct{}
}

type rejectedLane struct{ cloud, lane string }

func newRejectedLists() *rejectedLists {
	return &rejectedLists{lists: make(map[rejectedLane][]refusal), changed: make(chan struct{}, 1)}
}

// add puts a point on the list of its lane and numbers it. It returns how many older ones had to go. Only the beginning
// of its value is shown: it may be as large as a message.
func (l *rejectedLists) add(cloud string, r refusal) (gone int) {
	r.value = cut(r.value)
	if len(r.record) > mostRejectedBytes {
		r.record = nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	r.id = l.last
	return l.insert(cloud, r)
}

// putBack returns an entry that was taken, under its number.
func (l *rejectedLists) putBack(cloud string, r refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.insert(cloud, r)
}

// insert puts an entry at the end of its list. mu is held.
func (l *rejectedLists) insert(cloud string, r refusal) (gone int) {
	key := rejectedLane{cloud, r.lane}
	list := append(l.lists[key], r)
	size := 0
	for i := range list {
		size += len(list[i].record)
	}
	for len(list) > mostRejected || size > mostRejectedBytes {
		size -= len(list[0].record)
		list = slices.Delete(list, 0, 1)
		gone++
	}
	l.lists[key] = list
	poke(l.changed)
	return gone
}

// list copies out what is kept of a cloud, oldest first.
func (l *rejectedLists) list(cloud string) []Rejected {
	var out []Rejected
	for _, r := range l.all(cloud) {
		out = append(out, Rejected{
			ID: r.id, Lane: r.lane, Time: r.time, Address: r.address, Value: r.value, Why: r.why, Retry: r.retry, Lost: r.record == nil,
		})
	}
	return out
}

// all returns the entries of a cloud, oldest first.
func (l *rejectedLists) all(cloud string) (all []refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, list := range l.lists {
		if key.cloud == cloud {
			all = append(all, list...)
		}
	}
	sortRefusals(all)
	return all
}

func sortRefusals(list []refusal) {
	slices.SortFunc(list, func(a, b refusal) int {
		switch {
		case a.id < b.id:
			return -1
		case a.id > b.id:
			return 1
		}
		return 0
	})
}

// take removes entries of a cloud from their lists, where want says so, and returns them, oldest first.
func (l *rejectedLists) take(cloud string, want func(*refusal) bool) (taken []refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range slices.Collect(maps.Keys(l.lists)) {
		if key.cloud != cloud {
			continue
		}
		rest := make([]refusal, 0, len(l.lists[key]))
		for _, r := range l.lists[key] {
			if want(&r) {
				taken = append(taken, r)
			} else {
				rest = append(rest, r)
			}
		}
		if len(rest) == 0 {
			delete(l.lists, key)
		} else {
			l.lists[key] = rest
		}
	}
	if len(taken) > 0 {
		poke(l.changed)
	}
	sortRefusals(taken)
	return taken
}

// mark has the next start send entries of a cloud, where want says so, and returns how many.
func (l *rejectedLists) mark(cloud string, want func(*refusal) bool) (marked int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, list := range l.lists {
		for i := range list {
			if key.cloud == cloud && want(&list[i]) {
				list[i].retry = true
				marked++
			}
		}
	}
	if marked > 0 {
		poke(l.changed)
	}
	return marked
}

// count is how many were refused so far, by all clouds.
func (l *rejectedLists) count() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// refusal makes the entry of a point for the list.
func (c *cloud) refusal(p *mappings.Point, why string, now time.Time) refusal {
	lane, err := c.platform.Lane(mappings.Address{Name: p.Name})
	if err != nil {
		lane = "" // No lane takes it, which may be why it is refused.
	}
	r := refusal{
		lane: lane, time: now, address: p.Name, value: shownValue(p), why: why, boot: c.b.boot, rule: p.Rule, also: slices.Clone(p.Also),
	}
	q := *p
	q.Rule, q.Also = -1, nil
	// Else there is nothing to send, or nobody will ever know its time.
	if len(p.Parts) > 0 && why != errNoClock.Error() {
		r.record = c.b.stampIfWrong(nil, &q, now)
	}
	return r
}

// revive reads the point of an entry. The error says why it cannot be sent again.
func (r *refusal) revive(b *Bridge) (mappings.Point, error) {
	p, stamp, err := unstamp(queue.Record{Data: r.record, Boot: r.boot})
	if err != nil {
		return p, err
	}
	if !stamp.MayYet(b.clockNow()) {
		return p, errNoClock
	}
	p.Rule, p.Also = r.rule, r.also
	return p, nil
}

// shownValue is a point's value for people.
func shownValue(p *mappings.Point) string {
	value := ""
	for i, part := range p.Parts {
		if i > 0 {
			value += " "
		}
		if part.Name != "" {
			value += part.Name + "="
		}
		value += part.Value.String()
		if len(value) > mostShown {
			break
		}
	}
	return value
}
