package platformtest

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

func (c *Case) encode(t *testing.T) {
	p := c.platform(t)
	if len(c.Points) == 0 {
		t.Fatal("no points to encode")
	}
	before := fmt.Sprintf("%+v", c.Points)
	for left := c.Points; len(left) > 0; {
		out, err := p.Encode(left)
		if err != nil {
			t.Fatalf("encode %+v: %v", left[0], err)
		}
		again, _ := p.Encode(left)
		if !reflect.DeepEqual(out, again) {
			t.Errorf("the same points make different deliveries:\n%s\n%s", Describe(out), Describe(again))
		}
		covered := 0
		for _, d := range out {
			c.checkDelivery(t, p, d)
			covered += d.Points
		}
		if covered < 1 || covered > len(left) {
			t.Fatalf("%d points of %d are covered:\n%s", covered, len(left), Describe(out))
		}
		left = left[covered:]
	}
	if after := fmt.Sprintf("%+v", c.Points); after != before {
		t.Errorf("Encode changed the points from %s to %s", before, after)
	}
}

func (c *Case) checkDelivery(t *testing.T, p platforms.Platform, d platforms.Delivery) {
	l := p.Limits()
	switch {
	case (d.Message == nil) == (d.Request == nil):
		t.Errorf("a delivery is a message or a request, and not both: %+v", d)
	case d.Request != nil:
		if u, err := url.Parse(d.Request.URL); err != nil || u.Host == "" || d.Request.Method == "" {
			t.Errorf("request %s %s", d.Request.Method, d.Request.URL)
		}
		if l.MaxPayload > 0 && l.Kind == platforms.Ordered && len(d.Request.Body) > l.MaxPayload {
			t.Errorf("a request of %d bytes, and %d are allowed", len(d.Request.Body), l.MaxPayload)
		}
	default:
		m := d.Message
		if m.QoS > l.MaxQoS || m.Retain && !l.Retain || l.MaxPayload > 0 && len(m.Payload) > l.MaxPayload {
			t.Errorf("message %q, QoS %d, retain %v, %d bytes: over the limits %+v", m.Topic, m.QoS, m.Retain, len(m.Payload), l)
		}
		if m.Topic == "" || strings.ContainsAny(m.Topic, "+#\x00") {
			t.Errorf("message to topic %q", m.Topic)
		}
	}
	if d.Points < 0 || d.Cost < 0 {
		t.Errorf("a delivery of %d points costs %d", d.Points, d.Cost)
	}
}

// deliveries encodes all points.
func (c *Case) deliveries(t *testing.T, p platforms.Platform) (all []platforms.Delivery) {
	for left := c.Points; len(left) > 0; {
		out, err := p.Encode(left)
		if err != nil {
			t.Fatal(err)
		}
		covered := 0
		for _, d := range out {
			covered += d.Points
		}
		if covered < 1 {
			t.Fatal("nothing is covered")
		}
		all, left = append(all, out...), left[min(covered, len(left)):]
	}
	return all
}

// decode throws at Decode what a broker gone mad could send: topics and payloads of the platform's own, cut and mixed.
func (c *Case) decode(t *testing.T) {
	p := c.platform(t)
	random := rand.New(rand.NewPCG(1, 2))
	topics := []string{"", "/", "+", "#", "++++++", "$SYS/x", "a/b/c", strings.Repeat("x/", 200), "\xff\xfe", "\x00"}
	payloads := []string{"", "null", "{}", "[]", `{"value":`, `{"value":{"value":1}}`, `"`, "\xff", "1e999", "NaN", strings.Repeat("9", 5000), "a,b,,\n,"}
	for _, d := range c.deliveries(t, p) {
		if m := d.Message; m != nil {
			topics, payloads = append(topics, m.Topic), append(payloads, string(m.Payload))
		}
	}
	for _, s := range c.allSubscriptions(t, p) {
		topics = append(topics, s.Filter, strings.NewReplacer("+", "x", "#", "x/y").Replace(s.Filter))
	}
	cut := func(s string) string {
		if len(s) == 0 {
			return s
		}
		i, j := random.IntN(len(s)+1), random.IntN(len(s)+1)
		return s[min(i, j):max(i, j)]
	}
	for range 20_000 {
		m := &mqtt.Message{
			Topic: topics[random.IntN(len(topics))], Payload: []byte(payloads[random.IntN(len(payloads))]),
			QoS: byte(random.IntN(3)), Retain: random.IntN(2) == 0,
		}
		switch random.IntN(4) {
		case 0:
			m.Topic = cut(m.Topic)
		case 1:
			m.Payload = []byte(cut(string(m.Payload)))
		case 2:
			m.Payload = append(m.Payload, cut(payloads[random.IntN(len(payloads))])...)
		}
		c.checkEvent(t, m, p.Decode(m))
		if t.Failed() {
			return
		}
	}
}

