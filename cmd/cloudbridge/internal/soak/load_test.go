package soak

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloudbridge/cmd/cloudbridge/internal/trial"
	"cloudbridge/internal/mqtt"
	"cloudbridge/platforms/emulator"
)

// The rates, in messages a second. The boards' flow is all the small ones together, in turn.
const (
	plantRate, plantTopics = 300, 100
	phoneRate, phoneTopics = 20, 8
	boardsRate             = 70
	commandEvery           = 2 * time.Second
)

// text is the payload of a message with a number: a number, JSON, or Chinese text.
func text(n int) string {
	switch n % 3 {
	case 0:
		return strconv.Itoa(n)
	case 1:
		return fmt.Sprintf(`{"n":%d,"溫度":%.1f,"humidity":%d,"battery":3.71}`, n, 20+float64(n%100)/10, 40+n%50)
	default:
		return fmt.Sprintf("教室 %d 的溫度是 %.1f 度，第 %d 筆", n%12, 20+float64(n%100)/10, n)
	}
}

var numbered = regexp.MustCompile(`^(?:(\d+)|\{"n":(\d+),.*\}|教室 .*第 (\d+) 筆)$`)

// number finds the number in a payload, or -1.
func number(payload string) int {
	m := numbered.FindStringSubmatch(payload)
	if m == nil {
		return -1
	}
	n, err := strconv.Atoi(m[1] + m[2] + m[3])
	if err != nil {
		return -1
	}
	return n
}

func TestNumber(t *testing.T) {
	for n := range 300 {
		if got := number(text(n)); got != n {
			t.Errorf("the number of %q is %d", text(n), got)
		}
	}
	for _, payload := range []string{"", "x", "12x", `{"n":12`, "第 12 筆"} {
		if got := number(payload); got != -1 {
			t.Errorf("the number of %q is %d, want none", payload, got)
		}
	}
}

// flow is numbered messages on their way to one cloud.
type flow struct {
	name string
	*trial.Publisher
	*trial.Receiver
}

// load is all that is sent and heard.
type load struct {
	// plant goes to the far Mosquitto and phone to HiveMQ Cloud: of these each message is counted.
	plant, phone flow
	// boards are readings whose clouds promise less: QoS 0, retained states, samples.
	boards *trial.Publisher
	// asked are commands that people have sent at three clouds, done those that came to the house.
	asked, done atomic.Int64
	// quick are messages of QoS 0 that arrived.
	quick atomic.Int64

	stop  context.CancelFunc
	ended chan struct{}
}

func newLoad() *load {
	l := &load{ended: make(chan struct{})}
	l.plant = flow{name: "MQTT cloud", Receiver: trial.NewReceiver()}
	l.phone = flow{name: "HiveMQ Cloud", Receiver: trial.NewReceiver()}
	return l
}

// listen subscribes at the far ends, before anything is sent.
func (l *load) listen(w *world) {
	w.Helper()
	witness := w.farAway("witness")
	witness.SessionExpiry = time.Hour // The far Mosquitto is restarted too.
	witness.OnMessage = l.arrive
	trial.Listen(w.T, witness, "far/#")
	house := mqtt.Options{URL: w.house.URL, Protocol: mqtt.V5, ClientID: "lamps", CleanStart: true, OnMessage: l.command}
	for id, filter := range map[string]string{"lamp": "lamp/set", "bell": "cmd/#", "toy": "home/phone/#"} {
		house.ClientID = id
		trial.Listen(w.T, house, filter)
	}
}

func (l *load) arrive(in *mqtt.Inbound) {
	defer in.Ack()
	local := strings.TrimPrefix(in.Topic, "far/")
	switch {
	case strings.HasPrefix(local, "plant/"):
		l.plant.Take(trial.Arrival{Number: number(string(in.Payload)), Topic: local, At: time.Now()})
	case strings.HasPrefix(local, "quick/"):
		l.quick.Add(1)
	}
}

