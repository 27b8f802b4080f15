// Package platformtest is the suite that every platform passes.
//
// A platform's own test calls it in one line, with a Case that says what is special about the platform:
//
//	func TestConformance(t *testing.T) { platformtest.Run(t, platformtest.Case{Kind: Kind, Emulator: generictest.Emulator, ...}) }
package platformtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
	"cloudbridge/platforms/emulator"
)

// Case is one platform.
type Case struct {
	Kind platforms.Kind
	// Cloud returns a table without faults, a new one each time. It holds every one of Secrets.
	Cloud func() any
	// Secrets are texts that must never be seen.
	Secrets []string
	// Broken returns a table with at least two faults, which also holds every one of Secrets, in a wrong place too.
	Broken func() any
	// BrokenKeys are the keys that Open must blame for them.
	BrokenKeys []string
	// Places are places of rules that an uplink may write to, Sources ones that a downlink may read.
	Places, Sources []any
	// BadPlaces are ones that Target must refuse.
	BadPlaces []any
	// Scope is what Places, Sources and BadPlaces may use.
	Scope mappings.Scope
	// Good are addresses that the cloud can have, Bad ones that it cannot.
	Good, Bad []mappings.Address
	// Points are points of one lane that all can be sent.
	Points []mappings.Point
	// Echo is what the cloud sends back to a subscriber for a delivery. Nil stands for the delivery's own message, where
	// the limits say EchoesOwn, and for nothing where they do not.
	Echo func(platforms.Delivery) []*mqtt.Message
	// Emulator, where its Start is set, is started with Options, and the first delivery of Points is sent to it.
	Emulator emulator.Kind
	Options  emulator.Options
	// History are points of the past, of one lane and at least two, that all can be sent; of a Backfiller alone. The emulator is
	// filled with them, under HistoryOptions where these set anything.
	History        []mappings.Point
	HistoryOptions emulator.Options
	// Stored reads back what an emulator keeps for the Name of an address.
	Stored func(e emulator.Emulator, name string) []mappings.Point
}

// Run runs the suite.
func Run(t *testing.T, c Case) {
	t.Run("kind", c.kind)
	t.Run("open", c.open)
	t.Run("secrets", c.secrets)
	t.Run("limits", c.limits)
	t.Run("places", c.places)
	t.Run("lanes", c.lanes)
	t.Run("encode", c.encode)
	t.Run("decode", c.decode)
	t.Run("echoes", c.echoes)
	t.Run("subscriptions", c.subscriptions)
	t.Run("judge", c.judge)
	t.Run("emulator", c.emulate)
	t.Run("history", c.backfill)
}

// platform opens the table without faults.
func (c *Case) platform(t *testing.T) platforms.Platform {
	t.Helper()
	p, err := c.Kind.Open(c.Cloud())
	if err != nil {
		t.Fatalf("open a table without faults: %v", err)
	}
	return p
}

func (c *Case) kind(t *testing.T) {
	k := c.Kind
	if k.Name == "" || k.Title == "" || strings.ToLower(k.Name) != k.Name || strings.ContainsAny(k.Name, " _") {
		t.Errorf("name %q, title %q", k.Name, k.Title)
	}
	for what, f := range map[string]any{"NewCloud": k.NewCloud, "NewPlace": k.NewPlace, "Open": k.Open, "Target": k.Target, "Source": k.Source} {
		if reflect.ValueOf(f).IsNil() {
			t.Fatalf("%s is missing", what)
		}
	}
	for what, make := range map[string]func() any{"NewCloud": k.NewCloud, "NewPlace": k.NewPlace} {
		a, b := reflect.ValueOf(make()), reflect.ValueOf(make())
		if a.Kind() != reflect.Pointer || a.Elem().Kind() != reflect.Struct {
			t.Fatalf("%s returns %s, want a pointer to a struct", what, a.Type())
		}
		if a.Pointer() == b.Pointer() {
			t.Errorf("%s returns the same table twice", what)
		}
		checkTags(t, what, a.Elem().Type())
	}
	if k.TakesAnyTopic != k.Retains {
		t.Errorf("takes any topic: %v, retains: %v; brokers do both, clouds neither", k.TakesAnyTopic, k.Retains)
	}
}

