package bridge

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"cloudbridge/internal/queue"
	"cloudbridge/mappings"
)

// newest holds, for rules that keep only the latest at a plain MQTT cloud, the newest point of each topic that is not settled.
// The queue holds a marker in the place of each that waits, so that the order among topics is that of the first reading.
// Where a marker goes, because the queue was full or damaged, its point gets another one.
type newest struct {
	// waiting are the points that wait, by topic; sent are those that are on their way, by their record, and last the one
	// of them that left last of its topic.
	waiting map[string]*newestPoint
	sent    map[uint64]*newestPoint
	last    map[string]*newestPoint
	// bytes is what those that wait take, and most what they may.
	bytes, most int64
	// marks are the markers in the queue, oldest first; one whose point has gone stands for nothing.
	marks []newestMark
	// recalled are topics that an earlier run left. What it left of the queue may hold their markers, or may not.
	recalled []string
	// marking says that a point waits whose marker is about to be put into the queue.
	marking bool
	file    newestFile
}

// newestPoint is the newest point of a topic.
type newestPoint struct {
	topic string
	rec   []byte // the point, as the queue would have it
	rule  int
	also  []int
	time  time.Time // the reading's own
	mark  uint64    // the marker's record; 0 while that is not known
	// overtaken says that a newer one of the topic left behind it: it does not go again.
	overtaken bool
	pay       func() // lets go of its message, where that waits for the disk
}

// newestMark is a marker: its record, and its topic.
type newestMark struct {
	seq   uint64
	topic string
}

// newestMost bounds the bytes of the newest points that wait in one lane, for they are in memory, and go to disk all
// together. Of a small queue they may take a quarter, so that there is room for their markers.
const newestMost = 4 << 20

// errReplaced says that a marker's point has gone already.
var errReplaced = errors.New("replaced by a newer value")

// marker begins a record that stands for the newest point of the topic that follows. No point's record begins so.
const marker = 0xFF

func newNewest(maxSize int64) *newest {
	n := &newest{
		waiting: make(map[string]*newestPoint), sent: make(map[uint64]*newestPoint), last: make(map[string]*newestPoint),
		most: newestMost,
	}
	if maxSize > 0 {
		n.most = min(n.most, maxSize/4)
	}
	return n
}

func (e *newestPoint) size() int64 { return int64(len(e.rec)+len(e.topic)) + queue.RecordOverhead }

// put makes e the point that waits for its topic. old is the one of the two that the other replaced, if there were two;
// why, if not empty, says that there was no room.
func (n *newest) put(e *newestPoint) (old *newestPoint, why string) {
	was := n.waiting[e.topic]
	grows := e.size()
	switch {
	case was == nil && len(n.waiting) >= mostLatest:
		return nil, fmt.Sprintf("%d topics wait for their turn already", mostLatest)
	case was != nil && e.time.Before(was.time):
		return e, ""
	case was != nil:
		grows -= was.size()
		e.mark = was.mark
	}
	if grows > 0 && n.bytes+grows > n.most {
		return nil, "the newest values that wait for their turn fill their memory already"
	}
	if was != nil {
		n.remove(was)
	}
	n.add(e)
	return was, ""
}

// take moves the point that a marker stands for to those that are on their way, and gives it; nil if it has gone. One that
// was to go as this record, and did not, goes now unless a newer one came: then it is old.
func (n *newest) take(seq uint64, topic string) (e, old *newestPoint) {
	e = n.waiting[topic]
	if e == nil {
		return n.sent[seq], nil
	}
	n.remove(e)
	if before := n.last[topic]; before != nil {
		before.overtaken = true
	}
	old = n.sent[seq]
	n.sent[seq], n.last[topic] = e, e
	return e, old
}

// land takes a point off those that are on their way; nil if the record has none.
func (n *newest) land(seq uint64) *newestPoint {
	e := n.sent[seq]
	if e != nil {
		delete(n.sent, seq)
		if n.last[e.topic] == e {
			delete(n.last, e.topic)
		}
	}
	return e
}

