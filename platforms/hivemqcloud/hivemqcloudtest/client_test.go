package hivemqcloudtest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cloudbridge/internal/mqtt"
	"cloudbridge/platforms/emulator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, settings ...string) *Server {
	t.Helper()
	o := emulator.Options{Set: map[string]string{}}
	for i := 0; i < len(settings); i += 2 {
		o.Set[settings[i]] = settings[i+1]
	}
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// bridge is how a well-behaved client connects.
func (s *Server) bridge(p mqtt.Protocol) mqtt.Options {
	return mqtt.Options{
		URL: s.URL(), Protocol: p, ClientID: "bridge", Username: "bridge", Password: "bridge-password", CleanStart: true,
		TLS: mqtt.TLS{CAFile: s.CAFile(), ServerName: s.Host()},
	}
}

// dial connects; the error is the test's to judge.
func dial(t *testing.T, o mqtt.Options) (*mqtt.Session, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if o.OnMessage == nil {
		o.OnMessage = func(in *mqtt.Inbound) { in.Ack() }
	}
	s, err := mqtt.Dial(ctx, o)
	if err == nil {
		t.Cleanup(func() { hangUp(s) })
	}
	return s, err
}

func dialed(t *testing.T, o mqtt.Options) *mqtt.Session {
	t.Helper()
	s, err := dial(t, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func hangUp(s *mqtt.Session) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_ = s.Close(ctx)
}

func code(err error) string {
	var r *mqtt.RefusedError
	if errors.As(err, &r) {
		return fmt.Sprintf("%s %d", r.Packet, r.Code)
	}
	if err == nil {
		return "none"
	}
	return "closed"
}

func ended(t *testing.T, s *mqtt.Session) string {
	t.Helper()
	select {
	case <-s.Done():
		return code(s.Err())
	case <-time.After(20 * time.Second):
		t.Fatal("the session goes on")
		return ""
	}
}

func publish(t *testing.T, s *mqtt.Session, m *mqtt.Message) string {
	t.Helper()
	done := make(chan mqtt.Result, 1)
	if err := s.Publish(t.Context(), m, func(r mqtt.Result) { done <- r }); err != nil {
		t.Fatal(err)
	}
	select {
	case r := <-done:
		return code(r.Err)
	case <-time.After(20 * time.Second):
		t.Fatal("no answer to the message")
		return ""
	}
}

var versions = []mqtt.Protocol{mqtt.V311, mqtt.V5}

func by(p mqtt.Protocol, v311, v5 string) string {
	if p == mqtt.V5 {
		return v5
	}
	return v311
}

// connect5 is a CONNECT of MQTT 5 for user bridge, as bytes.
func connect5() []byte {
	p := []byte{0, 4, 'M', 'Q', 'T', 'T', 5, 0xC2, 0, 60, 0, 0, 3, 'r', 'a', 'w', 0, 6}
	p = append(append(append(p, "bridge"...), 0, 15), "bridge-password"...)
	return append([]byte{0x10, byte(len(p))}, p...)
}

// rawDial shakes hands without SNI where name is empty.
func rawDial(t *testing.T, s *Server, name string) *tls.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", strings.TrimPrefix(s.URL(), "mqtts://"), &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		t.Fatalf("the handshake itself fails: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// packet reads one packet whole.
func packet(t *testing.T, r io.Reader) []byte {
	t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	if head[1] > 127 {
		more := make([]byte, 1)
		if _, err := io.ReadFull(r, more); err != nil {
			t.Fatal(err)
		}
		head = append(head, more...)
	}
	n := int(head[1] & 127)
	if len(head) == 3 {
		n += int(head[2]) << 7
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		t.Fatal(err)
	}
	return append(head[:1:1], body...)
}
