package scale

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cloudbridge/internal/mqtt/mqtttest"
)

// full runs what takes minutes.
var full = os.Getenv("CLOUDBRIDGE_SCALE") == "full"

// together lets the short versions run at one time, for most of theirs is waiting; what is printed is measured alone.
func together(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the figures come from /proc")
	}
	if !full {
		t.Parallel()
	}
}

// programs are the programs that were built, by their architecture; all tests share them.
var programs struct {
	sync.Mutex
	dir  string
	made map[string]string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if programs.dir != "" {
		_ = os.RemoveAll(programs.dir)
	}
	os.Exit(code)
}

// program builds the program as it ships, stripped, for "arm64", for "arm" with its GOARM, or for this machine ("").
func program(t testing.TB, arch, goarm string) string {
	t.Helper()
	programs.Lock()
	defer programs.Unlock()
	name := "cloudbridge" + arch + goarm
	if path := programs.made[name]; path != "" {
		return path
	}
	if programs.dir == "" {
		dir, err := os.MkdirTemp("", "cloudbridge-scale")
		if err != nil {
			t.Fatal(err)
		}
		programs.dir, programs.made = dir, map[string]string{}
	}
	path := filepath.Join(programs.dir, name)
	cmd := exec.Command(mqtttest.Program(t, "go"), "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "cloudbridge/cmd/cloudbridge")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if arch != "" {
		cmd.Env = append(cmd.Env, "GOOS=linux", "GOARCH="+arch, "GOARM="+goarm)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	programs.made[name] = path
	return path
}

// process is a running program.
type process struct {
	testing.TB
	cmd    *exec.Cmd
	log    string
	config string
	began  time.Time
	ended  chan struct{}
	err    error
}

// write puts a config into a folder of its own.
func write(t testing.TB, text string) string {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "cloudbridge.toml")
	text = strings.ReplaceAll(text, "$DIR", dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config
}

// run starts the program with a config; where there is a command line, that.
func run(t testing.TB, config string, commandLine ...string) *process {
	t.Helper()
	if len(commandLine) == 0 {
		commandLine = []string{program(t, "", "")}
	}
	commandLine = append(commandLine, "run", "--config", config)
	log, err := os.Create(filepath.Join(filepath.Dir(config), "log"))
	if err != nil {
		t.Fatal(err)
	}
	p := &process{TB: t, cmd: exec.Command(commandLine[0], commandLine[1:]...), log: log.Name(), config: config, ended: make(chan struct{})}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "CLOUDBRIDGE_") && !strings.HasPrefix(v, "GOGC=") && !strings.HasPrefix(v, "GOMEMLIMIT=") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.began = time.Now()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		_ = log.Close()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("the bridge's log:\n%s", p.written())
		}
	})
	return p
}

// stop stops the program in good order.
func (p *process) stop() {
	p.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.Fatal(err)
	}
	select {
	case <-p.ended:
		if p.err != nil {
			p.Errorf("the bridge was told to stop and ended with %v", p.err)
		}
	case <-time.After(20 * time.Second):
		p.Error("the bridge was told to stop and runs on")
	}
}

func (p *process) written() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// says waits until the log has a text so many times.
func (p *process) says(text string, times int) {
	p.Helper()
	p.until(30*time.Second, fmt.Sprintf("the log to say %q %d times", text, times), func() bool {
		return strings.Count(p.written(), text) >= times
	})
}

// until waits for something; a program that has ended is not waited for.
func (p *process) until(atMost time.Duration, what string, ok func() bool) {
	p.Helper()
	for deadline := time.Now().Add(atMost); !ok(); {
		select {
		case <-p.ended:
			p.Fatalf("the bridge ended while waiting for %s: %v", what, p.err)
		case <-time.After(2 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.Fatalf("waited in vain for %s", what)
		}
	}
}

// memory is what the kernel counts for a process, in KiB.
type memory struct{ rss, peak, own, file int }

func (m memory) String() string {
	return fmt.Sprintf("RSS %.1f MiB (own %.1f, program %.1f), peak %.1f", mib(m.rss), mib(m.own), mib(m.file), mib(m.peak))
}

func mib(kib int) float64 { return float64(kib) / 1024 }

func (p *process) memory() memory {
	p.Helper()
	status := p.status("status")
	return memory{rss: status["VmRSS"], peak: status["VmHWM"], own: status["RssAnon"], file: status["RssFile"]}
}

// status reads the figures of a file of the process's in /proc.
func (p *process) status(file string) map[string]int {
	p.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file))
	if err != nil {
		p.Fatal(err)
	}
	defer f.Close()
	figures := map[string]int{}
	for s := bufio.NewScanner(f); s.Scan(); {
		key, rest, _ := strings.Cut(s.Text(), ":")
		if words := strings.Fields(rest); len(words) > 0 {
			if n, err := strconv.Atoi(words[0]); err == nil {
				figures[key] += n
			}
		}
	}
	return figures
}

// settled waits until the process takes no more memory than before, and gives how much.
func (p *process) settled() memory {
	p.Helper()
	least := p.memory()
	for since := time.Now(); time.Since(since) < 2*time.Second; {
		<-time.After(100 * time.Millisecond)
		if m := p.memory(); m.rss < least.rss-64 {
			least, since = m, time.Now()
		}
	}
	return p.memory()
}

// cpu is the time that the process had on a processor.
func (p *process) cpu() time.Duration {
	p.Helper()
	var total time.Duration
	p.tasks(func(dir string) {
		b, err := os.ReadFile(filepath.Join(dir, "schedstat"))
		if err != nil {
			return // The thread has ended.
		}
		if words := strings.Fields(string(b)); len(words) > 0 {
			n, _ := strconv.ParseInt(words[0], 10, 64)
			total += time.Duration(n)
		}
	})
	return total
}

// rests counts how often its threads went to sleep of their own will.
func (p *process) rests() int {
	p.Helper()
	n := 0
	p.tasks(func(dir string) {
		b, err := os.ReadFile(filepath.Join(dir, "status"))
		if err != nil {
			return
		}
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, "voluntary_ctxt_switches:"); ok {
				k, _ := strconv.Atoi(strings.TrimSpace(rest))
				n += k
			}
		}
	})
	return n
}

func (p *process) tasks(each func(dir string)) {
	p.Helper()
	dirs, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", p.cmd.Process.Pid))
	if err != nil || len(dirs) == 0 {
		p.Fatalf("no threads of the process: %v", err)
	}
	for _, dir := range dirs {
		each(dir)
	}
}
