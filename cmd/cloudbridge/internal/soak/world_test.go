package soak

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloudbridge/cmd/cloudbridge/internal/trial"
	"cloudbridge/internal/faultproxy"
	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/platforms/adafruitio/adafruitiotest"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/hivemqcloud/hivemqcloudtest"
	"cloudbridge/platforms/thingspeak/thingspeaktest"
)

// line is one of the ways between the bridge and the others, as people call it, and its proxies: MQTT, and REST where the
// platform has it.
type line struct {
	name    string
	proxies []*faultproxy.Proxy
}

// world is everything around the bridge, and the bridge.
type world struct {
	*testing.T
	house, far *mqtttest.Broker
	hive       *hivemqcloudtest.Server
	weather    *thingspeaktest.Cloud
	home       *adafruitiotest.Cloud

	near, wan, hiveLine, weatherLine, homeLine *line

	bridge *trial.Program
	queue  string // its folder
	status string // where it tells how it is
}

// quietBroker is a Mosquitto's configuration: it drops nothing that it has acknowledged, and its log, which the test would
// have to keep, tells only of trouble.
var quietBroker = []string{"max_queued_messages 0", "log_type none", "log_type error", "log_type warning"}

func newWorld(t *testing.T, program string, keepAlive time.Duration, told func(emulator.Event)) *world {
	t.Helper()
	w := &world{T: t, house: mqtttest.Mosquitto(t, quietBroker...), far: mqtttest.Mosquitto(t, quietBroker...)}
	var err error
	if w.hive, err = hivemqcloudtest.Start(emulator.Options{Log: told}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.hive.Close() })
	rows := map[string]string{"interval": "1s", "bulk_interval": "1s"}
	if w.weather, err = thingspeaktest.New(thingspeaktest.Options{Options: emulator.Options{Set: rows}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.weather.Close() })
	// People at the dashboard spend of the same budget, so it is a large one: this is no test of budgets.
	account := map[string]string{"plan": "plus", "points_per_minute": "600", "feeds": "lights,lamp-1,lamp-2,lamp-3"}
	if w.home, err = adafruitiotest.Start(emulator.Options{Set: account}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.home.Close() })

	w.near = w.line("local broker", w.house.URL)
	w.wan = w.line("MQTT cloud", w.far.URL)
	w.hiveLine = w.line("HiveMQ Cloud", w.hive.URL())
	w.weatherLine = w.line("ThingSpeak", w.weather.URL(), w.weather.APIURL())
	w.homeLine = w.line("Adafruit IO", w.home.URL(), w.home.APIURL())
	w.queue = filepath.Join(t.TempDir(), "queue")
	w.status = mqtttest.FreeAddr(t)
	w.bridge = trial.New(t, program, w.config(keepAlive))
	return w
}

// line puts proxies before the addresses of one broker or cloud.
func (w *world) line(name string, urls ...string) *line {
	w.Helper()
	l := &line{name: name}
	for _, u := range urls {
		l.proxies = append(l.proxies, trial.Line(w.T, trial.HostOf(u)))
	}
	return l
}

// lines are all of them, in the order in which the plot shows them.
func (w *world) lines() []*line {
	return []*line{w.near, w.wan, w.hiveLine, w.weatherLine, w.homeLine}
}

// through is an emulator's table of the config, with the line's proxies in the place of its addresses.
func through(l *line, table string, urls ...string) string {
	for i, u := range urls {
		table = strings.ReplaceAll(table, trial.HostOf(u), l.proxies[i].Addr())
	}
	return table
}

func (w *world) config(keepAlive time.Duration) string {
	alive := fmt.Sprintf("keepalive = %q\n", keepAlive)
	// In the table of a cloud its own keys must stand before the tables of its channels.
	weather := strings.Replace(through(w.weatherLine, w.weather.Config("weather"), w.weather.URL(), w.weather.APIURL()),
		"[cloud.weather.", alive+"[cloud.weather.", 1)
	return fmt.Sprintf(`[bridge]
name = "lab1"
[local]
url = "mqtt://%s"
client_id = "lab1-0001"
%s[queue]
dir = %q
[web]
listen = %q
[cloud.far]
platform = "mqtt"
url = "mqtt://%s"
client_id = "lab1-far"
drain_rate = 0
%s%s%s%s%s%s`, w.near.proxies[0].Addr(), alive, w.queue, w.status, w.wan.proxies[0].Addr(), alive,
		weather, through(w.homeLine, w.home.Config("home"), w.home.URL(), w.home.APIURL()), alive,
		through(w.hiveLine, w.hive.Config("hive"), w.hive.URL()), alive) + rules
}

// rules are the load's way through the bridge; load_test.go sends it.
const rules = `
[[uplink]]
local = "plant/{rest...}"
cloud = "far"
topic = "far/plant/{rest}"
[[uplink]]
local = "quick/{rest...}"
cloud = "far"
topic = "far/quick/{rest}"
qos = 0
[[uplink]]
local = "state/{rest...}"
cloud = "far"
topic = "far/state/{rest}"
[[downlink]]
cloud = "far"
topic = "cmd/{rest...}"
local = "cmd/{rest}"
[[twoway]]
local = "home/{rest...}"
cloud = "hive"
topic = "maker/home/{rest...}"
[[uplink]]
local = "weather/station"
cloud = "weather"
channel = 1001
field1 = "json.temperature"
field2 = "json.humidity"
every = "2s"
aggregate = "mean"
[[uplink]]
local = "weather/picow"
cloud = "weather"
channel = 1002
field = 1
value = 'after(text, "temperature=")'
[[uplink]]
local = "lamp/{lamp}/state"
cloud = "home"
feed = "lamp-{lamp}"
[[downlink]]
cloud = "home"
feed = "lights"
local = "lamp/set"
values = { ON = "1", OFF = "0" }
`

// farAway are the options of somebody at the far Mosquitto.
func (w *world) farAway(id string) mqtt.Options {
	return mqtt.Options{URL: w.far.URL, Protocol: mqtt.V5, ClientID: id, ReceiveMaximum: 65535}
}

// atHive are the options of a phone at the HiveMQ cluster.
func (w *world) atHive(id string) mqtt.Options {
	return mqtt.Options{
		URL: w.hive.URL(), Protocol: mqtt.V5, ClientID: id, CleanStart: true, Username: "bridge", Password: "bridge-password",
		TLS: mqtt.TLS{CAFile: w.hive.CAFile(), ServerName: w.hive.Host()},
	}
}
