package generictest

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
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

func dial(t *testing.T, o mqtt.Options) (*mqtt.Session, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	o.ClientID, o.CleanStart = "test", true
	s, err := mqtt.Dial(ctx, o)
	if err == nil {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			_ = s.Close(ctx)
		})
	}
	return s, err
}

func TestLogin(t *testing.T) {
	for _, c := range []struct {
		settings string
		change   func(*Server, *mqtt.Options)
		v311, v5 int // the CONNACK code; -1 for a close without one
	}{
		{"", nil, 0, 0},
		{"protocol 3.1.1", nil, 0, 1},
		{"protocol 3.1.1 refusal 0x84", nil, 0, 0x84},
		{"protocol 3.1.1 refusal close", nil, 0, -1},
		{"username u password p", func(_ *Server, o *mqtt.Options) { o.Username, o.Password = "u", "p" }, 0, 0},
		{"username u password p", func(_ *Server, o *mqtt.Options) { o.Username, o.Password = "u", "q" }, 5, 0x87},
		{"username u password p", nil, 5, 0x87},
		{"tls true", func(s *Server, o *mqtt.Options) { o.TLS.CAFile = s.caFile }, 0, 0},
		{"websocket /mqtt", func(s *Server, o *mqtt.Options) { o.URL = s.WebSocketURL() }, 0, 0},
	} {
		s := start(t, strings.Fields(c.settings)...)
		for protocol, want := range map[mqtt.Protocol]int{mqtt.V311: c.v311, mqtt.V5: c.v5} {
			o := mqtt.Options{URL: s.URL(), Protocol: protocol}
			if c.change != nil {
				c.change(s, &o)
			}
			_, err := dial(t, o)
			var refused *mqtt.RefusedError
			switch {
			case want == 0 && err != nil, want > 0 && !errors.As(err, &refused), want > 0 && int(refused.Code) != want,
				want < 0 && !errors.Is(err, mqtt.ErrClosedEarly):
				t.Errorf("%q, MQTT %s: %v, want code %d", c.settings, protocol, err, want)
			}
			if good, bad := s.Count("login", true), s.Count("login", false); good+bad == 0 {
				t.Errorf("%q, MQTT %s: nothing is noted", c.settings, protocol)
			}
		}
	}
}

func TestRetainedMessagesAndProperties(t *testing.T) {
	s := start(t)
	sender, err := dial(t, mqtt.Options{URL: s.URL(), Protocol: mqtt.V5})
	if err != nil {
		t.Fatal(err)
	}
	sent := &mqtt.Message{
		Topic: "a/溫度", Payload: []byte("27.5"), QoS: 2, Retain: true,
		Properties: &mqtt.Properties{ContentType: "text/plain", User: []mqtt.UserProperty{{Key: "k", Value: "v"}}},
	}
	done := make(chan mqtt.Result, 1)
	if err := sender.Publish(t.Context(), sent, func(r mqtt.Result) { done <- r }); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.Err != nil {
		t.Fatal(r.Err)
	}
	got := make(chan mqtt.Message, 1)
	reader, err := dial(t, mqtt.Options{URL: s.URL(), Protocol: mqtt.V5, OnMessage: func(in *mqtt.Inbound) {
		got <- in.Message
		in.Ack()
	}})
	if err != nil {
		t.Fatal(err)
	}
	if refused, err := reader.Subscribe(t.Context(), mqtt.Subscription{Filter: "a/+", QoS: 1, SendRetained: true}); err != nil || refused[0] != nil {
		t.Fatal(refused, err)
	}
	select {
	case m := <-got:
		if m.Topic != sent.Topic || string(m.Payload) != "27.5" || !m.Retain || m.Properties == nil || m.Properties.ContentType != "text/plain" ||
			len(m.Properties.User) != 1 {
			t.Errorf("received %+v", m)
		}
	case <-time.After(20 * time.Second):
		t.Error("no retained message")
	}
}

func TestSettings(t *testing.T) {
	for _, set := range []map[string]string{{"protocol": "5"}, {"refusal": "2"}, {"tls": "perhaps"}, {"user": "x"}} {
		if s, err := Start(emulator.Options{Set: set}); err == nil {
			_ = s.Close()
			t.Errorf("%v is accepted", set)
		}
	}
}

func TestMosquittoTools(t *testing.T) {
	pub, sub := mqtttest.Program(t, "mosquitto_pub"), mqtttest.Program(t, "mosquitto_sub")
	s := start(t, "tls", "true", "username", "u", "password", "p")
	_, port, _ := strings.Cut(strings.TrimPrefix(s.URL(), "mqtts://"), ":")
	login := []string{"-h", "localhost", "-p", port, "--cafile", s.caFile, "-u", "u", "-P", "p", "-t", "t"}
	listen := exec.CommandContext(t.Context(), sub, append(login, "-C", "1", "-W", "20")...)
	var heard bytes.Buffer
	listen.Stdout = &heard
	if err := listen.Start(); err != nil {
		t.Fatal(err)
	}
	mqtttest.Eventually(t, "the subscription", func() bool { return s.Count("subscribe", true) == 1 })
	if out, err := exec.CommandContext(t.Context(), pub, append(login, "-m", "27", "-q", "2")...).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_pub: %v\n%s", err, out)
	}
	if err := listen.Wait(); err != nil || heard.String() != "27\n" {
		t.Errorf("mosquitto_sub heard %q, %v", heard.String(), err)
	}
}
