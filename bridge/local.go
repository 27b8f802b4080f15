package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
	"cloudbridge/platforms/generic"
)

// The session with the local broker: how much it may send ahead of our acknowledgements, and how long it keeps the
// session while the bridge is away.
const (
	localWindow    = 1000
	localWindow311 = 20 // what a default Mosquitto sends without an answer
	localExpiry    = 7 * 24 * time.Hour
)

// retainedTime is how long after subscribing a message with the retain flag counts as found there, where the broker
// cannot be told not to send it.
const retainedTime = 2 * time.Second

// local is the broker beside the bridge. One session serves it, and more where a broker without subscription
// identifiers would double what overlapping filters match.
type local struct {
	b        *Bridge
	id       string
	main     *localSession
	filters  []mappings.Filter
	echoes   *echoes
	tokens   sync.Map // topic -> echoToken of the last command sent there
	reporter *reporter

	mu    sync.Mutex
	extra []*localSession
	stopx context.CancelFunc
	run   context.Context
	wg    *sync.WaitGroup
}

// localSession is one session with the local broker.
type localSession struct {
	l      *local
	link   *link
	suffix string
	group  filterGroup // what an extra session serves; the main session decides at each connection
	desk   desk
	ids    atomic.Pointer[[]int]
	window atomic.Int64
	paused atomic.Bool
	since  atomic.Int64 // when it subscribed, as Unix nanoseconds
	in     atomic.Uint64
	result mappings.Result
}

func newLocal(b *Bridge) *local {
	l := &local{b: b, id: b.cfg.Local.Session.ClientID, filters: b.table.Filters(), echoes: newEchoes(b.scale)}
	if l.id == "" {
		l.id = randomID(b.cfg.Name)
	}
	l.main = l.session("")
	l.reporter = newReporter(b, l.main.link)
	return l
}

// session prepares one session. The main one has the will.
func (l *local) session(suffix string) *localSession {
	s := &localSession{l: l, suffix: suffix}
	base := l.b.cfg.Local.Session
	base.ClientID = l.id + suffix
	base.CleanStart, base.SessionExpiry = false, localExpiry
	base.ReceiveMaximum = localWindow
	base.PacketIDs = mqtt.NewPacketIDs()
	base.OnMessage = s.receive
	if l.b.cfg.DialContext != nil {
		base.DialContext = l.b.cfg.DialContext
	}
	if suffix == "" {
		base.Will = &mqtt.Message{
			Topic: l.stateTopic(), QoS: 1, Retain: true,
			Payload: l.b.stateJSON(stateOffline, "the connection to the local broker was lost"),
		}
	}
	s.link = &link{
		name: "local", title: "the local broker", log: l.b.log, dial: l.b.dial, scale: l.b.scale,
		options: func() mqtt.Options { return base },
		judge:   judgeLocal,
		retry:   newRetry(false, l.b.scale, nil),
		onUp:    s.ready, onDown: s.lost,
		onChange: func() {
			if l.reporter != nil {
				l.reporter.poke()
			}
		},
	}
	s.link.init()
	return s
}

// judgeLocal reads the local broker's answers: it is a broker like any other.
func judgeLocal(r platforms.Reply) platforms.Verdict { return generic.Judge("the local broker", r) }

func (l *local) stateTopic() string { return "cloudbridge/" + l.id + "/state" }

func (l *local) start(run context.Context, wg *sync.WaitGroup) {
	l.run, l.wg = run, wg
	wg.Go(func() { l.main.link.run(run) })
	wg.Go(func() { l.reporter.run(run) })
}

// ready subscribes. A session that the broker kept for us may hold filters of an older configuration: those go.
func (s *localSession) ready(ctx context.Context, c *mqtt.Session) error {
	caps := c.Capabilities()
	s.window.Store(localWindow)
	if caps.Protocol == mqtt.V311 {
		s.window.Store(localWindow311)
	}
	subs := s.subscriptions(caps)
	s.since.Store(time.Now().UnixNano())
	if old := s.l.b.memory.filters(s.suffix, subs); caps.SessionPresent && len(old) > 0 {
		if err := c.Unsubscribe(ctx, old...); err != nil {
			return fmt.Errorf("unsubscribe: %w", err)
		}
	}
	if len(subs) == 0 {
		return nil
	}
	refused, err := c.Subscribe(ctx, subs...)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	for i, err := range refused {
		if err != nil {
			s.notSubscribed(subs[i].Filter, err)
		}
	}
	return nil
}

// subscriptions are one per filter with its identifier; without identifiers the filters are made disjoint, and what
// cannot be is left to sessions of its own.
func (s *localSession) subscriptions(caps mqtt.Capabilities) []mqtt.Subscription {
	l := s.l
	if s.suffix == "" && caps.SubscriptionIDs && caps.Protocol == mqtt.V5 {
		l.more(nil)
		s.ids.Store(nil)
		subs := make([]mqtt.Subscription, len(l.filters))
		for i, f := range l.filters {
			subs[i] = l.subscription(f.Filter, f.ID, f.QoS)
		}
		return subs
	}
	if s.suffix == "" {
		groups := narrow(l.filters)
		if len(groups) == 0 {
			return nil
		}
		s.group = groups[0]
		l.more(groups[1:])
	}
	s.ids.Store(&s.group.ids)
	subs := make([]mqtt.Subscription, len(s.group.filters))
	for i, f := range s.group.filters {
		subs[i] = l.subscription(f, 0, 1)
	}
	return subs
}

