// Package trial is what the suites share that try the program as it ships: they build it, run it between brokers, send
// numbered messages through it, and count what arrives at the far end. Only tests use it.
package trial

import (
	"errors"
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

// Build makes the program as it ships, or with the race detector, whose word [Program.Judge] then hears.
func Build(t *testing.T, race bool) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cloudbridge")
	args := []string{"build", "-o", path}
	if race {
		args = append(args, "-race")
	}
	if out, err := exec.Command(mqtttest.Program(t, "go"), append(args, "cloudbridge/cmd/cloudbridge")...).CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	return path
}

// Program is a built program and its config. It runs at most once at a time.
type Program struct {
	t       *testing.T
	path    string
	config  string
	log     *os.File
	process *exec.Cmd
}

// New writes the config of a program that Build has made. At the end of the test the program is killed if it still runs,
// and what it logged is shown if the test has failed.
func New(t *testing.T, path, config string) *Program {
	t.Helper()
	dir := t.TempDir()
	p := &Program{t: t, path: path, config: filepath.Join(dir, "cloudbridge.toml")}
	if err := os.WriteFile(p.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if p.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Kill(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("the bridge's log:\n%s", lastOf(p.Written(), 6000))
		}
		_ = p.log.Close()
	})
	return p
}

// Start starts the program.
func (p *Program) Start() {
	p.t.Helper()
	cmd := exec.Command(p.path, "run", "--config", p.config)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "CLOUDBRIDGE_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.process = cmd
}

// ID is the process id of the program while it runs.
func (p *Program) ID() int { return p.process.Process.Pid }

// Kill ends the program with a signal and waits until it is gone; the error is what Wait gives.
func (p *Program) Kill(sig os.Signal) error {
	if p.process == nil {
		return nil
	}
	cmd := p.process
	p.process = nil
	if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return cmd.Wait()
}

// Stop stops the program in good order, which must succeed within the time that it promises. It says how long that took.
func (p *Program) Stop() time.Duration {
	p.t.Helper()
	began := time.Now()
	process := p.process.Process
	late := time.AfterFunc(10*time.Second, func() { _ = process.Kill() })
	err := p.Kill(syscall.SIGTERM)
	late.Stop()
	took := time.Since(began)
	if err != nil || took > 7*time.Second {
		p.t.Errorf("the bridge was told to stop and ended after %v with %v", took, err)
	}
	return took
}

// Written is all that the program has logged.
func (p *Program) Written() string {
	b, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Judge fails the test where the log tells of a race or a panic.
func (p *Program) Judge() {
	p.t.Helper()
	if log := p.Written(); strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic:") {
		p.t.Error("the bridge's log tells of a race or a panic")
	}
}

// Line starts a line that fails on command, to target.
func Line(t *testing.T, target string) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.Listen(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// HostOf is host:port of a URL.
func HostOf(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	host, _, _ := strings.Cut(rest, "/")
	return host
}

func lastOf(s string, n int) string {
	if len(s) > n {
		return "(...)\n" + s[len(s)-n:]
	}
	return s
}
