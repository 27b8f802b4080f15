package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"cloudbridge/bridge"
	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
	"cloudbridge/platforms/thingspeak"
)

// payloadSize is the most that is read of a payload; no broker in use here takes more.
const payloadSize = 4 << 20

type explainCommand struct {
	configFlag
	Topic   string  `arg:"" help:"The local topic of the message; with --cloud, the value that comes down."`
	Payload *string `arg:"" optional:"" help:"The payload. - reads it from standard input, @FILE from a file."`

	Cloud      string `placeholder:"NAME" help:"Explain the way down instead, from this cloud of the config."`
	Feed       string `help:"Where the value stands at the cloud: an Adafruit IO feed ..."`
	Group      string `help:"... or an Adafruit IO group ..."`
	Channel    int64  `help:"... or a ThingSpeak channel ..."`
	Field      int64  `help:"... and its field ..."`
	CloudTopic string `name:"topic" help:"... or an MQTT topic."`

	Retain bool `help:"The message is retained."`
	JSON   bool `name:"json" help:"Answer as JSON."`
}

// Help is the long text of "explain --help".
func (explainCommand) Help() string {
	return `Examples:
  cloudbridge explain iot/ece2026/picow/temp 27.5
  cloudbridge explain /sensors/temperature '{"temperature":22.5,"humidity":45}'
  cloudbridge explain --cloud home --feed lights ON
  cloudbridge explain --cloud weather --channel 1001 --field 3 1
  cloudbridge explain --cloud hive --topic school/cmd/lamp ON`
}

// Run explains one message, on its way up or down.
func (r *explainCommand) Run(c *console) error {
	if r.Cloud == "" {
		if r.Payload == nil {
			return misused("explain wants a topic and a payload", `for an empty payload write ''`,
				"for the way down write --cloud NAME and where the value stands there")
		}
		// A topic of an old textbook is answered before any config is read, for whoever asks may not have one yet.
		if note := outdatedTopic(r.Topic); note != "" && !r.JSON {
			fmt.Fprintln(c.out, note)
		}
	} else if r.Payload != nil {
		return misused("with --cloud, explain wants the value alone",
			"write explain --cloud "+r.Cloud+" --feed lights ON")
	}
	f, err := c.load(r.Config)
	if err != nil {
		return err
	}
	x := &explainer{cfg: &f.Bridge, now: c.now(), secrets: f.Secrets}
	x.compile()
	var a *answer
	if r.Cloud != "" {
		a, err = r.down(c.in, x)
	} else {
		a, err = r.up(c.in, x)
	}
	if err != nil {
		return err
	}
	if r.JSON {
		return a.writeJSON(c.out)
	}
	a.write(c.out)
	return nil
}

func (r *explainCommand) up(in io.Reader, x *explainer) (*answer, error) {
	if err := checkTopic(r.Topic); err != nil {
		return nil, err
	}
	payload, err := readPayload(*r.Payload, in)
	if err != nil {
		return nil, err
	}
	return x.up(&mqtt.Message{Topic: r.Topic, Payload: payload, QoS: 1, Retain: r.Retain}), nil
}

func (r *explainCommand) down(in io.Reader, x *explainer) (*answer, error) {
	cl := cloudNamed(x.cfg, r.Cloud)
	if cl == nil {
		return nil, misused(fmt.Sprintf("there is no cloud %q in the config", r.Cloud), "there are "+joinOr(cloudNames(x.cfg)))
	}
	addr, err := address(x.cfg, cl, r.keys())
	if err != nil {
		return nil, err
	}
	payload, err := readPayload(r.Topic, in)
	if err != nil {
		return nil, err
	}
	return x.down(cl, addr, payload, r.Retain), nil
}

// keys are the place keys that the flags give, as a rule would write them.
func (r *explainCommand) keys() map[string]any {
	keys := map[string]any{}
	for name, v := range map[string]string{"feed": r.Feed, "group": r.Group, "topic": r.CloudTopic} {
		if v != "" {
			keys[name] = v
		}
	}
	for name, v := range map[string]int64{"channel": r.Channel, "field": r.Field} {
		if v != 0 {
			keys[name] = v
		}
	}
	return keys
}

