package bridge

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"cloudbridge/internal/mqtt"
)

// receipt is the duty to acknowledge one received message once each point made from it is safe. A nil receipt is valid:
// it stands for a message that needs no acknowledgement.
type receipt struct {
	number uint64
	came   time.Time
	open   atomic.Int32
	desk   *desk
	// What follows is guarded by the desk: a broker may send the message again on a new connection.
	ack     mqtt.Acknowledgement
	content uint64
	id      uint16
	settled bool
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
		r.desk.settle(r)
	}
}

// desk hands out the receipts of one kept session's messages, and knows which are open. A message that the broker sends
// again on a new connection, for it heard of no acknowledgement, is the same message: it keeps its receipt and goes
// through no rule again.
type desk struct {
	mu     sync.Mutex
	seed   maphash.Seed
	issued uint64
	// settled knows the longest prefix that is settled: acknowledgements leave in order, so the broker's window holds
	// everything behind the oldest open message, settled or not.
	settled settler
	// waiting are the receipts in the order in which they were opened; those at its head that are settled are swept away.
	waiting []*receipt
	head    int
	// byID are the open receipts, and those of the last settled ones, by packet identifier.
	byID map[uint16]*receipt
	// past are the identifiers of settled receipts in byID, oldest first.
	past []uint16
}

// mostSettled is how many settled messages are remembered: an acknowledgement that was on its way when the connection
// ended may not have arrived, and no more than a window is on its way.
const mostSettled = 2 * localWindow

func newDesk() *desk { return &desk{seed: maphash.MakeSeed(), byID: make(map[uint16]*receipt)} }

// take opens a receipt; its taker must release it. again says that the message was received before: there is nothing to
// do with it.
func (d *desk) take(in *mqtt.Inbound) (r *receipt, again bool) {
	if in.QoS == 0 {
		return nil, false
	}
	content := d.content(in)
	d.mu.Lock()
	old := d.byID[in.PacketID]
	if in.Duplicate && old != nil && old.content == content {
		settled := old.settled
		if !settled {
			old.ack = in.Acknowledgement
		}
		d.mu.Unlock()
		if settled {
			in.Ack()
		}
		return nil, true
	}
	d.issued++
	r = &receipt{number: d.issued, came: in.Came, desk: d, ack: in.Acknowledgement, content: content, id: in.PacketID}
	r.open.Store(1)
	d.sweep()
	d.waiting = append(d.waiting, r)
	d.byID[in.PacketID] = r
	d.mu.Unlock()
	return r, false
}

func (d *desk) content(in *mqtt.Inbound) uint64 {
	var h maphash.Hash
	h.SetSeed(d.seed)
	_, _ = h.WriteString(in.Topic)
	_ = h.WriteByte(0)
	_, _ = h.Write(in.Payload)
	return h.Sum64()
}

// settle acknowledges, on the connection that brought the message last.
func (d *desk) settle(r *receipt) {
	d.mu.Lock()
	r.settled = true
	d.settled.settle(r.number)
	ack := r.ack
	d.past = append(d.past, r.id)
	for len(d.past) > mostSettled {
		if old := d.byID[d.past[0]]; old != nil && old.settled {
			delete(d.byID, d.past[0])
		}
		d.past = d.past[1:]
	}
	d.mu.Unlock()
	ack.Ack()
}

// sweep forgets what is settled at the head of the list. mu is held.
func (d *desk) sweep() {
	for d.head < len(d.waiting) && d.waiting[d.head].settled {
		d.waiting[d.head] = nil
		d.head++
	}
	switch {
	case d.head == len(d.waiting):
		d.waiting, d.head = d.waiting[:0], 0
	case d.head >= 1024 && d.head*2 >= len(d.waiting):
		n := copy(d.waiting, d.waiting[d.head:])
		clear(d.waiting[n:])
		d.waiting, d.head = d.waiting[:n], 0
	}
}

// oldest is when the oldest open message came.
func (d *desk) oldest() (came time.Time, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep()
	if d.head == len(d.waiting) {
		return came, false
	}
	return d.waiting[d.head].came, true
}

// forget is for a session that the broker did not keep: its identifiers mean nothing any more.
func (d *desk) forget() {
	d.mu.Lock()
	clear(d.byID)
	d.past = nil
	d.settled.skipTo(d.issued + 1)
	d.mu.Unlock()
}

// open is how much of the broker's window is taken: the oldest open message and all that came after it.
func (d *desk) open() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return int(d.issued - d.settled.base)
}

// debts are the receipts that a queue holds up, oldest first.
type debts struct {
	mu   sync.Mutex
	list []*debt
	head int
	// spare are those that are paid, to be used again.
	spare []*debt
}

// debt is one receipt that is held up. pay is its safe, made once for all receipts that it holds up in its life.
type debt struct {
	r    *receipt
	paid atomic.Bool
	pay  func()
}

// mostSpare is how many paid debts are kept to be used again.
const mostSpare = 1024

// take holds a receipt up and returns what releases it; nil for a message that needs no receipt.
func (d *debts) take(r *receipt) (safe func()) {
	if r == nil {
		return nil
	}
	r.hold()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep()
	var one *debt
	if n := len(d.spare); n > 0 {
		one = d.spare[n-1]
		d.spare = d.spare[:n-1]
		one.paid.Store(false)
	} else {
		one = &debt{}
		one.pay = func() {
			r := one.r // Once it is paid it may hold up another.
			one.paid.Store(true)
			r.release()
		}
	}
	one.r = r
	d.list = append(d.list, one)
	return one.pay
}

// sweep forgets what is released at the head of the list. mu is held.
func (d *debts) sweep() {
	for d.head < len(d.list) && d.list[d.head].paid.Load() {
		if len(d.spare) < mostSpare {
			d.spare = append(d.spare, d.list[d.head])
		}
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

// count is how many messages wait for this queue.
func (d *debts) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep()
	n := 0
	for _, one := range d.list[d.head:] {
		if !one.paid.Load() {
			n++
		}
	}
	return n
}

// oldest is the oldest receipt held up by this queue, or nil.
func (d *debts) oldest() *receipt {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep()
	if d.head == len(d.list) {
		return nil
	}
	return d.list[d.head].r
}
