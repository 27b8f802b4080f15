package main

import (
	"flag"
	"os"
	"testing"

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
			return os.MkdirAll(e.WorkDir+"/state", 0o700)
		},
	})
}
