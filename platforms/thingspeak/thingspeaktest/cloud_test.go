package thingspeaktest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/thingspeak"
)

// started runs an emulator on real sockets until the end of the test.
func started(t *testing.T, o Options) *Cloud {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestOptions(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"intervall", "3s", "no such setting: intervall"},
		{"interval", "3", `interval: "3" is not a time`},
		{"plan", "premium", `plan: "premium" is none of free, paid`},
		{"bulk_size", "many", `bulk_size: "many" is not a whole number`},
		{"strict", "perhaps", `strict: "perhaps" is neither true nor false`},
	} {
		_, err := Emulator.Start(emulator.Options{Set: map[string]string{c.name: c.value}})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s = %s: %v", c.name, c.value, err)
		}
	}
	if _, err := New(Options{Channels: []Channel{{ID: 1}, {ID: 1}}}); err == nil {
		t.Error("one channel may be there twice")
	}
}

// table reads what Config writes, as the configuration would.
func table(t *testing.T, text, name string) *thingspeak.Cloud {
	t.Helper()
	var file struct {
		Cloud map[string]struct {
			Platform, URL, Username, Password, Plan, Interval string
			ClientID                                          string `toml:"client_id"`
			APIURL                                            string `toml:"api_url"`
			BulkInterval                                      string `toml:"bulk_interval"`
			Channels                                          map[string]struct {
				WriteKey string `toml:"write_key"`
				ReadKey  string `toml:"read_key"`
			}
		}
	}
	d := toml.NewDecoder(strings.NewReader(text)).DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	f := file.Cloud[name]
	if f.Platform != thingspeak.Kind.Name {
		t.Fatalf("platform %q in\n%s", f.Platform, text)
	}
	c := thingspeak.NewCloud()
	c.URL, c.APIURL, c.ClientID, c.Username, c.Password = f.URL, f.APIURL, f.ClientID, f.Username, mqtt.Secret(f.Password)
	if f.Plan != "" {
		c.Plan = f.Plan
	}
	if f.Interval != "" {
		var err error
		if c.Interval, err = time.ParseDuration(f.Interval); err != nil {
			t.Fatal(err)
		}
	}
	if f.BulkInterval != "" {
		var err error
		if c.BulkInterval, err = time.ParseDuration(f.BulkInterval); err != nil {
			t.Fatal(err)
		}
	}
	c.Channels = map[string]thingspeak.Channel{}
	for id, k := range f.Channels {
		c.Channels[id] = thingspeak.Channel{WriteKey: mqtt.Secret(k.WriteKey), ReadKey: mqtt.Secret(k.ReadKey)}
	}
	return c
}

// TestConfig opens the platform with the emulator's own table, and sends over both paths what the platform says.
func TestConfig(t *testing.T) {
	for _, c := range []struct {
		o              Options
		interval, bulk time.Duration
	}{
		{Options{}, 15 * time.Second, 15 * time.Second},
		{Options{Options: emulator.Options{Set: map[string]string{"plan": "paid"}}}, time.Second, 15 * time.Second},
		{Options{Options: emulator.Options{Scale: 0.01}}, 150 * time.Millisecond, 150 * time.Millisecond},
		{Options{Options: emulator.Options{Scale: 0.01, Set: map[string]string{"plan": "paid"}}}, 10 * time.Millisecond, 150 * time.Millisecond},
		{Options{Options: emulator.Options{Set: map[string]string{"interval": "1s"}}}, time.Second, 15 * time.Second},
		{Options{Options: emulator.Options{Set: map[string]string{"interval": "20s"}}}, 20 * time.Second, 20 * time.Second},
	} {
		cloud := started(t, c.o)
		p, err := thingspeak.Open(table(t, cloud.Config("weather"), "weather"))
		if err != nil {
			t.Fatalf("%v in\n%s", err, cloud.Config("weather"))
		}
		if got := p.Limits().Interval; got != c.interval {
			t.Errorf("%+v: interval %v, want %v", c.o, got, c.interval)
		}
		if h, ok := p.History("channel 1001"); !ok || h.Interval != c.bulk {
			t.Errorf("%+v: history %+v, %v, want one every %v", c.o, h, ok, c.bulk)
		}
	}
}