// putBack lets points wait again that were sent as these records and did not get there. Those of whose topic a newer one has
// come do not go again: they are old.
func (n *newest) putBack(seqs []uint64) (old []*newestPoint) {
	for _, seq := range seqs {
		e := n.land(seq)
		if e.overtaken || n.waiting[e.topic] != nil {
			old = append(old, e)
			continue
		}
		e.mark = seq
		n.add(e)
	}
	n.marks = n.marks[:0]
	for topic, e := range n.waiting {
		if e.mark > 0 {
			n.marks = append(n.marks, newestMark{e.mark, topic})
		}
	}
	slices.SortFunc(n.marks, func(a, b newestMark) int { return cmp.Compare(a.seq, b.seq) })
	return old
}

// add puts a point in.
func (n *newest) add(e *newestPoint) {
	n.waiting[e.topic] = e
	n.bytes += e.size()
}

// remove takes a point out of those that wait.
func (n *newest) remove(e *newestPoint) {
	delete(n.waiting, e.topic)
	n.bytes -= e.size()
}

// marked notes the marker of a point that waits, and forgets the oldest ones that stand for nothing any more.
func (n *newest) marked(e *newestPoint, seq uint64) {
	e.mark = seq
	n.marks = append(n.marks, newestMark{seq, e.topic})
	for len(n.marks) > 0 && !n.stands(n.marks[0]) {
		n.marks = n.marks[1:]
	}
}

// stands says whether a marker stands for a point.
func (n *newest) stands(m newestMark) bool {
	e := n.waiting[m.topic]
	return e != nil && e.mark == m.seq
}

// astray takes out the oldest marker up to a record that stands for a point still.
func (n *newest) astray(through uint64) (topic string, ok bool) {
	for len(n.marks) > 0 && n.marks[0].seq <= through {
		m := n.marks[0]
		n.marks = n.marks[1:]
		if n.stands(m) {
			return m.topic, true
		}
	}
	return "", false
}

// unsettled are the newest points of all topics, those on their way first.
func (n *newest) unsettled() []*newestPoint {
	list := make([]*newestPoint, 0, len(n.waiting)+len(n.last))
	for _, seq := range slices.Sorted(maps.Keys(n.sent)) {
		if e := n.sent[seq]; !e.overtaken && n.waiting[e.topic] == nil {
			list = append(list, e)
		}
	}
	from := len(list)
	list = slices.AppendSeq(list, maps.Values(n.waiting))
	slices.SortFunc(list[from:], func(a, b *newestPoint) int {
		return cmp.Or(cmp.Compare(a.mark, b.mark), strings.Compare(a.topic, b.topic))
	})
	return list
}

// free lets go of the message of a point that is on no list any more.
func (e *newestPoint) free() {
	if e.pay != nil {
		e.pay()
		e.pay = nil
	}
}

// keep queues a point in the way its rule says.
func (o *orderedLane) keep(p *mappings.Point, rule *upRule, r *receipt, now time.Time) {
	if rule == nil || rule.Keep != "latest" {
		o.append(p, r, now)
		return
	}
	o.way.mu.Lock()
	defer o.way.mu.Unlock()
	e := &newestPoint{topic: p.Name, rec: bytes.Clone(o.record(p, now)), rule: p.Rule, also: slices.Clone(p.Also), time: p.Time}
	if o.c.b.always() {
		e.pay = o.debts.take(r)
	} // Else the reading is acknowledged when it is taken in, as the rule says.
	o.mu.Lock()
	old, why := o.newest.put(e)
	if why == "" && old != e {
		o.newest.file.unsaved, o.newest.marking = true, old == nil
	}
	o.mu.Unlock()
	switch {
	case why != "":
		o.c.count(p, fateDropped, why)
		e.free()
	case old != nil:
		o.replaced(old)
	default:
		o.mark(e.topic)
		o.lost()
		if o.way.on != nil {
			o.leave() // What a marker stands for is looked up when it is sent.
		}
	}
	o.watchNewest()
}

// replaced counts a point that a newer one of its topic has replaced.
func (o *orderedLane) replaced(e *newestPoint) {
	o.c.fate(e.rule, e.also, fateReplaced, "a newer value came before its turn")
	e.free()
}

// mark puts a marker for a topic's point into the queue. Where there is no room for what is new the point goes, as others do.
// way.mu is held.
func (o *orderedLane) mark(topic string) {
	before, _ := o.queue.Tail()
	err := o.queue.Append(append([]byte{marker}, topic...), nil)
	last, _ := o.queue.Tail()
	o.mu.Lock()
	o.newest.marking = false
	e := o.newest.waiting[topic]
	if full := last == before; e != nil && !full {
		o.newest.marked(e, last)
	} else if e != nil {
		o.newest.remove(e)
	}
	o.mu.Unlock()
	if e != nil && last == before {
		e.free()
		if err != nil {
			o.c.fate(e.rule, e.also, fateDropped, err.Error())
		}
	}
}

