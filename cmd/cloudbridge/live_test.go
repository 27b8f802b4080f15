package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cloudbridge/bridge"
	"cloudbridge/cmd/cloudbridge/internal/config"
	"cloudbridge/cmd/cloudbridge/internal/terminal"
	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/platforms/all"
	"cloudbridge/platforms/emulator"
)

// output is what a command has written so far.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// command is a running command line, in this process.
type command struct {
	out, err output
	signals  chan os.Signal
	ended    chan int
}

func start(t *testing.T, args ...string) *command {
	t.Helper()
	r := &command{signals: make(chan os.Signal, 2), ended: make(chan int, 1)}
	c := &console{
		in: strings.NewReader(""), out: terminal.Stream{Writer: &r.out}, err: terminal.Stream{Writer: &r.err},
		env: config.Environment{Hostname: "lab1", QueueDir: t.TempDir()}, now: time.Now, signal: r.signals,
	}
	go func() { r.ended <- program(args, c) }()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%v said:\n%s%s", args, r.out.String(), r.err.String())
		}
	})
	return r
}

// stop interrupts the command and returns its exit code.
func (r *command) stop(t *testing.T, s os.Signal) int {
	t.Helper()
	asked := time.Now()
	r.signals <- s
	select {
	case code := <-r.ended:
		if d := time.Since(asked); d > 5*time.Second {
			t.Errorf("the end took %v, want at most 5 s", d)
		}
		return code
	case <-time.After(20 * time.Second):
		t.Fatal("the command did not end")
		return -1
	}
}

func (r *command) waitFor(t *testing.T, o *output, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var found []string
	mqtttest.Eventually(t, pattern, func() bool {
		found = re.FindStringSubmatch(o.String())
		return found != nil
	})
	return found
}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// TestRun carries a reading from a real Mosquitto to the emulator of ThingSpeak, shows it in the status, and stops.
func TestRun(t *testing.T) {
	pub := mqtttest.Program(t, "mosquitto_pub")
	local := mqtttest.Mosquitto(t)
	cloud := startEmulator(t, "thingspeak", nil)
	path := filepath.Join(t.TempDir(), "cloudbridge.toml")
	text := fmt.Sprintf("[local]\nurl = %q\n[web]\nlisten = %q\n%s\n[[uplink]]\nlocal = \"iot/picow/temp\"\ncloud = \"weather\"\n"+
		"channel = 1001\nfield = 1\n", local.URL, mqtttest.FreeAddr(t), cloud.Config("weather"))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, "run", "--config", path)
	base := r.waitFor(t, &r.err, `status: (http://\S+)/api/status`)[1]
	mqtttest.Eventually(t, "ready", func() bool { code, _ := fetch(t, base+"/readyz"); return code == http.StatusOK })

	host, port, _ := strings.Cut(local.Addr, ":")
	if out, err := exec.Command(pub, "-h", host, "-p", port, "-t", "iot/picow/temp", "-m", "27.5", "-q", "1").CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_pub: %v: %s", err, out)
	}
	mqtttest.Eventually(t, "a row", func() bool { return cloud.Count("publish", true) == 1 })
	var s bridge.Status
	mqtttest.Eventually(t, "a row in the status", func() bool {
		_, body := fetch(t, base+"/api/status")
		if err := json.Unmarshal([]byte(body), &s); err != nil {
			t.Fatal(err)
		}
		return len(s.Clouds) == 1 && s.Clouds[0].Counts.Sent == 1
	})
	if s.Name != "lab1" || !strings.HasPrefix(s.ClientID, "lab1-") || !strings.HasPrefix(s.Version, "cloudbridge") {
		t.Errorf("the status is of %q, %q, %q", s.Name, s.ClientID, s.Version)
	}
	if code := r.stop(t, syscall.SIGTERM); code != exitOK {
		t.Errorf("exit code %d, want 0", code)
	}
	if code, _ := fetch(t, base+"/healthz"); code != 0 {
		t.Error("the status is still served after the end")
	}
	if got := r.err.String(); !strings.HasPrefix(got, "cloudbridge: config: "+path+"\n") {
		t.Errorf("the config is not named first:\n%s", got)
	}
}

