package hivemqcloudtest

import (
	"crypto/subtle"
	"fmt"
	"math"
	"strings"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/generic"
)

// hook is what HiveMQ does and a plain broker does not.
type hook struct {
	mochi.HookBase
	server *Server
}

func (h *hook) ID() string { return "hivemq-cloud" }

func (h *hook) Provides(b byte) bool {
	switch b {
	case mochi.OnConnect, mochi.OnConnectAuthenticate, mochi.OnACLCheck, mochi.OnSessionEstablish, mochi.OnPacketRead, mochi.OnPublish,
		mochi.OnSubscribed:
		return true
	}
	return false
}

// version3 gives the code of MQTT 3 for one of 5.
func version3(code byte) byte {
	switch code {
	case packets.ErrBadUsernameOrPassword.Code:
		return 4
	case packets.ErrUnsupportedProtocolVersion.Code:
		return 1
	case packets.ErrClientIdentifierNotValid.Code:
		return 2
	case packets.ErrServerBusy.Code, packets.ErrServerUnavailable.Code, packets.ErrUseAnotherServer.Code, packets.ErrServerMoved.Code:
		return 3
	}
	return 5
}

// refuse answers a CONNECT with a code and its reason.
func (h *hook) refuse(cl *mochi.Client, code packets.Code, why string) error {
	h.server.Add(emulator.Event{What: "login", ClientID: cl.ID, Why: why})
	if cl.Properties.ProtocolVersion == 5 {
		code.Reason = why
		_ = h.server.Server.SendConnack(cl, code, false, nil)
	} else {
		emulator.WriteConnack(cl, version3(code.Code))
	}
	return code
}

func (h *hook) OnConnect(cl *mochi.Client, pk packets.Packet) error {
	s := h.server
	if name := emulator.ServerName(cl); !strings.EqualFold(name, s.host) && !strings.EqualFold(name, "localhost") {
		// The handshake has succeeded all the same: HiveMQ cannot tell which cluster is meant, and says so only here.
		return h.refuse(cl, packets.ErrNotAuthorized, fmt.Sprintf("no cluster for the server name %q", name))
	}
	if !h.known(pk) {
		return h.refuse(cl, packets.ErrBadUsernameOrPassword, "wrong user name or password")
	}
	if w := pk.Connect; w.WillFlag && !h.may(cl, w.WillTopic, true) {
		return h.refuse(cl, packets.ErrNotAuthorized, "not authorized to publish the will to "+w.WillTopic)
	}
	if n := h.others(cl.ID); n >= s.sessions {
		return h.refuse(cl, packets.ErrQuotaExceeded, fmt.Sprintf("the cluster has %d sessions and no more", s.sessions))
	}
	s.Add(emulator.Event{What: "login", Accepted: true, ClientID: cl.ID})
	return nil
}

func (h *hook) known(pk packets.Packet) bool {
	for _, c := range h.server.credentials {
		if string(pk.Connect.Username) == c.Username && subtle.ConstantTimeCompare(pk.Connect.Password, []byte(c.Password)) == 1 {
			return true
		}
	}
	return false
}

// others counts the sessions beside the one of this client id, connected or not.
func (h *hook) others(id string) int {
	n := 0
	for _, cl := range h.server.Server.Clients.GetAll() {
		if !cl.Net.Inline && cl.ID != id {
			n++
		}
	}
	return n
}

// may says whether the client's credential covers a topic or filter.
func (h *hook) may(cl *mochi.Client, topic string, publish bool) bool {
	if cl.Net.Inline {
		return true
	}
	for _, c := range h.server.credentials {
		if c.Username != string(cl.Properties.Username) {
			continue
		}
		if c.Permission != "both" && (c.Permission == "publish") != publish {
			return false
		}
		if shared := strings.SplitN(topic, "/", 3); len(shared) == 3 && shared[0] == "$share" {
			topic = shared[2]
		}
		return generic.Covers(c.Filter, topic)
	}
	return false
}

func (h *hook) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }

