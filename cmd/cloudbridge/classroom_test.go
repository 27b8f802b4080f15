package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
	"time"

	"cloudbridge/bridge"
	"cloudbridge/cmd/cloudbridge/internal/config"
	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/platforms/adafruitio/adafruitiotest"
	"cloudbridge/platforms/all"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/generic/generictest"
	"cloudbridge/platforms/hivemqcloud/hivemqcloudtest"
	"cloudbridge/platforms/thingspeak/thingspeaktest"
)

// classroom is a real Mosquitto, the emulators of all clouds, and a bridge between them that runs a configuration as
// users write it. Boards are mosquitto_pub.
type classroom struct {
	*testing.T
	house   *mqtttest.Broker
	weather *thingspeaktest.Cloud
	home    *adafruitiotest.Cloud
	hive    *hivemqcloudtest.Server
	any     *generictest.Server
	bridge  *bridge.Bridge
}

func newClassroom(t *testing.T, rules string) *classroom {
	t.Helper()
	c := &classroom{T: t, house: mqtttest.Mosquitto(t)}
	var err error
	if c.weather, err = thingspeaktest.New(thingspeaktest.Options{Options: emulator.Options{Set: map[string]string{"interval": "1s"}}}); err != nil {
		t.Fatal(err)
	}
	if c.home, err = adafruitiotest.Start(emulator.Options{Set: map[string]string{"feeds": "lights"}}); err != nil {
		t.Fatal(err)
	}
	if c.hive, err = hivemqcloudtest.Start(emulator.Options{}); err != nil {
		t.Fatal(err)
	}
	if c.any, err = generictest.Start(emulator.Options{}); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("[bridge]\nname = \"lab1\"\n[local]\nurl = %q\nclient_id = \"lab1-0001\"\n", c.house.URL)
	for name, e := range map[string]emulator.Emulator{"weather": c.weather, "home": c.home, "hive": c.hive, "any": c.any} {
		t.Cleanup(func() { _ = e.Close() })
		text += e.Config(name)
	}
	f, err := config.Parse("classroom.toml", []byte(text+rules), config.Environment{Hostname: "lab1"}, all.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	f.Bridge.Queue.Dir = ""
	if c.bridge, err = bridge.New(f.Bridge, slog.New(slog.NewTextHandler(t.Output(), nil))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.bridge.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	mqtttest.Eventually(t, "all clouds online", func() bool {
		s := c.bridge.Status()
		online := s.Local.State == "online"
		for _, cl := range s.Clouds {
			online = online && cl.State == "online"
		}
		return online
	})
	return c
}

// pub publishes as a board does, with Mosquitto's own client in MQTT 3.1.1.
func (c *classroom) pub(topic, payload string, more ...string) {
	c.Helper()
	host, port, _ := strings.Cut(c.house.Addr, ":")
	args := append([]string{"-V", "mqttv311", "-h", host, "-p", port, "-t", topic, "-m", payload}, more...)
	if out, err := exec.Command(mqtttest.Program(c.T, "mosquitto_pub"), args...).CombinedOutput(); err != nil {
		c.Fatalf("mosquitto_pub %s: %v: %s", topic, err, out)
	}
}

// sub listens as a device does, and returns what comes, a line each: topic and payload.
func (c *classroom) sub(filter string) <-chan string {
	c.Helper()
	host, port, _ := strings.Cut(c.house.Addr, ":")
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, mqtttest.Program(c.T, "mosquitto_sub"), "-V", "mqttv311", "-h", host, "-p", port, "-v", "-t", filter)
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.Fatal(err)
	}
	lines, ended := make(chan string, 100), make(chan struct{})
	go func() {
		defer close(ended)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	c.Cleanup(func() {
		cancel()
		<-ended
		_ = cmd.Wait() // It was killed, and says so.
	})
	// mosquitto_sub does not say when it has subscribed; the broker's log does: client, QoS, filter.
	mqtttest.Eventually(c, "mosquitto_sub to be subscribed", func() bool { return strings.Contains(c.house.Log(), " 0 "+filter+"\n") })
	return lines
}

// accepted lists what an emulator took, by the kind of event.
func accepted(e emulator.Emulator, what string) (list []emulator.Event) {
	for _, ev := range e.Events() {
		if ev.Accepted && ev.What == what {
			list = append(list, ev)
		}
	}
	return list
}

// refusals lists what an emulator refused.
func refusals(e emulator.Emulator) (list []emulator.Event) {
	for _, ev := range e.Events() {
		if !ev.Accepted {
			list = append(list, ev)
		}
	}
	return list
}

const classroomRules = `
[[uplink]]
local = "iot/ece2026/pico/number"
cloud = "weather"
channel = 1001
field = 1

[[uplink]]
local = "iot/ece2026/picow/temp"
cloud = "weather"
channel = 1001
field = 2
value = 'after(text, "temperature=")'

[[uplink]]
local = "iot/ece2026/pi/air"
cloud = "weather"
channel = 1001
field3 = "json.temperature ?? json.temp"
field4 = "json.humidity"
time = "json.timestamp"

[[uplink]]
local = "iot/ece2026/group3/note"
cloud = "weather"
channel = 1001
status = "text"

[[uplink]]
local = "iot/ece2026/esp32/alive"
cloud = "weather"
channel = 1002
field = 1
value = 'after(text, "alive")'

[[uplink]]
local = "iot/ece2026/{device}/status"
cloud = "home"
feed = "{device}-status"

[[uplink]]
local = "iot/ece2026/lamp/state"
cloud = "home"
feed = "lights"

[[downlink]]
cloud = "home"
feed = "lights"
local = "iot/ece2026/lamp/set"
values = { ON = "1", OFF = "0" }

[[uplink]]
local = "iot/{rest...}"
cloud = "hive"
topic = "school/{bridge}/{rest}"

[[downlink]]
cloud = "hive"
topic = "school/{bridge}/cmd/{rest...}"
local = "cmd/{rest}"

[[twoway]]
local = "home/{rest...}"
cloud = "any"
topic = "maker/home/{rest...}"
`

// TestClassroomUp publishes each kind of payload that boards publish and looks for it in the clouds: the right value in
// the right channel, field, feed or topic.
func TestClassroomUp(t *testing.T) {
	c := newClassroom(t, classroomRules)
	stamp := time.Now().Truncate(time.Second)
	for _, m := range [][2]string{
		{"pico/number", "27.5"},
		{"picow/temp", "Pico W temperature=27"},
		{"pi/air", fmt.Sprintf(`{"temperature":22.5,"humidity":45,"timestamp":%d}`, stamp.Unix())},
		{"group3/note", "第3組：溫度正常 & 100%"},
		{"esp32/alive", "ESP32 connected"},
		{"esp32/alive", "ESP32 alive 3"},
		{"picow/status", "ON"},
		{"group3/status", "教室很安靜"},
	} {
		c.pub("iot/ece2026/"+m[0], m[1], "-q", "1")
	}
	want := map[string]string{"field1": "27.5", "field2": "27", "field3": "22.5", "field4": "45", "status": "第3組：溫度正常 & 100%"}
	got := map[string]string{}
	mqtttest.Eventually(t, "the row of channel 1001", func() bool {
		for _, row := range c.weather.Feed(1001) {
			for k, v := range row.Values {
				got[k] = v
			}
		}
		return len(got) >= len(want)
	})
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("channel 1001 has %v, want %v", got, want)
	}
	mqtttest.Eventually(t, "the row of channel 1002", func() bool { return len(c.weather.Feed(1002)) == 1 })
	if v := c.weather.Feed(1002)[0].Values; fmt.Sprint(v) != "map[field1:3]" {
		t.Errorf("channel 1002 has %v, want field1:3 alone", v)
	}
	for feed, value := range map[string]string{"picow-status": "ON", "group3-status": "教室很安靜"} {
		mqtttest.Eventually(t, "feed "+feed, func() bool { v, _ := c.home.Last(feed); return v == value })
	}
	topics := map[string]string{}
	mqtttest.Eventually(t, "eight messages at HiveMQ", func() bool {
		list := accepted(c.hive, "publish")
		for _, ev := range list {
			topics[ev.Topic] = ev.Payload
		}
		return len(list) >= 8
	})
	if v := topics["school/lab1/ece2026/group3/note"]; v != "第3組：溫度正常 & 100%" {
		t.Errorf("HiveMQ has %q under the group's topic: %v", v, topics)
	}
	c.clean()
	for _, r := range c.bridge.Status().Rules {
		if strings.Contains(r.Label, "esp32/alive") && (r.Counts.Skipped != 1 || r.Counts.Dropped != 0) {
			t.Errorf("ESP32 connected beside ESP32 alive 3 was counted as %+v, want skipped once", r.Counts)
		}
	}
}