// checkTags finds fields that no key of the configuration would reach.
func checkTags(t *testing.T, what string, s reflect.Type) {
	seen := map[string]bool{}
	for _, f := range reflect.VisibleFields(s) {
		if f.Anonymous || !f.IsExported() {
			continue
		}
		key, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		if key == "" || seen[key] {
			t.Errorf("%s: field %s has the key %q, which is empty or taken", what, f.Name, key)
		}
		seen[key] = true
	}
}

// Keys are the keys that an error of Open's blames, in order.
func Keys(err error) (keys []string) {
	for _, e := range leaves(err) {
		var k *platforms.KeyError
		if errors.As(e, &k) {
			keys = append(keys, k.Key)
		}
	}
	return keys
}

// leaves takes errors.Join apart, however deep.
func leaves(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, leaves(e)...)
		}
		return all
	}
	return []error{err}
}

func (c *Case) open(t *testing.T) {
	table := c.Cloud()
	before := fmt.Sprintf("%#v", table)
	p, err := c.Kind.Open(table)
	if err != nil || p == nil {
		t.Fatalf("open: %v, %v", p, err)
	}
	if after := fmt.Sprintf("%#v", table); after != before {
		t.Errorf("Open changed the table from %s to %s", before, after)
	}
	if again := c.platform(t); again.Account() != p.Account() || p.Account() == "" {
		t.Errorf("account %q, then %q", p.Account(), again.Account())
	}
	if p, err := c.Kind.Open(c.Kind.NewCloud()); err == nil {
		t.Errorf("an empty table makes %s", p.Account())
	}
	_, err = c.Kind.Open(c.Broken())
	got := Keys(err)
	for _, want := range c.BrokenKeys {
		if !slices.Contains(got, want) {
			t.Errorf("key %s is not blamed: %v", want, err)
		}
	}
	if len(c.BrokenKeys) < 2 {
		t.Error("the broken table needs two faults, to show that both are told")
	}
	for _, e := range leaves(err) {
		if e.Error() == "" || strings.HasSuffix(e.Error(), ".") || strings.Contains(e.Error(), "failed to") {
			t.Errorf("an error reads %q", e)
		}
	}
}

func (c *Case) secrets(t *testing.T) {
	if len(c.Secrets) == 0 {
		t.Fatal("no secrets to look for")
	}
	p := c.platform(t)
	o, _ := p.Session()
	_, broken := c.Kind.Open(c.Broken())
	var text strings.Builder
	for _, v := range []any{p, c.Cloud(), o, p.Account(), broken, leaves(broken)} {
		fmt.Fprintf(&text, "%v %+v %#v %s %q %x\n", v, v, v, v, v, v)
		if b, err := json.Marshal(v); err == nil {
			text.Write(append(b, '\n'))
		}
		for _, h := range []slog.Handler{slog.NewTextHandler(&text, nil), slog.NewJSONHandler(&text, nil)} {
			slog.New(h).Info("shown", "value", v)
		}
	}
	for _, a := range append(slices.Clone(c.Good), c.Bad...) {
		lane, err := p.Lane(a)
		fmt.Fprintln(&text, lane, err)
	}
	for packet, codes := range map[mqtt.Packet]int{mqtt.Connack: 256, mqtt.Puback: 256, mqtt.Suback: 256, mqtt.Disconnect: 256} {
		for code := range codes {
			r := platforms.Reply{Reason: mqtt.Reason{Packet: packet, Protocol: mqtt.V311, Code: byte(code)}, Topic: "t"}
			fmt.Fprintf(&text, "%+v\n", p.Judge(r))
		}
	}
	for _, secret := range c.Secrets {
		if i := strings.Index(text.String(), secret); i >= 0 {
			line := text.String()[strings.LastIndexByte(text.String()[:i], '\n')+1 : i]
			t.Errorf("a secret is shown after %q", line[max(0, len(line)-200):])
		}
		if hex := fmt.Sprintf("%x", secret); strings.Contains(text.String(), hex) {
			t.Errorf("a secret is shown in hexadecimal")
		}
	}
}

