package adafruitiotest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

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

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
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
