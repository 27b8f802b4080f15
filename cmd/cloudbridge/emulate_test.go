package main

import (
	"strings"
	"testing"
	"time"

	"cloudbridge/cmd/cloudbridge/internal/terminal"
	"cloudbridge/platforms/emulator"
)

// TestWatchColumns holds what an emulator tells to its columns, with and without a topic.
func TestWatchColumns(t *testing.T) {
	var out strings.Builder
	w := &watch{c: &console{out: terminal.Stream{Writer: &out}}, ready: true}
	at := time.Date(2026, 11, 20, 12, 9, 26, 0, time.UTC)
	w.show(emulator.Event{Time: at, Accepted: true, What: "login", Payload: "alice", ClientID: "lab1"})
	w.show(emulator.Event{Time: at, What: "publish", Topic: "a/b", Payload: "27", Why: "too soon"})
	const want = "12:09:26  ok       login      alice  from lab1\n12:09:26  refused  publish    a/b  27  too soon\n"
	if out.String() != want {
		t.Errorf("told\n%swant\n%s", out.String(), want)
	}
}
