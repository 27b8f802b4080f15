package bridge

import (
	"maps"
	"sync"
	"sync/atomic"
)

// fate is what became of a point or a command, in the words that are the same everywhere.
type fate int

const (
	fateSent      fate = iota // the cloud never confirms
	fateConfirmed             // the far side said so
	fateSkipped               // by the rule
	fateReplaced              // by a newer value
	fateDropped               // by us, with a reason
	fateRefused               // by the cloud, with a reason
	fateRetried               // it will be sent again
	fates
)

var fateWords = [fates]string{"sent", "confirmed", "skipped", "replaced", "dropped", "refused", "retried"}

// tally counts fates, and the reasons of those that need one.
type tally struct {
	n       [fates]atomic.Uint64
	mu      sync.Mutex
	reasons map[string]uint64
}

// mostReasons bounds the different reasons that are kept apart, for a reason may quote a name from outside.
const mostReasons = 200

func (t *tally) add(f fate, reason string, n int) {
	if n <= 0 {
		return
	}
	t.n[f].Add(uint64(n))
	if reason != "" {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.because(fateWords[f], reason, n)
	}
}

// has says whether a fate was counted for this reason.
func (t *tally) has(f fate, reason string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.reasons[fateWords[f]+": "+reason] > 0
}

// note counts something that happened to a point and is not its fate.
func (t *tally) note(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.because("noted", what, 1)
}

// because counts a reason. mu is held.
func (t *tally) because(word, reason string, n int) {
	if t.reasons == nil {
		t.reasons = make(map[string]uint64)
	}
	key := word + ": " + reason
	if _, known := t.reasons[key]; !known && len(t.reasons) >= mostReasons {
		key = word + ": other reasons"
	}
	t.reasons[key] += uint64(n)
}

func (t *tally) counts(waiting int) Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Counts{
		Waiting:   uint64(waiting),
		Sent:      t.n[fateSent].Load(),
		Confirmed: t.n[fateConfirmed].Load(),
		Skipped:   t.n[fateSkipped].Load(),
		Replaced:  t.n[fateReplaced].Load(),
		Dropped:   t.n[fateDropped].Load(),
		Refused:   t.n[fateRefused].Load(),
		Retried:   t.n[fateRetried].Load(),
		Reasons:   maps.Clone(t.reasons),
	}
}
