package demo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"cloudbridge/internal/mqtt"
)

// The topics of the lamp and the bell.
const (
	lampSet   = "iot/ece2026/lamp/set"
	lampState = "iot/ece2026/lamp/state"
	bellSet   = "cmd/room1/bell"
)

func isCommand(topic string) bool { return topic == lampSet || strings.HasPrefix(topic, "cmd/") }

// board is a thing that publishes by itself.
type board struct {
	id, name string
	every    time.Duration
	qos      byte
	// say is the n-th thing that it publishes.
	say func(n int, now time.Time) (topic, payload string)
}

// boards are those of the class. Each speaks as such boards do: a number, a number in a text, JSON, words, Chinese.
func boards() []board {
	return []board{
		{"picow", "Pico W", 3 * time.Second, 0, func(n int, _ time.Time) (string, string) {
			if n%4 == 3 {
				return "iot/ece2026/picow/status", onOff(n/4%2 == 0)
			}
			return "iot/ece2026/picow/temp", fmt.Sprintf("Pico W temperature=%d", 27+wave(n, 3))
		}},
		{"esp32", "ESP32", 4 * time.Second, 1, func(n int, _ time.Time) (string, string) {
			if n%4 == 2 {
				return "iot/ece2026/esp32/status", fmt.Sprintf("ESP32 alive %d", n)
			}
			return "iot/ece2026/esp32/humidity", fmt.Sprintf("%.1f", 45.5+float64(wave(n, 20))/10)
		}},
		{"pi", "Raspberry Pi", 5 * time.Second, 1, func(n int, now time.Time) (string, string) {
			return "iot/ece2026/pi/air", fmt.Sprintf(`{"temperature":%.1f,"humidity":%d,"timestamp":%d}`,
				22.5+float64(wave(n, 10))/10, 45+wave(n, 4), now.Unix())
		}},
		{"group3", "group 3", 11 * time.Second, 1, func(n int, _ time.Time) (string, string) {
			return "iot/ece2026/group3/message", []string{"第3組：溫度正常", "教室很安靜", "感測器已連線"}[n%3]
		}},
	}
}

func wave(n, height int) int {
	return int(math.Round(float64(height) * math.Sin(float64(n)/3)))
}

func onOff(on bool) string {
	if on {
		return "ON"
	}
	return "OFF"
}

// nameOf is how a client of the local broker is called on the screen.
func nameOf(client string) string {
	for _, b := range boards() {
		if b.id == client {
			return b.name
		}
	}
	switch {
	case client == "lamp":
		return client
	case strings.HasPrefix(client, "lab1"):
		return "the bridge"
	}
	return "you"
}

// live lets boards, lamp and phone do what they do until ctx ends.
func (d *demo) live(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	start := func(f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	if err := d.ready(ctx); err != nil {
		return err
	}
	d.screen.add(line{at: time.Now(), kind: told, who: "the bridge", where: "is connected to all four brokers"})
	for _, b := range boards() {
		start(func(ctx context.Context) error { return d.board(ctx, b) })
	}
	start(d.lamp)
	start(d.tapper)
	start(d.stops)
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

func (d *demo) connect(ctx context.Context, id string, o mqtt.Options) (*mqtt.Session, error) {
	o.ClientID, o.CleanStart = id, true
	if o.Protocol == mqtt.Auto {
		o.Protocol = mqtt.V311
	}
	s, err := mqtt.Dial(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w", id, err)
	}
	return s, nil
}

func leave(s *mqtt.Session) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.Close(ctx)
}

func (d *demo) board(ctx context.Context, b board) error {
	s, err := d.connect(ctx, b.id, mqtt.Options{URL: d.house.URL()})
	if err != nil {
		return err
	}
	defer leave(s)
	tick := time.NewTicker(d.pace(b.every))
	defer tick.Stop()
	for n := 0; ; n++ {
		topic, payload := b.say(n, time.Now())
		if err := publish(ctx, s, topic, payload, b.qos); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		select {
		case <-tick.C:
		case <-s.Done():
			return fmt.Errorf("%s: %w", b.name, s.Err())
		case <-ctx.Done():
			return nil
		}
	}
}

// pace is how long something takes in this demo.
func (d *demo) pace(t time.Duration) time.Duration {
	return time.Duration(float64(t) / d.options.Pace)
}

// publish sends a message and waits until it is taken.
func publish(ctx context.Context, s *mqtt.Session, topic, payload string, qos byte) error {
	taken := make(chan error, 1)
	m := &mqtt.Message{Topic: topic, Payload: []byte(payload), QoS: qos}
	if err := s.Publish(ctx, m, func(r mqtt.Result) { taken <- r.Err }); err != nil {
		return err
	}
	select {
	case err := <-taken:
		return err
	case <-ctx.Done():
		return nil
	}
}

// lamp obeys what comes down, and says what it is.
func (d *demo) lamp(ctx context.Context) error {
	orders := make(chan string, 16)
	s, err := d.connect(ctx, "lamp", mqtt.Options{URL: d.house.URL(), OnMessage: func(in *mqtt.Inbound) {
		in.Ack()
		select {
		case orders <- in.Topic + " " + string(in.Payload):
		default:
		}
	}})
	if err != nil {
		return err
	}
	defer leave(s)
	if _, err := s.Subscribe(ctx, mqtt.Subscription{Filter: lampSet, QoS: 1}, mqtt.Subscription{Filter: bellSet, QoS: 1}); err != nil {
		return fmt.Errorf("lamp: %w", err)
	}
	for {
		select {
		case order := <-orders:
			topic, value, _ := strings.Cut(order, " ")
			if err := d.obey(ctx, s, topic, value); err != nil {
				return fmt.Errorf("lamp: %w", err)
			}
		case <-s.Done():
			return fmt.Errorf("lamp: %w", s.Err())
		case <-ctx.Done():
			return nil
		}
	}
}

func (d *demo) obey(ctx context.Context, s *mqtt.Session, topic, value string) error {
	now := time.Now()
	if topic == bellSet {
		d.screen.add(line{at: now, kind: thing, who: "bell", where: "rings", what: value, note: d.clouds.bell.reached(now)})
		return nil
	}
	on := value == "1"
	state := "is off"
	if on {
		state = "is on"
	}
	d.screen.add(line{at: now, kind: thing, who: "lamp", where: state, note: d.clouds.lamp.reached(now)})
	return publish(ctx, s, lampState, onOff(on), 1)
}
