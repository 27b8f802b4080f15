package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"cloudbridge/bridge"
	"cloudbridge/cmd/cloudbridge/internal/config"
	"cloudbridge/cmd/cloudbridge/internal/control"
	"cloudbridge/cmd/cloudbridge/internal/web"
	"cloudbridge/internal/clock"
	"cloudbridge/internal/queue"
)

// stopTime is how long a stop may take: the bridge keeps to five seconds by itself, and a second more is for the rest.
const stopTime = 6 * time.Second

type runCommand struct {
	configFlag
	Profile string `hidden:"" placeholder:"DIR" help:"Write profiles of processor, memory and locks into this folder at the end."`
}

// Help is the long text of "run --help".
func (runCommand) Help() string {
	return "The first Ctrl-C (or SIGTERM) sends what can be sent and ends within five seconds, the second ends at once. " +
		"The exit code is 0 after a stop, 1 when something went wrong, 2 when the config is wrong, 130 after a second Ctrl-C."
}

// Run carries until it is told to stop.
func (r *runCommand) Run(c *console) (err error) {
	measured, err := profile(r.Profile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, measured()) }()
	f, err := c.load(r.Config)
	if err != nil {
		return err
	}
	log, err := newLogger(c.err, f.Log.Level, f.Log.Format)
	if err != nil {
		return &failure{code: exitConfig, err: err}
	}
	for _, w := range f.Warnings {
		log.Warn(w.String())
	}
	f.Bridge.Control = func(b *bridge.Bridge) (stop func()) { return serveControl(f.Bridge.Queue.Dir, b, log) }
	f.Bridge.Version = versionLine()
	identify(&f.Bridge, log)
	f.Bridge.Clock = clock.New()
	if f.TrustClock {
		f.Bridge.Clock.Trust()
	}
	b, err := bridge.New(f.Bridge, log)
	if err != nil {
		return &failure{code: exitConfig, err: err}
	}
	log.Info(started(f))
	defer beLean(os.Getenv)()
	return carry(c.signal, log, func(ctx context.Context) error {
		stop := serveStatus(ctx, f.Web, b.Status, log)
		defer stop()
		return alone(f.Bridge.Queue.Dir, b.Run(ctx))
	})
}

// alone explains why a second bridge cannot use the queue folder of another. Both would have the same client id, so that
// each throws the other off the local broker without end, and each would spend the account's whole budget: together they
// would get it banned.
func alone(dir string, err error) error {
	if !errors.Is(err, queue.ErrLocked) {
		return err
	}
	return fail(fmt.Errorf("another cloudbridge is running with the queue folder %s", dir),
		"stop that one first; for two bridges on one computer give each its own config with another [queue] dir and [bridge] name")
}

// serveControl lets the commands of this computer talk to the bridge. One that cannot be talked to carries all the same.
func serveControl(dir string, b *bridge.Bridge, log *slog.Logger) (stop func()) {
	stop, err := control.Serve(dir, b, log)
	if err != nil {
		log.Warn("commands cannot talk to this bridge: " + err.Error())
		return func() {}
	}
	return stop
}

// identify gives the bridge the client id that it keeps, so that the local broker knows it again after a restart and has kept
// what came meanwhile. A disk that cannot be written is no reason not to start.
func identify(cfg *bridge.Config, log *slog.Logger) {
	if cfg.Local.Session.ClientID != "" {
		return
	}
	id, err := config.ClientID(cfg.Queue.Dir, cfg.Name, config.ThisBoard())
	if err != nil {
		log.Warn("the local broker may not know this bridge again after a restart: " + err.Error() +
			" (set dir in [queue], or client_id in [local])")
	}
	cfg.Local.Session.ClientID = id
}

func started(f *config.File) string {
	return fmt.Sprintf("%s: bridge %q between %s and %s, %s", versionLine(), f.Bridge.Name, f.Bridge.Local.Session.URL,
		plural(len(f.Bridge.Clouds), "cloud"), plural(ruleCount(&f.Bridge), "rule"))
}

// serveStatus serves the status until the function that it returns is called. A port that is taken is no reason to let
// readings wait: the bridge runs without its status, and says so.
func serveStatus(ctx context.Context, w config.Web, status func() bridge.Status, log *slog.Logger) (stop func()) {
	if w.Listen == "" {
		return func() {}
	}
	l, err := web.Listen(w.Listen)
	if err != nil {
		log.Warn("the status cannot be looked at: " + err.Error() + " ([web] listen = \"off\" does without)")
		return func() {}
	}
	log.Info("status: http://" + l.Addr().String() + "/api/status")
	// The status stays to be seen while the bridge sends what it can, so it does not end with ctx.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := web.Serve(ctx, l, web.Handler(status, web.Options{Password: w.Password, Payloads: w.Payloads}), log); err != nil {
			log.Error(err.Error())
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// interrupts are Ctrl-C and the order to terminate. They are caught from the start of the program, so that one that comes
// before the bridge runs is not lost.
func interrupts() <-chan os.Signal {
	c := make(chan os.Signal, 2)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	return c
}

var (
	errStopNow = errors.New("ended at once, at the second signal; what was not yet confirmed will be sent again")
	errStuck   = fmt.Errorf("did not stop within %s", span(stopTime))
)

// carry runs until the first signal, then lets run end by itself; the second signal ends at once.
func carry(signals <-chan os.Signal, log *slog.Logger, run func(context.Context) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	select {
	case err := <-ended:
		return err
	case s := <-signals:
		log.Info(fmt.Sprintf("%s: coming to an end; a second one ends at once", s))
	}
	cancel()
	late := time.NewTimer(stopTime)
	defer late.Stop()
	select {
	case err := <-ended:
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	case <-signals:
		return &failure{code: exitInterrupted, err: errStopNow}
	case <-late.C:
		return fail(errStuck)
	}
}
