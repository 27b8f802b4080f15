// Package bridge is the engine: it joins the local broker and the clouds, and it is the only place with long-lived
// goroutines.
//
// A message from the local broker goes through the table of rules into lanes, one for each limit of a cloud's; a lane
// waits for its pacer, then looks at what waits, sends it, and settles it when it is confirmed. A command from a cloud
// goes through the same table into the outbox, which holds it no longer than it may live. Nothing here knows what a
// platform is: platforms describe, the engine decides.
package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/queue"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// stopTime is how long a stop may take, and sendTime how much of it goes to sending what can be sent.
const (
	stopTime = 5 * time.Second
	sendTime = 3 * time.Second
)

// Bridge runs one configuration.
type Bridge struct {
	cfg    Config
	log    *slog.Logger
	scale  float64
	table  *mappings.Table
	ups    []*upRule
	downs  []*downRule
	local  *local
	outbox *outbox
	// order is that of the configuration; clouds finds one by its name.
	order    []*cloud
	clouds   map[string]*cloud
	accounts *accounts
	memory   *memory
	started  time.Time
	dial     dialFunc
	upward   tally // local messages that no rule took
	ended    atomic.Bool
	// refused are the points that clouds refused for good.
	refused *rejectedLists
	// handy says that people may have a say in what is sent, between the start and the stop.
	handMu sync.Mutex
	handy  bool
	// diskless says that the queue directory cannot be used; boot names this run of the machine.
	diskless bool
	boot     string
	// lanes is how many lanes there are, and ordered the last one of a plain MQTT cloud.
	lanes   atomic.Int32
	ordered atomic.Pointer[orderedLane]
}

// upRule is an uplink with what the engine keeps for it.
type upRule struct {
	*Uplink
	policy   samplePolicy
	sampled  bool
	retained *bool
	tally    tally
	last     lastSeen
}

// downRule is a downlink with what the engine keeps for it.
type downRule struct {
	*Downlink
	tally tally
	last  lastSeen
}

// lastSeen is the last value and the last problem of a rule, for the page.
type lastSeen struct {
	mu      sync.Mutex
	value   []byte
	at      time.Time
	problem *Problem
	warned  map[string]bool
}

// New makes a bridge. It touches nothing outside until Run.
func New(cfg Config, log *slog.Logger) (*Bridge, error) {
	b := &Bridge{cfg: cfg, log: log, scale: cfg.Scale, clouds: make(map[string]*cloud), started: time.Now(), dial: mqtt.Dial}
	if b.scale <= 0 {
		b.scale = 1
	}
	if cfg.Clock != nil {
		b.boot = cfg.Clock.BootID()
	}
	var up []mappings.Uplink
	for i := range cfg.Uplinks {
		u := &cfg.Uplinks[i]
		r := &upRule{Uplink: u, retained: u.Retained}
		r.policy = samplePolicy{Every: u.Every, Aggregate: u.Aggregate, MinChange: u.MinChange, AtLeastEvery: u.AtLeastEvery}
		r.sampled = u.Every > 0 || u.Aggregate != "" || u.MinChange > 0
		b.ups = append(b.ups, r)
		up = append(up, u.Uplink)
	}
	var down []mappings.Downlink
	for i := range cfg.Downlinks {
		d := &cfg.Downlinks[i]
		b.downs = append(b.downs, &downRule{Downlink: d})
		down = append(down, d.Downlink)
	}
	b.table = mappings.NewTable(cfg.Name, up, down)
	b.memory = newMemory(cfg.Queue.Dir)
	b.refused = newRejectedLists()
	b.accounts = newAccounts(b.scale)
	b.outbox = newOutbox(b)
	b.local = newLocal(b)
	for i := range cfg.Clouds {
		c, err := newCloud(b, &cfg.Clouds[i])
		if err != nil {
			return nil, fmt.Errorf("cloud %s: %w", cfg.Clouds[i].Name, err)
		}
		if b.clouds[c.name] != nil {
			return nil, fmt.Errorf("cloud %s: named twice", c.name)
		}
		b.order = append(b.order, c)
		b.clouds[c.name] = c
	}
	return b, nil
}

