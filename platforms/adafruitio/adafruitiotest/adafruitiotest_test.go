package adafruitiotest

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"cloudbridge/internal/faketime"
	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/platforms/emulator"
)

func TestLogin(t *testing.T) {
	for _, tt := range []struct {
		name, user, key string
		level           byte
		set             map[string]string
		code            byte
	}{
		{name: "3.1.1", user: user, key: key, level: 4},
		{name: "3.1", user: user, key: key, level: 3},
		{name: "any case", user: "Learner", key: key, level: 4},
		{name: "5", user: user, key: key, level: 5, code: 1},
		{name: "wrong key", user: user, key: "aio_other", level: 4, code: 5},
		{name: "wrong user", user: "nobody", key: key, level: 4, code: 5},
		{name: "banned", user: user, key: key, level: 4, code: 7},
	} {
		t.Run(tt.name, func(t *testing.T) {
			faketime.Test(t, func(t *testing.T) {
				cloud, n := start(t, tt.set)
				if tt.code == 7 {
					if err := cloud.Ban(user); err != nil {
						t.Fatal(err)
					}
				}
				began := time.Now()
				c, code := dial(t, n, "", tt.user, tt.key, tt.level)
				if code != tt.code {
					t.Errorf("CONNACK code %d, want %d", code, tt.code)
				}
				if code != 0 {
					if _, _, open := c.read(); open {
						t.Error("the connection stays")
					}
				}
				if d := time.Since(began); (d == 5*time.Second) != (tt.code == 7) {
					t.Errorf("answered after %v", d)
				}
				if n := cloud.Count("login", tt.code == 0); n != 1 {
					t.Errorf("%d logins recorded", n)
				}
			})
		})
	}
}

func TestMQTT5WhereAllowed(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		_, n := start(t, map[string]string{"mqtt5": "true"})
		conn, err := n.DialContext(t.Context(), "tcp", "aio.test:1883")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		c := &client{t: t, Conn: conn, in: bufio.NewReader(conn)}
		c.packet(0x10, str("MQTT"), []byte{5, 0xC2, 0, 60, 0}, str("five"), str(user), str(key))
		if _, body, _ := c.read(); len(body) < 3 || body[1] != 0 {
			t.Errorf("CONNACK %x", body)
		}
	})
}

func TestClientIDTakenOver(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		_, n := start(t, nil)
		older := login(t, n, "same")
		newer := login(t, n, "same")
		if _, _, open := older.read(); open {
			t.Error("the older connection stays")
		}
		newer.want()
	})
}

func TestWill(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		cloud, n := start(t, nil)
		watcher := login(t, n, "watcher")
		watcher.subscribe("learner/feeds/status", 1)
		watcher.subscribe("learner/errors", 1)
		will := func(id, topic string) *client {
			c, code := dial(t, n, id, user, key, 4, str(topic), str("gone"))
			if code != 0 {
				t.Fatalf("code %d", code)
			}
			return c
		}
		_ = will("lost", "learner/feeds/status").Close()
		watcher.want("learner/feeds/status gone")
		polite := will("polite", "learner/feeds/status")
		polite.packet(0xE0)
		polite.wait(13)
		watcher.want()
		_ = will("foreign", "tele/x/LWT").Close()
		watcher.want(`learner/errors "foreign memory PUBLISH tele/x/LWT rejected, not a valid resource topic"`)
		if cloud.Count("will", true) != 1 || cloud.Count("will", false) != 1 {
			t.Error("wills are not recorded")
		}
	})
}

func TestMosquittoClients(t *testing.T) {
	pubProgram, subProgram := mqtttest.Program(t, "mosquitto_pub"), mqtttest.Program(t, "mosquitto_sub")
	c := run(t, emulator.Options{Delay: 5 * time.Millisecond})
	host, port, err := net.SplitHostPort(strings.TrimPrefix(c.URL(), "mqtt://"))
	check(t, err)
	login := []string{"-h", host, "-p", port, "-u", user, "-P", key, "-V", "mqttv311"}

	ctx := t.Context()
	sub := exec.CommandContext(ctx, subProgram, append(login, "-q", "1", "-t", "learner/feeds/lights", "-C", "2", "-W", "20")...)
	var out bytes.Buffer
	sub.Stdout, sub.Stderr = &out, &out
	check(t, sub.Start())
	for deadline := time.After(10 * time.Second); c.Count("subscribe", true) == 0; {
		changed := c.Changed()
		if c.Count("subscribe", true) > 0 {
			break
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("no subscription: %s", out.String())
		}
	}
	pub := exec.CommandContext(ctx, pubProgram, append(login, "-q", "1", "-r", "-t", "learner/feeds/lights", "-m", "ON")...)
	if text, err := pub.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	check(t, c.Toggle("lights", "OFF"))
	if err := sub.Wait(); err != nil || out.String() != "ON\nOFF\n" {
		t.Errorf("%v: %q", err, out.String())
	}

	for code, args := range map[int][]string{
		1: {"-u", user, "-P", key, "-V", "mqttv5"},
		5: {"-u", user, "-P", "wrong", "-V", "mqttv311"},
	} {
		pub := exec.CommandContext(ctx, pubProgram, append(args, "-h", host, "-p", port, "-q", "1", "-t", "learner/feeds/lights", "-m", "x")...)
		if text, err := pub.CombinedOutput(); err == nil {
			t.Errorf("code %d: let in: %s", code, text)
		}
	}
	if n := c.Count("login", false); n != 2 {
		t.Errorf("%d logins refused, want 2", n)
	}
	status, body := request(t, http.DefaultClient, "GET", c.APIURL()+apiPath+"/learner/feeds/lights/data/retain", key, "")
	if status != 200 || body != "OFF,,," {
		t.Errorf("REST: %d %q", status, body)
	}
	http.DefaultClient.CloseIdleConnections()
}
