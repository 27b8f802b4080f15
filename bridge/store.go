package bridge

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"cloudbridge/internal/queue"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// memoryMost bounds a queue that has no disk: a small board has less memory than [queue] max_size.
const memoryMost = 4 << 20

// freeSpace is what the queues leave of the disk to everybody else.
const freeSpace = 64 << 20

// always is the durability of a bridge that acknowledges nothing before it is on disk.
const always = "always"

// folder is where a lane keeps what waits. It is named by platform, account and lane: renaming a cloud keeps it, and
// another account never inherits it.
func (c *cloud) folder(lane string) string {
	if c.twin > 0 {
		// Two tables of one account have two queues.
		lane = fmt.Sprintf("%s, table %d", lane, c.twin+1)
	}
	return filepath.Join(c.b.cfg.Queue.Dir, queue.FolderName(c.cfg.Kind.Name, c.platform.Account(), lane))
}

// stored says whether what waits can be brought to disk.
func (b *Bridge) stored() bool { return b.cfg.Queue.Dir != "" && !b.diskless }

// always says whether nothing may be acknowledged before it is on disk.
func (b *Bridge) always() bool { return b.stored() && b.cfg.Queue.Durability == always }

// newQueue opens the queue of a lane, on disk where there is one.
func (c *cloud) newQueue(lane string) queue.Interface {
	size := c.b.cfg.Queue.MaxSize
	if !c.b.stored() {
		if size <= 0 || size > memoryMost {
			size = memoryMost
		}
		return queue.NewMemory(size, c.cfg.Overflow)
	}
	q, err := queue.Open(c.folder(lane), queue.Options{
		MaxBytes: size, Overflow: c.cfg.Overflow, FreeBytes: freeSpace, BootID: c.b.boot,
		Log: func(text string) { c.b.log.Warn(fmt.Sprintf("%s: queue of %s: %s", c.name, lane, text)) },
	})
	if err != nil {
		// A queue of a newer version is not touched: what comes now waits in memory, and somebody must look.
		c.b.log.Error(fmt.Sprintf("%s: queue of %s: %s: what waits is in memory alone", c.name, lane, err))
		return queue.NewMemory(memoryMost, c.cfg.Overflow)
	}
	return q
}

// revive opens the lanes that an earlier run left something in, so that it goes out even if nothing new comes.
func (c *cloud) revive() {
	if !c.b.stored() {
		return
	}
	for _, name := range c.knownLanes() {
		if _, err := os.Stat(c.folder(name)); err == nil {
			c.lane(name)
		}
	}
}

// knownLanes are the lanes that the configuration names. A rule whose address only its messages tell shares the one lane
// of its account.
func (c *cloud) knownLanes() (names []string) {
	add := func(address string) {
		if name, err := c.platform.Lane(mappings.Address{Name: address}); err == nil && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if c.limits.Kind != platforms.Rows {
		add("a")
		return names
	}
	for _, r := range c.b.ups {
		if !r.Cloud.Could(c.name) {
			continue
		}
		targets := []*mappings.Target{r.Target}
		if r.Each != nil {
			targets = targets[:0]
			for _, t := range r.Each.Targets {
				targets = append(targets, t)
			}
		}
		for _, t := range targets {
			if address, ok := t.Name.Constant(); ok {
				add(address)
			}
		}
	}
	return names
}

// unclaimed tells of queues that no cloud of this configuration uses: they are left alone.
func (b *Bridge) unclaimed() {
	entries, err := os.ReadDir(b.cfg.Queue.Dir)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			b.log.Warn("read the queue directory: " + err.Error())
		}
		return
	}
	var mine []string
	for _, c := range b.order {
		for _, lane := range c.knownLanes() {
			mine = append(mine, filepath.Base(c.folder(lane)))
		}
	}
	for _, e := range entries {
		if e.IsDir() && !slices.Contains(mine, e.Name()) {
			b.log.Warn(fmt.Sprintf("queue %s belongs to no cloud of this configuration: it is left as it is", filepath.Join(b.cfg.Queue.Dir, e.Name())))
		}
	}
}

