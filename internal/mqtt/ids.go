package mqtt

import (
	"errors"
	"sync"
)

// PacketIDs hands out packet identifiers for the successive connections of one kept session, and remembers which QoS 2
// handshakes are open, so that an identifier is never taken again before its handshake is over. One connection at a
// time may use it.
type PacketIDs struct {
	mu   sync.Mutex
	last uint16
	used map[uint16]struct{} // of the present connection
	open map[uint16]struct{} // QoS 2, sent by us: the broker may still know this identifier
	held map[uint16]struct{} // QoS 2, received: we have sent PUBREC and wait for PUBREL
}

// NewPacketIDs returns a fresh set of identifiers.
func NewPacketIDs() *PacketIDs {
	return &PacketIDs{used: map[uint16]struct{}{}, open: map[uint16]struct{}{}, held: map[uint16]struct{}{}}
}

var errNoPacketID = errors.New("all packet identifiers are in use")

// begin is called with each CONNACK. Where the broker has kept the session, it gives the identifiers whose handshake
// is still open.
func (p *PacketIDs) begin(present bool) []uint16 {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.used)
	if !present {
		clear(p.open)
		clear(p.held)
	}
	var open []uint16
	for id := range p.open {
		open = append(open, id)
		p.used[id] = struct{}{}
	}
	return open
}

// take hands out an identifier; handshake says that it is for a QoS 2 message.
func (p *PacketIDs) take(handshake bool) (uint16, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range maxString {
		if p.last++; p.last == 0 {
			p.last = 1
		}
		if _, taken := p.used[p.last]; !taken {
			p.used[p.last] = struct{}{}
			if handshake {
				p.open[p.last] = struct{}{}
			}
			return p.last, nil
		}
	}
	return 0, errNoPacketID
}

// free gives an identifier back whose exchange is over.
func (p *PacketIDs) free(id uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.used, id)
	delete(p.open, id)
}

// hold notes that PUBREC goes out for a received message.
func (p *PacketIDs) hold(id uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held[id] = struct{}{}
}

// holds says whether a message with this identifier was taken over before and not released since.
func (p *PacketIDs) holds(id uint16) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, held := p.held[id]
	return held
}

// release notes that PUBREL came, and says whether it was for a message that we held.
func (p *PacketIDs) release(id uint16) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, held := p.held[id]
	delete(p.held, id)
	return held
}
