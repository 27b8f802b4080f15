package scale

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/thingspeak/thingspeaktest"
)

// TestArm runs the programs of the Raspberry Pis on this machine's processor. It says that they are right, and nothing of
// how fast they are.
func TestArm(t *testing.T) {
	if os.Getenv("CLOUDBRIDGE_ARM") == "" {
		t.Skip("make arm runs this")
	}
	for _, c := range []struct{ qemu, arch, goarm, says string }{
		{"qemu-aarch64", "arm64", "", "linux/arm64"},
		{"qemu-arm", "arm", "6", "linux/arm"},
		{"qemu-arm", "arm", "7", "linux/arm"},
	} {
		t.Run(c.arch+c.goarm, func(t *testing.T) {
			a := arm{T: t, command: []string{mqtttest.Program(t, c.qemu), program(t, c.arch, c.goarm)}}
			if out := a.must("version"); !strings.Contains(out, c.says) {
				t.Errorf("version says %q, which does not name %s", out, c.says)
			}
			a.checks()
			a.carries()
		})
	}
}

// arm is one processor's program.
type arm struct {
	*testing.T
	command []string
}

func (a arm) run(args ...string) (string, error) {
	cmd := exec.Command(a.command[0], append(a.command[1:], args...)...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "CLOUDBRIDGE_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (a arm) must(args ...string) string {
	a.Helper()
	out, err := a.run(args...)
	if err != nil {
		a.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

// checks reads configs, good and bad ones, and explains a message.
func (a arm) checks() {
	example := filepath.Join("..", "..", "..", "..", "config.example.toml")
	if out, err := a.run("check", "--config", example); err == nil || !strings.Contains(out, "no rule") {
		a.Errorf("the example, in which all is commented out: %v\n%s", err, out)
	}
	good := write(a, `[cloud.far]
platform = "mqtt"
url = "mqtt://127.0.0.1:1"
[[uplink]]
local = "iot/{device}/temp"
cloud = "far"
topic = "up/{device}"
value = 'round(after(text, "temperature="), 1)'
`)
	a.must("check", "--config", good)
	out := a.must("explain", "--config", good, "iot/picow/temp", "Pico W temperature=27.26")
	if !strings.Contains(out, "up/picow") || !strings.Contains(out, "27.3") {
		a.Errorf("explain says\n%s", out)
	}
	bad := write(a, "[[uplink]]\nlocal = \"a/#/b\"\n")
	if out, err := a.run("check", "--config", bad); err == nil {
		a.Errorf("a config that is wrong passes:\n%s", out)
	}
}

// carries runs the bridge: messages go through a real broker to another and to a pretend ThingSpeak, commands come down, and
// what came while the bridge was away is kept.
func (a arm) carries() {
	near, far := mqtttest.Mosquitto(a), mqtttest.Mosquitto(a)
	em, err := thingspeaktest.Emulator.Start(emulator.Options{})
	if err != nil {
		a.Fatal(err)
	}
	a.Cleanup(func() { _ = em.Close() })
	config := write(a, between(near, far)+"\n"+em.Config("weather")+`
[[uplink]]
local = "lab/temp"
cloud = "weather"
channel = 1001
field = 1
[[downlink]]
cloud = "far"
topic = "cmd/{rest...}"
local = "cmd/{rest}"
`)
	var up, down atomic.Int64
	listen(a, far.URL, "far/#", func(*mqtt.Message) { up.Add(1) })
	listen(a, near.URL, "cmd/#", func(*mqtt.Message) { down.Add(1) })
	local, remote := newBoard(a, near.URL), newBoard(a, far.URL)
	p := run(a, config, a.command...)
	p.says(": connected to ", 3)
	const many = 200
	for i := range many {
		local.publish("lab/temp", fmt.Appendf(nil, "%d.5", i))
	}
	for i := range many {
		remote.publish(fmt.Sprintf("cmd/%d", i), []byte("ON"))
	}
	p.until(time.Minute, "all messages", func() bool { return up.Load() >= many && down.Load() >= many })
	p.until(time.Minute, "a row", func() bool { return em.Count("publish", true) > 0 })
	p.stop()
	local.publish("lab/temp", []byte("1"))
	local.flush()
	p = run(a, config, a.command...)
	p.until(time.Minute, "the message that waited", func() bool { return up.Load() > many })
	p.stop()
	if up.Load() != many+1 || down.Load() != many || em.Count("publish", false) > 0 {
		a.Errorf("%d messages went up and %d came down, want %d and %d; %d were refused",
			up.Load(), down.Load(), many+1, many, em.Count("publish", false))
	}
}
