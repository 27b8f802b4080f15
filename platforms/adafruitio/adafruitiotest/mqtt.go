package adafruitiotest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"cloudbridge/platforms/emulator"
)

// What a CONNECT is refused with. These go out as they are, in the form of MQTT 3.1.1 whatever the client asked for.
const (
	refusedProtocol  = 1
	refusedLogin     = 5
	refusedThrottled = 6
	refusedBanned    = 7
)

// hook makes Adafruit IO of the broker.
type hook struct {
	mochi.HookBase
	cloud *Cloud
}

func (h *hook) ID() string { return "adafruit-io" }

func (h *hook) Provides(b byte) bool {
	switch b {
	case mochi.OnConnect, mochi.OnConnectAuthenticate, mochi.OnACLCheck, mochi.OnSessionEstablish, mochi.OnDisconnect,
		mochi.OnPacketRead, mochi.OnPublish, mochi.OnSubscribe:
		return true
	}
	return false
}

// OnConnectAuthenticate says yes to whom OnConnect let pass.
func (h *hook) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }

// OnACLCheck says yes: what may be written and read is decided, and told of, in OnPublish and OnSubscribe.
func (h *hook) OnACLCheck(*mochi.Client, string, bool) bool { return true }

// OnConnect checks the login.
func (h *hook) OnConnect(cl *mochi.Client, pk packets.Packet) error {
	c := h.cloud
	code, why := c.login(string(pk.Connect.Username), string(pk.Connect.Password), pk.ProtocolVersion)
	var err error
	if code != 0 {
		err = fmt.Errorf("code %d: %s", code, why)
	}
	if code == refusedBanned {
		// Adafruit IO lets a banned client wait for its answer, so that those who try again at once are slowed.
		wait := time.NewTimer(c.rules.banReply)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-c.done:
		}
	}
	c.note("login", cl.ID, "", fmt.Sprintf("level %d, user %s", pk.ProtocolVersion, pk.Connect.Username), err)
	if code != 0 {
		_, _ = cl.Net.Conn.Write([]byte{0x20, 2, 0, code})
		cl.Stop(err)
	}
	return err
}

// login answers a CONNECT: the code of the CONNACK, and why.
func (c *Cloud) login(username, key string, level byte) (code byte, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.accounts[strings.ToLower(username)]
	if a == nil {
		if level > 4 && !c.rules.mqtt5 {
			return refusedProtocol, "MQTT 5"
		}
		return refusedLogin, "no such user"
	}
	now := time.Now()
	a.logins.add(now, 1)
	switch {
	case level > 4 && !c.rules.mqtt5:
		return refusedProtocol, "MQTT 5"
	case c.banned(a):
		return refusedBanned, "the account is banned"
	case a.logins.count(now, c.rules.minute) > c.rules.logins:
		c.overrun(a, now, 1)
		return refusedThrottled, fmt.Sprintf("more than %d logins in a minute", c.rules.logins)
	case key != a.key:
		return refusedLogin, "wrong key"
	}
	return 0, ""
}

// OnSessionEstablish takes the will out of the broker's hands, for it must pass the same check as any message.
func (h *hook) OnSessionEstablish(cl *mochi.Client, _ packets.Packet) {
	if cl.Properties.Will.Flag == 0 {
		return
	}
	h.cloud.mu.Lock()
	defer h.cloud.mu.Unlock()
	h.cloud.wills[cl] = cl.Properties.Will
	cl.Properties.Will = mochi.Will{}
}

// OnDisconnect publishes the will of a client that went without a DISCONNECT.
func (h *hook) OnDisconnect(cl *mochi.Client, err error, _ bool) {
	c := h.cloud
	c.mu.Lock()
	defer c.mu.Unlock()
	will, ok := c.wills[cl]
	delete(c.wills, cl)
	if ok && err != nil {
		c.publish(cl, "will", will.TopicName, will.Payload)
	}
}

// account is whose connection it is.
func (c *Cloud) account(cl *mochi.Client) *account {
	return c.accounts[strings.ToLower(string(cl.Properties.Username))]
}

// nowhere is the topic that a PUBLISH with an impossible topic is given, because the broker would not acknowledge it.
const nowhere = "nowhere"

var errQoS2 = errors.New("QoS 2 is not supported, the connection is closed")

// OnPacketRead stands before the broker's own checks.
func (h *hook) OnPacketRead(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	if pk.FixedHeader.Type != packets.Publish {
		return pk, nil
	}
	c := h.cloud
	if pk.FixedHeader.Qos == 2 && c.rules.closeQoS2 {
		c.note("publish", cl.ID, pk.TopicName, string(pk.Payload), errQoS2)
		return pk, packets.ErrRejectPacket // The one error for which the broker ends the connection here.
	}
	pk.FixedHeader.Retain = false // Nothing is retained, whatever the flag says.
	if !mochi.IsValidFilter(pk.TopicName, true) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if a := c.account(cl); a != nil {
			c.fail(a, cl, "PUBLISH", pk.TopicName, errTopic)
		}
		c.note("publish", cl.ID, pk.TopicName, string(pk.Payload), errTopic)
		pk.TopicName = nowhere
	}
	return pk, nil
}

// OnPublish takes every message of a client's away from the broker, which acknowledges it and does no more: Adafruit IO
// acknowledges what it refuses, too.
func (h *hook) OnPublish(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	if cl.Net.Inline {
		return pk, nil
	}
	if pk.TopicName != nowhere {
		h.cloud.mu.Lock()
		h.cloud.publish(cl, "publish", pk.TopicName, pk.Payload)
		h.cloud.mu.Unlock()
	}
	return pk, packets.CodeSuccessIgnore
}