// readPayload gives the payload that an argument stands for.
func readPayload(arg string, in io.Reader) ([]byte, error) {
	from := in
	switch {
	case arg == "-":
	case strings.HasPrefix(arg, "@"):
		f, err := os.Open(arg[1:])
		if err != nil {
			return nil, fail(fmt.Errorf("read the payload: %w", err), "a payload that begins with @ can come from standard input: explain TOPIC -")
		}
		defer f.Close()
		from = f
	default:
		return []byte(arg), nil
	}
	b, err := io.ReadAll(io.LimitReader(from, payloadSize+1))
	if err != nil {
		return nil, fmt.Errorf("read the payload: %w", err)
	}
	if len(b) > payloadSize {
		return nil, fmt.Errorf("read the payload: longer than %d MiB", payloadSize>>20)
	}
	return b, nil
}

// checkTopic refuses what no board can publish to.
func checkTopic(topic string) error {
	switch {
	case topic == "":
		return misused("the topic is empty")
	case strings.ContainsAny(topic, "+#"):
		return misused(fmt.Sprintf("%q is a filter: boards publish to a topic without + and #", topic), "write one topic that the filter stands for")
	}
	return nil
}

// explainer runs the rules of a config on one message, and sends nothing.
type explainer struct {
	cfg     *bridge.Config
	table   *mappings.Table
	now     time.Time
	secrets []mqtt.Secret
}

func (x *explainer) compile() {
	up := make([]mappings.Uplink, len(x.cfg.Uplinks))
	for i := range x.cfg.Uplinks {
		up[i] = x.cfg.Uplinks[i].Uplink
	}
	down := make([]mappings.Downlink, len(x.cfg.Downlinks))
	for i := range x.cfg.Downlinks {
		down[i] = x.cfg.Downlinks[i].Downlink
	}
	x.table = mappings.NewTable(x.cfg.Name, up, down)
}

func (x *explainer) up(m *mqtt.Message) *answer {
	a := &answer{Topic: m.Topic, Payload: string(m.Payload), Note: outdatedTopic(m.Topic)}
	for _, e := range x.table.Explain(m, x.now) {
		u := &x.cfg.Uplinks[e.Rule]
		r := ruleAnswer{
			Rule: where(u.Label), From: u.Local.String(), To: u.Cloud.String(),
			Matches: e.Matches, Why: e.Why, Captures: captures(e.Captures), Value: e.Value, Notes: e.Notes,
		}
		if e.Matches && m.Retain && !takesRetained(x.cfg, u) {
			r.Notes = append(r.Notes, "found retained when the bridge subscribes, this rule does not take it up: retained = true would")
		}
		for i := range e.Points {
			x.send(&r, &e.Points[i])
		}
		if len(r.Sends) > 0 {
			r.Limit = howOften(x.cfg, u)
		}
		a.add(r)
	}
	a.nearest(m.Topic)
	return a
}

// takesRetained says whether a rule takes up retained readings that are there before it subscribes.
func takesRetained(cfg *bridge.Config, u *bridge.Uplink) bool {
	if u.Retained != nil {
		return *u.Retained
	}
	cl := cloudOf(cfg, u)
	return cl != nil && cl.Kind.Retains
}

// send adds what a point becomes at its cloud.
func (x *explainer) send(r *ruleAnswer, p *mappings.Point) {
	cl := cloudNamed(x.cfg, p.Cloud)
	if cl == nil {
		r.Notes = append(r.Notes, fmt.Sprintf("there is no cloud %q in the config, so nothing goes there", p.Cloud))
		return
	}
	for _, part := range p.Parts {
		if _, err := cl.Platform.Lane(mappings.Address{Name: p.Name, Part: part.Name}); err != nil {
			r.Notes = append(r.Notes, "refused: "+err.Error())
			return
		}
	}
	if w, ok := cl.Platform.(platforms.Warner); ok {
		r.Notes = append(r.Notes, w.Warnings(*p)...)
	}
	deliveries, err := cl.Platform.Encode([]mappings.Point{*p})
	if err != nil {
		r.Notes = append(r.Notes, "cannot be sent: "+err.Error())
		return
	}
	for _, d := range deliveries {
		for _, left := range d.Left {
			r.Notes = append(r.Notes, "left out: "+left)
		}
		s := x.delivery(cl.Name, d)
		if cl.Kind.TakesAnyTopic && d.Message != nil {
			if note := thingspeak.Advice(d.Message.Topic); note != "" {
				r.Notes = append(r.Notes, note)
			}
		}
		r.Sends = append(r.Sends, s)
	}
}

