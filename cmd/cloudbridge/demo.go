package main

import (
	"context"
	"errors"
	"time"

	"cloudbridge/cmd/cloudbridge/internal/demo"
	"cloudbridge/platforms/all"
)

type demoCommand struct {
	For     time.Duration `placeholder:"30s" help:"End by itself after this time. Without it: at Ctrl-C."`
	Verbose bool          `short:"v" help:"Show what the bridge logs, too."`
}

// Help is the long text of "demo --help".
func (demoCommand) Help() string {
	return "Everything runs in this one program and on this computer: a local broker, boards, a lamp, three pretend clouds, and the bridge."
}

// Run shows the classroom.
func (r *demoCommand) Run(c *console) error {
	level := "warn"
	if r.Verbose {
		level = "info"
	}
	log, err := newLogger(c.err, level, "text")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	if r.For > 0 {
		ctx, cancel = context.WithTimeout(ctx, r.For)
	}
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := demo.Run(ctx, demo.Options{Out: c.out, Log: log, Kinds: all.Kinds(), Emulators: all.Emulators()})
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-c.signal:
		cancel()
	}
	select {
	case err := <-ended:
		return err
	case <-c.signal:
		return &failure{code: exitInterrupted, err: errors.New("ended at once, at the second signal")}
	}
}
