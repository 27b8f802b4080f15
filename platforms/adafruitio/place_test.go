package adafruitio

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
	"cloudbridge/platforms/platformtest"
)

func TestKey(t *testing.T) {
	for name, want := range map[string]string{
		"lights": "lights", "Pico W_1": "pico-w-1", "a/b/c": "a-b-c", "--a--b--": "a-b", "27": "27", "a.b": "a-b", "ESP32#2": "esp32-2",
		strings.Repeat("x", 128): strings.Repeat("x", 128),
	} {
		got, err := Key(name)
		if got != want || err != nil {
			t.Errorf("%q: %q, %v, want %q", name, got, err, want)
		}
		if again, err := Key(got); again != got || err != nil {
			t.Errorf("%q: the key %q becomes %q, %v", name, got, again, err)
		}
	}
	for name, want := range map[string]string{
		"":                       "an empty name",
		"溫度":                     "a-z, 0-9 and dashes",
		"_ /":                    "neither a letter nor a digit",
		strings.Repeat("x", 129): "129 characters",
	} {
		if key, err := Key(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v", name, key, err)
		}
	}
}

func FuzzKey(f *testing.F) {
	f.Add("Pico W_1")
	f.Fuzz(func(t *testing.T, name string) {
		key, err := Key(name)
		if err != nil {
			return
		}
		if again, err := Key(key); again != key || err != nil {
			t.Errorf("%q becomes %q and then %q, %v", name, key, again, err)
		}
		if key == "" || strings.Trim(key, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			t.Errorf("%q becomes %q", name, key)
		}
	})
}