// OnACLCheck is asked for publishing only after OnPacketRead has let it through.
func (h *hook) OnACLCheck(cl *mochi.Client, topic string, write bool) bool {
	return h.may(cl, topic, write)
}

// OnSessionEstablish lifts mochi's own window for MQTT 3, where HiveMQ has none.
func (h *hook) OnSessionEstablish(cl *mochi.Client, _ packets.Packet) {
	if cl.Properties.ProtocolVersion < 5 {
		cl.State.Inflight.ResetReceiveQuota(math.MaxInt32)
	}
}

func (h *hook) OnPacketRead(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	w, ok := emulator.Wrapped(cl).(*window)
	if !ok || cl.Net.Inline {
		return pk, nil
	}
	switch pk.FixedHeader.Type {
	case packets.Publish:
		if n := w.began(pk.PacketID, pk.FixedHeader.Qos); n > h.server.receiveMax && cl.Properties.ProtocolVersion == 5 {
			h.refusePublish(cl, pk, fmt.Sprintf("%d messages are unconfirmed, and %d may be", n, h.server.receiveMax))
			h.server.Kick(cl, packets.ErrReceiveMaximum)
			return pk, packets.ErrRejectPacket
		}
		if !h.may(cl, pk.TopicName, true) {
			h.deny(cl, pk)
			return pk, packets.ErrRejectPacket
		}
	case packets.Pubrel:
		w.ended(pk.PacketID)
	case packets.Subscribe:
		for _, f := range pk.Filters {
			if !mochi.IsValidFilter(f.Filter, false) {
				h.server.Add(emulator.Event{What: "subscribe", ClientID: cl.ID, Topic: f.Filter, Why: "not a valid topic filter"})
				h.server.Kick(cl, packets.ErrTopicFilterInvalid)
				return pk, packets.ErrRejectPacket
			}
			if cl.Properties.ProtocolVersion < 4 && !h.may(cl, f.Filter, false) { // MQTT 3.1 has no code for it.
				h.server.Add(emulator.Event{What: "subscribe", ClientID: cl.ID, Topic: f.Filter, Why: "not authorized"})
				h.server.Kick(cl, packets.ErrNotAuthorized)
				return pk, packets.ErrRejectPacket
			}
		}
	}
	return pk, nil
}

func (h *hook) refusePublish(cl *mochi.Client, pk packets.Packet, why string) {
	h.server.Add(emulator.Event{What: "publish", ClientID: cl.ID, Topic: pk.TopicName, Payload: string(pk.Payload), Why: why})
}

// deny is HiveMQ's answer to a message that is not allowed: on MQTT 5 an acknowledgement that says so and then, always,
// the goodbye; on 3 the end without a word.
func (h *hook) deny(cl *mochi.Client, pk packets.Packet) {
	h.refusePublish(cl, pk, "not authorized")
	if cl.Properties.ProtocolVersion == 5 && pk.FixedHeader.Qos > 0 {
		kind := byte(packets.Puback)
		if pk.FixedHeader.Qos == 2 {
			kind = packets.Pubrec
		}
		_ = cl.WritePacket(packets.Packet{
			FixedHeader: packets.FixedHeader{Type: kind}, PacketID: pk.PacketID, ReasonCode: packets.ErrNotAuthorized.Code,
		})
		if w, ok := emulator.Wrapped(cl).(*window); ok {
			w.flush()
		}
	}
	code := packets.ErrNotAuthorized
	code.Reason = fmt.Sprintf("Not authorized to publish on topic '%s' with QoS '%d' and retain '%t'", pk.TopicName, pk.FixedHeader.Qos,
		pk.FixedHeader.Retain)
	h.server.Kick(cl, code)
}

func (h *hook) OnPublish(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	h.server.NotePublish(cl, pk)
	return pk, nil
}

func (h *hook) OnSubscribed(cl *mochi.Client, pk packets.Packet, codes []byte) {
	h.server.NoteSubscribe(cl, pk, codes, "not authorized")
}
