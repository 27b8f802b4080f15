package bridge

import (
	"sync"
	"sync/atomic"

	"cloudbridge/internal/mqtt"
)

// receipt is the duty to acknowledge one received message once each point made from it is safe. A nil receipt is valid:
// it stands for a message that needs no acknowledgement.
type receipt struct {
	in     *mqtt.Inbound
	number uint64
	open   atomic.Int32
	desk   *desk
}

// hold adds one more thing that must be safe first.
func (r *receipt) hold() {
	if r != nil {
		r.open.Add(1)
	}
}

// release says that one of them is.
func (r *receipt) release() {
	if r != nil && r.open.Add(-1) == 0 {
		r.in.Ack()
		r.desk.settled.Add(1)
	}
}

// desk hands out the receipts of one session's messages, and knows how many are open.
type desk struct {
	issued  atomic.Uint64
	settled atomic.Uint64
}

// take opens a receipt; its taker must release it.
func (d *desk) take(in *mqtt.Inbound) *receipt {
	if in.QoS == 0 {
		return nil
	}
	r := &receipt{in: in, number: d.issued.Add(1), desk: d}
	r.open.Store(1)
	return r
}

// open is how many messages wait for their acknowledgement.
func (d *desk) open() int { return int(d.issued.Load() - d.settled.Load()) }

// debts are the receipts that a queue holds up, oldest first.
type debts struct {
	mu   sync.Mutex
	list []*debt
	head int
}

type debt struct {
	r    *receipt
	paid atomic.Bool
}

// take holds a receipt up and returns what releases it; nil for a message that needs no receipt.
func (d *debts) take(r *receipt) (safe func()) {
	if r == nil {
		return nil
	}
	r.hold()
	one := &debt{r: r}
	d.mu.Lock()
	d.sweep()
	d.list = append(d.list, one)
	d.mu.Unlock()
	return func() {
		one.paid.Store(true)
		r.release()
	}
}

// sweep forgets what is released at the head of the list. mu is held.
func (d *debts) sweep() {
	for d.head < len(d.list) && d.list[d.head].paid.Load() {
		d.list[d.head] = nil
		d.head++
	}
	switch {
	case d.head == len(d.list):
		d.list, d.head = d.list[:0], 0
	case d.head >= 1024 && d.head*2 >= len(d.list):
		n := copy(d.list, d.list[d.head:])
		clear(d.list[n:])
		d.list, d.head = d.list[:n], 0
	}
}

// oldest is the number of the oldest receipt held up by this queue.
func (d *debts) oldest() (of *desk, number uint64, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep()
	if d.head == len(d.list) {
		return nil, 0, false
	}
	r := d.list[d.head].r
	return r.desk, r.number, true
}
