package main

import (
	"context"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write what the scripts compare with anew")

// TestMain lets the test binary stand in for the program, so that the scripts run what ships.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"cloudbridge": main})
}

// TestScripts runs the command line as people type it.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(e *testscript.Env) error {
			// Nothing of whoever runs the tests may reach the program.
			for _, name := range []string{"CLOUDBRIDGE_CONFIG", "NO_COLOR", "TERM"} {
				e.Setenv(name, "")
			}
			// Addresses for whatever a script starts.
			for _, name := range []string{"HOUSE", "CLOUD", "WEB"} {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return err
				}
				e.Setenv(name, l.Addr().String())
				_ = l.Close()
			}
			return os.MkdirAll(e.WorkDir+"/state", 0o700)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"fill": fill, "poll": poll, "publish": publish, "fetched": fetched,
		},
	})
}

// fill puts the values of variables into files.
func fill(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}

// poll runs a command until its output matches a pattern.
func poll(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: poll pattern command [argument...]")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for deadline := time.Now().Add(20 * time.Second); ; {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("waited in vain for %s", args[0])
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// fetched asks for an address of a bridge's status until the answer matches a pattern.
func fetched(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: fetched url pattern")
	}
	want, err := regexp.Compile(args[1])
	ts.Check(err)
	for deadline := time.Now().Add(20 * time.Second); ; {
		if r, err := http.Get(args[0]); err == nil {
			body, err := io.ReadAll(r.Body)
			_ = r.Body.Close()
			if err == nil && want.Match(body) {
				return
			}
		}
		if time.Now().After(deadline) {
			ts.Fatalf("waited in vain for %s", args[1])
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// publish is a board. It waits for the broker's confirmation.
func publish(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: publish address topic payload")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s, err := mqtt.Dial(ctx, mqtt.Options{URL: "mqtt://" + args[0], Protocol: mqtt.V5, CleanStart: true})
	ts.Check(err)
	done := make(chan error, 1)
	m := &mqtt.Message{Topic: args[1], Payload: []byte(args[2]), QoS: 1}
	ts.Check(s.Publish(ctx, m, func(r mqtt.Result) { done <- r.Err }))
	ts.Check(<-done)
	ts.Check(s.Close(ctx))
}
