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

// heldTime is how long a message may wait for a cloud before the bridge takes it over from the local broker.
const heldTime = 500 * time.Millisecond

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
	tokens   sync.Map // *mqtt.Message -> []localMark of a command on its way
	reporter *reporter
	hop      *mqtt.Properties // what a message gets that has no properties of its own
	// retainedOf are the filters with a rule that takes retained messages; 0 is all of them.
	retained   sync.Once
	retainedOf map[int]bool

	mu sync.Mutex
	// extra are the sessions beside the main one, and leaving those that nobody needs any more. crew is what runs them,
	// former what ran others before.
	extra, leaving []*localSession
	crew, former   *crew
	run            context.Context
	wg             *sync.WaitGroup
}

// localSession is one session with the local broker.
type localSession struct {
	l      *local
	link   *link
	suffix string
	group  filterGroup // what an extra session serves; the main session decides at each connection
	leaves bool        // it is emptied and ended
	desk   *desk
	echoes *echoes
	told   []string // the filters that this run has subscribed to on the kept session
	ids    atomic.Pointer[[]int]
	window atomic.Int64
	paused atomic.Bool
	// watching says that watch will come.
	watching atomic.Bool
	// relieving says that somebody makes room in the window.
	relieving atomic.Bool
	since     atomic.Int64 // when it subscribed, as Unix nanoseconds
	in        atomic.Uint64
	result    mappings.Result
	corked    []*session // the clouds' that hold back what they send, while messages are handed on
}

func newLocal(b *Bridge) *local {
	l := &local{b: b, id: b.cfg.Local.Session.ClientID, filters: b.table.Filters()}
	if l.id == "" {
		l.id = randomID(b.cfg.Name)
	}
	l.hop = withHop(nil, l.id)
	l.main = l.session("")
	l.reporter = newReporter(b, l.main.link)
	return l
}

