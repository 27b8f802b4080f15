package bridge

import (
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// retryCause is what was refused, for it decides how soon the next attempt may come.
type retryCause int

// The causes, each with a pace of its own.
const (
	// retryNetwork: nobody answers, or the connection was lost. An attempt costs nobody anything.
	retryNetwork retryCause = iota
	// retryLogin: the user, the password or the key is wrong; only a person can mend that.
	retryLogin
	// retryBanned: the account is locked; each attempt may lengthen it.
	retryBanned
	// retryThrottled: too many logins.
	retryThrottled
	// retryClientID: somebody else uses our client id. Quick attempts would throw each other out for ever.
	retryClientID
	// retryBusy: the far side is there, but overloaded or starting.
	retryBusy
	// retryDNS: the name is not found; mostly there is no internet.
	retryDNS
	// retryClock: TLS fails, mostly for a wrong clock or a certificate that a person must mend.
	retryClock
	retryCauses
)

// fullJitter waits a random time between floor and min(ceiling, base·2ⁿ), so that the many boards and bridges of a
// school that lose one router do not come back in step.
type fullJitter struct {
	base, ceiling, floor time.Duration
	// atOnce makes the first wait zero.
	atOnce bool
	random func() float64
	n      int
}

var _ backoff.BackOff = (*fullJitter)(nil)

// NextBackOff returns the next wait. It never returns backoff.Stop: a bridge does not give up.
func (f *fullJitter) NextBackOff() time.Duration {
	f.n++
	n := f.n - 1
	if f.atOnce {
		if n == 0 {
			return 0
		}
		n--
	}
	top := f.base
	for ; n > 0 && top < f.ceiling; n-- {
		top *= 2
	}
	top = min(top, f.ceiling)
	if top <= f.floor {
		return f.floor
	}
	return f.floor + time.Duration(f.random()*float64(top-f.floor))
}

// Reset starts again at the shortest wait.
func (f *fullJitter) Reset() { f.n = 0 }

// retryPaces are the paces towards a public cloud, where a login too many may be punished.
var retryPaces = [retryCauses]fullJitter{
	retryNetwork:   {base: time.Second, ceiling: 30 * time.Second, floor: 200 * time.Millisecond, atOnce: true},
	retryLogin:     {base: 2 * time.Minute, ceiling: 15 * time.Minute, floor: time.Minute},
	retryBanned:    {base: 2 * time.Minute, ceiling: time.Hour, floor: time.Minute},
	retryThrottled: {base: 90 * time.Second, ceiling: 5 * time.Minute, floor: time.Minute},
	retryClientID:  {base: time.Minute, ceiling: 10 * time.Minute, floor: 30 * time.Second},
	retryBusy:      {base: 5 * time.Second, ceiling: time.Minute, floor: 2 * time.Second},
	retryDNS:       {base: 4 * time.Second, ceiling: time.Minute, floor: 2 * time.Second},
	retryClock:     {base: time.Minute, ceiling: 5 * time.Minute, floor: 30 * time.Second},
}

// nearPaces replace those that may be quicker towards a loopback or private address: a broker that restarts beside us is
// found again within a second.
var nearPaces = map[retryCause]fullJitter{
	retryNetwork: {base: 100 * time.Millisecond, ceiling: time.Second, floor: 50 * time.Millisecond, atOnce: true},
	retryBusy:    {base: 500 * time.Millisecond, ceiling: 5 * time.Second, floor: 200 * time.Millisecond},
	// Two bridges with one id throw each other out: one of them must stay away for long enough to be noticed.
	retryClientID: {base: 10 * time.Second, ceiling: time.Minute, floor: 5 * time.Second},
}

// linkHeld is how long a link must have held before its failures are forgotten. A link that comes up and falls at once
// would otherwise log in without end.
const linkHeld = time.Minute

// retry says how long to wait before the next attempt. Each cause counts its failures apart.
type retry struct {
	paces [retryCauses]backoff.BackOff
	// long is how long a link must hold.
	long time.Duration
	told time.Duration
}

// newRetry makes the paces for a public cloud, or for a loopback or private address. random gives numbers in [0, 1),
// nil stands for the usual source.
func newRetry(public bool, scale float64, random func() float64) *retry {
	if random == nil {
		random = rand.Float64
	}
	r := &retry{long: scaleTime(linkHeld, scale)}
	for cause := range retryCauses {
		pace := retryPaces[cause]
		if near, ok := nearPaces[cause]; ok && !public {
			pace = near
		}
		pace.base = scaleTime(pace.base, scale)
		pace.ceiling = scaleTime(pace.ceiling, scale)
		pace.floor = scaleTime(pace.floor, scale)
		pace.random = random
		r.paces[cause] = &pace
	}
	return r
}

// next is how long to wait now, after a failure of this cause.
func (r *retry) next(cause retryCause) time.Duration {
	if cause < 0 || cause >= retryCauses {
		cause = retryNetwork
	}
	d := max(r.paces[cause].NextBackOff(), r.told)
	r.told = 0
	return d
}

// after makes the next wait no shorter than what the far side told us, which is not scaled.
func (r *retry) after(told time.Duration) { r.told = max(r.told, told) }

// held tells how long a link lasted that is lost now. Only one that held for a minute is a new beginning.
func (r *retry) held(d time.Duration) {
	if d < r.long {
		return
	}
	for _, p := range r.paces {
		p.Reset()
	}
}
