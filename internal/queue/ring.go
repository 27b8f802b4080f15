package queue

import "sync"

// smallRing is the number of entries below which a ring is not given back to the collector: it holds one full window
// of messages in flight, so a queue that fills and empties all day allocates nothing for it.
const smallRing = 1024

// entry is a record in memory: its bytes, when it came (in nanoseconds since 1970), and whom to tell that it is safe.
type entry struct {
	data []byte
	wall int64
	safe func()
}

// ring holds count entries from head on; the entry at head has sequence number first. Its length is a power of two.
type ring struct {
	slots []entry
	head  int
	count int
	first uint64
	bytes int64
}

// next is the sequence number that the next entry gets.
func (r *ring) next() uint64 { return r.first + uint64(r.count) }

// at gives the entry number i, counted from the oldest.
func (r *ring) at(i int) *entry { return &r.slots[(r.head+i)&(len(r.slots)-1)] }

func (r *ring) push(e entry) {
	if r.count == len(r.slots) {
		r.resize(max(64, 2*len(r.slots)))
	}
	r.slots[(r.head+r.count)&(len(r.slots)-1)] = e
	r.count++
	r.bytes += int64(len(e.data)) + RecordOverhead
}

// pop takes the oldest entry out and returns its safe.
func (r *ring) pop() func() {
	e := &r.slots[r.head]
	safe := e.safe
	r.bytes -= int64(len(e.data)) + RecordOverhead
	*e = entry{}
	r.head = (r.head + 1) & (len(r.slots) - 1)
	r.count--
	r.first++
	// A backlog that is gone gives its memory back; at a quarter, so that growing and shrinking do not alternate.
	if len(r.slots) > smallRing && r.count <= len(r.slots)/4 {
		r.resize(len(r.slots) / 2)
	}
	return safe
}

func (r *ring) resize(n int) {
	slots := make([]entry, n)
	for i := range r.count {
		slots[i] = *r.at(i)
	}
	r.slots, r.head = slots, 0
}

// records copies out at most n entries from sequence number start on, which must be in the ring.
func (r *ring) records(start uint64, n int, boot string) []Record {
	n = int(min(uint64(max(n, 1)), r.next()-start))
	recs := make([]Record, n)
	skip := int(start - r.first)
	for i := range recs {
		e := r.at(skip + i)
		recs[i] = Record{Seq: start + uint64(i), Data: e.data, Wall: wallTime(e.wall), Boot: boot}
	}
	return recs
}

// settler holds callbacks that are due, in order. One goroutine at a time runs them, outside the queue's lock.
type settler struct {
	due, spare []func()
	running    bool
}

func (s *settler) add(safe func()) {
	if safe != nil {
		s.due = append(s.due, safe)
	}
}

// run is called with the lock held and gives it up. The callbacks run without it, so that they may come back to the
// queue; whoever finds them running leaves its own to the goroutine that runs them.
func (s *settler) run(mu *sync.Mutex) {
	if s.running || len(s.due) == 0 {
		mu.Unlock()
		return
	}
	s.running = true
	for len(s.due) > 0 {
		due := s.due
		s.due = s.spare[:0]
		mu.Unlock()
		for i, safe := range due {
			safe()
			due[i] = nil
		}
		mu.Lock()
		s.spare = due[:0]
		if cap(due) > smallRing {
			s.spare = nil
		}
	}
	s.running = false
	mu.Unlock()
}