func (c *Case) limits(t *testing.T) {
	l := c.platform(t).Limits()
	for what, wrong := range map[string]bool{
		"the default QoS is above the highest":  l.DefaultQoS > l.MaxQoS,
		"the highest QoS is above 2":            l.MaxQoS > 2,
		"something is below zero":               l.Interval < 0 || l.PerMinute < 0 || l.Window < 0 || l.WindowBytes < 0 || l.MaxPayload < 0,
		"rows need an interval":                 l.Kind == platforms.Rows && l.Interval == 0,
		"a budget needs points a minute":        l.Kind == platforms.Budgeted && l.PerMinute == 0,
		"quiet needs a time":                    l.Confirm == platforms.ByQuiet && l.Quiet <= 0,
		"a confirmation by ack needs QoS 1":     l.Confirm != platforms.ByPing && l.MaxQoS == 0,
		"a public cloud needs a bound of login": l.Public && (l.LoginsPerMinute < 1 || l.LoginsPerMinute > 6),
		"retained messages differ from Retains": l.Retain != c.Kind.Retains,
	} {
		if wrong {
			t.Errorf("%s: %+v", what, l)
		}
	}
}

func (c *Case) places(t *testing.T) {
	p := c.platform(t)
	if len(c.Places) == 0 {
		t.Error("no places to try")
	}
	for _, place := range c.Places {
		target, err := c.Kind.Target(p, place, c.Scope)
		if err != nil {
			t.Errorf("target %+v: %v", place, err)
			continue
		}
		if target == nil || target.Name == nil || len(target.Parts) == 0 {
			t.Errorf("target %+v: %+v", place, target)
		}
	}
	for _, place := range c.BadPlaces {
		target, err := c.Kind.Target(p, place, c.Scope)
		if err == nil {
			t.Errorf("target %+v: %+v, want an error", place, target)
		} else if len(Keys(err)) == 0 {
			t.Errorf("target %+v: no key is blamed: %v", place, err)
		}
	}
	for _, place := range c.Sources {
		if s, err := c.Kind.Source(p, place, c.Scope); err != nil || s.Name == nil {
			t.Errorf("source %+v: %+v, %v", place, s, err)
		}
	}
}

func (c *Case) lanes(t *testing.T) {
	p := c.platform(t)
	if len(c.Good) == 0 || len(c.Bad) == 0 {
		t.Error("no addresses to try")
	}
	for _, a := range c.Good {
		lane, err := p.Lane(a)
		again, _ := p.Lane(a)
		if err != nil || lane == "" || lane != again {
			t.Errorf("lane of %s: %q, %v", a, lane, err)
		}
	}
	for _, a := range append(slices.Clone(c.Bad), mappings.Address{}) {
		if lane, err := p.Lane(a); err == nil {
			t.Errorf("lane of %q: %q, want an error", a, lane)
		} else if err.Error() == "" {
			t.Errorf("lane of %q: an error without words", a)
		}
	}
}

// Describe writes deliveries for golden files. Headers are left out: they may hold secrets.
func Describe(all []platforms.Delivery) string {
	var b strings.Builder
	for _, d := range all {
		if m := d.Message; m != nil {
			fmt.Fprintf(&b, "publish %q qos %d retain %v\n\tpayload %q\n", m.Topic, m.QoS, m.Retain, m.Payload)
			if m.Properties != nil {
				fmt.Fprintf(&b, "\tproperties %+v\n", *m.Properties)
			}
		}
		if r := d.Request; r != nil {
			fmt.Fprintf(&b, "%s %s\n\tbody %q\n", r.Method, r.URL, r.Body)
		}
		fmt.Fprintf(&b, "\tpoints %d cost %d\n", d.Points, d.Cost)
		describeEchoes(&b, d.Echoes)
		for _, left := range d.Left {
			fmt.Fprintf(&b, "\tleft %s\n", left)
		}
	}
	return b.String()
}

func describeEchoes(w io.Writer, all []platforms.Echo) {
	for _, e := range all {
		fmt.Fprintf(w, "\techo %q %q = %q\n", e.Address.Name, e.Address.Part, e.Value)
	}
}

// DescribeEvent writes an event for golden files.
func DescribeEvent(e platforms.Event) string {
	kind := map[platforms.EventKind]string{
		platforms.Nothing: "nothing", platforms.Command: "command", platforms.Throttled: "throttled", platforms.Rejected: "rejected",
	}[e.Kind]
	if e.Kind == platforms.Nothing {
		return kind
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q %q payload %q", kind, e.Address.Name, e.Address.Part, e.Payload)
	if e.Kind != platforms.Command {
		fmt.Fprintf(&b, " for %v topic %q banned %v why %q", e.For, e.Topic, e.Banned, e.Why)
	}
	b.WriteByte('\n')
	describeEchoes(&b, e.Echoes)
	return strings.TrimSuffix(b.String(), "\n")
}
