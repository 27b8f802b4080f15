package config

import (
	"slices"
	"strings"
	"testing"
)

func TestEnvironment(t *testing.T) {
	env := with(t,
		"CLOUDBRIDGE_NAME", "from-env", "CLOUDBRIDGE_LOG_LEVEL", "debug", "CLOUDBRIDGE_LOG_FORMAT", "json",
		"CLOUDBRIDGE_WEB_LISTEN", "127.0.0.1:9090", "CLOUDBRIDGE_QUEUE_DIR", "/srv/q", "CLOUDBRIDGE_LOCAL_URL", "mqtt://10.1.1.1",
		"CLOUDBRIDGE_LOCAL_PASSWORD", "env-local-password", "CLOUDBRIDGE_CLOUD_MY_HOME_KEY", "env-home-key",
		"CLOUDBRIDGE_CLOUD_MY_HOME_USERNAME", "bob", "CLOUDBRIDGE_CLOUD_TS_CHANNEL_1001_WRITE_KEY", "ENVWRITEKEY",
		"CLOUDBRIDGE_CLOUD_TS_CLIENT_ID", "")
	f, err := Parse("c.toml", []byte(`
[bridge]
name = "file"
[local]
username = "u"
password_file = "there-is-no-such-file"
[cloud.my-home]
platform = "adafruit-io"
username = "alice"
[cloud.ts]
platform = "thingspeak"
[[uplink]]
local = "a"
cloud = "ts"
channel = 1001
field = 1
`), env, kinds())
	if err != nil {
		t.Fatal(err)
	}
	s := f.Bridge.Local.Session
	if f.Bridge.Name != "from-env" || f.Log != (Log{"debug", "json"}) || f.Web.Listen != "127.0.0.1:9090" ||
		f.Bridge.Queue.Dir != "/srv/q" || s.URL != "mqtt://10.1.1.1:1883" || s.Password.Reveal() != "env-local-password" {
		t.Errorf("%+v", f)
	}
	if got := f.Bridge.Clouds[0].Platform.Account(); !strings.Contains(got, "bob") {
		t.Errorf("account %q, want bob's", got)
	}
	if !slices.Contains(f.Secrets, "ENVWRITEKEY") {
		t.Error("the write key of the environment was not used")
	}
}

func TestEnvironmentFaults(t *testing.T) {
	env := with(t, "CLOUDBRIDGE_LOG_LEVEL", "loud", "CLOUDBRIDGE_CLOUD_EMQX_KEY", "not-for-mqtt", "CLOUDBRIDGE_QUEUEDIR", "/hidden-value",
		"CLOUDBRIDGE_CLOUD_EMXQ_PASSWORD", "hidden-value")
	_, err := Parse("c.toml", []byte(clouds), env, kinds())
	refuse(t, err, "CLOUDBRIDGE_LOG_LEVEL: \"loud\" is not one of its values",
		`CLOUDBRIDGE_CLOUD_EMQX_KEY: cloud "emqx" is mqtt, which has no key`)
}

func TestEnvironmentUnknown(t *testing.T) {
	env := with(t, "CLOUDBRIDGE_QUEUEDIR", "/hidden-value", "CLOUDBRIDGE_CLOUD_EMXQ_PASSWORD", "hidden-value", "CLOUDBRIDGE_PORT", "tcp://1")
	f, err := Parse("c.toml", []byte(clouds), env, kinds())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range f.Warnings {
		if strings.Contains(w.Message, "hidden") || strings.Contains(w.Hint, "hidden") {
			t.Errorf("a value is shown: %+v", w)
		}
		if w.Line == 0 {
			got = append(got, w.File+" "+w.Hint)
		}
	}
	want := []string{
		"CLOUDBRIDGE_CLOUD_EMXQ_PASSWORD did you mean CLOUDBRIDGE_CLOUD_EMQX_PASSWORD?",
		"CLOUDBRIDGE_QUEUEDIR did you mean CLOUDBRIDGE_QUEUE_DIR?",
	}
	if !slices.Equal(got, want) {
		t.Errorf("warnings %q, want %q", got, want)
	}
}

func TestEnvironmentCollision(t *testing.T) {
	const text = "[cloud.a-b]\nplatform=\"mqtt\"\nurl=\"mqtt://10.0.0.1\"\n[cloud.a_b]\nplatform=\"mqtt\"\nurl=\"mqtt://10.0.0.2\"\n"
	_, err := Parse("c.toml", []byte(text), nobody(), kinds())
	refuse(t, err, `c.toml:4:2: clouds "a-b" and "a_b" would share their environment variables CLOUDBRIDGE_CLOUD_A_B_...`)
}

func TestSecretTwiceInFile(t *testing.T) {
	dir := write(t, "pw", "x-secret-x")
	const text = "[local]\nusername=\"u\"\npassword=\"y-secret-y\"\npassword_file=\"pw\"\n"
	for _, env := range []Environment{nobody(), with(t, "CLOUDBRIDGE_LOCAL_PASSWORD", "z-secret-z")} {
		_, err := Parse(dir+"/c.toml", []byte(text), env, kinds())
		refuse(t, err, "c.toml:4:1: password and password_file are both given")
	}
}
