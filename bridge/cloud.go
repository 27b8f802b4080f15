package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/queue"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// refusedPause is how long a topic rests that this account may not use.
const refusedPause = 10 * time.Minute

// keptExpiry is how long a cloud keeps the session of a bridge whose downlinks are all data (max_age = "none").
const keptExpiry = 7 * 24 * time.Hour

// lane is what a cloud's points go through: they share a limit, a queue and an order.
type lane interface {
	// add takes a point in; it never blocks.
	add(p *mappings.Point, rule *upRule, r *receipt, now time.Time)
	// run sends until ctx ends.
	run(ctx context.Context)
	// finish closes open intervals: nothing more comes in.
	finish(now time.Time)
	// notice hears what the cloud said about a topic of this lane's, or about the account.
	notice(ev platforms.Event, now time.Time)
	// held counts messages that are not acknowledged because of this lane.
	held() int
	// waiting counts points; idle says whether a stop need not wait for them.
	waiting() int
	idle(now time.Time) bool
	// save puts what waits where the next start finds it, and says how much was saved and how much could not be. Nothing
	// runs any more.
	save() (saved, lost int)
	// owes names the oldest message whose acknowledgement waits for this lane, and secure brings it to safety.
	owes() *receipt
	secure() bool
	// put adds a record as it is; line is where the lane's records wait, and what wakes its sender where put does not.
	put(record []byte) error
	line() (q queue.Interface, wake chan struct{})
	status(now time.Time) LaneStatus
}

// cloud is one [cloud.x]: its session, if it has one, and its lanes.
type cloud struct {
	b        *Bridge
	cfg      *Cloud
	name     string
	title    string
	platform platforms.Platform
	limits   platforms.Limits
	acct     *account
	twin     int   // how many tables of the same account stand before this one
	link     *link // nil where all goes over HTTP
	options  mqtt.Options
	sources  []mappings.Source
	downs    []*downRule
	kept     bool // the cloud keeps our session: all downlinks are data
	echoes   *echoes
	breaker  *breaker
	blocked  blocked
	tally    tally
	http     webLink
	client   *http.Client
	received received
	announce *reporter
	ask      sync.Once // restore, at start only
	restored restoring
	traffic  traffic
	last     lastSeen // what was told of the cloud itself
	heard    atomic.Uint64
	sentN    atomic.Uint64
	origins  origins
	corked   []*session // the local ones that hold back what they send, while answers are handed on

	mu    sync.Mutex
	lanes map[string]lane
	run   context.Context
	wg    *sync.WaitGroup
}

func newCloud(b *Bridge, cfg *Cloud) (*cloud, error) {
	c := &cloud{b: b, cfg: cfg, name: cfg.Name, platform: cfg.Platform, limits: cfg.Platform.Limits(), lanes: make(map[string]lane)}
	c.title = cfg.Kind.Title
	if c.title == "" {
		c.title = cfg.Kind.Name
	}
	for _, other := range b.order {
		if other.platform.Account() == cfg.Platform.Account() && other.cfg.Kind.Name == cfg.Kind.Name {
			c.twin++
		}
	}
	c.acct = b.accounts.get(cfg.Platform.Account())
	c.echoes = newEchoes(b.scale)
	c.breaker = newBreaker()
	c.kept = cfg.Kind.TakesAnyTopic
	for _, d := range b.downs {
		if d.Cloud != cfg.Name {
			continue
		}
		c.downs = append(c.downs, d)
		c.sources = append(c.sources, *d.Source)
		if d.Source.Name.MatchesOne() && c.limits.MaxAddresses > 0 {
			c.acct.admit(d.Source.Name.String(), c.limits.MaxAddresses)
		}
		c.kept = c.kept && d.MaxAge == 0
	}
	c.kept = c.kept && len(c.downs) > 0
	o, overMQTT := cfg.Platform.Session()
	var err error
	if c.client, err = newHTTPClient(b.cfg, o); err != nil {
		return nil, err
	}
	c.http.init(b, c)
	if !overMQTT {
		return c, nil
	}
	c.prepare(o)
	if cfg.Announce != "" {
		c.announce = newReporter(b, c.link)
	}
	return c, nil
}

// prepare completes the platform's options: what kind of session, who we are, what the cloud says when we are gone.
func (c *cloud) prepare(o mqtt.Options) {
	o.CleanStart, o.SessionExpiry = true, 0
	if c.kept {
		o.CleanStart, o.SessionExpiry = false, keptExpiry
		o.PacketIDs = mqtt.NewPacketIDs()
	}
	if o.ClientID == "" && !c.limits.RandomClientID {
		o.ClientID = c.b.local.id + "-" + c.name
	}
	if o.Window == 0 {
		o.Window = c.limits.Window
	}
	if o.Window == 0 {
		o.Window = 20
	}
	if o.WindowBytes == 0 {
		o.WindowBytes = c.limits.WindowBytes
	}
	o.OnMessage, o.OnRead = c.receive, c.gather
	if c.b.cfg.DialContext != nil {
		o.DialContext = c.b.cfg.DialContext
	}
	if c.cfg.Announce != "" && c.limits.Will {
		o.Will = &mqtt.Message{Topic: c.cfg.Announce, Payload: c.b.stateJSON(stateOffline, "the connection was lost"), QoS: 1, Retain: true}
	}
	c.options = o
	var shared *logins
	if c.limits.Public {
		shared = c.acct.loginsOf(o.Username, c.limits, c.b.scale)
	}
	c.link = &link{
		logins: shared,
		name:   c.name, title: c.title, log: c.b.log, dial: c.b.dial, scale: c.b.scale,
		options: c.sessionOptions,
		judge:   c.platform.Judge,
		retry:   newRetry(c.limits.Public && faraway(o.URL), c.b.scale, nil),
		spent:   func() { c.b.memory.loggedIn(c.b) },
		onUp:    c.ready, onDown: c.lost, onChange: c.changed,
	}
	c.link.init()
}