func TestTarget(t *testing.T) {
	scope := mappings.Scope{Bridge: "Lab 1", Names: []string{"device", "rest"}}
	for _, tt := range []struct {
		place        Place
		device, rest string
		want         string
	}{
		{Place{Feed: "lights"}, "", "", "lights"},
		{Place{Feed: "station.temp"}, "", "", "station.temp"},
		{Place{Feed: "default.temp"}, "", "", "temp"},
		{Place{Group: "default", Feed: "temp"}, "", "", "temp"},
		{Place{Group: "station", Feed: "temp"}, "", "", "station.temp"},
		{Place{Group: "station"}, "", "", "group/station"},
		{Place{Feed: "{device}-status"}, "Pico_W", "", "pico-w-status"},
		{Place{Feed: "{rest...}"}, "", "a/b c", "a-b-c"},
		{Place{Feed: "{device}"}, "v1.2", "", "v1-2"},
		{Place{Feed: "{bridge}-temp"}, "", "", "lab-1-temp"},
		{Place{Feed: "{bridge}.{device}"}, "v1.2", "", "lab-1.v1-2"},
		{Place{Group: "{device}", Feed: "temp"}, "v1.2", "", "v1-2.temp"},
		{Place{Group: "{device}"}, "v1.2", "", "group/v1-2"},
		{Place{Feed: "{device}.{rest...}"}, "a", "b/c", "a.b-c"},
		{Place{Feed: "{rest...}.temp"}, "", "b/c.d", "b-c-d.temp"},
		{Place{Group: "{device}", Feed: "{rest}"}, "default", "x", "x"},
		{Place{Group: "{device}", Feed: "temp"}, "Default", "", "temp"},
		{Place{Group: "{device}", Feed: "{rest}"}, "a.b", "c", "error: \"a.b.c\" cannot be told apart into a group and a feed: write a constant group or feed"},
		{Place{Group: "{device}", Feed: "temp"}, "溫度", "", "error: group: \"溫度\" cannot be the key"},
	} {
		target, err := Kind.Target(alice(t), &tt.place, scope)
		if err != nil {
			t.Errorf("%+v: %v", tt.place, err)
			continue
		}
		got := target.Name.Expand([]string{tt.device, tt.rest})
		if target.Fix != nil {
			once, err := target.Fix(got)
			if err != nil {
				once = "error: " + err.Error()
			} else if again, err := target.Fix(once); again != once || err != nil {
				t.Errorf("%+v: %q is mended again to %q, %v", tt.place, once, again, err)
			}
			got = once
		}
		if got != tt.want && !(strings.HasPrefix(tt.want, "error: ") && strings.HasPrefix(got, tt.want)) {
			t.Errorf("%+v with %q, %q: %q, want %q", tt.place, tt.device, tt.rest, got, tt.want)
		}
		if !strings.HasPrefix(got, "error: ") {
			if err := checkName(got); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestTargetThroughTable(t *testing.T) {
	scope := mappings.Scope{Bridge: "lab1", Names: []string{"device"}}
	local, err := mappings.ParsePattern("iot/{device}/temp", "lab1")
	if err != nil {
		t.Fatal(err)
	}
	cloud, err := scope.Template("home")
	if err != nil {
		t.Fatal(err)
	}
	p := alice(t)
	target, err := Kind.Target(p, &Place{Feed: "{device}-temp", Lat: 25.03, Lon: "json.lon", Ele: int64(9)}, scope)
	if err != nil {
		t.Fatal(err)
	}
	value, err := scope.Expr("json.t", mappings.WantAny)
	if err != nil {
		t.Fatal(err)
	}
	table := mappings.NewTable("lab1", []mappings.Uplink{{Local: local, Cloud: cloud, Target: target, Value: value, QoS: 1}}, nil)
	for payload, want := range map[string]string{
		`{"t":27,"lon":121.5}`: `Alice/feeds/pico-w-temp/json {"value":"27","lat":25.03,"lon":121.5,"ele":9}`,
		`{"t":27}`:             `Alice/feeds/pico-w-temp 27`,
	} {
		var r mappings.Result
		table.Up(&mqtt.Message{Topic: "iot/Pico W/temp", Payload: []byte(payload)}, nil, time.Unix(1_800_000_000, 0), &r)
		all, err := p.Encode(r.Points)
		if err != nil || len(all) != 1 {
			t.Fatalf("%s: %d deliveries, %v of %+v", payload, len(all), err, r)
		}
		if got := all[0].Message.Topic + " " + string(all[0].Message.Payload); got != want {
			t.Errorf("%s: %s, want %s", payload, got, want)
		}
	}
}

func TestPlaceFaults(t *testing.T) {
	var b strings.Builder
	up := mappings.Scope{Bridge: "lab1", Names: []string{"device"}}
	for _, pl := range []Place{
		{},
		{Feed: "Living Room"},
		{Feed: "燈"},
		{Group: "My Group", Feed: "Temp"},
		{Group: "g", Feed: "a.b"},
		{Feed: "a.b.c"},
		{Feed: "{devise}-temp"},
		{Feed: "x", Lat: 25.0},
		{Feed: "x", Lon: "json.lon", Ele: 3.0},
		{Feed: "x", Lat: 91.0, Lon: 5.0},
		{Feed: "x", Lat: true, Lon: "json."},
		{Group: "g g", Lat: 1.0},
	} {
		_, err := Kind.Target(alice(t), &pl, up)
		fmt.Fprintf(&b, "== uplink %+v\n%s", pl, faults(err))
	}
	_, err := Kind.Target(alice(t), &Place{Feed: "{bridge}"}, mappings.Scope{Bridge: "教室"})
	fmt.Fprintf(&b, "== uplink {bridge} of a bridge called 教室\n%s", faults(err))
	for _, pl := range []Place{
		{},
		{Feed: "Lights"},
		{Feed: "{device}_status"},
		{Feed: "{rest...}"},
		{Feed: "#"},
		{Feed: "a+"},
		{Group: "G", Feed: "{x}"},
		{Feed: "x", Lat: 1.0},
		{Feed: "{x}{y}"},
	} {
		_, err := Kind.Source(alice(t), &pl, mappings.Scope{Bridge: "lab1"})
		fmt.Fprintf(&b, "== downlink %+v\n%s", pl, faults(err))
	}
	platformtest.Golden(t, "place.golden", b.String())
}

func TestSubscriptions(t *testing.T) {
	p := alice(t)
	var sources []mappings.Source
	for _, tt := range []struct {
		place         Place
		filter        string
		match, differ string
		get           string
	}{
		{Place{Feed: "lights"}, "Alice/feeds/lights", "lights", "light", "Alice/feeds/lights/get"},
		{Place{Feed: "lights"}, "Alice/feeds/lights", "lights", "group/lights", "Alice/feeds/lights/get"},
		{Place{Group: "station", Feed: "temp"}, "Alice/feeds/station.temp", "station.temp", "temp", "Alice/feeds/station.temp/get"},
		{Place{Feed: "default.temp"}, "Alice/feeds/temp", "temp", "default.temp", "Alice/feeds/temp/get"},
		{Place{Feed: "{device}-led"}, "Alice/feeds/+", "pico-led", "pico", ""},
		{Place{Feed: "{bridge}-led"}, "Alice/feeds/lab-1-led", "lab-1-led", "lab1-led", "Alice/feeds/lab-1-led/get"},
		{Place{Feed: "+"}, "Alice/feeds/+", "anything", "group/anything", ""},
		{Place{Group: "station"}, "Alice/groups/station", "group/station", "station", "Alice/groups/station/get"},
		{Place{Group: "{g}"}, "Alice/groups/+", "group/station", "station", ""},
		{Place{Group: "{g}", Feed: "{f}"}, "Alice/feeds/+", "station.temp", "temp", ""},
	} {
		s, err := Kind.Source(p, &tt.place, mappings.Scope{Bridge: "Lab 1"})
		if err != nil {
			t.Errorf("%+v: %v", tt.place, err)
			continue
		}
		sources = append(sources, *s)
		subs := p.Subscriptions([]mappings.Source{*s})
		if len(subs) != 3 || subs[2].Filter != tt.filter {
			t.Errorf("%+v: %+v", tt.place, subs)
		}
		if _, ok := s.Name.Match(tt.match, nil); !ok {
			t.Errorf("%+v does not match %s", tt.place, tt.match)
		}
		if _, ok := s.Name.Match(tt.differ, nil); ok {
			t.Errorf("%+v matches %s", tt.place, tt.differ)
		}
		m := p.Restore(*s)
		if (m == nil) != (tt.get == "") || m != nil && (m.Topic != tt.get || len(m.Payload) != 0 || m.Retain) {
			t.Errorf("%+v: asks with %+v", tt.place, m)
		}
	}
	var filters []string
	for _, s := range p.Subscriptions(sources) {
		if s.QoS != 1 {
			t.Errorf("%s with QoS %d", s.Filter, s.QoS)
		}
		filters = append(filters, strings.TrimPrefix(s.Filter, "Alice/"))
	}
	want := "throttle errors feeds/lights feeds/station.temp feeds/temp feeds/+ feeds/lab-1-led groups/station groups/+"
	if got := strings.Join(filters, " "); got != want {
		t.Errorf("subscribes to %s, want %s", got, want)
	}
	if got := p.Subscriptions(nil); len(got) != 2 {
		t.Errorf("without downlinks: %+v", got)
	}
}

var _ platforms.Platform = (*Platform)(nil)
