package faults

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"cloudbridge/cmd/cloudbridge/internal/trial"
	"cloudbridge/internal/faultproxy"
	"cloudbridge/internal/mqtt/mqtttest"
)

// diskQueue says whether the bridge keeps on disk what waits. Until it does, rows that need it only report their losses.
const diskQueue = true

// The environment: CLOUDBRIDGE_FAULTS=full runs everything, CLOUDBRIDGE_FAULTS_RACE=1 builds the bridge with the race
// detector, whose word then counts.
var (
	full = os.Getenv("CLOUDBRIDGE_FAULTS") == "full"
	race = os.Getenv("CLOUDBRIDGE_FAULTS_RACE") != ""
)

// row is one fault.
type row struct {
	name string
	// rate is messages per second; zero is 300.
	rate int
	// full rows run only in the full version.
	full bool
	// needsDisk: what the bridge has acknowledged can only be kept on disk.
	needsDisk bool
	// protocol is that of both connections; empty is "auto".
	protocol string
	// wide lets 1,000 messages be in flight to the far broker, where a default Mosquitto allows 20.
	wide bool
	// duplicates is the most that may come twice.
	duplicates int
	// before runs before the bridge starts.
	before func(*world)
	// fault breaks something, and mends it.
	fault func(*world)
}

// recoverWithin is how soon after a fault all must have arrived. The bridge tries a loopback address each second at least.
const recoverWithin = 5 * time.Second

// TestFaults breaks things while messages flow. Nothing that Mosquitto has acknowledged may be lost or come out of order.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes most of a minute")
	}
	mqtttest.Program(t, "mosquitto")
	program := trial.Build(t, race)
	var mu sync.Mutex
	lines := make(map[string]string)
	var names []string
	t.Run("row", func(t *testing.T) {
		for _, r := range table() {
			if r.full && !full {
				continue
			}
			names = append(names, r.name)
			t.Run(r.name, func(t *testing.T) {
				t.Parallel()
				line := try(t, program, r)
				mu.Lock()
				defer mu.Unlock()
				lines[r.name] = line
			})
		}
	})
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "fault\tsent\tdelivered\tlost\tduplicated\tout of order\trecovery time\t")
	for _, name := range names {
		if lines[name] != "" { // A row that could not even be set up has none, and has failed.
			fmt.Fprintln(w, lines[name])
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + b.String())
}

// try runs one row and gives its line of the table.
func try(t *testing.T, program string, r row) string {
	w := newWorld(t, program, r)
	if r.before != nil {
		r.before(w)
	}
	w.bridge.Start()
	w.subscribed()
	rate := r.rate
	if rate == 0 {
		rate = 300
	}
	w.publish(rate)
	if r.before == nil {
		mqtttest.Eventually(t, "the first messages to arrive", func() bool {
			different, _ := w.ear.Count()
			return different > rate/4
		})
	}
	r.fault(w)
	if w.healed.IsZero() {
		w.mended()
	}
	w.flow(700 * time.Millisecond)
	patience := 20 * time.Second
	if r.needsDisk && !diskQueue {
		patience = 4 * time.Second
	}
	sent := w.board.End()
	o := trial.Count(sent, w.ear.Settle(sent, patience), w.healed, w.forgiven)
	w.stop()
	w.judge(o)
	return fmt.Sprintf("%s\t%d\t%d\t%d\t%d\t%d\t%.2f s\t%s",
		r.name, o.Sent, o.Delivered, o.Lost, o.Duplicated, o.Disordered, o.Recovery.Seconds(), strings.Join(w.notes, "; "))
}

func (w *world) judge(o trial.Outcome) {
	w.Helper()
	if o.Sent == 0 {
		w.Error("nothing was sent")
	}
	if o.Forgiven > 0 {
		w.note("%d more were lost by Mosquitto", o.Forgiven)
	}
	switch {
	case o.Lost == 0:
	case w.row.needsDisk && !diskQueue:
		w.note("needs the queue on disk")
	default:
		w.Errorf("%d of %d messages are lost, the first of them %v", o.Lost, o.Sent, o.Missing)
	}
	if o.Disordered > 0 {
		w.Errorf("%d messages came out of order", o.Disordered)
	}
	if o.Strange > 0 {
		w.Errorf("%d messages came that nobody had sent", o.Strange)
	}
	if o.Duplicated > w.row.duplicates {
		w.Errorf("%d messages came twice, want at most %d", o.Duplicated, w.row.duplicates)
	}
	if o.Recovery > recoverWithin {
		w.Errorf("it took %v to recover, want at most %v", o.Recovery, recoverWithin)
	}
	w.bridge.Judge()
}

// kills is how often the bridge is killed in one row.
func kills() int {
	if full {
		return 50
	}
	return 5
}

// murders kills the bridge at random moments, and starts it again each time.
func murders(w *world) {
	for range kills() {
		// From the first steps of a start to a bridge at full work.
		w.flow(time.Duration(5+rand.IntN(600)) * time.Millisecond)
		_ = w.bridge.Kill(syscall.SIGKILL)
		w.bridge.Start()
	}
	w.mended()
}

// whileFlapping does something over a line that comes and goes all the time.
func whileFlapping(w *world, p *faultproxy.Proxy, do func()) {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			p.Refuse()
			p.Cut()
			<-time.After(time.Duration(50+rand.IntN(250)) * time.Millisecond)
			if err := p.Accept(); err != nil {
				w.Error(err)
			}
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(100+rand.IntN(500)) * time.Millisecond):
			}
		}
	}()
	do()
	close(stop)
	<-ended
	w.mended()
}

// away is a line that is down for a while.
func away(w *world, p *faultproxy.Proxy, d time.Duration) {
	p.Refuse()
	p.Cut()
	w.flow(d)
	w.resume(p)
}

// swallowed is a line that swallows everything until the bridge has noticed, and a little longer.
func swallowed(w *world, p *faultproxy.Proxy, ds ...faultproxy.Direction) {
	before, since := p.Stats().Accepted, time.Now()
	p.Hole(ds...)
	w.noticed(p, before, since)
	w.flow(300 * time.Millisecond)
	w.resume(p)
}
