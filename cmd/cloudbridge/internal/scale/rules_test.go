package scale

import (
	"fmt"
	"math"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
)

// slope is the exponent with which what is measured grows with n: 1 is linear, 2 is the square.
func slope(n1, n2 int, v1, v2 float64) float64 {
	return math.Log(v2/v1) / math.Log(float64(n2)/float64(n1))
}

// rules writes so many uplinks, of which the first matches what the board publishes; the others are topics, patterns with
// captures, and leading and trailing wildcards in equal shares.
func rules(n int) string {
	var b strings.Builder
	b.WriteString("[[uplink]]\nlocal = \"lab/{rest...}\"\ncloud = \"far\"\ntopic = \"far/{rest}\"\nqos = 1\n")
	for i := 1; i < n; i++ {
		local, topic := fmt.Sprintf("site/b%d/temp", i), fmt.Sprintf("up/%d", i)
		switch i % 4 {
		case 1:
			local, topic = fmt.Sprintf("site/c%d/{x}", i), topic+"/{x}"
		case 2:
			local, topic = fmt.Sprintf("{x}/d%d/temp", i), topic+"/{x}"
		case 3:
			local, topic = fmt.Sprintf("room%d/{x...}", i), topic+"/{x}"
		}
		fmt.Fprintf(&b, "[[uplink]]\nlocal = %q\ncloud = \"far\"\ntopic = %q\n", local, topic)
	}
	return b.String()
}

// ruled is what so many rules cost.
type ruled struct {
	n                    int
	check, start         time.Duration // on a processor; until both brokers are connected
	startCPU, perMessage time.Duration
	memory               memory
}

// TestRules measures what rules cost that a message does not match.
func TestRules(t *testing.T) {
	together(t)
	counts, messages := []int{1, 10_000}, 3000
	if full {
		counts, messages = []int{1, 10, 100, 1000, 10_000}, 20_000
	}
	for _, protocol := range []string{"5", "3.1.1"} {
		if protocol != "5" && !full {
			continue
		}
		t.Run(protocol, func(t *testing.T) {
			var table []ruled
			for _, n := range counts {
				r := tryRules(t, n, messages, protocol)
				t.Logf("%6d rules: check %v, start %v (%v of a processor), %v a message, %v",
					n, r.check, r.start, r.startCPU, r.perMessage, r.memory)
				table = append(table, r)
			}
			last, first := table[len(table)-1], table[0]
			// Half of the difference is the machine's own unrest; twice is what is promised.
			if last.perMessage > 3*first.perMessage {
				t.Errorf("a message costs %v with %d rules and %v with one", last.perMessage, last.n, first.perMessage)
			}
			if !full {
				return
			}
			before := table[len(table)-2]
			for what, v := range map[string][2]float64{
				"check":  {float64(before.check), float64(last.check)},
				"start":  {float64(before.startCPU), float64(last.startCPU)},
				"memory": {float64(before.memory.own), float64(last.memory.own)},
			} {
				k := slope(before.n, last.n, v[0], v[1])
				t.Logf("%s: slope %.2f from %d to %d rules", what, k, before.n, last.n)
				if k > 1.4 {
					t.Errorf("%s grows with the power %.2f of the number of rules", what, k)
				}
			}
		})
	}
}

func tryRules(t *testing.T, n, messages int, protocol string) ruled {
	t.Helper()
	r := ruled{n: n}
	near, far := mqtttest.Mosquitto(t, "max_queued_messages 0"), mqtttest.Mosquitto(t, "max_inflight_messages 1000")
	var arrived atomic.Int64
	listen(t, far.URL, "far/#", func(*mqtt.Message) { arrived.Add(1) })
	text := between(near, far)
	text = strings.Replace(text, "[cloud.far]", "protocol = \""+protocol+"\"\n[cloud.far]", 1)
	head, _, _ := strings.Cut(text, "[[uplink]]")
	config := write(t, head+rules(n))
	check := exec.Command(program(t, "", ""), "check", "--config", config)
	if out, err := check.CombinedOutput(); err != nil {
		t.Fatalf("check: %v\n%s", err, out)
	}
	r.check = check.ProcessState.UserTime() + check.ProcessState.SystemTime()
	p := run(t, config)
	p.says(": connected to the broker", 1)
	p.says("local: connected to ", 1)
	r.start, r.startCPU = time.Since(p.began), p.cpu()
	b := newBoard(t, near.URL)
	// The first messages find the way, and are not counted.
	send(p, b, &arrived, 200)
	cpu := p.cpu()
	send(p, b, &arrived, messages)
	r.perMessage = (p.cpu() - cpu) / time.Duration(messages)
	if full {
		<-time.After(time.Until(p.began.Add(givenBack)))
	}
	r.memory = p.memory()
	p.stop()
	return r
}

// givenBack is when a process that was started has given back what the start needed.
const givenBack = 5500 * time.Millisecond

// send publishes messages and waits until they have arrived.
func send(p *process, b *board, arrived *atomic.Int64, n int) {
	p.Helper()
	want := arrived.Load() + int64(n)
	for i := range n {
		b.publish("lab/temp", fmt.Append(nil, i))
	}
	b.flush()
	p.until(time.Minute, "all messages", func() bool { return arrived.Load() >= want })
}
