package bridge

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/platforms/generic"
)

// burst is how many messages are on their way together in the tests of refusals.
const burst = 10

// quota is a cloud that answers only when a whole burst has come, and then as the attempt of that number is answered: it
// takes the first so many messages, and says to the others that a quota is used up.
type quota struct {
	takes []int // how many messages of each attempt, counted from the first; later ones are taken whole

	mu      sync.Mutex
	owed    []mqtttest.Packet
	want    int
	at      []time.Time // when each attempt began
	settled []string
}

// packet collects a burst, then answers it.
func (q *quota) packet(c *mqtttest.Conn, p mqtttest.Packet) bool {
	if p.Kind != mqtttest.PUBLISH {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.owed) == 0 {
		q.at = append(q.at, time.Now())
	}
	if q.owed = append(q.owed, p); len(q.owed) < q.want {
		return true
	}
	takes, left := len(q.owed), 0
	if n := len(q.at); n <= len(q.takes) {
		takes = q.takes[n-1]
	}
	for i, p := range q.owed {
		if i < takes {
			q.settled = append(q.settled, string(p.Payload))
			c.Confirm(p)
			continue
		}
		left++
		c.ConfirmWith(p, 0x97, "")
	}
	q.owed, q.want = nil, left
	if left == 0 {
		q.want = burst
	}
	return true
}

// pauses are the times between the attempts so far, to the tenth of a second, and what was taken.
func (q *quota) pauses() (between, settled string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var list []string
	for i := 1; i < len(q.at); i++ {
		list = append(list, q.at[i].Sub(q.at[i-1]).Round(100*time.Millisecond).String())
	}
	return strings.Join(list, " "), strings.Join(q.settled, " ")
}

// TestRefusedTogether has all messages on their way refused at once: that is one refusal, so the pause before the next
// attempt doubles once for it, and is the shortest again when something was taken meanwhile.
func TestRefusedTogether(t *testing.T) {
	for name, tt := range map[string]struct {
		takes []int
		want  string // the pauses, with that of a minute between the two bursts
	}{
		"once":                  {[]int{0}, "1s 1m0s"},
		"three times":           {[]int{0, 0, 0}, "1s 2s 4s 1m0s"},
		"up to the longest":     {[]int{0, 0, 0, 0, 0, 0, 0}, "1s 2s 4s 8s 16s 30s 30s 1m0s"},
		"again later":           {[]int{0, 0, burst, 0, 0}, "1s 2s 1m0s 1s 2s"},
		"when a few were taken": {[]int{0, 0, 3, 0}, "1s 2s 1s 2s 1m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				q := &quota{takes: tt.takes, want: burst}
				fake := mqtttest.NewFake(mqtttest.Script{OnPacket: q.packet})
				b.Cleanup(fake.Close)
				l := b.lab().cloud("far", generic.Kind, anyBroker("mqtt://far:1883", "5"))
				l.cfg.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
					if strings.HasPrefix(address, "far") {
						return fake.Dial(ctx, network, address)
					}
					return b.net.DialContext(ctx, network, address)
				}
				l.up("iot/#", "far", nil)
				br, stop := l.run()
				online(b.T, br)
				board := b.board()
				var want []string
				send := func() {
					for range burst {
						want = append(want, fmt.Sprint(len(want)))
						board.publish("iot/x", want[len(want)-1])
					}
					for range 200 {
						if time.Sleep(time.Second); br.Status().Clouds[0].Counts.Confirmed == uint64(len(want)) {
							return
						}
					}
					b.Fatalf("not all is taken: %+v", br.Status().Clouds[0].Counts)
				}
				send()
				q.mu.Lock()
				last := q.at[len(q.at)-1]
				q.mu.Unlock()
				time.Sleep(time.Until(last.Add(time.Minute))) // whole again, and a time that no pause has
				send()
				stop()
				between, settled := q.pauses()
				if between != tt.want {
					b.Errorf("pauses %s, want %s", between, tt.want)
				}
				if settled != strings.Join(want, " ") {
					b.Errorf("the cloud took %s, want %s", settled, strings.Join(want, " "))
				}
			})
		})
	}
}
