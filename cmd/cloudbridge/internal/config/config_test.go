package config

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudbridge/bridge"
	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
	"cloudbridge/platforms/all"
)

var update = flag.Bool("update", false, "write the golden files anew")

func kinds() []platforms.Kind { return all.Kinds() }

// nobody is an environment in which nothing is set.
func nobody() Environment {
	return Environment{Hostname: "lab1", QueueDir: "/var/lib/cloudbridge"}
}

// with is the environment of this process with some variables set; envconfig reads no other.
func with(t *testing.T, vars ...string) Environment {
	t.Helper()
	for i := 0; i < len(vars); i += 2 {
		t.Setenv(vars[i], vars[i+1])
	}
	env := OS()
	env.Hostname, env.QueueDir = "lab1", "/var/lib/cloudbridge"
	return env
}

// write puts files below a new folder and gives its name.
func write(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(dir, files[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func parse(t *testing.T, text string) *File {
	t.Helper()
	f, err := Parse("cloudbridge.toml", []byte(text), nobody(), kinds())
	if err != nil {
		t.Fatalf("%v\n\nin:\n%s", err, text)
	}
	return f
}

// refuse wants a fault whose text, with its hint, holds each of the parts.
func refuse(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no fault, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("no %q in:\n%v", p, err)
		}
	}
}

const clouds = `
[cloud.home]
platform = "adafruit-io"
username = "alice"
key = "aio_abcdefgh12345678"
[cloud.emqx]
platform = "mqtt"
url = "mqtt://10.0.0.9:1883"
[cloud.weather]
platform = "thingspeak"
client_id = "ABCD"
username = "ABCD"
password = "device-password"
`

func TestWholeExample(t *testing.T) {
	text, err := os.ReadFile("testdata/whole.toml")
	if err != nil {
		t.Fatal(err)
	}
	dir := write(t, "cloudbridge.toml", string(text), "local.pw", "s3cret-local\n", "ts.pw", "s3cret-ts\r\n",
		"ts1001.key", "WRITEKEY1001", "aio.key", "aio_s3cretkey\n", "hive.pw", "s3cret-hive")
	f, err := Load(filepath.Join(dir, "cloudbridge.toml"), nobody(), kinds())
	if err != nil {
		t.Fatal(err)
	}
	b := f.Bridge
	if b.Name != "lab1" || b.Local.Session.URL != "mqtt://localhost:1883" || b.Local.Session.Username != "bridge" {
		t.Errorf("bridge and local: %q %+v", b.Name, b.Local)
	}
	if got := b.Local.Session.Password.Reveal(); got != "s3cret-local" {
		t.Errorf("local password %q", got)
	}
	if len(b.Clouds) != 4 || len(b.Uplinks) != 6 || len(b.Downlinks) != 3 {
		t.Fatalf("%d clouds, %d uplinks, %d downlinks", len(b.Clouds), len(b.Uplinks), len(b.Downlinks))
	}
	if got := b.Clouds[2].Announce; got != "school/status/lab1" {
		t.Errorf("announce %q", got)
	}
	if u := b.Uplinks[1]; u.Each == nil || len(u.Each.Targets) != 2 || u.Each.Capture != "device" {
		t.Errorf("each: %+v", u.Each)
	}
	if u := b.Uplinks[5]; !u.Twoway || u.QoS != 1 || !*u.Retained || u.History != nil || u.MaxHops != 0 {
		t.Errorf("twoway up: %+v", u)
	}
	if d := b.Downlinks[0]; d.Values["ON"] != "1" || d.MaxAge != 30*time.Second || d.MaxHops != 1 || d.QoS != 1 {
		t.Errorf("downlink: %+v", d)
	}
	if d := b.Downlinks[2]; !d.Twoway || d.MaxHops != 0 || d.MaxAge != 30*time.Second {
		t.Errorf("twoway down: %+v", d)
	}
	if want := "cloudbridge.toml:44 iot/ece2026/picow/temp"; !strings.HasSuffix(b.Uplinks[0].Label, "iot/ece2026/picow/temp") {
		t.Errorf("label %q, want one like %q", b.Uplinks[0].Label, want)
	}
	if len(f.Secrets) != 5 {
		t.Errorf("%d secrets, want 5", len(f.Secrets))
	}
	// Bad rules would only show at work: the table says what the rules make of a message.
	table := mappings.NewTable(b.Name, plain(b.Uplinks), nil)
	var r mappings.Result
	table.Up(&mqtt.Message{Topic: "iot/ece2026/picow/temp", Payload: []byte("Pico W temperature=27")}, nil, time.Unix(1.8e9, 0), &r)
	if len(r.Points) != 2 || r.Points[0].Name != "1001" || r.Points[1].Name != "school/lab1/ece2026/picow/temp" {
		t.Errorf("points %+v, problems %v", r.Points, r.Problems)
	}
}

func plain(up []bridge.Uplink) []mappings.Uplink {
	out := make([]mappings.Uplink, len(up))
	for i := range up {
		out[i] = up[i].Uplink
	}
	return out
}

func TestDefaults(t *testing.T) {
	f := parse(t, clouds+`
[[uplink]]
local = "a"
cloud = "home"
feed = "lights"
[[uplink]]
local = "b"
cloud = "home"
feed = "temp"
[[uplink]]
local = "c"
cloud = "weather"
channel = 1
field = 1
[[uplink]]
local = "d/{rest...}"
cloud = "emqx"
[[uplink]]
local = "{x}/status"
cloud = "home"
feed = "{x}-status"
[[downlink]]
cloud = "home"
feed = "lights"
local = "e"
`)
	up := f.Bridge.Uplinks
	for i, want := range []struct {
		history  string
		retained bool
		qos      byte
	}{{"false", false, 1}, {"true", false, 1}, {"true", false, 0}, {"nil", true, 1}, {"true", false, 1}} {
		history := "nil"
		if h := up[i].History; h != nil {
			history = map[bool]string{true: "true", false: "false"}[*h]
		}
		if history != want.history || *up[i].Retained != want.retained || up[i].QoS != want.qos {
			t.Errorf("uplink %d: history %s, retained %v, qos %d; want %+v", i, history, *up[i].Retained, up[i].QoS, want)
		}
	}
	if q := f.Bridge.Queue; q != (bridge.Queue{Dir: "/var/lib/cloudbridge", MaxSize: 256e6, Durability: "when-behind"}) {
		t.Errorf("queue %+v", q)
	}
	if f.Log != (Log{Level: "info", Format: "text"}) || f.Web.Listen != "127.0.0.1:8080" {
		t.Errorf("log %+v, web %+v", f.Log, f.Web)
	}
	if c := f.Bridge.Clouds[0]; c.DrainRate != 50 || c.Overflow != "oldest" || c.MonthlyData != 0 {
		t.Errorf("cloud %+v", c)
	}
	if s := f.Bridge.Local.Session; s.Protocol != mqtt.Auto || s.URL != "mqtt://localhost:1883" || s.KeepAlive != time.Minute {
		t.Errorf("local %+v", s)
	}
}

func TestCloudTemplate(t *testing.T) {
	const students = `
[cloud.aio-ann]
platform = "adafruit-io"
username = "ann"
key = "aio_annannannann"
[cloud.aio-bob]
platform = "adafruit-io"
username = "bob"
key = "aio_bobbobbobbob"
[[uplink]]
local = "class/{student}/temp"
cloud = "aio-{student}"
feed  = "temp"
`
	f := parse(t, students)
	if got := f.Bridge.Uplinks[0].Cloud.Expand([]string{"bob"}); got != "aio-bob" {
		t.Errorf("cloud %q", got)
	}
	_, err := Parse("c.toml", []byte(students+"[cloud.aio-eve]\nplatform=\"mqtt\"\nurl=\"mqtt://10.0.0.1\"\n"), nobody(), kinds())
	refuse(t, err, `c.toml:12:9: cloud: clouds "aio-ann" (adafruit-io) and "aio-eve" (mqtt) fit, and are of different platforms`)
}

func TestLineEndingsAndMark(t *testing.T) {
	text := "\xef\xbb\xbf" + strings.ReplaceAll("[bridge]\nname = \"pi\"\n"+clouds, "\n", "\r\n")
	if f := parse(t, text); f.Bridge.Name != "pi" {
		t.Errorf("name %q", f.Bridge.Name)
	}
	_, err := Parse("c.toml", []byte("\xef\xbb\xbfnam = 1\r\n"), nobody(), kinds())
	refuse(t, err, "c.toml:1:1: ")
}

func TestInclude(t *testing.T) {
	dir := write(t, "main.toml", "include = [\"conf.d/*.toml\"]\n[local]\nusername = \"bridge\"\n",
		"conf.d/1.toml", clouds, "conf.d/2.toml", "[local]\npassword_file = \"pw\"\n[[uplink]]\nlocal = \"a\"\ncloud = \"emqx\"\n",
		"conf.d/pw", "beside-me\n")
	f, err := Load(filepath.Join(dir, "main.toml"), nobody(), kinds())
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Bridge.Local.Session.Password.Reveal(); got != "beside-me" {
		t.Errorf("password %q", got)
	}
	if len(f.Files) != 3 || !strings.HasPrefix(f.Bridge.Uplinks[0].Label, "2.toml:3 ") {
		t.Errorf("files %q, label %q", f.Files, f.Bridge.Uplinks[0].Label)
	}

	dir = write(t, "main.toml", "include = [\"a.toml\", \"b.toml\", \"main.toml\"]\n",
		"a.toml", "[log]\nlevel = \"debug\"\n", "b.toml", "[log]\nlevel = \"info\"\n[cloud.x]\nplatform = \"nope\"\n")
	_, err = Load(filepath.Join(dir, "main.toml"), nobody(), kinds())
	refuse(t, err, filepath.Join(dir, "b.toml")+`:2:1: "level" is already set at `+filepath.Join(dir, "a.toml")+":2",
		filepath.Join(dir, "b.toml")+`:4:12: platform: there is no platform "nope"`)
}

func TestMissingFile(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "no.toml"), nobody(), kinds())
	refuse(t, err, "no.toml: the configuration cannot be read: no such file or directory")
}