func (l *load) command(in *mqtt.Inbound) {
	l.done.Add(1)
	in.Ack()
}

// told hears what happens at HiveMQ Cloud.
func (l *load) told(e emulator.Event) {
	local := strings.TrimPrefix(e.Topic, "maker/")
	if e.What == "publish" && e.Accepted && strings.HasPrefix(local, "home/教室/") {
		l.phone.Take(trial.Arrival{Number: number(e.Payload), Topic: local, At: e.Time})
	}
}

// start sends until end.
func (l *load) start(w *world) {
	l.plant.Publisher = trial.Publish(w.house.URL, "plant", plantRate, func(n int) mqtt.Message {
		return mqtt.Message{Topic: fmt.Sprintf("plant/%02d/value", n%plantTopics), Payload: []byte(text(n)), QoS: 1}
	})
	l.phone.Publisher = trial.Publish(w.house.URL, "phone", phoneRate, func(n int) mqtt.Message {
		return mqtt.Message{Topic: fmt.Sprintf("home/教室/%d", n%phoneTopics), Payload: []byte(text(n)), QoS: 1}
	})
	l.boards = trial.Publish(w.house.URL, "boards", boardsRate, board)
	var ctx context.Context
	ctx, l.stop = context.WithCancel(context.Background())
	go func() {
		defer close(l.ended)
		l.people(ctx, w)
	}()
}

// board is what the boards send in turn.
func board(n int) mqtt.Message {
	m := mqtt.Message{QoS: 1}
	say := func(format string, args ...any) { m.Payload = fmt.Appendf(nil, format, args...) }
	switch turn := n % boardsRate; {
	case turn < 50:
		m.QoS, m.Topic = 0, fmt.Sprintf("quick/%d", turn%5)
		say("%s", text(n))
	case turn < 60:
		m.Retain, m.Topic = true, fmt.Sprintf("state/%d", turn%10)
		say("%s", text(n))
	case turn < 65:
		m.Topic = "weather/station"
		say(`{"temperature":%.1f,"humidity":%d,"sky":"多雲"}`, 20+float64(n%100)/10, 40+n%50)
	case turn < 67:
		m.Topic = "weather/picow"
		say("Pico W temperature=%d", 20+n%10)
	default:
		m.Topic = fmt.Sprintf("lamp/%d/state", turn-66)
		say("%d", n/boardsRate%2)
	}
	return m
}

// people switch lamps at Adafruit's dashboard, and ring bells at the other two clouds.
func (l *load) people(ctx context.Context, w *world) {
	for n := 0; ; n++ {
		select {
		case <-time.After(commandEvery / 3):
		case <-ctx.Done():
			return
		}
		var err error
		switch n % 3 {
		case 0:
			err = w.home.Toggle("lights", map[bool]string{true: "ON", false: "OFF"}[n%2 == 0])
		case 1:
			err = once(ctx, w.farAway("caretaker"), mqtt.Message{Topic: "cmd/bell", Payload: []byte(text(n))})
		case 2:
			err = once(ctx, w.atHive("handy"), mqtt.Message{Topic: "maker/home/phone/鈴", Payload: []byte(text(n)), QoS: 1})
		}
		if err == nil {
			l.asked.Add(1)
		}
	}
}

// once publishes one message on a connection of its own, and waits until the broker has it.
func once(ctx context.Context, o mqtt.Options, m mqtt.Message) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	o.CleanStart = true
	s, err := mqtt.Dial(ctx, o)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close(ctx) }() // Who is gone cannot be told.
	answer := make(chan error, 1)
	if err := s.Publish(ctx, &m, func(r mqtt.Result) { answer <- r.Err }); err != nil {
		return err
	}
	return <-answer
}

// end stops sending.
func (l *load) end() {
	l.stop()
	<-l.ended
	for _, p := range []*trial.Publisher{l.plant.Publisher, l.phone.Publisher, l.boards} {
		p.End()
	}
}