func (l *local) subscription(filter string, id int, qos byte) mqtt.Subscription {
	sub := mqtt.Subscription{Filter: filter, ID: id, QoS: qos, NoLocal: true, RetainAsPublished: true, SendRetained: l.wantsRetained(id)}
	if share := l.b.cfg.Local.Share; share != "" {
		// MQTT 5 forbids No Local on a shared subscription: the ids in the user property guard instead.
		sub.Filter, sub.NoLocal = "$share/"+share+"/"+filter, false
	}
	return sub
}

// wantsRetained says whether a rule of this filter takes retained messages that it finds; 0 is any filter.
func (l *local) wantsRetained(id int) bool {
	for _, f := range l.filters {
		if id != 0 && f.ID != id {
			continue
		}
		for _, n := range f.Rules {
			rule := l.b.ups[n]
			if rule.retained != nil && *rule.retained || rule.retained == nil && l.b.retainsSomewhere(rule) {
				return true
			}
		}
	}
	return false
}

// retainsSomewhere says whether a rule's cloud, or one of them, keeps retained messages.
func (b *Bridge) retainsSomewhere(rule *upRule) bool {
	return slices.ContainsFunc(b.order, func(c *cloud) bool { return c.cfg.Kind.Retains && rule.Cloud.Could(c.name) })
}

// more runs a session for each further group of filters, and ends those that ran before.
func (l *local) more(groups []filterGroup) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(groups) == len(l.extra) {
		return
	}
	if l.stopx != nil {
		l.stopx()
		l.extra, l.stopx = nil, nil
	}
	if len(groups) == 0 || l.run == nil {
		return
	}
	ctx, cancel := context.WithCancel(l.run)
	l.stopx = cancel
	for i, g := range groups {
		s := l.session(fmt.Sprintf("-%d", i+2))
		s.group = g
		l.extra = append(l.extra, s)
		l.wg.Go(func() { s.link.run(ctx) })
	}
}

func (s *localSession) notSubscribed(filter string, err error) {
	why := err.Error()
	var refusal *mqtt.RefusedError
	if errors.As(err, &refusal) {
		if v := judgeLocal(platforms.Reply{Reason: refusal.Reason, Topic: filter}); v.Why != "" {
			why = v.Why
		}
	}
	s.l.b.log.Warn(fmt.Sprintf("local: subscribe to %s: %s: readings that match it do not come", filter, why))
	s.l.b.upward.add(fateRefused, "subscription to "+filter, 1)
}

// lost forgets the echoes that the connection took with it.
func (s *localSession) lost(error) { s.l.echoes.clear() }

// receive takes a message in. It runs on the goroutine that reads the connection and never blocks.
func (s *localSession) receive(in *mqtt.Inbound) {
	if s.paused.Load() {
		return // Not acknowledged: the broker keeps it for the next start.
	}
	s.in.Add(1)
	l := s.l
	if l.guards(s) && l.echoes.ours(localEcho(&in.Message), time.Now()) {
		l.b.upward.add(fateDropped, "our own command, come back", 1)
		in.Ack()
		return
	}
	ids := in.Subscriptions
	if len(ids) == 0 {
		if all := s.ids.Load(); all != nil {
			ids = *all
		}
	}
	r := s.desk.take(in)
	l.b.carry(&in.Message, ids, nil, &s.result, r)
	r.release()
	if window := int(s.window.Load()); s.desk.open() >= window*3/4 {
		l.b.relieve(&s.desk, window)
	}
}

// pause takes nothing more in.
func (l *local) pause() {
	l.main.paused.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.extra {
		s.paused.Store(true)
	}
}

// guards says whether the broker sends us back what we publish, for want of No Local.
func (l *local) guards(s *localSession) bool {
	return len(l.b.downs) > 0 && (s.link.speaks() == mqtt.V311 || l.b.cfg.Local.Share != "" || s.suffix != "")
}

func localEcho(m *mqtt.Message) []platforms.Echo {
	return []platforms.Echo{{Address: mappings.Address{Name: m.Topic}, Value: string(m.Payload)}}
}

// sending notes a command before it goes to the broker, and heard that the broker has it.
func (l *local) sending(m *mqtt.Message) {
	if l.guards(l.main) && l.reads(m.Topic) {
		l.tokens.Store(m, l.echoes.sent(localEcho(m), time.Now()))
	}
}

func (l *local) heard(m *mqtt.Message) {
	if tok, ok := l.tokens.LoadAndDelete(m); ok {
		l.echoes.confirmed(tok.(echoToken), time.Now())
	}
}

// reads says whether an uplink reads this topic.
func (l *local) reads(topic string) bool {
	return slices.ContainsFunc(l.b.ups, func(r *upRule) bool {
		_, ok := r.Local.Match(topic, nil)
		return ok
	})
}

// foundAtSubscribing says whether a message with the retain flag may be one that the broker had kept. MQTT 3.1.1 sets
// the flag for nothing else; in MQTT 5, where the flag is as published, only the time since subscribing tells.
func (l *local) foundAtSubscribing(_ *mqtt.Message, now time.Time) bool {
	if l.main.link.speaks() == mqtt.V311 {
		return true
	}
	return now.UnixNano()-l.main.since.Load() < int64(l.b.scaled(retainedTime))
}

// farewell says on the local broker that the bridge is off, for a clean goodbye publishes no will.
func (l *local) farewell(ctx context.Context) {
	l.reporter.close(ctx, stateOffline, "stopped")
	for _, c := range l.b.order {
		if c.announce != nil {
			c.announce.close(ctx, stateOffline, "stopped")
		}
	}
}