// TestPlatform lets the platform's own words meet the emulator: rows of every kind over both paths, and what comes back.
func TestPlatform(t *testing.T) {
	texts := []string{"27", "0.1", "溫度太高了", `" % & + ; = ? # /`, "ESP32 alive 3", strings.Repeat("溫", 85), "a\tb\nc"}
	for _, via := range []string{"mqtt", "rest"} {
		t.Run(via, func(t *testing.T) {
			cloud := started(t, Options{Options: emulator.Options{Set: map[string]string{"interval": "0s"}}})
			settings := table(t, cloud.Config("weather"), "weather")
			settings.Via = via
			p, err := thingspeak.Open(settings)
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range texts {
				at := time.Date(2026, 11, 20, 11, 0, i, 500, time.UTC)
				ds, err := p.Encode([]mappings.Point{{Name: "1001", Time: at, Parts: []mappings.Part{
					{Name: "field1", Value: mappings.Value{Kind: mappings.Text, Bytes: []byte(s)}},
					{Name: "status", Value: mappings.Value{Kind: mappings.Text, Bytes: []byte(s)}},
					{Name: "lat", Value: mappings.Value{Kind: mappings.Float, Float: 25.03}},
				}}})
				if err != nil {
					t.Fatal(err)
				}
				d := ds[0]
				if v := send(t, cloud, p, d); v.Outcome != platforms.Confirmed {
					t.Fatalf("%q: %+v", s, v)
				}
				entries := cloud.Feed(1001)
				e := entries[len(entries)-1]
				if e.Values["field1"] != s || e.Values["status"] != s || e.Values["latitude"] != "25.03" || !e.Created.Equal(at.Truncate(time.Second)) {
					t.Errorf("%q became %+v", s, e)
				}
				ch := cloud.channels[1001]
				for _, m := range cloud.emissions(ch, e) {
					event := p.Decode(&mqtt.Message{Topic: m.topic, Payload: m.payload})
					if event.Kind != platforms.Command || !contains(d.Echoes, event.Echoes[0]) {
						t.Errorf("%s is no echo of %q", m.topic, d.Echoes)
					}
				}
			}
			if n := cloud.Count("publish", false) + cloud.Count("request", false); n != 0 {
				t.Errorf("%d were refused: %+v", n, cloud.Events())
			}
		})
	}
}

func contains(all []platforms.Echo, e platforms.Echo) bool {
	for _, x := range all {
		if x == e {
			return true
		}
	}
	return false
}

// send does what the engine would with a delivery, and gives the platform's verdict.
func send(t *testing.T, cloud *Cloud, p *thingspeak.Platform, d platforms.Delivery) platforms.Verdict {
	t.Helper()
	if d.Message != nil {
		before := cloud.Count("publish", true)
		publish(t, cloud, d.Message.Topic, string(d.Message.Payload))
		eventually(t, "the publish", func() bool { return cloud.Count("publish", true) == before+1 })
		return platforms.Verdict{}
	}
	status, body := post(t, d.Request)
	return p.Judge(platforms.Reply{HTTPStatus: status, Body: body})
}

func post(t *testing.T, r *platforms.Request) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = r.Header
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, body
}

// TestVerdicts judges each refusal of the emulator's REST side.
func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name    string
		set     map[string]string
		key     string
		outcome platforms.Outcome
		cause   platforms.Cause
	}{
		{"too soon, 0", nil, "", platforms.Retry, platforms.SlowDown},
		{"too soon, 429", map[string]string{"too_soon": "429"}, "", platforms.Retry, platforms.SlowDown},
		{"a wrong key, 0", nil, "GUESS", platforms.Retry, platforms.BadLogin},
		{"a wrong key, 401", map[string]string{"bad_key": "401"}, "GUESS", platforms.Retry, platforms.BadLogin},
		{"the year is used up", map[string]string{"messages": "1"}, "", platforms.Retry, platforms.QuotaUsed},
		{"too large", map[string]string{"message_size": "10"}, "", platforms.Refused, platforms.TooLarge},
	} {
		cloud := started(t, Options{Options: emulator.Options{Set: c.set}})
		settings := table(t, cloud.Config("weather"), "weather")
		settings.Via = "rest"
		if c.key != "" {
			settings.Channels["1001"] = thingspeak.Channel{WriteKey: mqtt.Secret(c.key)}
		}
		p, err := thingspeak.Open(settings)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cloud.Update(1001, map[string]string{"field1": "1"}); err != nil {
			t.Fatal(err)
		}
		ds, err := p.Encode([]mappings.Point{{Name: "1001", Time: time.Now(), Parts: []mappings.Part{{Name: "field1", Value: mappings.Value{Kind: mappings.Int, Int: 2}}}}})
		if err != nil {
			t.Fatal(err)
		}
		if v := send(t, cloud, p, ds[0]); v.Outcome != c.outcome || v.Cause != c.cause || v.Why == "" {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}

// mosquitto gives the flags with which a program of Mosquitto's logs in as the demo device.
func mosquitto(t *testing.T, cloud *Cloud, more ...string) []string {
	t.Helper()
	u, err := url.Parse(cloud.URL())
	if err != nil {
		t.Fatal(err)
	}
	d := DemoDevice()
	return append([]string{"-h", u.Hostname(), "-p", u.Port(), "-i", d.ClientID, "-u", d.Username, "-P", d.Password, "-V", "mqttv311"}, more...)
}

func publish(t *testing.T, cloud *Cloud, topic, payload string) {
	t.Helper()
	program := mqtttest.Program(t, "mosquitto_pub")
	cmd := exec.CommandContext(t.Context(), program, mosquitto(t, cloud, "-t", topic, "-s")...)
	cmd.Stdin = strings.NewReader(payload)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_pub: %v: %s", err, out)
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s did not come", what)
		case <-tick.C:
		}
	}
}