func (c *Case) checkEvent(t *testing.T, m *mqtt.Message, e platforms.Event) {
	switch e.Kind {
	case platforms.Nothing:
	case platforms.Command:
		if e.Address.Name == "" {
			t.Errorf("topic %q payload %q: a command without an address", m.Topic, m.Payload)
		}
	case platforms.Throttled, platforms.Rejected:
		if e.Why == "" || e.For < 0 {
			t.Errorf("topic %q payload %q: %+v has no words, or a time below zero", m.Topic, m.Payload, e)
		}
	default:
		t.Errorf("topic %q payload %q: no such kind of event: %d", m.Topic, m.Payload, e.Kind)
	}
}

// echoes checks that what comes back of our own is known by what was noted when it went.
func (c *Case) echoes(t *testing.T) {
	p := c.platform(t)
	back := c.Echo
	if back == nil && p.Limits().EchoesOwn {
		back = func(d platforms.Delivery) []*mqtt.Message { return []*mqtt.Message{d.Message} }
	}
	if back == nil {
		t.Skip("this cloud does not send back what we sent")
	}
	for _, d := range c.deliveries(t, p) {
		if d.Message == nil {
			continue
		}
		for _, m := range back(d) {
			e := p.Decode(m)
			known := slices.ContainsFunc(e.Echoes, func(x platforms.Echo) bool { return slices.Contains(d.Echoes, x) })
			if e.Kind == platforms.Command && !known {
				t.Errorf("%q %q comes back as %s, which is none of\n%s", m.Topic, m.Payload, DescribeEvent(e), Describe([]platforms.Delivery{d}))
			}
		}
	}
}

func (c *Case) allSubscriptions(t *testing.T, p platforms.Platform) []mqtt.Subscription {
	var sources []mappings.Source
	for _, place := range c.Sources {
		s, err := c.Kind.Source(p, place, c.Scope)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, *s)
	}
	return p.Subscriptions(sources)
}

func (c *Case) subscriptions(t *testing.T) {
	p := c.platform(t)
	all := c.allSubscriptions(t, p)
	if len(c.Sources) > 0 && len(all) == 0 {
		t.Error("downlinks without a subscription")
	}
	if again := c.allSubscriptions(t, p); !reflect.DeepEqual(all, again) {
		t.Errorf("the same sources make different subscriptions: %+v, %+v", all, again)
	}
	seen := map[string]bool{}
	for _, s := range append(all, p.Subscriptions(nil)...) {
		if !validFilter(s.Filter) || s.QoS > 2 {
			t.Errorf("subscription %+v", s)
		}
	}
	for _, s := range all {
		if seen[s.Filter] {
			t.Errorf("%s is subscribed to twice", s.Filter)
		}
		seen[s.Filter] = true
	}
}

func validFilter(f string) bool {
	levels := strings.Split(f, "/")
	for i, l := range levels {
		if strings.ContainsAny(l, "+#\x00") && (len(l) != 1 || l == "#" && i != len(levels)-1) {
			return false
		}
	}
	return f != "" && len(f) <= 65535
}

// judge asks for every code there can be, in both versions.
func (c *Case) judge(t *testing.T) {
	p := c.platform(t)
	check := func(r platforms.Reply) {
		v := p.Judge(r)
		if v.Outcome < platforms.Confirmed || v.Outcome > platforms.Refused {
			t.Errorf("%+v: no such outcome: %d", r, v.Outcome)
		}
		if v.Outcome != platforms.Confirmed && v.Why == "" {
			t.Errorf("%+v: %+v has no words", r, v)
		}
		if v.After < 0 || strings.HasSuffix(v.Why, ".") || strings.Contains(v.Why, "%!") {
			t.Errorf("%+v: %+v", r, v)
		}
	}
	packets := []mqtt.Packet{mqtt.Connack, mqtt.Puback, mqtt.Pubrec, mqtt.Pubcomp, mqtt.Suback, mqtt.Unsuback, mqtt.Disconnect}
	for _, protocol := range []mqtt.Protocol{mqtt.V311, mqtt.V5} {
		for _, packet := range packets {
			for code := range 256 {
				r := mqtt.Reason{Packet: packet, Protocol: protocol, Code: byte(code), Text: "reason %s"}
				check(platforms.Reply{Reason: r})
				check(platforms.Reply{Reason: r, Topic: "topic %d/x"})
			}
		}
		ok := func(packet mqtt.Packet, code byte) bool {
			r := platforms.Reply{Reason: mqtt.Reason{Packet: packet, Protocol: protocol, Code: code}}
			return p.Judge(r).Outcome == platforms.Confirmed
		}
		if !ok(mqtt.Connack, 0) || !ok(mqtt.Puback, 0) || !ok(mqtt.Suback, 0) || ok(mqtt.Disconnect, 0x8B) {
			t.Errorf("MQTT %s: success is not taken for success, or a goodbye is", protocol)
		}
		for code := 1; code < 256; code++ {
			if ok(mqtt.Connack, byte(code)) {
				t.Errorf("MQTT %s: CONNACK code %d is taken for success", protocol, code)
			}
		}
	}
	for _, body := range []string{"", "0", "1", "{}", `{"error":"x"}`, "\xff", "null", "[1]"} {
		for status := 100; status < 600; status++ {
			check(platforms.Reply{HTTPStatus: status, Body: []byte(body)})
		}
	}
}