// TestRunPortTaken carries on without a status page: readings matter more.
func TestRunPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	path := filepath.Join(t.TempDir(), "cloudbridge.toml")
	text := fmt.Sprintf("[local]\nurl = \"mqtt://%s\"\n[web]\nlisten = \"%s\"\n%s"+
		"[[uplink]]\nlocal = \"a\"\ncloud = \"weather\"\nchannel = 1001\nfield = 1\n", mqtttest.FreeAddr(t), taken.Addr(),
		startEmulator(t, "thingspeak", nil).Config("weather"))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, "run", "-c", path)
	r.waitFor(t, &r.err, `the status cannot be looked at: .*\[web\] listen`)
	if code := r.stop(t, os.Interrupt); code != exitOK {
		t.Errorf("exit code %d, want 0", code)
	}
}

func startEmulator(t *testing.T, platform string, set map[string]string) emulator.Emulator {
	t.Helper()
	for _, k := range all.Emulators() {
		if k.Name == platform {
			em, err := k.Start(emulator.Options{Set: set})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = em.Close() })
			return em
		}
	}
	t.Fatalf("there is no emulator of %s", platform)
	return nil
}

// TestEmulate starts every emulator as a person would, and does what it says can be done by hand.
func TestEmulate(t *testing.T) {
	mqtttest.Program(t, "mosquitto_pub")
	for _, k := range all.Emulators() {
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			r := start(t, "emulate", k.Name, "--name", "mine")
			r.waitFor(t, &r.out, "what happens")
			if !strings.Contains(r.out.String(), "[cloud.mine]") {
				t.Error("no [cloud.mine] to paste")
			}
			devices := make(map[string]bool)
			for _, tool := range []string{"mosquitto_pub", "mosquitto_sub"} {
				line := r.waitFor(t, &r.out, `(?m)^  (`+tool+` .*)$`)[1]
				if _, id, ok := strings.Cut(line, " -i "); ok {
					id, _, _ = strings.Cut(id, " ")
					if devices[id] || !strings.Contains(r.out.String(), "[cloud.mine]") || strings.Contains(r.out.String(), `client_id = "`+id+`"`) {
						t.Errorf("%s takes a device that another program has", line)
					}
					devices[id] = true
				}
				if tool == "mosquitto_sub" {
					line += " -W 1"
				}
				// A subscriber ends by its time, which is no failure; what matters is what the emulator says of it.
				out, err := exec.Command("sh", "-c", line).CombinedOutput()
				if err != nil && tool == "mosquitto_pub" {
					t.Errorf("%s: %v: %s", line, err, out)
				}
			}
			r.waitFor(t, &r.out, `ok +login`)
			r.waitFor(t, &r.out, `ok +publish .*21\.5`)
			r.waitFor(t, &r.out, `ok +subscribe`)
			if code := r.stop(t, os.Interrupt); code != exitOK {
				t.Errorf("exit code %d, want 0", code)
			}
			if !strings.Contains(r.out.String(), " 0 refused") || strings.Contains(r.out.String(), "  refused  ") {
				t.Error("something was refused")
			}
		})
	}
}

// TestEmulateRefusal shows a refusal in words.
func TestEmulateRefusal(t *testing.T) {
	pub := mqtttest.Program(t, "mosquitto_pub")
	r := start(t, "emulate", "adafruit-io")
	address := r.waitFor(t, &r.out, `MQTT  mqtt://127\.0\.0\.1:(\d+)`)[1]
	if err := exec.Command(pub, "-p", address, "-h", "127.0.0.1", "-V", "311", "-u", "learner", "-P", "wrong", "-t", "x", "-m", "1").Run(); err == nil {
		t.Error("a wrong key was taken")
	}
	r.waitFor(t, &r.out, `refused +login`)
	r.stop(t, os.Interrupt)
}