// keep saves what waits, at a stop, and says what becomes of it.
func (b *Bridge) keep() {
	for _, c := range b.order {
		saved, lost, held := 0, 0, c.held()
		for _, ln := range c.all() {
			s, l := ln.save()
			saved, lost = saved+s, lost+l
		}
		if saved > 0 {
			b.log.Info(fmt.Sprintf("%s: %s on disk for the next start", c.name, wait(saved)))
		}
		if lost > held {
			c.tally.add(fateDropped, "not sent before the stop, and there is no disk to keep it", lost-held)
			b.log.Warn(fmt.Sprintf("%s: %s could not be sent before the stop, and there is no disk to keep them", c.name, readings(lost-held)))
		}
		if held > 0 && lost > 0 {
			b.log.Info(fmt.Sprintf("%s: %s with the local broker for the next start", c.name, wait(min(held, lost))))
		}
	}
}

func wait(n int) string {
	if n == 1 {
		return "1 reading waits"
	}
	return fmt.Sprintf("%d readings wait", n)
}

// peekTime bounds a look at records that are known to be there: one that proves damaged is passed over, and the next may
// be long in coming.
const peekTime = 100 * time.Millisecond

// peekNow looks at what a queue has past a record, and does not wait for more.
func peekNow(q queue.Interface, after uint64, n int) []queue.Record {
	if st := q.Stats(); st.Records == 0 || after >= st.Last {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), peekTime)
	defer cancel()
	recs, err := q.Peek(ctx, after, n)
	if err != nil {
		return nil
	}
	return recs
}

// put flushes and closes a queue at a stop.
func put(q queue.Interface) (saved, lost int) {
	_, onDisk := q.(*queue.Log)
	err := q.Flush()
	st := q.Stats()
	if onDisk && err == nil && !st.MemoryOnly {
		saved = st.Records
	} else {
		lost = st.Records
	}
	// What was flushed is safe; what a close could not do is told by the next opening.
	_ = q.Close()
	return saved, lost
}

// flusher brings a queue to disk for whoever asks, several at once with one flush.
type flusher struct {
	busy, again atomic.Bool
}

// ask begins a flush, or has the one that runs followed by another.
func (f *flusher) ask(q queue.Interface) {
	f.again.Store(true)
	if f.busy.CompareAndSwap(false, true) {
		go f.run(q)
	}
}

func (f *flusher) run(q queue.Interface) {
	for {
		for f.again.Swap(false) {
			// A disk that fails is told of by the queue, which then keeps what it can in memory.
			_ = q.Flush()
		}
		f.busy.Store(false)
		if !f.again.Load() || !f.busy.CompareAndSwap(false, true) {
			return
		}
	}
}

// lateFlush is when what is acknowledged already must be on disk: after two of its intervals, and a minute at most.
func lateFlush(interval time.Duration) time.Duration { return min(2*interval, time.Minute) }

// takenOver brings to disk what was acknowledged when it came in, or never had to be, if the cloud has not taken it by
// then. It has a timer only while something waits.
type takenOver struct{ armed atomic.Bool }

// settledLane is a lane that knows the last record of which all up to it are settled.
type settledLane interface{ settledTo() uint64 }

// within says that what a lane's queue holds now must be settled or on disk after a while.
func (t *takenOver) within(d time.Duration, q queue.Interface, f *flusher, l settledLane) {
	if !t.armed.CompareAndSwap(false, true) {
		return
	}
	last := q.Stats().Last
	time.AfterFunc(d, func() {
		t.armed.Store(false)
		if l.settledTo() < last {
			f.ask(q)
			return
		}
		if q.Stats().Last > last {
			t.within(d, q, f, l)
		}
	})
}

// adopt finds the rule of today for a point of an earlier run: its numbers are those of another configuration, perhaps.
func (c *cloud) adopt(p *mappings.Point) {
	p.Rule, p.Also = -1, nil
	for i, r := range c.b.ups {
		if _, ok := r.Local.Match(p.Local, nil); ok && r.Cloud.Could(c.name) {
			p.Rule = i
			return
		}
	}
}
