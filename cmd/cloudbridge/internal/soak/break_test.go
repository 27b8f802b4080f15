package soak

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
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
	s         *sampler
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

// lanes are those that have a queue on disk: two MQTT clouds, and two channels at ThingSpeak. At Adafruit IO only the newest
// value waits.
const lanes = 4

// fillQueues takes all clouds away until each lane has written to its queue: from then on the files may be no more.
func (b *breaker) fillQueues() {
	from := time.Now()
	for _, l := range b.w.lines()[1:] {
		for _, p := range l.proxies {
			p.Refuse()
			p.Cut()
		}
	}
	b.until("each lane to write to its queue", func() bool {
		segments, err := filepath.Glob(filepath.Join(b.w.queue, "*", "*.seg"))
		if err != nil {
			b.w.Fatal(err)
		}
		return len(segments) >= lanes
	})
	for _, l := range b.w.lines()[1:] {
		for _, p := range l.proxies {
			if err := p.Resume(); err != nil {
				b.w.Error(err)
			}
		}
		b.done = append(b.done, fault{line: l.name, kind: "refused", from: from, to: time.Now()})
	}
}

// until polls until ok says so.
func (b *breaker) until(what string, ok func() bool) {
	b.w.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			b.w.Fatalf("waited in vain: %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// cutsInStorm is how often the storm cuts: enough that a goroutine or a file that each connection leaves behind is seen even
// after half a minute. After ten connections in a row that fall at once the bridge would take another one with its client id
// for the cause, and stay away for a while.
const cutsInStorm = 6

// storm cuts the two busy lines again and again, as soon as the bridge is back.
func (b *breaker) storm() {
	from := time.Now()
	busy := b.w.lines()[:2]
	for range cutsInStorm {
		for _, l := range busy {
			l.proxies[0].Cut()
		}
		b.until("the bridge to be back", func() bool {
			for _, l := range busy {
				if l.proxies[0].Stats().Open == 0 {
					return false
				}
			}
			return b.s.up()
		})
	}
	for _, l := range busy {
		b.done = append(b.done, fault{line: l.name, kind: "cut", from: from, to: time.Now()})
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
		// In the midst of a packet, if so many bytes come before the fault is over.
		before := l.proxies[0].Stats().Cut
		all(func(p *faultproxy.Proxy) { p.CutAfter(faultproxy.Direction(size%2), int64(size)) })
		return f, func() {
			for l.proxies[0].Stats().Cut == before && time.Since(f.from) < long {
				<-time.After(5 * time.Millisecond)
			}
			mend()
		}
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
		if broker == nil { // An emulator has nothing on disk to start again with.
			f.kind = "cut"
			all((*faultproxy.Proxy).Cut)
			return f, func() {}
		}
		// Where no broker is, nobody listens: the proxy alone would take the connection first.
		all((*faultproxy.Proxy).Refuse)
		broker.Stop()
		return f, func() {
			<-time.After(time.Until(f.from.Add(long / 4)))
			broker.Start()
			mend()
		}
	}
	return f, func() {
		<-time.After(time.Until(f.from.Add(long)))
		mend()
	}
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
