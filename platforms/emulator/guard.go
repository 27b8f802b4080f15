package emulator

import (
	"crypto/tls"
	"net"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// guard is the hook that mends mochi where it would give every platform a fault that no real broker has.
type guard struct {
	mochi.HookBase
	broker *Broker
}

func (g *guard) ID() string { return "guard" }

func (g *guard) Provides(b byte) bool {
	switch b {
	case mochi.OnConnect, mochi.OnSessionEstablish, mochi.OnSessionEstablished, mochi.OnPacketRead, mochi.OnPacketEncode:
		return true
	}
	return false
}

func (g *guard) OnConnect(cl *mochi.Client, pk packets.Packet) error {
	if c, ok := cl.Net.Conn.(*conn); ok {
		c.old.Store(pk.ProtocolVersion < 5)
	}
	return nil
}

// OnSessionEstablish ends an older connection with the same client id and waits until mochi is through with it. Left to
// itself mochi lets the two run side by side, and the end of the older one can delete the session of the newer.
func (g *guard) OnSessionEstablish(cl *mochi.Client, _ packets.Packet) {
	older, ok := g.broker.Server.Clients.Get(cl.ID)
	if !ok || older == cl || older.Net.Inline {
		return
	}
	c, ok := older.Net.Conn.(*conn)
	if !ok {
		return
	}
	if !older.Closed() {
		g.broker.Add(Event{What: "takeover", ClientID: cl.ID, Why: "another connection came with the same client id"})
		g.broker.Kick(older, packets.ErrSessionTakenOver)
	}
	<-c.done
}

// OnSessionEstablished takes away the client's quota of unconfirmed messages. Mochi keeps it in a way that gets messages
// out of order, and after each packet of a client it takes one lock twice to look for messages that the quota holds back:
// with a publish at the same moment the broker stands still for ever. Like an older Mosquitto, the emulators then send
// more than the client's Receive Maximum when nothing is confirmed; what clients may send is still counted.
func (g *guard) OnSessionEstablished(cl *mochi.Client, _ packets.Packet) {
	cl.State.Inflight.ResetSendQuota(-1)
}

// Mochi keeps the packet identifiers of both directions in one map, so that a client's PUBLISH 5 wipes out the broker's
// own PUBLISH 5 and a SUBSCRIBE is refused as in use. The identifiers that clients chose are turned by half the range on
// their way in, and back on their way out.
const (
	identifiers = 65535
	turn        = 32768
)

func turned(id uint16, by int) uint16 {
	if id == 0 {
		return 0
	}
	return uint16((int(id)-1+by)%identifiers + 1)
}

func (g *guard) OnPacketRead(_ *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	switch pk.FixedHeader.Type {
	case packets.Publish, packets.Pubrel, packets.Subscribe, packets.Unsubscribe:
		pk.PacketID = turned(pk.PacketID, turn)
	}
	return pk, nil
}

func (g *guard) OnPacketEncode(_ *mochi.Client, pk packets.Packet) packets.Packet {
	switch pk.FixedHeader.Type {
	case packets.Puback, packets.Pubrec, packets.Pubcomp, packets.Suback, packets.Unsuback:
		pk.PacketID = turned(pk.PacketID, identifiers-turn)
	}
	return pk
}

// WriteConnack answers a CONNECT with a code as it stands, such as Adafruit's 6 and 7, and ends the connection. It is
// for a hook's OnConnect, which then returns an error; mochi itself translates codes and knows only the usual ones.
func WriteConnack(cl *mochi.Client, code byte) {
	answer := []byte{0x20, 2, 0, code}
	if cl.Properties.ProtocolVersion == 5 {
		answer = []byte{0x20, 3, 0, code, 0}
	}
	_, _ = cl.Net.Conn.Write(answer)
	cl.Stop(packets.Code{Code: code})
}

// Kick ends a client's connection: MQTT 5 clients are told why, MQTT 3 ones are not.
func (b *Broker) Kick(cl *mochi.Client, code packets.Code) {
	if cl.Properties.ProtocolVersion == 5 {
		_ = b.Server.DisconnectClient(cl, code)
		return
	}
	cl.Stop(code)
}

// Wrapped is what Setup.Wrap made for a client's connection; nil for the inline client.
func Wrapped(cl *mochi.Client) net.Conn {
	if c, ok := cl.Net.Conn.(*conn); ok {
		return c.Conn
	}
	return nil
}

// ServerName is the host name that the client asked for in its TLS handshake (SNI); empty for none, and without TLS.
func ServerName(cl *mochi.Client) string {
	c, ok := cl.Net.Conn.(*conn)
	if !ok {
		return ""
	}
	t, ok := c.lowest.(*tls.Conn)
	if !ok {
		return ""
	}
	return t.ConnectionState().ServerName
}