// publish takes in a message, or a will, and says on throttle or errors why if it does not.
func (c *Cloud) publish(cl *mochi.Client, what, topic string, payload []byte) {
	a := c.account(cl)
	if a == nil {
		return
	}
	p, err := readTopic(topic)
	if err == nil && p.get {
		c.get(cl, a, p, topic)
		return
	}
	if err == nil {
		err = c.take(a, p, payload)
	}
	c.note(what, cl.ID, topic, string(payload), err)
	var throttled *throttledError
	switch {
	case err == nil:
	case errors.As(err, &throttled):
		c.tell(a, "throttle", err.Error())
	case errors.Is(err, errBlocked):
		c.tell(a, "errors", fmt.Sprintf("%s PUBLISH %s %s", cl.ID, topic, err))
	default:
		c.fail(a, cl, "PUBLISH", topic, err)
	}
}

// take stores a message of an account's in its own feeds, or in a feed that another account shares.
func (c *Cloud) take(a *account, p place, payload []byte) error {
	to := a
	if !strings.EqualFold(p.user, a.name) {
		if p.group {
			return errShared
		}
		if !c.shared(p.user, p.key) {
			return errAccess
		}
		to = c.accounts[strings.ToLower(p.user)]
	}
	writes, err := readPayload(p, payload)
	if err != nil {
		return err
	}
	return c.store(to, writes, "mqtt")
}

func (c *Cloud) shared(user, key string) bool {
	a := c.accounts[strings.ToLower(user)]
	return a != nil && a.feeds[key] != nil && a.feeds[key].shared
}

// get answers the asking client alone, on the topic that it asked about, if it has subscribed to that. It costs nothing.
func (c *Cloud) get(cl *mochi.Client, a *account, p place, topic string) {
	base := p.path(topic)
	if !strings.EqualFold(p.user, a.name) && (p.group || !c.shared(p.user, p.key)) {
		c.note("get", cl.ID, topic, "", errAccess)
		c.fail(a, cl, "PUBLISH", topic, errAccess)
		return
	}
	payload, ok := c.last(c.accounts[strings.ToLower(p.user)], p)
	c.note("get", cl.ID, topic, "", nil)
	if !ok {
		return
	}
	if _, reads := c.Server.Topics.Subscribers(base).Subscriptions[cl.ID]; !reads {
		return
	}
	answer := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish},
		TopicName:   base,
		Payload:     []byte(payload),
	}
	_ = cl.WritePacket(answer) // Whoever is gone gets no answer.
}

// last writes the newest value of a feed, or of each feed of a group, in the format of the topic.
func (c *Cloud) last(a *account, p place) (string, bool) {
	if !p.group {
		f := a.feeds[p.key]
		if f == nil || len(f.points) == 0 {
			return "", false
		}
		n := f.points[len(f.points)-1]
		w := write{key: p.key, value: n.Value, lat: n.Lat, lon: n.Lon, ele: n.Ele}
		switch p.format {
		case "json":
			return w.json(), true
		case "csv":
			return w.csv(), true
		}
		return w.value, true
	}
	values := map[string]string{}
	var lines strings.Builder
	for _, key := range a.keys() {
		f := a.feeds[key]
		if group, feed := split(key); group == p.key && len(f.points) > 0 {
			values[feed] = f.points[len(f.points)-1].Value
			fmt.Fprintf(&lines, "%s,%s\n", feed, cell(values[feed]))
		}
	}
	if p.format == "csv" {
		return lines.String(), len(values) > 0
	}
	return compact(map[string]any{"feeds": values}), len(values) > 0
}

// OnSubscribe grants at most QoS 1, and spoils the filters that are refused: the broker then answers 0x80 for them.
func (h *hook) OnSubscribe(cl *mochi.Client, pk packets.Packet) packets.Packet {
	if cl.Net.Inline {
		return pk
	}
	c := h.cloud
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.account(cl)
	if a == nil {
		return pk
	}
	c.countSubscribe(a, cl, pk)
	for i := range pk.Filters {
		f := &pk.Filters[i]
		f.Qos = min(f.Qos, 1)
		err := checkFilter(a.name, f.Filter, c.shared)
		if err == nil && c.banned(a) {
			err = errBlocked
		}
		if err == nil && !mochi.IsValidFilter(f.Filter, false) {
			err = errTopic
		}
		c.note("subscribe", cl.ID, f.Filter, "", err)
		if err != nil {
			c.fail(a, cl, "SUBSCRIBE", f.Filter, err)
			f.Filter = ""
		}
	}
	return pk
}

// countSubscribe counts packets, not filters, and says when there are few left.
func (c *Cloud) countSubscribe(a *account, cl *mochi.Client, pk packets.Packet) {
	const few = 5
	now := time.Now()
	a.subscribes.add(now, 1)
	n := a.subscribes.count(now, c.rules.minute)
	switch {
	case n > c.rules.subscribes:
		c.ban(a, fmt.Sprintf("more than %d SUBSCRIBEs in a minute", c.rules.subscribes))
	case n == c.rules.subscribes-few && len(pk.Filters) > 0:
		c.Add(emulator.Event{What: "warning", Accepted: true, ClientID: cl.ID, Topic: pk.Filters[0].Filter})
		c.tell(a, "throttle", fmt.Sprintf(
			"%s SUBSCRIBE %s only %d attempts remaining in the next 60 seconds, please slow your request rate",
			cl.ID, pk.Filters[0].Filter, few))
	}
}
