package thingspeaktest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"cloudbridge/platforms/emulator"
)

// hook is ThingSpeak's MQTT side.
type hook struct {
	mochi.HookBase
	cloud *Cloud
	// heard is when each connection was last heard of.
	heard sync.Map // *mochi.Client -> time.Time
}

func (h *hook) ID() string { return "thingspeak" }

func (h *hook) Provides(b byte) bool {
	switch b {
	case mochi.OnConnect, mochi.OnConnectAuthenticate, mochi.OnSessionEstablished, mochi.OnDisconnect, mochi.OnACLCheck,
		mochi.OnPacketRead, mochi.OnSubscribe, mochi.OnSubscribed, mochi.OnPublish:
		return true
	}
	return false
}

// The CONNACK codes of MQTT 3.1.1.
const (
	unacceptableVersion = 1
	badUserOrPassword   = 4
	notAuthorized       = 5
)

// OnConnect lets devices in.
func (h *hook) OnConnect(cl *mochi.Client, pk packets.Packet) error {
	code, why := h.judge(pk)
	h.cloud.Add(emulator.Event{
		Accepted: code == 0, What: "login", ClientID: pk.Connect.ClientIdentifier, Payload: string(pk.Connect.Username), Why: why,
	})
	if code == 0 {
		return nil
	}
	// A broker of MQTT 3.1.1 answers any CONNECT in the form of 3.1.1, one of MQTT 5 included.
	_, _ = cl.Net.Conn.Write([]byte{0x20, 2, 0, code})
	cl.Stop(packets.ErrNotAuthorized)
	return packets.ErrNotAuthorized
}

func (h *hook) judge(pk packets.Packet) (code byte, why string) {
	s := &h.cloud.settings
	c := pk.Connect
	if pk.ProtocolVersion != 4 && !(pk.ProtocolVersion == 5 && s.version5) {
		return unacceptableVersion, fmt.Sprintf("protocol level %d: only MQTT 3.1.1 is spoken here", pk.ProtocolVersion)
	}
	if s.strict && c.WillFlag {
		return notAuthorized, "a will is not allowed"
	}
	if s.strict && !c.Clean {
		return notAuthorized, "a session that is kept is not allowed"
	}
	if s.legacy {
		return 0, ""
	}
	for _, d := range h.cloud.devices {
		if d.Username != string(c.Username) || d.Password != string(c.Password) {
			continue
		}
		if d.ClientID != c.ClientIdentifier && !s.anyClientID {
			return h.badLogin(), "the client id is not the device's"
		}
		return 0, ""
	}
	return h.badLogin(), "no device has this username and password"
}

func (h *hook) badLogin() byte {
	if h.cloud.settings.badLogin4 {
		return badUserOrPassword
	}
	return notAuthorized
}

// OnConnectAuthenticate says yes: OnConnect has decided.
func (h *hook) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }

// OnSessionEstablished begins to watch the silence of a connection.
func (h *hook) OnSessionEstablished(cl *mochi.Client, _ packets.Packet) {
	h.heard.Store(cl, time.Now())
	h.watch(cl, h.cloud.settings.idle)
}

// OnDisconnect ends the watch.
func (h *hook) OnDisconnect(cl *mochi.Client, _ error, _ bool) { h.heard.Delete(cl) }

func (h *hook) watch(cl *mochi.Client, wait time.Duration) {
	if wait <= 0 {
		return
	}
	h.cloud.After(wait, func() {
		heard, ok := h.heard.Load(cl)
		if !ok || cl.Closed() {
			return
		}
		if left := h.cloud.settings.idle - time.Since(heard.(time.Time)); left > 0 {
			h.watch(cl, left)
			return
		}
		h.cloud.Add(emulator.Event{What: "idle", ClientID: cl.ID, Why: fmt.Sprintf("silent for %v", h.cloud.settings.idle)})
		h.cloud.Kick(cl, packets.ErrKeepAliveTimeout)
	})
}