// session prepares one session. The main one has the will.
func (l *local) session(suffix string) *localSession {
	s := &localSession{l: l, suffix: suffix, desk: newDesk(), echoes: newEchoes(l.b.scale)}
	base := l.b.cfg.Local.Session
	base.ClientID = l.id + suffix
	base.CleanStart, base.SessionExpiry = false, localExpiry
	base.ReceiveMaximum = localWindow
	base.PacketIDs = mqtt.NewPacketIDs()
	base.OnMessage, base.OnRead = s.receive, s.gather
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
func judgeLocal(r platforms.Reply) platforms.Verdict {
	v := generic.Judge("the local broker", r)
	if v.Cause == platforms.BadLogin {
		v.Why += ": look at username and password in [local]"
	}
	return v
}

func (l *local) stateTopic() string { return "cloudbridge/" + l.id + "/state" }

func (l *local) start(run context.Context, wg *sync.WaitGroup) {
	l.run, l.wg = run, wg
	wg.Go(func() { l.main.link.run(run) })
	wg.Go(func() { l.reporter.run(run) })
}

// ready subscribes. Sessions that are not needed go only when others have taken their filters over.
func (s *localSession) ready(ctx context.Context, c *mqtt.Session) error {
	err := s.subscribe(ctx, c)
	if err == nil && s.suffix == "" {
		s.l.retire()
	}
	return err
}

// subscribe brings the subscriptions of a session up to date. One that the broker kept for us may hold filters of an older
// configuration: those go.
func (s *localSession) subscribe(ctx context.Context, c *mqtt.Session) error {
	caps := c.Capabilities()
	s.window.Store(localWindow)
	if caps.Protocol == mqtt.V311 {
		s.window.Store(localWindow311)
	}
	subs := s.subscriptions(caps)
	s.since.Store(time.Now().UnixNano())
	if caps.SessionPresent {
		s.echoes.thaw(time.Now())
	} else {
		s.echoes.clear()
		s.desk.forget()
		s.told = nil
	}
	if old := s.l.b.memory.stale(s.suffix, subs); caps.SessionPresent && len(old) > 0 {
		if err := c.Unsubscribe(ctx, old...); err != nil {
			return fmt.Errorf("unsubscribe: %w", err)
		}
	}
	s.l.b.memory.subscribed(s.suffix, subs)
	filters := names(subs)
	if len(subs) == 0 || caps.Protocol == mqtt.V311 && slices.Equal(filters, s.told) {
		// On 3.1.1 each new SUBSCRIBE would bring all retained messages again.
		return nil
	}
	s.told = filters
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
	if s.leaves {
		return nil
	}
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
	if s.suffix == "" && len(s.group.ids) == len(l.filters) {
		s.ids.Store(nil) // It serves all rules: none need be looked for among them.
	}
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

// wantsRetained says whether a rule of this filter takes retained messages that it finds; 0 is any filter. It is asked for
// each filter and for each retained message, so the answers are made once.
func (l *local) wantsRetained(id int) bool {
	l.retained.Do(func() {
		l.retainedOf = make(map[int]bool)
		for _, f := range l.filters {
			if slices.ContainsFunc(f.Rules, func(n int) bool { return l.b.takesRetained(l.b.ups[n]) }) {
				l.retainedOf[f.ID], l.retainedOf[0] = true, true
			}
		}
	})
	return l.retainedOf[id]
}

func (b *Bridge) takesRetained(rule *upRule) bool {
	if rule.retained != nil {
		return *rule.retained
	}
	return b.retainsSomewhere(rule)
}

// retainsSomewhere says whether a rule's cloud, or one of them, keeps retained messages.
func (b *Bridge) retainsSomewhere(rule *upRule) bool {
	return slices.ContainsFunc(b.order, func(c *cloud) bool { return c.cfg.Kind.Retains && rule.Cloud.Could(c.name) })
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

// names are the filters of subscriptions.
func names(subs []mqtt.Subscription) []string {
	list := make([]string, len(subs))
	for i, sub := range subs {
		list[i] = sub.Filter
	}
	return list
}

// lost holds the echoes: the broker keeps the session, and with it what it has not delivered yet.
func (s *localSession) lost(error) { s.echoes.freeze() }

// gather lets what many messages make the clouds send go out together. It runs on the goroutine that reads the connection.
func (s *localSession) gather(came bool) {
	if came {
		for _, c := range s.l.b.order {
			if c.limits.Kind == platforms.Ordered {
				s.corked = c.link.cork(s.corked)
			}
		}
		return
	}
	s.corked = uncork(s.corked)
}

// receive takes a message in. It runs on the goroutine that reads the connection and never blocks.
func (s *localSession) receive(in *mqtt.Inbound) {
	if s.paused.Load() {
		return // Not acknowledged: the broker keeps it for the next start.
	}
	s.in.Add(1)
	l := s.l
	r, again := s.desk.take(in)
	if again {
		return
	}
	if s.guards() && s.echoes.ours(localEcho(&in.Message), time.Now()) {
		l.b.upward.add(fateDropped, "our own command, come back", 1)
		r.release()
		return
	}
	ids := in.Subscriptions
	if len(ids) == 0 {
		if all := s.ids.Load(); all != nil {
			ids = *all
		}
	}
	l.b.carry(&in.Message, ids, nil, in.Came, &s.result, r)
	clear(s.result.Points)
	r.release()
	window := int(s.window.Load())
	switch open := s.desk.open(); {
	case open >= window*3/4 && s.l.b.pacedByOne(window):
		s.watchSoon()
	case open >= window*3/4:
		// Bringing to safety waits for the disk, and the loop that reads must not.
		if s.relieving.CompareAndSwap(false, true) {
			go func() {
				l.b.relieve(s.desk, window)
				s.relieving.Store(false)
			}()
		}
	case open > 0:
		s.watchSoon()
	}
}

// watchSoon has the watch come, unless it will. Without a disk the broker is the safest place for as long as its window has
// room.
func (s *localSession) watchSoon() {
	if s.l.b.stored() && s.watching.CompareAndSwap(false, true) {
		time.AfterFunc(s.l.b.scaled(heldTime), s.watch)
	}
}

// watch takes over what has waited for half a second. It comes back for as long as something waits, and there is no timer
// while nothing does.
func (s *localSession) watch() {
	b := s.l.b
	held := b.scaled(heldTime)
	if came, ok := s.desk.oldest(); ok {
		now := time.Now()
		if now.Sub(came) >= held {
			b.relieveOld(s.desk, now.Add(-held))
			came = now
		}
		if b.ended.Load() {
			return
		}
		time.AfterFunc(max(came.Add(held).Sub(now), held/10), s.watch)
		return
	}
	s.watching.Store(false)
	// A message that came between the two lines above has found the watch still set.
	if _, ok := s.desk.oldest(); ok && s.watching.CompareAndSwap(false, true) {
		time.AfterFunc(held, s.watch)
	}
}

// pause takes nothing more in.
func (l *local) pause() {
	for _, s := range l.sessions() {
		s.paused.Store(true)
	}
}

// guards says whether the broker sends a session what we publish, for want of No Local. Commands go out on the main
// session, and to the broker another session is another client.
func (s *localSession) guards() bool {
	return len(s.l.b.downs) > 0 && (s.link.speaks() == mqtt.V311 || s.l.b.cfg.Local.Share != "" || s.suffix != "")
}

// hears says whether the session is subscribed to a topic.
func (s *localSession) hears(topic string) bool {
	ids := s.ids.Load()
	for _, f := range s.l.filters {
		if !filtersOverlap(f.Filter, topic) {
			continue
		}
		if ids == nil {
			return true
		}
		if _, ours := slices.BinarySearch(*ids, f.ID); ours {
			return true
		}
	}
	return false
}

func localEcho(m *mqtt.Message) []platforms.Echo {
	return []platforms.Echo{{Address: mappings.Address{Name: m.Topic}, Value: string(m.Payload)}}
}

// localMark is an echo that one session will hear.
type localMark struct {
	on  *localSession
	tok echoToken
}

// sending notes a command before it goes to the broker, once for each session that will hear it, and heard that the
// broker has it.
func (l *local) sending(m *mqtt.Message) {
	var marks []localMark
	for _, s := range l.sessions() {
		if s.guards() && s.hears(m.Topic) {
			marks = append(marks, localMark{s, s.echoes.sent(localEcho(m), time.Now())})
		}
	}
	if len(marks) > 0 {
		l.tokens.Store(m, marks)
	}
}

func (l *local) heard(m *mqtt.Message) {
	if marks, ok := l.tokens.LoadAndDelete(m); ok {
		for _, mark := range marks.([]localMark) {
			mark.on.echoes.confirmed(mark.tok, time.Now())
		}
	}
}

// reads says whether an uplink reads this topic.
func (l *local) reads(topic string) bool { return l.b.table.Reads(topic) }

// foundAtSubscribing says whether a message with the retain flag may be one that the broker had kept before we came.
// MQTT 3.1.1 sets the flag for nothing else. In MQTT 5, where the flag is as published, kept messages come only to a
// subscription that asked for them, and then the time since subscribing must tell.
func (l *local) foundAtSubscribing(ids []int, now time.Time) bool {
	if l.main.link.speaks() == mqtt.V311 {
		return true
	}
	if now.UnixNano()-l.main.since.Load() >= int64(l.b.scaled(retainedTime)) {
		return false
	}
	if len(ids) == 0 {
		return l.wantsRetained(0)
	}
	return slices.ContainsFunc(ids, l.wantsRetained)
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