// sessionOptions are asked for at each attempt. On MQTT 3.1.1 no broker tells its window, so the platform's counts.
func (c *cloud) sessionOptions() mqtt.Options {
	o := c.options
	if c.limits.RandomClientID {
		o.ClientID = randomID(c.b.cfg.Name)
	}
	return o
}

func (c *cloud) start(run context.Context, wg *sync.WaitGroup) {
	c.mu.Lock()
	c.run, c.wg = run, wg
	for _, ln := range c.lanes {
		wg.Go(func() { ln.run(run) })
	}
	c.mu.Unlock()
	c.revive()
	if c.link != nil {
		wg.Go(func() { c.link.run(run) })
	} else {
		wg.Go(func() { c.askTime(run) })
	}
	if c.announce != nil {
		wg.Go(func() { c.announce.run(run) })
	}
}

// add puts a point into its lane.
func (c *cloud) add(p *mappings.Point, rule *upRule, r *receipt, now time.Time) {
	if other, twin := c.origins.twin(p); twin {
		rule.warnOnce(c.b, fmt.Sprintf("%s: %s and %s are written to one place: %s", c.name, other, p.Local, p.Name))
	}
	name, why := c.laneOf(p)
	if why != "" {
		c.refuse(p, rule, why, now)
		return
	}
	if c.limits.Kind != platforms.Ordered {
		kept := p.Clone() // Its memory is the next message's, and these lanes keep it.
		p = &kept
	}
	c.lane(name).add(p, rule, r, now)
}

// laneOf names the lane of a point, or says why none may take it.
func (c *cloud) laneOf(p *mappings.Point) (name, why string) {
	name, err := c.platform.Lane(mappings.Address{Name: p.Name})
	if err != nil {
		return "", err.Error()
	}
	if over, full := c.overfull(p); full {
		return "", fmt.Sprintf("%s is one feed too many: the account may have %d, and they are in use (max_feeds)", over, c.limits.MaxAddresses)
	}
	return name, ""
}

// overfull names the address with which a point would exceed what the account may have, before the cloud counts it as
// a failure.
func (c *cloud) overfull(p *mappings.Point) (name string, full bool) {
	if c.limits.MaxAddresses == 0 {
		return "", false
	}
	names := []string{p.Name}
	if f, ok := c.platform.(platforms.Filler); ok {
		names = f.Fills(*p)
	}
	for _, n := range names {
		if !c.acct.admit(n, c.limits.MaxAddresses) {
			return n, true
		}
	}
	return "", false
}

// lane finds or starts a lane.
func (c *cloud) lane(name string) lane {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ln := c.lanes[name]; ln != nil {
		return ln
	}
	var ln lane
	switch c.limits.Kind {
	case platforms.Rows:
		ln = newRowsLane(c, name)
	case platforms.Budgeted:
		ln = newBudgetLane(c, name)
	default:
		o := newOrderedLane(c, name)
		c.b.ordered.Store(o)
		ln = o
	}
	c.b.lanes.Add(1)
	c.lanes[name] = ln
	if c.run != nil {
		c.wg.Go(func() { ln.run(c.run) })
	}
	return ln
}

// all returns the lanes, in the order of their names.
func (c *cloud) all() []lane {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := make([]string, 0, len(c.lanes))
	for n := range c.lanes {
		names = append(names, n)
	}
	sort.Strings(names)
	list := make([]lane, len(names))
	for i, n := range names {
		list[i] = c.lanes[n]
	}
	return list
}

func (c *cloud) waiting() int {
	n := 0
	for _, ln := range c.all() {
		n += ln.waiting()
	}
	return n
}

func (c *cloud) held() int {
	n := 0
	for _, ln := range c.all() {
		n += ln.held()
	}
	return n
}

func (c *cloud) finish() {
	now := time.Now()
	for _, ln := range c.all() {
		ln.finish(now)
	}
}

// drained says whether a stop need not wait for this cloud: nothing is left, or it cannot be reached.
func (c *cloud) drained() bool {
	if c.link != nil {
		if s, _ := c.link.up(); s == nil {
			return true
		}
	}
	now := time.Now()
	for _, ln := range c.all() {
		if !ln.idle(now) {
			return false
		}
	}
	return true
}

