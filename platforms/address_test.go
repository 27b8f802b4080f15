package platforms

import (
	"errors"
	"strings"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
)

func TestParseURL(t *testing.T) {
	for _, c := range []struct{ in, scheme, want string }{
		{"mqtt://broker.emqx.io:1883", "mqtt", "mqtt://broker.emqx.io:1883"},
		{"broker.emqx.io", "mqtt", "mqtt://broker.emqx.io:1883"},
		{"broker.emqx.io", "mqtts", "mqtts://broker.emqx.io:8883"},
		{" broker.emqx.io:8883\n", "mqtt", "mqtts://broker.emqx.io:8883"},
		{"broker.emqx.io:1884", "mqtts", "mqtt://broker.emqx.io:1884"},
		{"a.s1.eu.hivemq.cloud:8884/mqtt", "mqtts", "wss://a.s1.eu.hivemq.cloud:8884/mqtt"},
		{"tcp://10.0.0.2", "mqtt", "mqtt://10.0.0.2:1883"},
		{"SSL://host", "mqtt", "mqtts://host:8883"},
		{"mqtts://host/", "mqtt", "mqtts://host:8883"},
		{"ws://host", "mqtt", "ws://host:80/mqtt"},
		{"wss://host:8084", "mqtt", "wss://host:8084/mqtt"},
		{"wss://host/", "mqtt", "wss://host:443/"},
		{"wss://host/a%2Fb?token=x", "mqtt", "wss://host:443/a%2Fb?token=x"},
		{"[::1]:1883", "mqtt", "mqtt://[::1]:1883"},
		{"::1", "mqtt", "mqtt://[::1]:1883"},
		{"mqtt://[fe80::1]", "mqtt", "mqtt://[fe80::1]:1883"},
	} {
		got, err := ParseURL(c.in, c.scheme)
		if err != nil || got.String() != c.want {
			t.Errorf("ParseURL(%q, %s) = %v, %v; want %s", c.in, c.scheme, got, err, c.want)
		}
	}
}

func TestParseURLFaults(t *testing.T) {
	for _, c := range []struct{ in, text, hint string }{
		{"", "host is missing", "mqtt://host"},
		{"mqtt://:1883", "host is missing", ""},
		{"mqtt://host:0", `"0" is not a port`, "1883"},
		{"mqtt://host:abc", `"abc" is not a port`, ""},
		{"mqtt://host:99999", "not a port", ""},
		{"mqtt://<host>", "not a host", ""},
		{"mqtt://my host", "not a host", ""},
		{"mqtt://alice:hunter2@host", "user name or password", "password_file"},
		{"alice:hunter2@host:1883", "user name or password", ""},
		{"https://host/mqtt", "https://", "wss://host/mqtt"},
		{"http://host", "http://", "ws://host"},
		{"amqp://host", "amqp://", "mqtts://"},
		{"mqtt://host/iot/temp", `"/iot/temp"`, "a topic belongs into a rule"},
		{"ws://host/%zz", "no path", ""},
		{"[::1:1883", "not a host", ""},
	} {
		_, err := ParseURL(c.in, "mqtt")
		var e *KeyError
		if !errors.As(err, &e) || !strings.Contains(e.Text, c.text) || !strings.Contains(e.Hint, c.hint) {
			t.Errorf("ParseURL(%q): %v (%+v); want text %q, hint %q", c.in, err, e, c.text, c.hint)
			continue
		}
		if strings.Contains(e.Text+e.Hint, "hunter2") {
			t.Errorf("ParseURL(%q) shows the password: %+v", c.in, e)
		}
	}
}

func TestPublic(t *testing.T) {
	for host, want := range map[string]bool{
		"broker.emqx.io": true, "broker.emqx.io:1883": true, "8.8.8.8": true, "[2001:db8::1]:1883": true, "example.org.": true,
		"localhost": false, "localhost:1883": false, "127.0.0.1:1883": false, "[::1]:1883": false, "::1": false, "192.168.1.7": false,
		"10.1.2.3:8883": false, "fe80::1%eth0": false, "fd00::1": false, "raspberrypi": false, "raspberrypi.local": false,
		"nas.LAN": false, "cloud.test:1883": false, "0.0.0.0": false, "169.254.1.1": false,
	} {
		if got := Public(host); got != want {
			t.Errorf("Public(%q) = %v", host, got)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"mqtt://h:1", "wss://h/%2F?x#y", "[::1]", "a:b@c", "://", "ws://h?"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURL(s, "mqtt")
		if err != nil {
			return
		}
		again, err := ParseURL(u.String(), "mqtt")
		if err != nil || again.String() != u.String() {
			t.Errorf("%q became %q, which becomes %v, %v", s, u, again, err)
		}
	})
}

func TestSession(t *testing.T) {
	c := Connection{
		URL: "host:8883", CAFile: "ca.pem", ClientCertFile: "c.pem", ClientKeyFile: "k.pem", ClientID: "id", KeepAlive: time.Minute,
		Protocol: "5", Proxy: "socks5://user:pass@proxy:1080", InsecureSkipVerify: true,
	}
	o, faults := c.Session("mqtt")
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	want := mqtt.TLS{CAFile: "ca.pem", ClientCertFile: "c.pem", ClientKeyFile: "k.pem", InsecureSkipVerify: true}
	if o.URL != "mqtts://host:8883" || o.TLS != want || o.ClientID != "id" || o.KeepAlive != time.Minute || o.Protocol != mqtt.V5 ||
		o.Proxy != c.Proxy {
		t.Errorf("options %+v", o)
	}
	bad := Connection{
		URL: "http://x", ClientCertFile: "c.pem", ClientID: "a\x00", KeepAlive: time.Millisecond, Protocol: "3.1", Proxy: "ftp://u:secret@h",
	}
	_, faults = bad.Session("mqtt")
	var keys []string
	for _, f := range faults {
		var e *KeyError
		if !errors.As(f, &e) || e.Hint == "" {
			t.Fatalf("%T %v", f, f)
		}
		if strings.Contains(e.Text+e.Hint, "secret") {
			t.Errorf("%+v shows the proxy's password", e)
		}
		keys = append(keys, e.Key)
	}
	if got, want := strings.Join(keys, " "), "url protocol keepalive proxy client_key_file client_id"; got != want {
		t.Errorf("blamed %s, want %s", got, want)
	}
	other := Connection{URL: "h", ClientKeyFile: "k.pem", KeepAlive: 1500 * time.Millisecond}
	if _, faults := other.Session("mqtt"); len(faults) != 2 {
		t.Errorf("faults %v, want 2", faults)
	}
}
