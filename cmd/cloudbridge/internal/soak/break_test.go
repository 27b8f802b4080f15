package soak

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"cloudbridge/internal/faultproxy"
	"cloudbridge/internal/mqtt/mqtttest"
)

// fault is what was broken, where and when.
type fault struct {
	line, kind string
	from, to   time.Time
}

func (f fault) String() string {
	return fmt.Sprintf("%s %s for %.1f s", f.line, f.kind, f.to.Sub(f.from).Seconds())
}

// kinds are the words for what can be broken, in the order of the plot's legend.
var kinds = []string{"cut", "refused", "swallowed", "slow", "broker restarted"}

// breaker breaks things at random. The same seed breaks the same things, for as long; when depends on how soon the bridge
// is at rest again.
type breaker struct {
	w         *world
	r         *rand.Rand
	unit      time.Duration
	keepAlive time.Duration
	// round counts the strikes, and struck is the last of each line.
	round  int
	struck map[*line]int
	done   []fault
}

// spared is for how many strikes a public cloud is left alone after one: the bridge spends at most 6 logins a minute on
// it, and in a short run a cloud that is out of logins would be offline for the rest.
const spared = 3

// queuesFilled is how long all clouds must be away until each lane has written to its queue: a row of ThingSpeak's waits for
// two intervals before it does.
const queuesFilled = 7 * time.Second

// fillQueues takes all clouds away for once, so that each queue has its first file: from then on the files may be no more.
func (b *breaker) fillQueues() {
	from := time.Now()
	for _, l := range b.w.lines()[1:] {
		for _, p := range l.proxies {
			p.Refuse()
			p.Cut()
		}
	}
	<-time.After(queuesFilled)
	for _, l := range b.w.lines()[1:] {
		for _, p := range l.proxies {
			if err := p.Resume(); err != nil {
				b.w.Error(err)
			}
		}
		b.done = append(b.done, fault{line: l.name, kind: "refused", from: from, to: time.Now()})
	}
}

// choose picks a line, the busy ones more often.
func (b *breaker) choose() *line {
	w := b.w
	lots := []*line{w.near, w.near, w.wan, w.wan, w.wan, w.hiveLine, w.hiveLine, w.weatherLine, w.homeLine}
	for {
		l := lots[b.r.IntN(len(lots))]
		last, ok := b.struck[l]
		if l == w.near || l == w.wan || !ok || b.round-last > spared {
			b.struck[l] = b.round
			return l
		}
	}
}

// strike breaks one line, sometimes two at a time, and mends them.
func (b *breaker) strike() {
	b.round++
	struck := []*line{b.choose()}
	if b.r.IntN(4) == 0 {
		if other := b.choose(); other != struck[0] {
			struck = append(struck, other)
		}
	}
	var mends []func()
	for _, l := range struck {
		f, mend := b.breakOne(l)
		mends = append(mends, func() {
			mend()
			f.to = time.Now()
			b.done = append(b.done, f)
			b.w.Log(f)
		})
	}
	for _, mend := range mends {
		mend()
	}
}

// breakOne begins a fault; the function that it returns waits and ends it.
func (b *breaker) breakOne(l *line) (fault, func()) {
	// From half the unit to twice it: some are over before the bridge notices, some outlast a keepalive.
	long := b.unit/2 + time.Duration(b.r.Int64N(int64(b.unit*3/2)))
	f := fault{line: l.name, from: time.Now()}
	all := func(do func(*faultproxy.Proxy)) {
		for _, p := range l.proxies {
			do(p)
		}
	}
	mend := func() {
		<-time.After(time.Until(f.from.Add(long)))
		all(func(p *faultproxy.Proxy) {
			if err := p.Resume(); err != nil {
				b.w.Error(err)
			}
		})
	}
	lot := b.r.IntN(12)
	f.kind = kinds[[...]int{0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4}[lot]]
	size, either := b.r.IntN(1<<10), b.r.IntN(2) == 0
	switch f.kind {
	case "cut":
		if either {
			all((*faultproxy.Proxy).Cut)
			return f, func() {}
		}
		// In the midst of a packet.
		all(func(p *faultproxy.Proxy) { p.CutAfter(faultproxy.Direction(size%2), int64(size)) })
	case "refused":
		all(func(p *faultproxy.Proxy) {
			p.Refuse()
			p.Cut()
		})
	case "swallowed":
		if either {
			long = max(long, b.keepAlive*8/5) // long enough to be noticed
		}
		ways := [][]faultproxy.Direction{{faultproxy.Up, faultproxy.Down}, {faultproxy.Up}, {faultproxy.Down}}[size%3]
		all(func(p *faultproxy.Proxy) { p.Hole(ways...) })
	case "slow":
		all(func(p *faultproxy.Proxy) {
			p.Delay(time.Duration(20+size%130) * time.Millisecond)
			p.Limit(4000 + 16*size)
		})
	case "broker restarted":
		broker := b.broker(l)
		if broker == nil { // HiveMQ ends its connections without a word, the others refuse for a moment.
			f.kind = "cut"
			all((*faultproxy.Proxy).Cut)
			return f, func() {}
		}
		broker.Stop()
		return f, func() {
			<-time.After(time.Until(f.from.Add(long / 4)))
			broker.Start()
		}
	}
	return f, mend
}

// broker is the Mosquitto at the end of a line, or nil.
func (b *breaker) broker(l *line) *mqtttest.Broker {
	switch l {
	case b.w.near:
		return b.w.house
	case b.w.wan:
		return b.w.far
	}
	return nil
}

// summary counts what was broken.
func (b *breaker) summary() string {
	counts := make(map[string]int)
	for _, f := range b.done {
		counts[f.line+" "+f.kind]++
	}
	var words []string
	for what, n := range counts {
		words = append(words, fmt.Sprintf("%d x %s", n, what))
	}
	slices.Sort(words)
	return fmt.Sprintf("%d faults: %s", len(b.done), strings.Join(words, ", "))
}

// ordered are faults by their beginning.
func ordered(faults []fault) []fault {
	return slices.SortedFunc(slices.Values(faults), func(a, b fault) int { return a.from.Compare(b.from) })
}
