package adafruitiotest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/platforms/emulator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	user = "learner"
	key  = "aio_emulator"
)

// start runs an emulator in memory, for tests inside a bubble: time there costs nothing.
func start(t *testing.T, set map[string]string) (*Cloud, *emulator.Network) {
	t.Helper()
	n := emulator.NewNetwork()
	o := emulator.Options{Set: set}
	var err error
	if o.Listener, err = n.Listen("aio.test:1883"); err != nil {
		t.Fatal(err)
	}
	if o.HTTPListener, err = n.Listen("aio.test:80"); err != nil {
		t.Fatal(err)
	}
	return run(t, o), n
}

func run(t *testing.T, o emulator.Options) *Cloud {
	t.Helper()
	c, err := Start(o)
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

// client is a bare MQTT 3.1.1 client, so that these tests see the bytes.
type client struct {
	t *testing.T
	net.Conn
	in       *bufio.Reader
	messages []string // received so far and not yet asked for, "topic payload"
	id       uint16
}

func str(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

func (c *client) packet(head byte, parts ...[]byte) {
	c.t.Helper()
	body := bytes.Join(parts, nil)
	b := binary.AppendUvarint([]byte{head}, uint64(len(body)))
	if _, err := c.Write(append(b, body...)); err != nil {
		c.t.Fatal(err)
	}
}

// read reads one packet; ok is false at the end of the connection.
func (c *client) read() (head byte, body []byte, ok bool) {
	c.t.Helper()
	head, err := c.in.ReadByte()
	if err != nil {
		return 0, nil, false
	}
	n, err := binary.ReadUvarint(c.in)
	if err != nil {
		return 0, nil, false
	}
	body = make([]byte, n)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return 0, nil, false
	}
	return head, body, true
}

// wait reads up to a packet of this kind. Messages on the way are kept; they come with QoS 1 and are acknowledged.
func (c *client) wait(kind byte) (body []byte, ok bool) {
	c.t.Helper()
	for {
		head, body, ok := c.read()
		if !ok {
			return nil, false
		}
		if head>>4 != 3 {
			if head>>4 == kind {
				return body, true
			}
			continue
		}
		n := int(binary.BigEndian.Uint16(body))
		topic, rest := string(body[2:2+n]), body[2+n:]
		if head&6 != 0 {
			_, _ = c.Write(append([]byte{0x40, 2}, rest[:2]...)) // The connection may be at its end.
			rest = rest[2:]
		}
		if head&1 != 0 {
			c.t.Errorf("retained: %s", topic)
		}
		c.messages = append(c.messages, topic+" "+string(rest))
	}
}

// received waits until everything sent before has been answered, and returns the messages since the last time.
func (c *client) received() []string {
	c.t.Helper()
	synctest.Wait()
	c.packet(0xC0)
	if _, ok := c.wait(13); !ok {
		c.t.Fatal("the connection is closed")
	}
	got := c.messages
	c.messages = nil
	return got
}

func (c *client) want(messages ...string) {
	c.t.Helper()
	got := c.received()
	if len(got) != len(messages) || (len(got) > 0 && !reflect.DeepEqual(got, messages)) {
		c.t.Errorf("received\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(messages, "\n\t"))
	}
}

// publish sends with QoS 1 and waits for the PUBACK.
func (c *client) publish(topic, payload string) {
	c.t.Helper()
	c.id++
	c.packet(0x32, str(topic), binary.BigEndian.AppendUint16(nil, c.id), []byte(payload))
	if _, ok := c.wait(4); !ok {
		c.t.Fatalf("no PUBACK for %s", topic)
	}
}

// subscribe returns the code of the SUBACK.
func (c *client) subscribe(filter string, qos byte) byte {
	c.t.Helper()
	c.id++
	c.packet(0x82, binary.BigEndian.AppendUint16(nil, c.id), str(filter), []byte{qos})
	body, ok := c.wait(9)
	if !ok {
		c.t.Fatalf("no SUBACK for %s", filter)
	}
	return body[2]
}

// dial connects, and returns the CONNACK's code.
func dial(t *testing.T, n *emulator.Network, id, username, password string, level byte, more ...[]byte) (*client, byte) {
	t.Helper()
	conn, err := n.DialContext(t.Context(), "tcp", "aio.test:1883")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &client{t: t, Conn: conn, in: bufio.NewReader(conn)}
	name, flags := "MQTT", byte(0xC2)
	if level == 3 {
		name = "MQIsdp"
	}
	if len(more) > 0 {
		flags |= 4
	}
	parts := [][]byte{str(name), {level, flags, 0, 60}}
	if level == 5 {
		parts = append(parts, []byte{0})
	}
	parts = append(append(append(parts, str(id)), more...), str(username), str(password))
	c.packet(0x10, parts...)
	head, body, ok := c.read()
	if !ok || head != 0x20 || len(body) != 2 {
		t.Fatalf("%s: no CONNACK of two bytes but %x %x", id, head, body)
	}
	return c, body[1]
}

func login(t *testing.T, n *emulator.Network, id string) *client {
	t.Helper()
	c, code := dial(t, n, id, user, key, 4)
	if code != 0 {
		t.Fatalf("%s: CONNACK code %d", id, code)
	}
	return c
}

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
			synctest.Test(t, func(t *testing.T) {
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
	synctest.Test(t, func(t *testing.T) {
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

func TestLoginsPerMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, n := start(t, nil)
		for i := range 25 {
			want := byte(0)
			if i >= 20 {
				want = 6
			}
			if _, code := dial(t, n, fmt.Sprint(i), user, key, 4); code != want {
				t.Fatalf("login %d: code %d, want %d", i+1, code, want)
			}
		}
		time.Sleep(time.Minute)
		if _, code := dial(t, n, "later", user, key, 4); code != 0 {
			t.Errorf("a minute later: code %d", code)
		}
		if cloud.Count("ban", false) != 0 {
			t.Error("banned")
		}
		for range 35 {
			dial(t, n, "again", user, key, 4)
		}
		if cloud.Count("ban", false) != 1 {
			t.Error("not banned after 15 logins beyond the limit")
		}
	})
}

func TestClientIDTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, n := start(t, nil)
		older := login(t, n, "same")
		newer := login(t, n, "same")
		if _, _, open := older.read(); open {
			t.Error("the older connection stays")
		}
		newer.want()
	})
}

func TestPaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, n := start(t, nil)
		c := login(t, n, "c")
		for _, f := range []string{"learner/feeds/#", "learner/f/temp/+", "learner/groups/default", "learner/g/+/csv"} {
			if code := c.subscribe(f, 2); code != 1 {
				t.Errorf("%s: granted %d, want 1", f, code)
			}
		}
		c.publish("learner/f/Temp", "27")
		got := c.received()
		want := []string{
			"learner/feeds/temp 27",
			`learner/feeds/temp/json {"value":"27"}`,
			"learner/feeds/temp/csv 27,,,",
			`learner/f/temp/json {"value":"27"}`,
			"learner/f/temp/csv 27,,,",
			`learner/groups/default {"feeds":{"temp":"27"}}`,
			"learner/g/default/csv temp,27\n",
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("received %q", got)
		}
		if v, _ := cloud.Last("temp"); v != "27" {
			t.Errorf("stored %q", v)
		}
		if f := cloud.Feeds(user); !reflect.DeepEqual(f, []string{"temp"}) {
			t.Errorf("feeds %q", f)
		}
	})
}

func TestPayloads(t *testing.T) {
	for _, tt := range []struct{ topic, payload, feed, value, at string }{
		{"feeds/a", "27.50", "a", "27.50", ",,"},
		{"feeds/a", `{"value":27.50}`, "a", "27.50", ",,"},
		{"feeds/a", `{"value":"on","lat":25.03,"lon":121.5,"ele":9}`, "a", "on", "25.03,121.5,9"},
		{"feeds/a", `{"value":{"x": [1, 2]}}`, "a", `{"x":[1,2]}`, ",,"},
		{"feeds/a", `{"value":"{\"x\": 1}"}`, "a", `{"x": 1}`, ",,"},
		{"feeds/a", `{"t": 1}`, "a", `{"t": 1}`, ",,"},
		{"feeds/a", "溫度", "a", "溫度", ",,"},
		{"feeds/a/json", `{"value":1,"lat":1,"lon":2}`, "a", "1", "1,2,"},
		{"feeds/a/csv", `"3,4",1,2,3`, "a", "3,4", "1,2,3"},
		{"f/a", "1", "a", "1", ",,"},
		{"feeds/station.temp", "5", "station.temp", "5", ",,"},
		{"feeds/default.temp", "5", "temp", "5", ",,"},
		{"groups/station", `{"feeds":{"hum":60},"location":{"lat":1,"lon":2}}`, "station.hum", "60", "1,2,"},
		{"g/station/csv", "hum,61\nlocation,3,4,5\n", "station.hum", "61", "3,4,5"},
		{"groups/default/json", `{"feeds":{"x":"y"}}`, "x", "y", ",,"},
	} {
		t.Run(tt.topic+" "+tt.payload, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cloud, n := start(t, nil)
				c := login(t, n, "c")
				c.subscribe("learner/errors", 1)
				c.publish("learner/"+tt.topic, tt.payload)
				c.want()
				points := cloud.Points(user, tt.feed)
				if len(points) != 1 {
					t.Fatalf("%d points", len(points))
				}
				p := points[0]
				if at := p.Lat + "," + p.Lon + "," + p.Ele; p.Value != tt.value || at != tt.at || p.Via != "mqtt" {
					t.Errorf("stored %q at %s, want %q at %s", p.Value, at, tt.value, tt.at)
				}
			})
		})
	}
}