// OnPacketRead notes that a connection is alive.
func (h *hook) OnPacketRead(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	if _, watched := h.heard.Load(cl); watched && (pk.FixedHeader.Type != packets.Pingreq || h.cloud.settings.pingsCount) {
		h.heard.Store(cl, time.Now())
	}
	return pk, nil
}

// device is the device that a connection logged in as; with old topics anybody may log in, and it is nil.
func (h *hook) device(cl *mochi.Client) *Device {
	for i, d := range h.cloud.devices {
		if d.Username == string(cl.Properties.Username) {
			return &h.cloud.devices[i]
		}
	}
	return nil
}

// path is a topic of ThingSpeak's, taken apart.
type path struct {
	channel *channel
	field   int // 0 for the whole entry, wild for any
	key     string
}

const wild = -1

// parse takes channels/ID/<verb>[/fields/fieldN][/KEY] apart. Only old topics may have a key.
func (c *Cloud) parse(topic, verb string) (path, string) {
	levels := strings.Split(topic, "/")
	if len(levels) < 3 || levels[0] != "channels" || levels[2] != verb {
		return path{}, "no topic of ThingSpeak's"
	}
	id, err := strconv.ParseInt(levels[1], 10, 64)
	if err != nil {
		return path{}, "no channel's number"
	}
	c.mu.Lock()
	p := path{channel: c.channels[id]}
	c.mu.Unlock()
	if p.channel == nil {
		return path{}, "there is no such channel"
	}
	rest := levels[3:]
	if len(rest) >= 2 && rest[0] == "fields" {
		p.field = fieldNumber(rest[1])
		if p.field == 0 || (p.field == wild && verb == "publish") {
			return path{}, "no such field"
		}
		rest = rest[2:]
	} else if c.settings.legacy && verb == "subscribe" && len(rest) > 0 && rest[0] == "json" {
		rest = rest[1:]
	}
	if len(rest) == 1 && c.settings.legacy {
		p.key, rest = rest[0], nil
	}
	if len(rest) > 0 {
		return path{}, "no topic of ThingSpeak's"
	}
	return p, ""
}

func fieldNumber(level string) int {
	if level == "+" {
		return wild
	}
	n, err := strconv.Atoi(strings.TrimPrefix(level, "field"))
	if err != nil || n < 1 || n > 8 || level != "field"+strconv.Itoa(n) {
		return 0
	}
	return n
}

// mayRead says why a filter is not the device's to subscribe to; empty is that it is.
func (h *hook) mayRead(cl *mochi.Client, filter string) string {
	p, why := h.cloud.parse(filter, "subscribe")
	if why != "" {
		return why
	}
	if d := h.device(cl); d != nil {
		if d.Subscribe != nil && !slices.Contains(d.Subscribe, p.channel.ID) {
			return "the device may not subscribe to this channel"
		}
		return ""
	}
	if !p.channel.Public && p.key != p.channel.ReadKey {
		return "the read key is not the channel's"
	}
	return ""
}

// OnACLCheck guards subscriptions; publishes are judged by OnPublish, which can tell why.
func (h *hook) OnACLCheck(cl *mochi.Client, topic string, write bool) bool {
	return write || cl.Net.Inline || h.mayRead(cl, topic) == ""
}

// OnSubscribe grants QoS 0 and nothing else.
func (h *hook) OnSubscribe(_ *mochi.Client, pk packets.Packet) packets.Packet {
	for i := range pk.Filters {
		pk.Filters[i].Qos = 0
	}
	return pk
}

// OnSubscribed records what came of a SUBSCRIBE.
func (h *hook) OnSubscribed(cl *mochi.Client, pk packets.Packet, reasons []byte) {
	if cl.Net.Inline {
		return
	}
	for i, sub := range pk.Filters {
		e := emulator.Event{What: "subscribe", ClientID: cl.ID, Topic: sub.Filter, Accepted: reasons[i] < 0x80}
		if !e.Accepted {
			e.Why = h.mayRead(cl, sub.Filter)
			if e.Why == "" {
				e.Why = "no filter of MQTT's"
			}
		}
		h.cloud.Add(e)
		switch {
		case !e.Accepted && h.cloud.settings.closeFilter:
			h.cloud.Kick(cl, packets.ErrNotAuthorized)
		case e.Accepted && h.cloud.settings.replay:
			h.replay(cl, sub.Filter)
		}
	}
}

