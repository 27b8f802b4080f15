package bridge

import (
	"errors"
	"math"
	"time"
)

// newestFile keeps the newest points of a plain MQTT cloud over a crash. While the cloud takes what comes within half a second
// there is none.
type newestFile struct {
	snapshot
	// to is the record with which all that the file holds is settled.
	to uint64
	// armed says that somebody comes to look, and seen is the last record at the time when that was decided.
	armed bool
	seen  uint64
	// going says that the file is about to be taken away, closed that the lane has ended.
	going, closed bool
}

// watchNewest has somebody come to see whether the newest points must be brought to disk, unless somebody will.
func (o *orderedLane) watchNewest() {
	if !o.c.b.stored() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.watchFile()
}

// watchFile is watchNewest with mu held.
func (o *orderedLane) watchFile() {
	f := &o.newest.file
	if f.armed || f.closed {
		return
	}
	f.armed = true
	f.seen, _ = o.queue.Tail()
	time.AfterFunc(max(o.c.b.scaled(heldTime), time.Until(f.free(o.c))), o.tendFile)
}

// tendFile brings the newest points to disk if the cloud has not taken what there was when it was decided to look, and goes
// on looking for as long as something changes.
func (o *orderedLane) tendFile() {
	o.mu.Lock()
	f := &o.newest.file
	f.armed = false
	n := len(o.newest.waiting) + len(o.newest.sent)
	if n == 0 || !f.unsaved || f.closed {
		o.mu.Unlock()
		return
	}
	// Once there is a file it must not grow old: what it holds of one topic may be settled, and of another not.
	behind := o.settler.base < f.seen || f.kept
	if !behind || f.free(o.c).After(time.Now()) {
		o.watchFile()
		o.mu.Unlock()
		return
	}
	o.mu.Unlock()
	_ = o.saveNewest() // What it could not do has been told, and it tries again.
}

// saveNewest writes all newest points that are not settled to disk, and lets go of whoever waits for that.
func (o *orderedLane) saveNewest() error {
	f := &o.newest.file
	f.writing.Lock()
	defer f.writing.Unlock()
	o.mu.Lock()
	var recs [][]byte
	for _, e := range o.newest.unsettled() {
		recs = append(recs, e.rec)
	}
	owed := o.newest.owed()
	f.wrote(len(recs), time.Now())
	last, _ := o.queue.Tail()
	f.to = last + 1 // A point whose marker is not in the queue yet has the next record.
	if !o.newest.marking {
		f.to = last
	}
	o.mu.Unlock()
	err := o.c.keepNewest(o.name, recs)
	if err != nil {
		o.mu.Lock()
		f.unsaved = true // It is tried again in a minute.
		o.watchFile()
		o.mu.Unlock()
	}
	release(owed) // Where the disk fails they get no safer than they are.
	return err
}

// owed takes what lets go of the messages of all points.
func (n *newest) owed() (pays []func()) {
	take := func(e *newestPoint) {
		if e.pay != nil {
			pays = append(pays, e.pay)
			e.pay = nil
		}
	}
	for _, e := range n.sent {
		take(e)
	}
	for _, e := range n.waiting {
		take(e)
	}
	return pays
}

// newestSettled takes the point of a record that is settled off those on their way; nil if it has none. mu is held.
func (o *orderedLane) newestSettled(seq uint64) *newestPoint {
	if len(o.newest.sent) == 0 {
		return nil
	}
	e := o.newest.land(seq)
	if f := &o.newest.file; e != nil && f.kept {
		f.unsaved = true
		o.watchFile()
	}
	return e
}

// releaseFile has the file taken away if all that it holds is settled. mu is held.
func (o *orderedLane) releaseFile(base uint64) {
	f := &o.newest.file
	if f.kept && !f.going && base >= f.to && len(o.newest.recalled) == 0 && !f.closed {
		f.going = true
		go o.dropFile()
	}
}

// dropFile takes the file away, unless it has been written anew.
func (o *orderedLane) dropFile() {
	f := &o.newest.file
	f.writing.Lock()
	defer f.writing.Unlock()
	o.mu.Lock()
	f.going = false
	if !f.kept || f.closed || o.settler.base < f.to {
		o.mu.Unlock()
		return
	}
	f.kept = false
	if len(o.newest.waiting)+len(o.newest.sent) > 0 {
		f.unsaved = true
		o.watchFile()
	}
	o.mu.Unlock()
	_ = o.c.keepNewest(o.name, nil) // It tells what it could not do.
}

// recall takes up the newest points that an earlier run could not send.
func (o *orderedLane) recall() {
	for _, p := range o.c.recallNewest(o.name) {
		e := &newestPoint{topic: p.Name, rec: p.Append(nil), rule: p.Rule, also: p.Also, time: p.Time}
		if was := o.newest.waiting[p.Name]; was != nil {
			o.newest.remove(was)
		} else {
			o.newest.recalled = append(o.newest.recalled, p.Name)
		}
		o.newest.add(e)
		f := &o.newest.file
		f.kept, f.saved, f.to = true, time.Now(), math.MaxUint64 // What settles them is known when they have markers.
	}
}

// save keeps the queue, and beside it the newest points, of which it has only the markers.
func (o *orderedLane) save() (saved, lost int) {
	o.returned(nil)
	n := len(o.newest.waiting)
	others := max(o.queue.Stats().Records-n, 0)
	err := errNoDisk
	if o.c.b.stored() {
		err = o.saveNewest()
	}
	o.mu.Lock()
	o.newest.file.closed = true
	o.mu.Unlock()
	saved, lost = put(o.queue)
	if lost > 0 {
		lost = others
	} else {
		saved = others
	}
	if err != nil {
		return saved, lost + n
	}
	return saved + n, lost
}

var errNoDisk = errors.New("there is no disk")

// secure brings to disk what the oldest message waits for: the newest points, or the queue.
func (o *orderedLane) secure() bool {
	before := o.debts.oldest()
	if before == nil {
		return false
	}
	if o.holdsBack() && o.saveNewest() == nil && o.debts.oldest() != before {
		return true
	}
	return secure(o.queue, &o.debts)
}

// holdsBack says whether a message waits for a newest point to be on disk.
func (o *orderedLane) holdsBack() bool {
	if !o.c.b.always() {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.newest.waiting {
		if e.pay != nil {
			return true
		}
	}
	for _, e := range o.newest.sent {
		if e.pay != nil {
			return true
		}
	}
	return false
}

// waiting counts what is in the queue. Points of an earlier run may wait without a marker there.
func (o *orderedLane) waiting() int {
	records := o.queue.Stats().Records
	o.mu.Lock()
	defer o.mu.Unlock()
	return max(records, len(o.newest.waiting))
}
