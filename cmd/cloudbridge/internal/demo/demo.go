// Package demo is a classroom that fits into one process: an embedded local broker, boards that publish to it, a lamp and a
// bell, the emulators of three clouds, somebody with a phone, and a real bridge between them. It needs no network and no
// account, and shows what crosses.
package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"cloudbridge/bridge"
	"cloudbridge/cmd/cloudbridge/internal/config"
	"cloudbridge/cmd/cloudbridge/internal/terminal"
	"cloudbridge/platforms"
	"cloudbridge/platforms/emulator"
)

// Options start the demo.
type Options struct {
	Out terminal.Stream
	// Log gets what the bridge says.
	Log *slog.Logger
	// Kinds and Emulators are the platforms.
	Kinds     []platforms.Kind
	Emulators []emulator.Kind
	// Pace divides the time between two things that happen; zero is 1. Tests hurry.
	Pace float64
	// Until, where set, ends the demo when it is true of what happened so far.
	Until func(Summary) bool
}

// Run shows the classroom until ctx ends, and says at the end what happened.
func Run(ctx context.Context, o Options) (s Summary, err error) {
	if o.Pace == 0 {
		o.Pace = 1
	}
	d := &demo{options: o, screen: newScreen(o.Out)}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.open(); err != nil {
		return s, err
	}
	d.introduce()
	if err := d.play(ctx); err != nil {
		return s, err
	}
	s = d.summary()
	d.screen.stop()
	s.write(o.Out)
	return s, nil
}

// demo is everything that runs.
type demo struct {
	options Options
	screen  *screen
	dir     string
	house   *house
	clouds  *clouds
	text    string
	file    *config.File
	bridge  *bridge.Bridge
	started time.Time
}

// open builds everything, and starts the house and the clouds.
func (d *demo) open() (err error) {
	// The bridge keeps what waits in a folder of its own, so that the demo leaves nothing behind.
	if d.dir, err = os.MkdirTemp("", "cloudbridge-demo-"); err != nil {
		return fmt.Errorf("make a folder for what waits: %w", err)
	}
	if d.house, err = openHouse(d.screen); err != nil {
		return fmt.Errorf("start the local broker: %w", err)
	}
	if d.clouds, err = openClouds(d.options.Emulators, d.screen); err != nil {
		return err
	}
	d.text = configText(d.house.URL(), d.clouds)
	env := config.Environment{Hostname: "lab1", QueueDir: d.dir}
	if d.file, err = config.Parse("demo.toml", []byte(d.text), env, d.options.Kinds); err != nil {
		return fmt.Errorf("read the demo's own config: %w", err)
	}
	if d.bridge, err = bridge.New(d.file.Bridge, d.options.Log); err != nil {
		return fmt.Errorf("make the bridge: %w", err)
	}
	return nil
}

func (d *demo) introduce() {
	out := d.options.Out
	fmt.Fprintf(out, "%s\n", out.Paint(terminal.Bold, "a classroom, its bridge, and three pretend clouds; nothing leaves this computer"))
	fmt.Fprintf(out, "\n%s\n\n%s\n", out.Paint(terminal.Faint, "the config that the bridge runs:"), indent(d.text))
	fmt.Fprintf(out, "%s\n\n", out.Paint(terminal.Faint, "join in from another window:"))
	for _, line := range d.house.try() {
		fmt.Fprintf(out, "  %s\n", line)
	}
	fmt.Fprintf(out, "\n%s\n\n", out.Paint(terminal.Faint, fmt.Sprintf(
		"the pretend ThingSpeak takes a row every %s; the real one every 15 s. Ctrl-C ends.", seconds(rowInterval))))
}

// play runs the bridge and everybody around it until ctx ends or the bridge fails.
func (d *demo) play(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.started = time.Now()
	if d.options.Until != nil {
		go d.until(ctx, cancel)
	}
	// The bridge outlives the people, so that it can send what they left.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	bridged := make(chan error, 1)
	go func() { bridged <- d.bridge.Run(serving) }()
	people := make(chan error, 1)
	go func() { people <- d.live(ctx) }()

	var err error
	select {
	case err = <-bridged:
		cancel()
		<-people
		if err == nil {
			err = errors.New("the bridge ended by itself")
		}
	case err = <-people:
		d.screen.add(line{at: time.Now(), kind: told, who: "the class", where: "is over"})
		d.settle()
		stop()
		err = errors.Join(err, <-bridged)
	}
	return err
}

// settling is how long the bridge may take to send what is left: longer than its pause between two rows.
const settling = 4 * time.Second

// settle waits until the bridge has nothing left to send.
func (d *demo) settle() {
	tick := time.NewTicker(looking)
	defer tick.Stop()
	for end := time.Now().Add(settling); time.Now().Before(end); <-tick.C {
		waiting := uint64(0)
		for _, c := range d.bridge.Status().Clouds {
			waiting += c.Counts.Waiting
		}
		if waiting == 0 {
			return
		}
	}
}

// until ends the demo when enough has happened.
func (d *demo) until(ctx context.Context, end func()) {
	tick := time.NewTicker(looking)
	defer tick.Stop()
	for !d.options.Until(d.summary()) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
	end()
}

// close ends what open started, in the opposite order.
func (d *demo) close() error {
	var err error
	if d.clouds != nil {
		err = errors.Join(err, d.clouds.close())
	}
	if d.house != nil {
		err = errors.Join(err, d.house.close())
	}
	d.screen.stop()
	if d.dir != "" {
		err = errors.Join(err, os.RemoveAll(d.dir))
	}
	return err
}
