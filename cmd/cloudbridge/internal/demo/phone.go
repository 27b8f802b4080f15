package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"cloudbridge/bridge"
	"cloudbridge/internal/mqtt"
)

// phone is the client id of the phone.
const phone = "phone"

// The pauses of whoever holds the phone.
const (
	firstTap = 4 * time.Second
	tapEvery = 9 * time.Second
)

// wish is the time from a tap on the phone to what it was for.
type wish struct {
	mu       sync.Mutex
	asked    time.Time
	wishes   int
	answered int
	slowest  time.Duration
}

func (w *wish) ask(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = now
	w.wishes++
}

// reached notes that a wish came true, and says after how long.
func (w *wish) reached(now time.Time) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answered++
	if w.asked.IsZero() {
		return ""
	}
	d := now.Sub(w.asked)
	w.asked = time.Time{}
	w.slowest = max(w.slowest, d)
	return fmt.Sprintf("%s after the tap", millis(d))
}

func (w *wish) result() (wishes, answered int, slowest time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wishes, w.answered, w.slowest
}

// tapper is whoever holds the phone: it taps on the dashboards of two clouds: on a lamp at Adafruit IO, on a bell at HiveMQ.
func (d *demo) tapper(ctx context.Context) error {
	home, err := d.visit(ctx, "home")
	if err != nil {
		return err
	}
	defer leave(home)
	hive, err := d.visit(ctx, "hive")
	if err != nil {
		return err
	}
	defer leave(hive)
	user := d.user("home")
	wait := d.pace(firstTap)
	for n := 0; ; n++ {
		select {
		case <-time.After(wait):
		case <-home.Done():
			return fmt.Errorf("phone: %w", home.Err())
		case <-hive.Done():
			return fmt.Errorf("phone: %w", hive.Err())
		case <-ctx.Done():
			return nil
		}
		wait = d.pace(tapEvery)
		if err := d.touch(ctx, n, user, home, hive); err != nil {
			return fmt.Errorf("phone: %w", err)
		}
	}
}

// touch is the n-th tap: the lamp on, off, and then the bell.
func (d *demo) touch(ctx context.Context, n int, user string, home, hive *mqtt.Session) error {
	now := time.Now()
	if n%3 == 2 {
		d.screen.add(line{at: now, kind: tapped, who: "phone", where: "school/lab1/cmd/room1/bell", what: "3"})
		d.clouds.bell.ask(now)
		return publish(ctx, hive, "school/lab1/cmd/room1/bell", "3", 1)
	}
	state := onOff(n%3 == 0)
	d.screen.add(line{at: now, kind: tapped, who: "phone", where: "Adafruit IO feed lights", what: state})
	d.clouds.lamp.ask(now)
	return publish(ctx, home, user+"/feeds/lights", state, 1)
}

// connecting is how long the bridge may take to connect to brokers in its own process.
const connecting = 10 * time.Second

// ready waits until the bridge is connected everywhere: what boards publish before that, it cannot know of.
func (d *demo) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, connecting, errors.New("the bridge did not connect within "+seconds(connecting)))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !online(d.bridge.Status()) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func online(s bridge.Status) bool {
	if s.Local.State != "online" {
		return false
	}
	for _, c := range s.Clouds {
		if c.State != "online" {
			return false
		}
	}
	return true
}

// visit logs the phone in at a cloud, with the account that the bridge uses.
func (d *demo) visit(ctx context.Context, cloud string) (*mqtt.Session, error) {
	o, err := d.account(cloud)
	if err != nil {
		return nil, err
	}
	return d.connect(ctx, phone, o)
}

func (d *demo) user(cloud string) string {
	o, _ := d.account(cloud)
	return o.Username
}

func (d *demo) account(cloud string) (mqtt.Options, error) {
	for _, cl := range d.file.Bridge.Clouds {
		if cl.Name == cloud {
			if o, ok := cl.Platform.Session(); ok {
				return o, nil
			}
		}
	}
	return mqtt.Options{}, fmt.Errorf("phone: there is no cloud %q to log in at", cloud)
}