// clean holds that no cloud refused anything and that each was logged in to once.
func (c *classroom) clean() {
	c.Helper()
	for name, e := range map[string]emulator.Emulator{"weather": c.weather, "home": c.home, "hive": c.hive, "any": c.any} {
		if bad := refusals(e); len(bad) > 0 {
			c.Errorf("%s refused %+v", name, bad)
		}
		if n := e.Count("login", true); n != 1 {
			c.Errorf("%s was logged in to %d times, want once", name, n)
		}
	}
	for _, ev := range accepted(c.home, "publish") {
		if !strings.HasPrefix(ev.Topic, c.home.Username()+"/feeds/") && !strings.HasPrefix(ev.Topic, c.home.Username()+"/f/") {
			c.Errorf("a topic outside the account: %s", ev.Topic)
		}
	}
}

// TestClassroomMissingKey leaves a field out whose JSON key is missing; the rest goes.
func TestClassroomMissingKey(t *testing.T) {
	c := newClassroom(t, classroomRules)
	c.pub("iot/ece2026/pi/air", `{"temp":19.25}`)
	mqtttest.Eventually(t, "the row", func() bool { return len(c.weather.Feed(1001)) == 1 })
	if v := c.weather.Feed(1001)[0].Values; fmt.Sprint(v) != "map[field3:19.25]" {
		t.Errorf("the row is %v, want field3 alone", v)
	}
	c.clean()
}

