package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cloudbridge/internal/queue"
	"cloudbridge/mappings"
)

// rejectedEvery is how often the refused points are written at most.
const rejectedEvery = time.Minute

// What somebody may be told who asks for refused points.
var (
	ErrNoCloud  = errors.New("there is no such cloud")
	ErrStopping = errors.New("the bridge is stopping")
)

// Handled says what became of a wish of a person's.
type Handled struct {
	// Done is how many refused points were sent again, queued or dropped.
	Done int `json:"done"`
	// Lost is how many stay on the list because they cannot be sent again: they were too large to be kept, or their time is
	// not known.
	Lost int `json:"lost,omitempty"`
	// Missing are the numbers that are not on the list.
	Missing []uint64 `json:"missing,omitempty"`
}

// chosen makes the test for entries by number; no numbers are all of them. What is not on the list is noted.
func (l *rejectedLists) chosen(cloud string, ids []uint64, h *Handled) func(*refusal) bool {
	all := l.all(cloud)
	for _, id := range ids {
		if !slices.ContainsFunc(all, func(r refusal) bool { return r.id == id }) && !slices.Contains(h.Missing, id) {
			h.Missing = append(h.Missing, id)
		}
	}
	return func(r *refusal) bool { return len(ids) == 0 || slices.Contains(ids, r.id) }
}

// sendable narrows a choice to what can be sent again, and counts what cannot.
func sendable(want func(*refusal) bool, h *Handled) func(*refusal) bool {
	return func(r *refusal) bool {
		if !want(r) {
			return false
		}
		if r.record == nil {
			h.Lost++
		}
		return r.record != nil
	}
}

// Rejected lists what a cloud refused for good, oldest first.
func (b *Bridge) Rejected(cloud string) ([]Rejected, error) {
	if b.clouds[cloud] == nil {
		return nil, fmt.Errorf("%s: %w", cloud, ErrNoCloud)
	}
	return b.refused.list(cloud), nil
}

// Retry sends refused points again, in order, and takes them off the list. No ids are all of them.
func (b *Bridge) Retry(cloud string, ids []uint64) (h Handled, err error) {
	c := b.clouds[cloud]
	if c == nil {
		return h, fmt.Errorf("%s: %w", cloud, ErrNoCloud)
	}
	b.handMu.Lock()
	defer b.handMu.Unlock()
	if !b.handy {
		return h, ErrStopping
	}
	want := b.refused.chosen(cloud, ids, &h)
	list := b.refused.take(cloud, sendable(want, &h))
	c.sendAgain(list, &h)
	return h, nil
}

// Drop takes refused points off the list. No ids are all of them.
func (b *Bridge) Drop(cloud string, ids []uint64) (h Handled, err error) {
	if b.clouds[cloud] == nil {
		return h, fmt.Errorf("%s: %w", cloud, ErrNoCloud)
	}
	want := b.refused.chosen(cloud, ids, &h)
	h.Done = len(b.refused.take(cloud, want))
	return h, nil
}

// line is where a lane's points wait, and what wakes its sender.
func (o *orderedLane) line() (queue.Interface, chan struct{}) { return o.queue, nil }
func (l *budgetLane) line() (queue.Interface, chan struct{})  { return l.queue, l.wake }
func (l *rowsLane) line() (queue.Interface, chan struct{})    { return l.history, l.wake }

// put adds a record as it is. Nobody sends it straight: the lane's goroutine takes over.
func (o *orderedLane) put(record []byte) error {
	o.way.mu.Lock()
	defer o.way.mu.Unlock()
	if o.way.on != nil {
		o.leave()
	}
	return o.queue.Append(record, nil)
}

func (l *budgetLane) put(record []byte) error { return l.queue.Append(record, nil) }
func (l *rowsLane) put(record []byte) error   { return l.history.Append(record, nil) }

// sendAgain puts refused points into their lanes anew, in the order in which they came. They are on disk before this returns, for they are on no list any
// more. Their rules have no say in them now: a person asked for them, however old they are.
func (c *cloud) sendAgain(list []refusal, h *Handled) {
	const why = "somebody asked for it"
	now := time.Now()
	used := make(map[queue.Interface]chan struct{})
	for _, a := range c.reviveAll(list, h) {
		p := &a.point
		c.count(p, fateRetried, why)
		h.Done++
		c.unblock(p)
		name, no := c.laneOf(p)
		if no != "" {
			c.refuse(p, nil, no, now)
			continue
		}
		ln := c.lane(name)
		if err := ln.put(a.record); err != nil {
			c.refuse(p, nil, err.Error(), now)
			continue
		}
		q, wake := ln.line()
		used[q] = wake
	}
	for q, wake := range used {
		// A disk that fails is told of by the queue, which then keeps what it can in memory.
		_ = q.Flush()
		poke(wake)
	}
}

// revived is a refused point and its record.
type revived struct {
	point  mappings.Point
	record []byte
}

