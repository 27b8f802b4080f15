package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloudbridge/internal/faultproxy"
	"cloudbridge/internal/mqtt/mqtttest"
)

// keepAlive is that of both connections of the bridge: the shortest that lets a half-open link be seen soon.
const keepAlive = 2 * time.Second

// world is a house with its broker, a bridge, and a broker far away; near and wan are the lines between them.
type world struct {
	*testing.T
	row   row
	house *mqtttest.Broker
	far   *mqtttest.Broker
	near  *faultproxy.Proxy
	wan   *faultproxy.Proxy
	board *publisher
	ear   *receiver

	program string
	dir     string
	process *exec.Cmd
	log     *os.File
	notes   []string
	// forgiven is when Mosquitto may have lost what it had acknowledged.
	forgiven span
	// healed is when the fault was over: the last call of mended, or when the fault's function returned.
	healed time.Time
}

func newWorld(t *testing.T, program string, r row) *world {
	t.Helper()
	w := &world{T: t, row: r, program: program, dir: t.TempDir()}
	conf := []string{"max_queued_messages 0", "autosave_interval 1"}
	w.house = mqtttest.Mosquitto(t, conf...)
	if r.wide {
		conf = append(conf, "max_inflight_messages 1000")
	}
	w.far = mqtttest.Mosquitto(t, conf...)
	w.near, w.wan = w.line(w.house.Addr), w.line(w.far.Addr)
	var err error
	if w.log, err = os.Create(filepath.Join(w.dir, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.kill(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("the bridge's log:\n%s", lastOf(w.written(), 6000))
		}
		_ = w.log.Close()
	})
	w.configure()
	w.ear = receive(t, w.far.URL)
	return w
}

func (w *world) line(target string) *faultproxy.Proxy {
	w.Helper()
	p, err := faultproxy.Listen(target)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = p.Close() })
	return p
}

func (w *world) configure() {
	w.Helper()
	protocol := w.row.protocol
	if protocol == "" {
		protocol = "auto"
	}
	text := fmt.Sprintf(`[bridge]
name = "lab1"
[local]
url = "mqtt://%s"
client_id = "lab1-0001"
keepalive = "%s"
protocol = "%s"
[cloud.far]
platform = "mqtt"
url = "mqtt://%s"
client_id = "lab1-far"
keepalive = "%s"
protocol = "%s"
drain_rate = 0
[queue]
dir = "%s"
[web]
listen = "off"
[log]
level = "debug"
[[uplink]]
local = "fault/{rest...}"
cloud = "far"
topic = "far/{rest}"
qos = 1
`, w.near.Addr(), keepAlive, protocol, w.wan.Addr(), keepAlive, protocol, filepath.Join(w.dir, "queue"))
	if err := os.WriteFile(filepath.Join(w.dir, "cloudbridge.toml"), []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
}

// start starts the bridge.
func (w *world) start() {
	w.Helper()
	cmd := exec.Command(w.program, "run", "--config", filepath.Join(w.dir, "cloudbridge.toml"))
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "CLOUDBRIDGE_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Stdout, cmd.Stderr = w.log, w.log
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	w.process = cmd
}

// subscribed waits until the bridge has subscribed: what is published before is nobody's.
func (w *world) subscribed() {
	w.Helper()
	mqtttest.Eventually(w, "the bridge to subscribe", func() bool { return strings.Contains(w.house.Log(), " 1 fault/#\n") })
}

// kill ends the bridge with a signal and waits until it is gone; the error is what Wait gives.
func (w *world) kill(sig os.Signal) error {
	if w.process == nil {
		return nil
	}
	cmd := w.process
	w.process = nil
	if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return cmd.Wait()
}

// stop stops the bridge in good order, which must succeed within the time that it promises.
func (w *world) stop() {
	w.Helper()
	began := time.Now()
	late := time.AfterFunc(10*time.Second, func() { _ = w.process.Process.Kill() })
	err := w.kill(syscall.SIGTERM)
	late.Stop()
	took := time.Since(began)
	if took > 1500*time.Millisecond { // The race detector alone takes a second.
		w.note("stopped in %.1f s", took.Seconds())
	}
	if err != nil || took > 7*time.Second {
		w.Errorf("the bridge was told to stop and ended after %v with %v", took, err)
	}
}

// note adds to the last column of the table.
func (w *world) note(format string, args ...any) {
	w.notes = append(w.notes, fmt.Sprintf(format, args...))
}

func (w *world) written() string {
	b, err := os.ReadFile(w.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// resume makes a line good again.
func (w *world) resume(p *faultproxy.Proxy) {
	w.Helper()
	if err := p.Resume(); err != nil {
		w.Fatal(err)
	}
	w.mended()
}

// mended notes that nothing is broken any more, from now on.
func (w *world) mended() { w.healed = time.Now() }

// flow lets messages flow for a while.
func (w *world) flow(d time.Duration) { <-time.After(d) }

// noticed waits until the bridge gives a dead link up and dials anew, and notes how long that took since the hole began.
// The promise is one and a half keepalives.
func (w *world) noticed(p *faultproxy.Proxy, before int, since time.Time) {
	w.Helper()
	const slack = 300 * time.Millisecond // of a busy machine
	for deadline := time.Now().Add(5 * keepAlive); p.Stats().Accepted == before; {
		if time.Now().After(deadline) {
			w.Errorf("the bridge has not noticed a dead link after %v", time.Since(since))
			return
		}
		<-time.After(2 * time.Millisecond)
	}
	took := time.Since(since)
	w.note("noticed in %.2f keepalives", float64(took)/float64(keepAlive))
	if took > keepAlive*3/2+slack {
		w.Errorf("the bridge noticed a dead link after %v, want at most %v", took, keepAlive*3/2)
	}
}

func lastOf(s string, n int) string {
	if len(s) > n {
		return "(...)\n" + s[len(s)-n:]
	}
	return s
}