// TestClassroomDown taps the dashboard: the lamp hears it at once, its state goes up without an echo, and the command
// reaches HiveMQ too.
func TestClassroomDown(t *testing.T) {
	c := newClassroom(t, classroomRules)
	lamp := c.sub("iot/ece2026/lamp/set")
	quickest := time.Hour
	for i, tap := range []struct{ value, want string }{{"ON", "1"}, {"OFF", "0"}} {
		began := time.Now()
		if err := c.home.Toggle("lights", tap.value); err != nil {
			t.Fatal(err)
		}
		select {
		case line := <-lamp:
			took := time.Since(began)
			if line != "iot/ece2026/lamp/set "+tap.want {
				t.Fatalf("the lamp heard %q, want %s", line, tap.want)
			}
			t.Logf("%s: toggle to lamp in %v, mosquitto_sub included", tap.value, took)
			quickest = min(quickest, took)
		case <-time.After(10 * time.Second):
			t.Fatal("the lamp heard nothing")
		}
		c.pub("iot/ece2026/lamp/state", tap.value, "-q", "1")
		mqtttest.Eventually(t, "the lamp's state at Adafruit IO", func() bool {
			return len(c.home.Points(c.home.Username(), "lights")) == 2*(i+1)
		})
	}
	mqtttest.Eventually(t, "the commands at HiveMQ", func() bool {
		n := 0
		for _, ev := range accepted(c.hive, "publish") {
			if ev.Topic == "school/lab1/ece2026/lamp/set" {
				n++
			}
		}
		return n == 2
	})
	mqtttest.Eventually(t, "both echoes to be stopped", func() bool {
		for _, cl := range c.bridge.Status().Clouds {
			if cl.Name == "home" {
				return cl.Counts.Reasons["dropped: our own value, come back"] == 2
			}
		}
		return false
	})
	if quickest >= 100*time.Millisecond {
		t.Errorf("toggle to lamp took %v at best, want less than 100 ms", quickest)
	}
	select {
	case line := <-lamp:
		t.Errorf("the lamp heard %q, which nobody sent", line)
	default:
	}
	c.clean()
}

// TestClassroomTwoway publishes once on each side of a two-way mapping.
func TestClassroomTwoway(t *testing.T) {
	c := newClassroom(t, classroomRules)
	house := c.sub("home/#")
	c.pub("home/door", "open", "-q", "1")
	if line := <-house; line != "home/door open" {
		t.Fatalf("the house heard %q", line)
	}
	mqtttest.Eventually(t, "the door at the cloud", func() bool { return len(accepted(c.any, "publish")) == 1 })
	if err := c.any.Publish("maker/home/lamp", []byte("開"), 1, false); err != nil {
		t.Fatal(err)
	}
	if line := <-house; line != "home/lamp 開" {
		t.Fatalf("the house heard %q", line)
	}
	c.pub("home/end", "1", "-q", "1")
	if line := <-house; line != "home/end 1" {
		t.Errorf("the house heard %q: something went round", line)
	}
	mqtttest.Eventually(t, "the end at the cloud", func() bool { return len(accepted(c.any, "publish")) >= 2 })
	if got := accepted(c.any, "publish"); len(got) != 2 || got[1].Topic != "maker/home/end" {
		t.Errorf("the cloud heard %+v, want the door and the end", got)
	}
	c.clean()
}