// delivery writes what would go out, with every secret of the config hidden.
func (x *explainer) delivery(cloud string, d platforms.Delivery) sendAnswer {
	s := sendAnswer{Cloud: cloud}
	if m := d.Message; m != nil {
		s.Topic, s.Payload, s.QoS, s.Retain = hide(m.Topic, x.secrets), hide(string(m.Payload), x.secrets), m.QoS, m.Retain
	}
	if q := d.Request; q != nil {
		s.Method, s.URL, s.Payload = q.Method, hide(q.URL, x.secrets), hide(string(q.Body), x.secrets)
	}
	return s
}

func (x *explainer) down(cl *bridge.Cloud, addr mappings.Address, payload []byte, retained bool) *answer {
	a := &answer{Cloud: cl.Name, Address: addr.String(), Payload: string(payload)}
	cmd := &mappings.Command{Cloud: cl.Name, Address: addr, Payload: payload}
	for _, e := range x.table.ExplainDown(cmd, x.now) {
		d := &x.cfg.Downlinks[e.Rule]
		r := ruleAnswer{
			Rule: where(d.Label), To: d.Local.String(),
			From:    d.Cloud + " " + mappings.Address{Name: d.Source.Name.String(), Part: d.Source.Part}.String(),
			Matches: e.Matches, Why: e.Why, Captures: captures(e.Captures), Value: e.Value, Notes: e.Notes,
		}
		if e.Matches && retained && !d.AcceptRetained {
			r.Why = "dropped: retained, and nobody knows how old it is: accept_retained = true takes it"
			a.add(r)
			continue
		}
		for _, p := range e.Commands {
			r.Sends = append(r.Sends, sendAnswer{
				Local: true, Topic: p.Message.Topic, Payload: string(p.Message.Payload), QoS: p.Message.QoS, Retain: p.Message.Retain,
			})
			x.onward(&r, cl.Name, &p.Message)
		}
		if len(r.Sends) > 0 {
			r.Limit = "a command of any age is carried"
			if d.MaxAge > 0 {
				r.Limit = "a command older than " + span(d.MaxAge) + " is dropped"
			}
		}
		a.add(r)
	}
	return a
}

// onward adds what uplinks to other clouds make of a command: No Local hides it from them, so the bridge hands it over itself.
func (x *explainer) onward(r *ruleAnswer, from string, m *mqtt.Message) {
	for _, up := range x.up(m).Rules {
		for _, s := range up.Sends {
			if s.Cloud != from {
				s.By = up.Rule
				r.Sends = append(r.Sends, s)
			}
		}
	}
}

func captures(pairs [][2]string) []capture {
	var list []capture
	for _, p := range pairs {
		list = append(list, capture{p[0], p[1]})
	}
	return list
}

func cloudNames(cfg *bridge.Config) []string {
	var names []string
	for _, cl := range cfg.Clouds {
		names = append(names, cl.Name)
	}
	return names
}

// shortSecret is the length from which a secret is looked for in what would go out: hiding a shorter one would blot out
// readings.
const shortSecret = 4

// hide replaces every secret in text, the longest first, for one may begin with another.
func hide(text string, secrets []mqtt.Secret) string {
	byLength := slices.Clone(secrets)
	slices.SortStableFunc(byLength, func(a, b mqtt.Secret) int { return len(b) - len(a) })
	for _, s := range byLength {
		if len(s) >= shortSecret {
			text = strings.ReplaceAll(text, s.Reveal(), s.String())
		}
	}
	return text
}