// reviveAll reads the points of entries, in the order in which they came: answers, and so refusals, may overtake each
// other. An entry that cannot be sent again goes back on its list, to be looked at.
func (c *cloud) reviveAll(list []refusal, h *Handled) []revived {
	all := make([]revived, 0, len(list))
	for _, r := range list {
		p, err := r.revive(c.b)
		if err != nil {
			r.record, r.retry, r.why = nil, false, r.why+"; "+err.Error()
			c.b.refused.putBack(c.name, r)
			h.Lost++
			continue
		}
		all = append(all, revived{p, r.record})
	}
	slices.SortStableFunc(all, func(a, b revived) int { return a.point.Arrived.Compare(b.point.Arrived) })
	return all
}

// unblock lets a point's topics be tried again.
func (c *cloud) unblock(p *mappings.Point) {
	c.blocked.unblock(p.Name)
	ds, err := c.platform.Encode([]mappings.Point{*p})
	if err != nil {
		return // It is refused for that when its turn comes.
	}
	for i := range ds {
		if ds[i].Message != nil {
			c.blocked.unblock(ds[i].Message.Topic)
		}
	}
}

// recallRejected takes up the refused points of earlier runs.
func (b *Bridge) recallRejected() {
	if !b.stored() {
		return
	}
	if err := b.refused.load(b.cfg.Queue.Dir, b.cfg.Clouds); err != nil {
		b.log.Warn(err.Error())
	}
}

// openHand lets people have a say, and sends what they asked for while no bridge ran.
func (b *Bridge) openHand() {
	b.handMu.Lock()
	defer b.handMu.Unlock()
	b.handy = true
	for _, c := range b.order {
		var h Handled
		c.sendAgain(b.refused.take(c.name, func(r *refusal) bool { return r.retry && r.record != nil }), &h)
		if h.Done > 0 {
			b.log.Info(fmt.Sprintf("%s: sending %s again that it refused", c.name, readings(h.Done)))
		}
	}
}

// closeHand ends what openHand began: the lanes are about to close.
func (b *Bridge) closeHand() {
	b.handMu.Lock()
	defer b.handMu.Unlock()
	b.handy = false
}

// keepRejected writes the refused points while they change, until ctx ends.
func (b *Bridge) keepRejected(ctx context.Context) {
	if !b.stored() {
		return
	}
	var warned bool
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-b.refused.changed:
		}
		if err := b.saveRejected(); err != nil && !warned {
			warned = true
			b.log.Warn("write the list of refused points: " + err.Error() + ": it is in memory alone")
		}
		sleep(ctx, b.scaled(rejectedEvery))
	}
}

func (b *Bridge) saveRejected() error {
	if !b.stored() {
		return nil
	}
	return b.refused.save(b.cfg.Queue.Dir, b.cfg.Clouds)
}

// lockTime is how long a lock is waited for: a command that looks at the lists has it for a moment only.
const lockTime = time.Second

// lockDir takes the lock on a queue directory, which a command may have just now. A bridge that has it keeps it.
func lockDir(dir string) (unlock func() error, err error) {
	for deadline := time.Now().Add(lockTime); ; {
		unlock, err = queue.Lock(dir)
		if !errors.Is(err, queue.ErrLocked) || !time.Now().Before(deadline) {
			return unlock, err
		}
		sleep(context.Background(), 20*time.Millisecond)
	}
}

// RejectedFile is the lists of refused points while no bridge runs. It holds the lock on the queue directory.
type RejectedFile struct {
	cfg    *Config
	lists  *rejectedLists
	unlock func() error
	// Damage tells what of the file could not be read; nil if it is whole.
	Damage error
}

// OpenRejected locks the queue directory and reads its lists. The error is queue.ErrLocked where a bridge runs.
func OpenRejected(cfg *Config) (*RejectedFile, error) {
	unlock, err := lockDir(cfg.Queue.Dir)
	if err != nil {
		return nil, err
	}
	f := &RejectedFile{cfg: cfg, lists: newRejectedLists(), unlock: unlock}
	f.Damage = f.lists.load(cfg.Queue.Dir, cfg.Clouds)
	return f, nil
}

// Close gives the lock back.
func (f *RejectedFile) Close() error { return f.unlock() }

// Rejected lists what a cloud refused for good, oldest first.
func (f *RejectedFile) Rejected(cloud string) ([]Rejected, error) { return f.lists.list(cloud), nil }

// Retry has the next start send refused points again. No ids are all of them.
func (f *RejectedFile) Retry(cloud string, ids []uint64) (h Handled, err error) {
	want := f.lists.chosen(cloud, ids, &h)
	h.Done = f.lists.mark(cloud, sendable(want, &h))
	return h, f.save()
}

// Drop takes refused points off the list. No ids are all of them.
func (f *RejectedFile) Drop(cloud string, ids []uint64) (h Handled, err error) {
	want := f.lists.chosen(cloud, ids, &h)
	h.Done = len(f.lists.take(cloud, want))
	return h, f.save()
}

func (f *RejectedFile) save() error {
	if f.lists.foreign {
		return f.Damage
	}
	return f.lists.save(f.cfg.Queue.Dir, f.cfg.Clouds)
}