// scaled shortens a time of the engine's own as the tests ask.
func (b *Bridge) scaled(d time.Duration) time.Duration { return time.Duration(float64(d) * b.scale) }

// Run connects and carries until ctx ends, then sends what can be sent and closes, within 5 s. The error says why it
// could not start; a connection that fails is no such reason.
func (b *Bridge) Run(ctx context.Context) error {
	if len(b.ups) == 0 && len(b.downs) == 0 {
		return errors.New("nothing to carry: the configuration has no [[uplink]], [[downlink]] or [[twoway]]")
	}
	unlock, err := b.lock()
	if err != nil {
		return err
	}
	defer unlock()
	b.memory.load(b)
	b.recallRejected()
	// Sessions outlive ctx: after it has ended there is still something to send.
	run, end := context.WithCancel(context.Background())
	defer end()
	var wg sync.WaitGroup
	if cfg := b.cfg.Clock; cfg != nil {
		cfg.Check(time.Now()) // Lanes ask from their first point on.
		wg.Go(func() { b.watchClock(run) })
	}
	b.local.start(run, &wg)
	wg.Go(func() { b.outbox.run(run) })
	for _, c := range b.order {
		c.start(run, &wg)
	}
	wg.Go(func() { b.keepRejected(run) })
	b.openHand()
	if b.stored() && b.cfg.Control != nil {
		defer b.cfg.Control(b)()
	}
	<-ctx.Done()
	b.closeHand()
	b.stop()
	b.ended.Store(true)
	end()
	wg.Wait()
	b.keep()
	b.memory.save(b)
	if err := b.saveRejected(); err != nil {
		b.log.Warn("write the list of refused points: " + err.Error())
	}
	b.log.Info("stopped")
	return nil
}

// lock keeps other bridges out of the queue directory. A directory that cannot be written at all is done without.
func (b *Bridge) lock() (unlock func(), err error) {
	if b.cfg.Queue.Dir == "" {
		return func() {}, nil
	}
	release, err := lockDir(b.cfg.Queue.Dir)
	switch {
	case errors.Is(err, queue.ErrLocked):
		return nil, err
	case err != nil:
		b.diskless = true
		b.log.Warn(err.Error() + ": what waits is in memory alone")
		return func() {}, nil
	}
	b.unclaimed()
	// The lock goes with the process in any case.
	return func() { _ = release() }, nil
}

// stop takes in nothing more, closes open intervals, and gives the clouds some seconds to take what waits.
func (b *Bridge) stop() {
	b.log.Info("stopping: sending what can be sent")
	b.local.pause()
	for _, c := range b.order {
		c.finish()
	}
	deadline := time.Now().Add(sendTime)
	for !b.drained() && time.Now().Before(deadline) {
		sleep(context.Background(), 10*time.Millisecond)
	}
	if b.stored() {
		b.takeOver()
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTime-sendTime-500*time.Millisecond)
	defer cancel()
	b.local.farewell(ctx)
}

func readings(n int) string {
	if n == 1 {
		return "1 reading"
	}
	return fmt.Sprintf("%d readings", n)
}

// takeOver brings everything to disk for which the local broker still waits, while it can still be told.
func (b *Bridge) takeOver() {
	for _, c := range b.order {
		for _, ln := range c.all() {
			if ln.owes() != nil {
				ln.secure()
			}
		}
	}
}

// drained says whether a stop need not wait: nothing is left that could be sent now.
func (b *Bridge) drained() bool {
	for _, c := range b.order {
		if !c.drained() {
			return false
		}
	}
	return b.outbox.drained()
}

// relieve makes room when the local broker's window fills: the queues that hold the oldest messages of a desk bring
// them to safety, until a quarter of the window is free.
func (b *Bridge) relieve(d *desk, window int) {
	for d.open() >= window*3/4 {
		var worst lane
		lowest := ^uint64(0)
		for _, c := range b.order {
			for _, ln := range c.all() {
				if r := ln.owes(); r != nil && r.desk == d && r.number < lowest {
					worst, lowest = ln, r.number
				}
			}
		}
		if worst == nil || !worst.secure() {
			return
		}
	}
}