func TestFind(t *testing.T) {
	dir := write(t, "a.toml", "", "b.toml", "")
	a, b := filepath.Join(dir, "a.toml"), filepath.Join(dir, "b.toml")
	env := Environment{Lookup: func(n string) (string, bool) { return map[string]string{"CLOUDBRIDGE_CONFIG": b}[n], true }}
	for _, c := range []struct {
		flag string
		env  Environment
		want string
	}{{a, env, a}, {"", env, b}, {"", Environment{}, a}} {
		got, err := find(c.flag, c.env, []string{filepath.Join(dir, "no.toml"), a})
		if err != nil || got != c.want {
			t.Errorf("find(%q) = %q, %v; want %q", c.flag, got, err, c.want)
		}
	}
	if _, err := find("", Environment{}, []string{filepath.Join(dir, "no.toml")}); err == nil || !strings.Contains(err.Error(), "config.example.toml") {
		t.Errorf("no configuration: %v", err)
	}
	_, err := find(filepath.Join(dir, "no.toml"), env, nil)
	refuse(t, err, "--config names", "no such file")
}

func TestCredentialsDirectory(t *testing.T) {
	dir := write(t, "c.toml", "[local]\nusername=\"u\"\npassword_file = \"pw\"\n", "pw", "beside", "creds/pw", "from-systemd")
	f, err := Load(filepath.Join(dir, "c.toml"), with(t, "CREDENTIALS_DIRECTORY", filepath.Join(dir, "creds")), kinds())
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Bridge.Local.Session.Password.Reveal(); got != "from-systemd" {
		t.Errorf("password %q", got)
	}
}

func TestOpenSecretFileWarns(t *testing.T) {
	dir := write(t, "c.toml", "[local]\nusername=\"u\"\npassword_file = \"pw\"\n", "pw", "hush-hush")
	if err := os.Chmod(filepath.Join(dir, "pw"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := Load(filepath.Join(dir, "c.toml"), nobody(), kinds())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(f.Warnings, func(w Warning) bool {
		return w.Line == 3 && strings.Contains(w.Message, "every user of this machine can read the file")
	}) {
		t.Errorf("warnings %v", f.Warnings)
	}
}

func TestSecretFileIsNotExpanded(t *testing.T) {
	dir := write(t, "c.toml", "[local]\nusername=\"${WHO}\"\npassword_file = \"pw\"\n", "pw", "a${WHO}b")
	f, err := Load(filepath.Join(dir, "c.toml"), with(t, "WHO", "me"), kinds())
	if err != nil {
		t.Fatal(err)
	}
	if s := f.Bridge.Local.Session; s.Username != "me" || s.Password.Reveal() != "a${WHO}b" {
		t.Errorf("username %q, password %q", s.Username, s.Password.Reveal())
	}
}