// lost counts what the queue had to drop. Markers among it are no loss: they are put back. way.mu is held.
func (o *orderedLane) lost() {
	if _, dropped := o.queue.Tail(); dropped == o.dropped {
		return
	}
	back := 0
	for range mostRounds {
		through, _ := o.queue.Tail()
		if st := o.queue.Stats(); st.Records > 0 {
			through = st.First - 1
		}
		n := o.remark(through)
		if n == 0 {
			break
		}
		back += n // In a full queue each takes the place of something, of other markers perhaps.
	}
	o.c.overflowed(o.queue, &o.dropped, back)
	if back > 0 && o.way.on != nil {
		o.leave()
	}
}

// mostRounds is how often in a row markers are put back. All of them take less than the queue does; if that is not so, what is
// left finds its way when the drain comes by.
const mostRounds = 100

// remark puts markers back for points whose own is none of the records up to through any more, and says how many. way.mu is
// held.
func (o *orderedLane) remark(through uint64) (back int) {
	for {
		o.mu.Lock()
		topic, ok := o.newest.astray(through)
		o.mu.Unlock()
		if !ok {
			return back
		}
		back++
		o.mark(topic)
	}
}

// markAgain puts markers in for points that have none in what the drain will come to, when it has sent all up to after. Such
// points have waited, so their turn is part of the backlog. way.mu is held.
func (o *orderedLane) markAgain(after uint64) (some bool) {
	o.mu.Lock()
	var recalled []string
	if after >= o.inherited {
		recalled, o.newest.recalled = o.newest.recalled, nil
	}
	o.mu.Unlock()
	back := o.remark(after)
	for _, topic := range recalled {
		o.mu.Lock()
		e := o.newest.waiting[topic]
		o.mu.Unlock()
		if e != nil && e.mark == 0 {
			back++
			o.mark(topic)
		}
	}
	if back == 0 && len(recalled) == 0 {
		return false
	}
	o.lost()
	last, _ := o.queue.Tail()
	o.mu.Lock()
	defer o.mu.Unlock()
	if f := &o.newest.file; len(recalled) > 0 {
		f.to = last
	} else {
		f.to = max(f.to, last)
	}
	o.releaseFile(o.settler.base)
	if back > 0 {
		o.backed = max(o.backed, last)
	}
	return back > 0
}

// returned lets the newest points wait again that were on their way on an earlier connection, or never left.
func (o *orderedLane) returned(s *session) {
	o.mu.Lock()
	var seqs []uint64
	for seq := range o.newest.sent {
		if f := o.flights[seq]; f == nil || f.on != s {
			seqs = append(seqs, seq)
		}
	}
	var old []*newestPoint
	if len(seqs) > 0 {
		old = o.newest.putBack(seqs)
	}
	o.mu.Unlock()
	for _, e := range old {
		o.replaced(e)
	}
}

// read reads the point of a record, which is good until the next; for a marker the newest of its topic, which is the record's
// from then on.
func (o *orderedLane) read(rec queue.Record) (mappings.Point, error) {
	if len(rec.Data) > 0 && rec.Data[0] == marker {
		topic := string(rec.Data[1:])
		o.mu.Lock()
		e, old := o.newest.take(rec.Seq, topic)
		o.mu.Unlock()
		if old != nil {
			o.replaced(old)
		}
		if e == nil {
			return mappings.Point{}, errReplaced
		}
		return o.decode(queue.Record{Data: e.rec, Boot: o.c.b.boot})
	}
	p, err := o.decode(rec)
	if rec.Seq <= o.inherited {
		o.c.adopt(&p)
	}
	return p, err
}

// decode reads a point that was written in this lane.
func (o *orderedLane) decode(rec queue.Record) (mappings.Point, error) {
	data, stamp, err := stampOf(rec)
	if err != nil {
		return mappings.Point{}, err
	}
	p, err := o.reader.Read(data)
	stamp.Wall = p.Arrived
	if err == nil && o.c.b.restamp(&p, stamp) != nil && stamp.Boot != o.c.b.boot {
		untime(&p) // Nobody will ever know it. A time of this boot is good for telling how old it is.
	}
	return p, err
}
