package packaging_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// fakeGo stands in for the go command: it prints what a file says, ends as that file's first line says, and notes what it was
// asked. Each run takes the next file.
const fakeGo = `#!/bin/sh
echo "$*" >>asked
n=$(wc -l <asked)
tail -n +2 "answer$((n))"
exit "$(head -n 1 "answer$((n))")"
`

// What the go command says of a package whose tests passed, failed, or were broken off.
const (
	passed   = "ok  \tcloudbridge/mappings\t1.2s\n"
	brokeOff = "ThreadSanitizer: CHECK failed: tsan_rtl.cpp:94 \"((part)) == ((part1))\" (0x1, 0x2) (tid=3)\nFAIL\tcloudbridge/bridge\t40.7s\n"
	failed   = "--- FAIL: TestQueue (0.00s)\n    queue_test.go:9: no\nFAIL\nFAIL\tcloudbridge/internal/queue\t0.1s\n"
	inOne    = "--- FAIL: TestLane (0.00s)\n" + brokeOff
	raced    = "WARNING: DATA RACE\n" + brokeOff
	notBuilt = "FAIL\tcloudbridge/bridge [build failed]\n"
	atTheEnd = "FAIL\n"
)

// TestRaceScript checks that only a package that the race detector broke off is tested again.
func TestRaceScript(t *testing.T) {
	script, err := filepath.Abs("test-race.sh")
	if err != nil {
		t.Fatal(err)
	}
	const first = "test -race -timeout 9m ./..."
	const again = "test -race -timeout 9m cloudbridge/bridge"
	for _, c := range []struct {
		name    string
		answers []string // each with how it ends before it
		asked   []string
		ok      bool
	}{
		{"all pass", []string{"0\n" + passed}, []string{first}, true},
		{"a test fails", []string{"1\n" + passed + failed + atTheEnd}, []string{first}, false},
		{"broken off, then fine", []string{"1\n" + passed + brokeOff + atTheEnd, "0\n" + passed}, []string{first, again}, true},
		{"broken off twice", []string{"1\n" + brokeOff + atTheEnd, "1\n" + brokeOff}, []string{first, again}, false},
		{"broken off, and a test of the package had failed", []string{"1\n" + inOne}, []string{first}, false},
		{"broken off, and another package fails", []string{"1\n" + brokeOff + failed}, []string{first}, false},
		{"broken off, and a race was found", []string{"1\n" + raced}, []string{first}, false},
		{"does not build", []string{"1\n" + notBuilt}, []string{first}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write := func(name, text string, mode os.FileMode) {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
					t.Fatal(err)
				}
			}
			write("go", fakeGo, 0o755)
			for i, answer := range c.answers {
				write("answer"+string(rune('1'+i)), answer, 0o644)
			}
			cmd := exec.Command(script, "-timeout", "9m", "./...")
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			if (err == nil) != c.ok {
				t.Errorf("it ended with %v, want success: %t; it said:\n%s", err, c.ok, out)
			}
			b, err := os.ReadFile(filepath.Join(dir, "asked"))
			if err != nil {
				t.Fatal(err)
			}
			if asked := strings.Split(strings.TrimSpace(string(b)), "\n"); strings.Join(asked, "|") != strings.Join(c.asked, "|") {
				t.Errorf("it asked for %q, want %q", asked, c.asked)
			}
			if first := strings.SplitN(c.answers[0], "\n", 2)[1]; !strings.Contains(string(out), first) {
				t.Errorf("what the go command said is missing:\n%s", out)
			}
		})
	}
}