// TestMosquittoSub subscribes with mosquitto_sub under a second device and writes with mosquitto_pub and over REST.
func TestMosquittoSub(t *testing.T) {
	program := mqtttest.Program(t, "mosquitto_sub")
	reader := DemoDevices()[2]
	cloud := started(t, Options{Options: emulator.Options{Set: map[string]string{"interval": "0s"}, Delay: 5 * time.Millisecond}})
	u, err := url.Parse(cloud.URL())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-h", u.Hostname(), "-p", u.Port(), "-i", reader.ClientID, "-u", reader.Username, "-P", reader.Password,
		"-V", "mqttv311", "-v", "-q", "1", "-C", "3", "-W", "10", "-t", "channels/1001/subscribe/fields/+", "-t", "channels/1002/subscribe/fields/field1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the subscription", func() bool { return cloud.Count("subscribe", true) == 2 })
	publish(t, cloud, "channels/1001/publish", "field1=27.5&field2=%E6%BA%AB")
	eventually(t, "the row", func() bool { return len(cloud.Feed(1001)) == 1 })
	form := url.Values{"api_key": {DemoChannels()[1].WriteKey}, "field1": {"on & off"}}
	status, body := post(t, &platforms.Request{
		Method: "POST", URL: cloud.APIURL() + "/update", Body: []byte(form.Encode()),
		Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
	})
	if status != 200 || string(body) != "1" {
		t.Errorf("got %d %s", status, body)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("mosquitto_sub: %v: %s", err, &out)
	}
	want := "channels/1001/subscribe/fields/field1 27.5\nchannels/1001/subscribe/fields/field2 溫\nchannels/1002/subscribe/fields/field1 on & off\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
}

// TestMosquittoRefused shows what a wrong choice looks like to a stock client.
func TestMosquittoRefused(t *testing.T) {
	program := mqtttest.Program(t, "mosquitto_pub")
	cloud := started(t, Options{})
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"MQTT 5", []string{"-V", "mqttv5"}, "protocol level 5"},
		{"a will", []string{"--will-topic", "status", "--will-payload", "off"}, "a will is not allowed"},
		{"a wrong password", []string{"-P", "guess"}, "no device has this username"},
		{"another client id", []string{"-i", "lab1"}, "the client id is not the device's"},
	} {
		args := append(mosquitto(t, cloud, "-t", "channels/1001/publish", "-m", "field1=1"), c.args...)
		out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
		if err == nil {
			t.Errorf("%s: it was let in: %s", c.name, out)
		}
		events := cloud.Events()
		if e := events[len(events)-1]; e.What != "login" || e.Accepted || !strings.Contains(e.Why, c.want) {
			t.Errorf("%s: recorded %+v", c.name, e)
		}
	}
	if n := cloud.Count("login", false); n != 4 {
		t.Errorf("%d refused logins: a client tried twice", n)
	}
}

func TestLog(t *testing.T) {
	told := make(chan string, 10)
	cloud := started(t, Options{Options: emulator.Options{Log: func(e emulator.Event) { told <- fmt.Sprint(e.What, e.Accepted) }}})
	post(t, &platforms.Request{Method: "GET", URL: cloud.APIURL() + "/update?api_key=WRITE1001KEYDEMO&field1=1", Header: http.Header{}})
	post(t, &platforms.Request{Method: "GET", URL: cloud.APIURL() + "/update?api_key=WRITE1001KEYDEMO&field1=1", Header: http.Header{}})
	if got := <-told + " " + <-told; got != "requesttrue requestfalse" {
		t.Errorf("told %s", got)
	}
}
