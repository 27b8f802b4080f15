package platformtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"

	"cloudbridge/internal/mqtt"
	"cloudbridge/platforms"
	"cloudbridge/platforms/emulator"
)

// patience is how long anything may take that takes no time on a healthy machine.
const patience = 20 * time.Second

// emulate sends the first delivery to the emulator, over a real connection, as a bridge would.
func (c *Case) emulate(t *testing.T) {
	if c.Emulator.Start == nil {
		t.Skip("no emulator")
	}
	if c.Emulator.Name != c.Kind.Name {
		t.Errorf("the emulator is called %q, the platform %q", c.Emulator.Name, c.Kind.Name)
	}
	e := c.start(t)
	p := At(t, c.Kind, e)
	var arrived bool
	out, err := p.Encode(c.Points)
	if err != nil {
		t.Fatal(err)
	}
	before := accepted(e)
	if out[0].Message != nil {
		s := Dial(t, p)
		publish(t, p, s, out[0].Message)
	} else {
		request(t, p, out[0].Request)
	}
	for deadline := time.Now().Add(patience); !arrived && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		arrived = accepted(e) > before
	}
	if !arrived {
		t.Errorf("nothing arrived:\n%s", Events(e))
	}
	for _, event := range e.Events() {
		if !event.Accepted {
			t.Errorf("the emulator refused: %+v", event)
		}
	}
}

func (c *Case) start(t *testing.T) emulator.Emulator {
	e, err := c.Emulator.Start(c.Options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Errorf("close twice: %v", err)
		}
	})
	return e
}

// accepted counts what an emulator took in, logging in and subscribing apart.
func accepted(e emulator.Emulator) (n int) {
	for _, event := range e.Events() {
		if event.Accepted && event.What != "login" && event.What != "subscribe" {
			n++
		}
	}
	return n
}

// Events writes what an emulator saw, for the message of a test that failed.
func Events(e emulator.Emulator) string {
	var b strings.Builder
	for _, event := range e.Events() {
		fmt.Fprintf(&b, "%s accepted %v client %q topic %q payload %q %s\n", event.What, event.Accepted, event.ClientID, event.Topic,
			event.Payload, event.Why)
	}
	return b.String()
}

// At opens the platform that an emulator's own Config describes.
func At(t testing.TB, k platforms.Kind, e emulator.Emulator) platforms.Platform {
	t.Helper()
	return Open(t, k, e.Config("test"))
}

// Open opens the platform of a configuration with a single [cloud.<name>] table, read as strictly as the bridge reads it.
func Open(t testing.TB, k platforms.Kind, config string) platforms.Platform {
	t.Helper()
	var file struct {
		Cloud map[string]map[string]any `toml:"cloud"`
	}
	if err := toml.Unmarshal([]byte(config), &file); err != nil {
		t.Fatalf("%v in\n%s", err, config)
	}
	if len(file.Cloud) != 1 {
		t.Fatalf("want one [cloud.<name>] table in\n%s", config)
	}
	table := k.NewCloud()
	for _, keys := range file.Cloud {
		if keys["platform"] != k.Name {
			t.Fatalf("platform %v, want %s", keys["platform"], k.Name)
		}
		delete(keys, "platform")
		if err := fill(reflect.ValueOf(table).Elem(), keys); err != nil {
			t.Fatalf("%v in\n%s", err, config)
		}
	}
	p, err := k.Open(table)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return p
}

// fill puts keys into the fields with these tags.
func fill(s reflect.Value, keys map[string]any) error {
	for key, v := range keys {
		field, ok := find(s, key)
		if !ok {
			if field, ok = find(s, strings.TrimSuffix(key, "_file")); ok && strings.HasSuffix(key, "_file") {
				b, err := os.ReadFile(fmt.Sprint(v))
				if err != nil {
					return err
				}
				v = strings.TrimSpace(string(b))
			} else {
				return fmt.Errorf("no such key: %s", key)
			}
		}
		if err := set(field, v); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

func find(s reflect.Value, key string) (reflect.Value, bool) {
	for _, f := range reflect.VisibleFields(s.Type()) {
		tag, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		if !f.Anonymous && f.IsExported() && tag == key {
			return s.FieldByIndex(f.Index), true
		}
	}
	return reflect.Value{}, false
}

func set(field reflect.Value, v any) error {
	if _, ok := field.Interface().(time.Duration); ok {
		d, err := time.ParseDuration(fmt.Sprint(v))
		field.SetInt(int64(d))
		return err
	}
	table, isTable := v.(map[string]any)
	switch {
	case isTable && field.Kind() == reflect.Map:
		field.Set(reflect.MakeMap(field.Type()))
		for name, inner := range table {
			e := reflect.New(field.Type().Elem()).Elem()
			if err := set(e, inner); err != nil {
				return err
			}
			field.SetMapIndex(reflect.ValueOf(name), e)
		}
		return nil
	case isTable && field.Kind() == reflect.Struct:
		return fill(field, table)
	}
	got := reflect.ValueOf(v)
	if !got.CanConvert(field.Type()) || (got.Kind() == reflect.String) != (field.Kind() == reflect.String) {
		return fmt.Errorf("%v is no %s", v, field.Type())
	}
	field.Set(got.Convert(field.Type()))
	return nil
}

// Dial connects to where a platform says, once, with the highest version of MQTT that it allows.
func Dial(t testing.TB, p platforms.Platform, change ...func(*mqtt.Options)) *mqtt.Session {
	t.Helper()
	o, ok := p.Session()
	if !ok {
		t.Fatal("this platform has no session")
	}
	if o.Protocol == mqtt.Auto {
		o.Protocol = mqtt.V5
	}
	if o.ClientID == "" {
		o.ClientID = "platformtest"
	}
	o.CleanStart = true
	if o.OnMessage == nil {
		o.OnMessage = func(in *mqtt.Inbound) { in.Ack() }
	}
	for _, f := range change {
		f(&o)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := mqtt.Dial(ctx, o)
	if err != nil {
		t.Fatalf("dial %s: %v", o.URL, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = s.Close(ctx)
	})
	return s
}

// publish sends a message and waits for what the platform counts as its confirmation.
func publish(t *testing.T, p platforms.Platform, s *mqtt.Session, m *mqtt.Message) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	done := make(chan mqtt.Result, 1)
	if err := s.Publish(ctx, m, func(r mqtt.Result) { done <- r }); err != nil {
		t.Fatalf("publish: %v", err)
	}
	select {
	case r := <-done:
		if r.Err != nil {
			t.Fatalf("publish: %v", r.Err)
		}
	case <-ctx.Done():
		t.Fatal("no answer to the message")
	}
	if p.Limits().Confirm == platforms.ByPing {
		if err := s.Ping(ctx); err != nil {
			t.Fatalf("ping: %v", err)
		}
	}
}

func request(t *testing.T, p platforms.Platform, r *platforms.Request) {
	t.Helper()
	confirmed(t, p, r, false)
}

func historyRequest(t *testing.T, p platforms.Platform, r *platforms.Request) {
	t.Helper()
	confirmed(t, p, r, true)
}

// confirmed makes a request, whose answer must be a confirmation.
func confirmed(t *testing.T, p platforms.Platform, r *platforms.Request, history bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range r.Header {
		q.Header[k] = v
	}
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	if v := p.Judge(platforms.Reply{HTTPStatus: a.StatusCode, Body: body, History: history}); v.Outcome != platforms.Confirmed {
		t.Fatalf("HTTP %d %s: %+v", a.StatusCode, body, v)
	}
}