// ready subscribes, before anybody may send. Echoes noted on the connection before cannot come any more.
func (c *cloud) ready(ctx context.Context, s *mqtt.Session) error {
	c.echoes.clear()
	subs := c.platform.Subscriptions(c.sources)
	for i := range subs {
		subs[i].NoLocal = c.b.cfg.Local.Share == ""
		// A command that its app publishes with the retain flag is new: the flag is to stand for kept ones alone.
		subs[i].RetainAsPublished = false
		subs[i].SendRetained = c.acceptsRetained()
		if share := c.b.cfg.Local.Share; share != "" && c.cfg.Kind.TakesAnyTopic && s.Capabilities().SharedAvailable {
			subs[i].Filter = "$share/" + share + "/" + subs[i].Filter
		}
	}
	if len(subs) > 0 {
		refused, err := s.Subscribe(ctx, subs...)
		if err != nil {
			return fmt.Errorf("subscribe: %w", err)
		}
		for i, err := range refused {
			if err != nil {
				c.notSubscribed(subs[i].Filter, err)
			}
		}
	}
	c.ask.Do(func() { c.wg.Go(func() { c.askBudget(c.run) }) })
	c.wg.Go(func() { c.askTime(c.run) })
	return c.restore(ctx, s)
}

func (c *cloud) acceptsRetained() bool {
	return slices.ContainsFunc(c.downs, func(d *downRule) bool { return d.AcceptRetained })
}

// notSubscribed tells in the platform's words that commands of a filter will not come.
func (c *cloud) notSubscribed(filter string, err error) {
	var refusal *mqtt.RefusedError
	why := err.Error()
	if errors.As(err, &refusal) {
		if v := c.platform.Judge(platforms.Reply{Reason: refusal.Reason, Topic: filter}); v.Why != "" {
			why = v.Why
		}
	}
	// The filter itself may hold a key, where old servers want it there: the platform's words name what it is about.
	c.tally.add(fateRefused, "subscription: "+why, 1)
	if c.last.first(why) {
		c.b.log.Warn(fmt.Sprintf("%s: subscribe: %s", c.name, why))
	}
}

// lost is told of the end of a session.
func (c *cloud) lost(error) { c.echoes.clear() }

// gather lets the acknowledgements and commands that follow from what came in go out together. It runs on the goroutine
// that reads the connection.
func (c *cloud) gather(came bool) {
	if !came {
		c.corked = uncork(c.corked)
		return
	}
	c.corked = c.b.local.main.link.cork(c.corked)
	for _, s := range c.b.local.extras() {
		c.corked = s.link.cork(c.corked)
	}
}

// changed wakes whoever reports the state.
func (c *cloud) changed() {
	c.b.local.reporter.poke()
	if c.announce != nil {
		c.announce.poke()
	}
}

// unmarked says whether messages between the local broker and this cloud lose the ids of the bridges that they came
// through: then only a breaker can stop a circle.
func (c *cloud) unmarked() bool {
	if c.link == nil {
		return false
	}
	return c.link.speaks() == mqtt.V311 || c.b.local.main.link.speaks() == mqtt.V311
}

// readsBack says whether a downlink of this cloud reads what goes to this address.
func (c *cloud) readsBack(name string) bool {
	return len(c.downs) > 0 && c.b.table.ReadsBack(c.name, name)
}

// echoGuard says whether our own publishes come back from this cloud and must be known again.
func (c *cloud) echoGuard() bool {
	return len(c.downs) > 0 && (c.limits.EchoesOwn || c.link != nil && c.link.speaks() == mqtt.V311)
}

// sent notes the echoes of a delivery; the returned function is called when it is confirmed.
func (c *cloud) sent(d *platforms.Delivery) func() {
	if len(d.Echoes) == 0 || !c.echoGuard() {
		return func() {}
	}
	tok := c.echoes.sent(d.Echoes, time.Now())
	return func() { c.echoes.confirmed(tok, time.Now()) }
}

// warnings tells what a platform finds odd about a point, once.
func (c *cloud) warnings(p *mappings.Point) {
	w, ok := c.platform.(platforms.Warner)
	rule := c.rule(p)
	if !ok || rule == nil {
		return
	}
	for _, text := range w.Warnings(*p) {
		rule.warnOnce(c.b, c.name+": "+text)
	}
}

// left counts the parts of a point that could not go with it.
func (c *cloud) left(p *mappings.Point, d *platforms.Delivery) {
	for _, why := range d.Left {
		c.count(p, fateRefused, why)
		if r := c.rule(p); r != nil {
			r.warnOnce(c.b, c.name+": "+p.Name+": "+why)
		}
	}
}

// hostOf is what a status shows of an address: never a user or password that stands in it.
func hostOf(url string) string {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		return url
	}
	if _, after, ok := strings.Cut(rest, "@"); ok {
		rest = after
	}
	return scheme + "://" + rest
}

// faraway says whether an address is on the internet. An attempt that reaches nobody costs nobody anything, and one that
// leads to this house, by a proxy or to an emulator, may come sooner.
func faraway(address string) bool {
	u, err := url.Parse(address)
	return err != nil || platforms.Public(u.Hostname())
}