func TestRefusedPublishes(t *testing.T) {
	const topic, name = "rejected, not a valid resource topic", "rejected, Validation failed: Name may contain only letters, digits, underscores, spaces, or dashes"
	for _, tt := range []struct{ topic, payload, why string }{
		{"tele/x/LWT", "Online", topic},
		{"learner", "x", topic},
		{"learner/throttle", "x", topic},
		{"learner/feeds", "x", topic},
		{"learner/feeds/a/b", "x", topic},
		{"time/seconds", "x", topic},
		{"learner/feeds/+", "x", topic},
		{"$SYS/feeds/a", "x", topic},
		{"learner/groups/a.b", `{"feeds":{"a":1}}`, topic},
		{"learner/feeds/溫度", "x", name},
		{"learner/groups/g", `{"feeds":{"溫度":1}}`, name},
		{"other/feeds/a", "x", "rejected, resource not available or not authorized"},
		{"other/groups/a", `{"feeds":{"a":1}}`, "rejected, only shared feeds may be published to"},
		{"learner/feeds/a", strings.Repeat("x", 1025), "rejected, value of 1025 bytes is larger than the limit of 1024 bytes"},
		{"learner/feeds/a", "", "rejected, value is missing"},
		{"learner/feeds/a", "\xff", "rejected, value is not valid UTF-8"},
		{"learner/feeds/a", `{"value":1,"lat":"north"}`, `rejected, location "north" is not a number`},
		{"learner/feeds/a/json", `{"t":1}`, "rejected, payload is not valid for this topic"},
		{"learner/feeds/a/csv", "1,2,3,4,5", "rejected, payload is not valid for this topic"},
		{"learner/groups/g", "27", "rejected, payload is not valid for this topic"},
		{"learner/groups/g", `{"feeds":{}}`, "rejected, payload is not valid for this topic"},
		{"learner/groups/g/csv", "a,b,c,d\n", "rejected, payload is not valid for this topic"},
	} {
		t.Run(tt.topic, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cloud, n := start(t, nil)
				c := login(t, n, "c")
				c.subscribe("learner/errors", 1)
				c.publish(tt.topic, tt.payload)
				c.want(fmt.Sprintf(`learner/errors "c memory PUBLISH %s %s"`, tt.topic, tt.why))
				if len(cloud.Feeds(user)) != 0 || cloud.Count("publish", false) != 1 || cloud.Count("publish", true) != 0 {
					t.Error("stored, or not recorded as refused")
				}
			})
		})
	}
}

func TestRefusedSubscriptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, ok := range []string{
			"learner/feeds/a", "learner/f/+", "learner/groups/g/json", "learner/errors", "learner/throttle", "time/seconds", "time/#",
			"learner/integration/weather/1/current", "LEARNER/feeds/a", "learner/feeds/not-there-yet",
		} {
			_, n := start(t, nil)
			if code := login(t, n, "c").subscribe(ok, 0); code != 0 {
				t.Errorf("%s: code %x", ok, code)
			}
		}
		for _, bad := range []string{
			"#", "+/feeds/a", "learner/#", "learner/feeds", "learner/feeds/a/b", "learner/feeds/a/json/x", "other/feeds/a",
			"other/throttle", "other/integration/weather/1/current", "learner/integration", "learner/errors/x", "tele/x/LWT", "learner/feeds/溫度", "learner/feeds/a+b",
		} {
			cloud, n := start(t, nil)
			c := login(t, n, "c")
			c.subscribe("learner/errors", 0)
			if code := c.subscribe(bad, 1); code != 0x80 {
				t.Errorf("%s: code %x, want 80", bad, code)
			}
			got := c.received()
			if len(got) != 1 || !strings.Contains(got[0], " SUBSCRIBE "+bad+" rejected, ") || cloud.Count("subscribe", false) != 1 {
				t.Errorf("%s: told %q", bad, got)
			}
		}
	})
}

func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, n := start(t, nil)
		check(t, cloud.AddAccount("Other", "aio_2", 30, 10))
		check(t, cloud.AddFeed("other", "open"))
		check(t, cloud.Share("other", "open"))
		c := login(t, n, "c")
		if code := c.subscribe("Other/feeds/open", 1); code != 1 {
			t.Errorf("code %x", code)
		}
		c.publish("Other/feeds/open", "1")
		c.want("Other/feeds/open 1")
		if len(cloud.Points("other", "open")) != 1 {
			t.Error("not stored")
		}
		if cloud.Share("other", "none") == nil || cloud.Share("nobody", "x") == nil || cloud.AddAccount("OTHER", "k", 1, 1) == nil {
			t.Error("shared what is not there, or added twice")
		}
	})
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFeedQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, n := start(t, nil)
		c := login(t, n, "c")
		c.subscribe("learner/errors", 1)
		for i := range 11 {
			c.publish(fmt.Sprintf("learner/feeds/f%d", i), "1")
		}
		c.want(`learner/errors "c memory PUBLISH learner/feeds/f10 rejected, feed limit reached: this plan has 10 feeds"`)
		c.publish("learner/groups/g", `{"feeds":{"a":1}}`)
		c.publish("learner/feeds/f3", "2")
		if n := len(cloud.Feeds(user)); n != 10 || len(cloud.Points(user, "f3")) != 2 {
			t.Errorf("%d feeds", n)
		}
		check(t, cloud.WithoutHistory(user, "f3"))
		c.received()
		c.publish("learner/feeds/f3", strings.Repeat("x", noHistoryValue))
		c.want()
	})
}

func TestGroupsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, n := start(t, map[string]string{"groups": "refuse", "group_messages": "each", "feeds": "station.temp, lights"})
		c := login(t, n, "c")
		c.subscribe("learner/errors", 1)
		c.subscribe("learner/groups/+", 1)
		c.publish("learner/groups/other", `{"feeds":{"a":1}}`)
		c.want(`learner/errors "c memory PUBLISH learner/groups/other rejected, resource not available or not authorized"`)
		c.publish("learner/groups/station", `{"feeds":{"temp":1,"hum":2}}`)
		c.want(`learner/groups/station {"feeds":{"temp":"1"}}`, `learner/groups/station {"feeds":{"hum":"2"}}`)
		if f := cloud.Feeds(user); !reflect.DeepEqual(f, []string{"lights", "station.hum", "station.temp"}) {
			t.Errorf("feeds %q", f)
		}
	})
}

func TestGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, n := start(t, map[string]string{"feeds": "lights"})
		c, other := login(t, n, "c"), login(t, n, "other")
		for _, cl := range []*client{c, other} {
			cl.subscribe("learner/feeds/lights", 1)
			cl.subscribe("learner/feeds/lights/csv", 1)
			cl.subscribe("learner/groups/default", 1)
		}
		c.publish("learner/feeds/lights/get", "")
		c.want() // It has no value yet.
		check(t, cloud.Toggle("lights", "ON"))
		c.received()
		other.received()
		c.publish("learner/feeds/lights/get", "\x00")
		c.want("learner/feeds/lights ON")
		c.publish("learner/feeds/lights/csv/get", "")
		c.want("learner/feeds/lights/csv ON,,,")
		c.publish("learner/groups/default/get", "")
		c.want(`learner/groups/default {"feeds":{"lights":"ON"}}`)
		c.publish("learner/feeds/lights/json/get", "")
		c.want() // It has not subscribed to that.
		other.want()
		if n := len(cloud.Points(user, "lights")); n != 1 {
			t.Errorf("%d points", n)
		}
	})
}

func TestRetainAndQoS2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, n := start(t, nil)
		c := login(t, n, "c")
		c.packet(0x31, str("learner/feeds/a"), []byte("1")) // retained
		c.want()
		c.subscribe("learner/feeds/a", 1)
		c.want()
		c.packet(0x34, str("learner/feeds/a"), []byte{0, 9}, []byte("2"))
		if _, ok := c.wait(5); ok {
			t.Error("QoS 2 is answered")
		}
		if n := len(cloud.Points(user, "a")); n != 1 {
			t.Errorf("%d points", n)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		cloud, n := start(t, map[string]string{"qos2": "accept"})
		c := login(t, n, "c")
		c.packet(0x34, str("learner/feeds/a"), []byte{0, 9}, []byte("2"))
		if _, ok := c.wait(5); !ok || len(cloud.Points(user, "a")) != 1 {
			t.Error("QoS 2 is not taken")
		}
	})
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, n := start(t, map[string]string{"feeds": "a"})
		c := login(t, n, "c")
		c.subscribe("learner/throttle", 1)
		for range 20 {
			c.publish("learner/feeds/a", "1")
		}
		time.Sleep(20 * time.Second)
		for range 9 {
			c.publish("learner/feeds/a", "1")
		}
		check(t, cloud.Toggle("a", "by hand"))
		c.want()
		if status, body := call(t, n, "POST", "/feeds/a/data", `{"value":1}`); status != 429 || !strings.Contains(body, "40 seconds") {
			t.Errorf("REST: %d %s", status, body)
		}
		c.publish("learner/feeds/a", "dropped")
		c.want(`learner/throttle "learner data rate limit reached, 40 seconds until throttle released"`)
		if err := cloud.Toggle("a", "too much"); err == nil {
			t.Error("the dashboard has no limit")
		}
		if n := len(cloud.Points(user, "a")); n != 30 {
			t.Errorf("%d points", n)
		}
		// Ten and three that were refused are still in the window.
		time.Sleep(40 * time.Second)
		for range 18 {
			c.publish("learner/feeds/a", "2")
		}
		c.want(`learner/throttle "learner data rate limit reached, 20 seconds until throttle released"`)
		if n := cloud.Count("throttle", false); n != 4 {
			t.Errorf("%d times throttled", n)
		}
		if status, body := call(t, n, "GET", "/throttle", ""); status != 200 || body != `{"active_data_rate":31,"data_rate_limit":30}` {
			t.Errorf("REST: %d %s", status, body)
		}
	})
}

func TestGroupCostsEachFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, n := start(t, map[string]string{"points_per_minute": "5"})
		c := login(t, n, "c")
		c.subscribe("learner/throttle", 1)
		c.publish("learner/groups/g", `{"feeds":{"a":1,"b":2,"c":3}}`)
		c.publish("learner/groups/g", `{"feeds":{"a":1,"b":2,"c":3}}`)
		c.want(`learner/throttle "learner data rate limit reached, 60 seconds until throttle released"`)
		if len(cloud.Points(user, "g.a")) != 1 {
			t.Error("stored beyond the limit")
		}
	})
}

func TestBans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, n := start(t, map[string]string{"feeds": "a"})
		for i := 1; i <= 3; i++ {
			c, watcher := login(t, n, "c"), login(t, n, "watcher")
			watcher.subscribe("learner/errors", 1)
			for range 11 {
				c.packet(0x30, str("tele/x/LWT"), []byte("Online"))
			}
			if _, ok := watcher.wait(13); ok {
				t.Fatal("the other connection stays")
			}
			last := watcher.messages[len(watcher.messages)-1]
			if want := fmt.Sprintf(`learner/errors "learner enforcement limit reached, your account is banned for %d seconds"`, 30*i); last != want {
				t.Errorf("told %s, want %s", last, want)
			}
			if _, ok := c.wait(13); ok {
				t.Fatal("the connection stays")
			}
			if status, _ := call(t, n, "GET", "/throttle", ""); status != 429 {
				t.Errorf("REST: %d", status)
			}
			if err := cloud.Toggle("a", "1"); !errors.Is(err, errBlocked) {
				t.Errorf("dashboard: %v", err)
			}
			time.Sleep(time.Duration(30*i)*time.Second - 6*time.Second)
			if _, code := dial(t, n, "c", user, key, 4); code != 7 {
				t.Errorf("code %d, want 7", code)
			}
			time.Sleep(40 * time.Second)
		}
		time.Sleep(time.Hour)
		check(t, cloud.Ban(user))
		time.Sleep(31 * time.Second)
		login(t, n, "free again after the first length")
	})
}

func TestFailuresAndFlood(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(c *client)
	}{
		{"subscriptions", func(c *client) {
			for range 11 {
				c.subscribe("tele/#", 1)
			}
		}},
		{"packets", func(c *client) {
			for range 101 {
				c.subscribe("learner/feeds/a", 1)
			}
		}},
		{"points", func(c *client) {
			for range 41 {
				c.publish("learner/feeds/a", "1")
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cloud, n := start(t, nil)
				c := login(t, n, "c")
				c.subscribe("learner/throttle", 1)
				tt.do(c)
				if cloud.Count("ban", false) != 1 {
					t.Error("not banned")
				}
				c.publish("learner/feeds/a", "1") // In the moment before the connections end.
				time.Sleep(time.Second)
				if _, ok := c.wait(13); ok {
					t.Error("the connection stays")
				}
				if tt.name == "packets" && !strings.Contains(c.messages[0], "only 5 attempts remaining in the next 60 seconds") {
					t.Errorf("warned by %q", c.messages)
				}
			})
		})
	}
}

func TestWill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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

// call is an HTTP request to the first account, with the right key.
func call(t *testing.T, n *emulator.Network, method, path, body string) (int, string) {
	t.Helper()
	return request(t, web(n), method, "http://aio.test:80"+apiPath+"/"+user+path, key, body)
}

func web(n *emulator.Network) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: n.DialContext, DisableKeepAlives: true}}
}

func request(t *testing.T, web *http.Client, method, url, key, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	check(t, err)
	r.Header.Set("X-AIO-Key", key)
	answer, err := web.Do(r)
	check(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	check(t, err)
	return answer.StatusCode, strings.TrimSpace(string(text))
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
