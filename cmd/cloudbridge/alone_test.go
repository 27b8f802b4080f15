package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"cloudbridge/internal/mqtt/mqtttest"
)

// TestRunAlone starts a second bridge in the folder of the first one: it says so and ends, and may start after the first.
func TestRunAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "cloudbridge.toml")
	text := fmt.Sprintf("[local]\nurl = \"mqtt://%s\"\n[web]\nlisten = \"off\"\n[queue]\ndir = %q\n[cloud.c]\nplatform = \"mqtt\"\nurl = \"mqtt://%s\"\n"+
		"[[uplink]]\nlocal = \"a\"\ncloud = \"c\"\n", mqtttest.FreeAddr(t), filepath.Join(dir, "queue"), mqtttest.FreeAddr(t))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	first := start(t, "run", "-c", path)
	first.waitFor(t, &first.err, `bridge "lab1" between`)
	second := start(t, "run", "-c", path)
	second.waitFor(t, &second.err, `error: another cloudbridge is running with the queue folder .*queue\n.*hint: stop that one first`)
	if code := <-second.ended; code != exitError {
		t.Errorf("the second ended with %d, want %d", code, exitError)
	}
	if code := first.stop(t, syscall.SIGTERM); code != exitOK {
		t.Errorf("the first ended with %d", code)
	}
	third := start(t, "run", "-c", path)
	third.waitFor(t, &third.err, `bridge "lab1" between`)
	third.stop(t, syscall.SIGTERM)
}

// TestRunWithoutDisk carries from memory alone where the queue folder cannot be made.
func TestRunWithoutDisk(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "cloudbridge.toml")
	text := fmt.Sprintf("[local]\nurl = \"mqtt://%s\"\nclient_id = \"lab1-1\"\n[web]\nlisten = \"off\"\n[queue]\ndir = %q\n[cloud.c]\nplatform = \"mqtt\"\n"+
		"url = \"mqtt://%s\"\n[[uplink]]\nlocal = \"a\"\ncloud = \"c\"\n", mqtttest.FreeAddr(t), filepath.Join(file, "queue"), mqtttest.FreeAddr(t))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, "run", "-c", path)
	r.waitFor(t, &r.err, `what waits is in memory alone`)
	if code := r.stop(t, syscall.SIGTERM); code != exitOK {
		t.Errorf("ended with %d", code)
	}
}