// replay sends the latest entry to a new subscriber, as the old broker did.
func (h *hook) replay(cl *mochi.Client, filter string) {
	p, why := h.cloud.parse(filter, "subscribe")
	if why != "" {
		return
	}
	h.cloud.mu.Lock()
	entries := p.channel.entries
	h.cloud.mu.Unlock()
	if len(entries) == 0 {
		return
	}
	before, after, any := strings.Cut(filter, "+")
	for _, m := range h.cloud.emissions(p.channel, entries[len(entries)-1]) {
		fits := m.topic == filter
		if any {
			field, ok := strings.CutPrefix(m.topic, before)
			field, end := strings.CutSuffix(field, after)
			fits = ok && end && fieldNumber(field) > 0
		}
		if fits {
			// A client that is gone already needs no replay.
			_ = cl.WritePacket(packets.Packet{
				FixedHeader: packets.FixedHeader{Type: packets.Publish}, TopicName: m.topic, Payload: m.payload,
			})
		}
	}
}

// OnPublish takes a row. Nothing that a device publishes reaches another device as it is, so nothing is passed on; and the device
// hears nothing about its fate, which is how ThingSpeak is.
func (h *hook) OnPublish(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	if cl.Net.Inline {
		return pk, nil
	}
	e := emulator.Event{What: "publish", ClientID: cl.ID, Topic: pk.TopicName, Payload: string(pk.Payload)}
	if (pk.FixedHeader.Qos > 0 || pk.FixedHeader.Retain) && !h.cloud.settings.accept {
		e.Why = fmt.Sprintf("QoS %d, retain %v: only QoS 0 without retain is taken", pk.FixedHeader.Qos, pk.FixedHeader.Retain)
		h.cloud.Add(e)
		h.cloud.Kick(cl, packets.ErrQosNotSupported)
		return pk, packets.ErrRejectPacket
	}
	p, why := h.mayWrite(cl, pk.TopicName)
	if why != "" {
		e.Why = why
		h.cloud.Add(e)
		if h.cloud.settings.closeTopic {
			h.cloud.Kick(cl, packets.ErrNotAuthorized)
			return pk, packets.ErrRejectPacket
		}
		return pk, packets.CodeSuccessIgnore
	}
	if err := h.take(p, pk.Payload); err != nil {
		e.Why = err.Error()
	} else {
		e.Accepted = true
	}
	h.cloud.Add(e)
	return pk, packets.CodeSuccessIgnore
}

func (h *hook) mayWrite(cl *mochi.Client, topic string) (path, string) {
	p, why := h.cloud.parse(topic, "publish")
	if why != "" {
		return p, why
	}
	d := h.device(cl)
	if d == nil || p.key != "" {
		if p.key == "" || p.key != p.channel.WriteKey {
			return p, "the write key is not the channel's"
		}
		return p, ""
	}
	if d.Publish != nil && !slices.Contains(d.Publish, p.channel.ID) {
		return p, "the device may not publish to this channel"
	}
	return p, ""
}

// take reads the payload of a publish, a form or the bare value of a field, and writes the row.
func (h *hook) take(p path, payload []byte) error {
	if len(payload) > h.cloud.settings.messageSize {
		return fmt.Errorf("%d bytes are more than a message may have (%d)", len(payload), h.cloud.settings.messageSize)
	}
	form := map[string]string{fieldName(p.field - 1): string(payload)}
	if p.field == 0 {
		var err error
		if form, err = readForm(string(payload)); err != nil {
			return err
		}
	}
	_, err := h.cloud.write(p.channel, form, false)
	return err
}
