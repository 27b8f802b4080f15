package wire

import "sync"

// The first bytes of the packets that acknowledge a message.
const (
	puback = 0x40
	pubrec = 0x50
)

// maxUnacknowledged is how many messages may wait for their acknowledgement: as many as there are identifiers. Only a
// peer that uses one identifier twice at once gets beyond.
const maxUnacknowledged = 65535

// acks are the acknowledgements that are owed, in the order in which the messages came.
type acks struct {
	mu    sync.Mutex
	first uint64 // the ticket of owed[head]
	owed  []owed
	head  int
	ready []byte // packets to send, used again
}

type owed struct {
	id    uint16
	kind  byte
	ready bool
}

// Owe notes that a message came which wants an acknowledgement, and gives the ticket for [Conn.Ack].
func (c *Conn) Owe(id uint16, qos byte) (ticket uint64, err error) {
	a := &c.acks
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.owed)-a.head >= maxUnacknowledged {
		return 0, protocolError("more unacknowledged messages than there are packet identifiers")
	}
	kind := byte(puback)
	if qos == 2 {
		kind = pubrec
	}
	if a.head > 64 && a.head > len(a.owed)/2 {
		a.owed = a.owed[:copy(a.owed, a.owed[a.head:])]
		a.head = 0
	}
	a.owed = append(a.owed, owed{id: id, kind: kind})
	return a.first + uint64(len(a.owed)-a.head) - 1, nil
}

// Ack says that a message may be acknowledged. The packet goes out when those of all earlier messages have. A ticket
// counts once.
func (c *Conn) Ack(ticket uint64) {
	a := &c.acks
	a.mu.Lock()
	defer a.mu.Unlock()
	if ticket < a.first {
		return
	}
	a.owed[a.head+int(ticket-a.first)].ready = true
	a.ready = a.ready[:0]
	// After the end of the connection nobody is owed anything, and an identifier that is noted too late could be
	// another message's in the next one.
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over() != nil {
		return
	}
	for a.head < len(a.owed) && a.owed[a.head].ready {
		o := a.owed[a.head]
		a.ready = append(a.ready, o.kind, 2, byte(o.id>>8), byte(o.id))
		if o.kind == pubrec && c.o.OnPubrec != nil {
			c.o.OnPubrec(o.id) // Before it goes out, for the PUBREL may be quick.
		}
		a.head++
		a.first++
	}
	if len(a.ready) > 0 {
		_, _ = c.controlLocked(a.ready) // It fails only with the connection.
	}
}