// pacedByOne says whether room in the window would help nobody: there is one lane, and its cloud confirms what it has, and
// would take no more of it at a time than the window holds. Without a disk there is nothing to be spared, and nobody would
// come to look when a cloud falls silent whose messages fill the window.
func (b *Bridge) pacedByOne(window int) bool {
	if !b.stored() || b.lanes.Load() != 1 {
		return false
	}
	o := b.ordered.Load()
	return o != nil && o.paced(window)
}

// relieveOld brings to safety what has waited for too long: the broker must not hold many messages for one cloud's sake.
func (b *Bridge) relieveOld(d *desk, before time.Time) {
	for _, c := range b.order {
		for _, ln := range c.all() {
			if r := ln.owes(); r != nil && r.desk == d && !r.came.After(before) {
				ln.secure()
			}
		}
	}
}

// account is what all tables with one account share.
type account struct {
	mu sync.Mutex
	// logins are by user: at ThingSpeak each device logs in for itself, and a district has fifty of them.
	logins map[string]*logins
	pacers map[string]*pacer
	// perMinute is the account's real budget, where it was asked and is lower than the plan's; else 0.
	perMinute int
	// names are the addresses in use (feeds), where a platform bounds them.
	names map[string]bool
	// seconds are the times that rows of a lane have.
	seconds map[string]*seconds
	// active counts the addresses of each lane that send, for fair shares over tables.
	active map[any]int
}

// accounts finds the shared part of an account by its name.
type accounts struct {
	scale float64
	list  map[string]*account
}

func newAccounts(scale float64) *accounts {
	return &accounts{scale: scale, list: make(map[string]*account)}
}

func (a *accounts) get(name string) *account {
	acct := a.list[name]
	if acct == nil {
		acct = &account{logins: make(map[string]*logins), pacers: make(map[string]*pacer), names: make(map[string]bool), active: make(map[any]int), seconds: make(map[string]*seconds)}
		a.list[name] = acct
	}
	return acct
}

// loginStates copies out how often each account was logged in to.
func (a *accounts) loginStates() map[string][]spend {
	states := make(map[string][]spend)
	a.eachLogins(func(key string, l *logins) { states[key] = l.state() })
	return states
}

// eachLogins goes through the users of all accounts; key names both.
func (a *accounts) eachLogins(do func(key string, l *logins)) {
	for name, acct := range a.list {
		for user, l := range acct.logins {
			do(name+" "+user, l)
		}
	}
}

// loginsOf returns what the tables with one user of an account share.
func (a *account) loginsOf(user string, l platforms.Limits, scale float64) *logins {
	if a.logins[user] == nil {
		a.logins[user] = newLogins(l, scale)
	}
	return a.logins[user]
}

// pacer returns the one pacer of a lane of the account's.
func (a *account) pacer(lane string, l platforms.Limits, scale float64) *pacer {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.pacers[lane]
	if p == nil {
		p = newPacer(l, scale, time.Now())
		if a.perMinute > 0 {
			p.setPerMinute(a.perMinute)
		}
		a.pacers[lane] = p
	}
	return p
}

// secondsOf returns what the rows of one lane share over all tables.
func (a *account) secondsOf(lane string) *seconds {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.seconds[lane]
	if s == nil {
		s = newSeconds()
		a.seconds[lane] = s
	}
	return s
}

// admit takes an address into the account's, unless there are most already.
func (a *account) admit(name string, most int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.names[name] {
		return true
	}
	if most > 0 && len(a.names) >= most {
		return false
	}
	a.names[name] = true
	return true
}

// sharing notes how many addresses of one lane are active and returns how many are over the whole account.
func (a *account) sharing(who any, n int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.active[who] = n
	sum := 0
	for _, k := range a.active {
		sum += k
	}
	return sum
}
