package bridge

import (
	"errors"
	"time"

	"cloudbridge/internal/queue"
	"cloudbridge/mappings"
)

// newest holds, for rules that keep only the latest at a plain MQTT cloud, the newest point of each topic that waits. The
// queue holds a marker in its place, so that the order among topics is that of the first reading.
type newest struct {
	points map[string]mappings.Point
	// sent are those that are on their way, by their record: a lost connection sends them again.
	sent map[uint64]mappings.Point
}

// errReplaced says that a marker's point has gone already.
var errReplaced = errors.New("replaced by a newer value")

// marker begins a record that stands for the newest point of the topic that follows. No point's record begins so.
const marker = 0xFF

// keep queues a point in the way its rule says.
func (o *orderedLane) keep(p *mappings.Point, rule *upRule, r *receipt, now time.Time) {
	if rule.Keep != "latest" {
		o.append(p, r, now)
		return
	}
	o.mu.Lock()
	_, waits := o.newest.points[p.Name]
	o.newest.points[p.Name] = p.Clone()
	o.mu.Unlock()
	if waits {
		o.c.count(p, fateReplaced, "a newer value came before its turn")
		return
	}
	// The reading is acknowledged when it is taken in, as the rule says.
	o.way.mu.Lock()
	defer o.way.mu.Unlock()
	if err := o.queue.Append(append([]byte{marker}, p.Name...), nil); err != nil {
		o.c.count(p, fateDropped, err.Error())
	}
	if o.way.on != nil {
		o.leave() // What a marker stands for is looked up when it is sent.
	}
}

// read reads the point of a record, which is good until the next; for a marker the newest of its topic. That is the record's from then on: it is put
// back only where nothing newer has come.
func (o *orderedLane) read(rec queue.Record) (mappings.Point, error) {
	if len(rec.Data) == 0 || rec.Data[0] != marker {
		data, stamp, err := stampOf(rec)
		if err != nil {
			return mappings.Point{}, err
		}
		p, err := o.reader.Read(data)
		stamp.Wall = p.Arrived
		if err == nil && o.c.b.restamp(&p, stamp) != nil {
			p.Time = p.Arrived
		}
		if rec.Seq <= o.inherited {
			o.c.adopt(&p)
		}
		return p, err
	}
	topic := string(rec.Data[1:])
	o.mu.Lock()
	defer o.mu.Unlock()
	p, ok := o.newest.points[topic]
	if !ok {
		p, ok = o.newest.sent[rec.Seq]
	}
	if !ok {
		return p, errReplaced
	}
	delete(o.newest.points, topic)
	o.newest.sent[rec.Seq] = p
	return p, nil
}
