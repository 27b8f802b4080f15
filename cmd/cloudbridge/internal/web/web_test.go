package web

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"cloudbridge/bridge"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

var all = Options{Payloads: true}

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

func sample() bridge.Status {
	return bridge.Status{
		Name: "lab1", Version: "v1.0.0", ClientID: "lab1-3f2a",
		Started: at("2026-11-20T08:00:00Z"), Now: at("2026-11-20T09:00:00Z"),
		Process: bridge.ProcessStatus{Goroutines: 31},
		Local: bridge.LinkStatus{
			State: "online", Since: at("2026-11-20T08:00:01Z"), URL: "mqtt://localhost:1883", Protocol: "5",
			Logins: 1, Received: 120, Sent: 4,
		},
		Clouds: []bridge.CloudStatus{{
			Name: "weather", Platform: "thingspeak",
			LinkStatus: bridge.LinkStatus{State: "offline", Since: at("2026-11-20T08:59:00Z"), Why: "connection refused", Next: at("2026-11-20T09:00:10Z"), URL: "mqtts://mqtt3.thingspeak.com:8883", Logins: 2, Sent: 40},
			Counts:     bridge.Counts{Waiting: 2, Sent: 40, Replaced: 70, Reasons: map[string]uint64{"replaced: joined into one row": 70}},
			Lanes: []bridge.LaneStatus{{
				Name: "1001", Waiting: 2, Bytes: 80, NextSlot: at("2026-11-20T09:00:03Z"),
			}},
			Rejected: []bridge.Rejected{{ID: 3, Lane: "1001", Time: at("2026-11-20T08:30:00Z"), Address: "1001 field1", Value: "長", Why: "longer than 255 bytes"}},
		}, {
			Name: "home", Platform: "adafruit-io",
			LinkStatus: bridge.LinkStatus{State: "throttled", Since: at("2026-11-20T08:59:50Z"), Why: "asks to slow down: waiting 22 s", URL: "mqtts://io.adafruit.com:8883"},
		}},
		Rules: []bridge.RuleStatus{{
			Label: "cloudbridge.toml:31 iot/+/temp", Direction: "up", Cloud: "weather", Counts: bridge.Counts{Sent: 40},
			LastProblem: &bridge.Problem{Time: at("2026-11-20T08:10:00Z"), Topic: "iot/pi/temp", Payload: "hot", Why: "not a number"},
			LastValue:   "27.5", LastAt: at("2026-11-20T08:59:59Z"),
		}},
	}
}

func get(t *testing.T, h http.Handler, method, path, host string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	r.Host = host
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestStatusGolden(t *testing.T) {
	r := get(t, Handler(sample, all), "GET", "/api/status", "localhost:8080")
	if r.StatusCode != http.StatusOK {
		t.Fatalf("status %d", r.StatusCode)
	}
	if got, want := r.Header.Get("Content-Type"), "application/json; charset=utf-8"; got != want {
		t.Errorf("Content-Type %q, want %q", got, want)
	}
	if got := r.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q, want no-store", got)
	}
	got := body(t, r)
	const golden = "testdata/status.json"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("JSON (-want +got):\n%s", d)
	}
}

func TestHosts(t *testing.T) {
	tests := []struct {
		host string
		want int
	}{
		{"localhost", 200},
		{"LOCALHOST:8080", 200},
		{"lab1.localhost:8080", 200},
		{"127.0.0.1:8080", 200},
		{"127.9.9.9", 200},
		{"[::1]:8080", 200},
		{"[::1]", 200},
		{"evil.example:8080", 421},
		{"localhost.evil.example", 421},
		{"192.168.1.5:8080", 421},
		{"0.0.0.0:8080", 421},
		{"", 421},
	}
	for _, path := range []string{"/api/status", "/healthz"} {
		for _, tt := range tests {
			r := get(t, Handler(sample, all), "GET", path, tt.host)
			if r.StatusCode != tt.want {
				t.Errorf("%s, Host %q: status %d, want %d", path, tt.host, r.StatusCode, tt.want)
			}
			if b := body(t, r); tt.want != 200 && strings.Contains(b, "lab1") {
				t.Errorf("%s, Host %q: the refusal tells the status: %s", path, tt.host, b)
			}
		}
	}
}

func TestReadOnly(t *testing.T) {
	h := Handler(sample, all)
	for _, path := range []string{"/", "/api/status", "/healthz", "/readyz"} {
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
			if r := get(t, h, method, path, "localhost"); r.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: status %d, want 405", method, path, r.StatusCode)
			}
		}
	}
	if r := get(t, h, "GET", "/nothing", "localhost"); r.StatusCode != http.StatusNotFound {
		t.Errorf("unknown path: status %d, want 404", r.StatusCode)
	}
	if r := get(t, h, "GET", "/", "localhost"); !strings.Contains(body(t, r), "/api/status") {
		t.Error("the first page does not say where the status is")
	}
}

func TestReady(t *testing.T) {
	link := func(state, why string) bridge.LinkStatus { return bridge.LinkStatus{State: state, Why: why} }
	tests := []struct {
		name   string
		local  bridge.LinkStatus
		clouds []bridge.LinkStatus
		want   Readiness
	}{
		{"all well", link("online", ""), []bridge.LinkStatus{link("online", "")}, Readiness{Ready: true}},
		{
			"one of two", link("online", ""),
			[]bridge.LinkStatus{link("offline", "no route"), link("throttled", "22 s")},
			Readiness{Ready: true, Reasons: []string{"c0: offline: no route"}},
		},
		{
			"no local broker", link("connecting", "connection refused"),
			[]bridge.LinkStatus{link("online", "")},
			Readiness{Reasons: []string{"local broker: connecting: connection refused"}},
		},
		{
			"no cloud", link("online", ""),
			[]bridge.LinkStatus{link("refused", "wrong password"), link("connecting", "")},
			Readiness{Reasons: []string{"c0: refused: wrong password", "c1: connecting"}},
		},
		{
			"a page with signs", link("online", ""),
			[]bridge.LinkStatus{link("refused", "look at <devices> & more")},
			Readiness{Reasons: []string{"c0: refused: look at <devices> & more"}},
		},
		{"before the start", bridge.LinkStatus{}, nil, Readiness{Reasons: []string{"local broker: not started"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := bridge.Status{Local: tt.local}
			for i, l := range tt.clouds {
				s.Clouds = append(s.Clouds, bridge.CloudStatus{Name: "c" + string(rune('0'+i)), LinkStatus: l})
			}
			r := get(t, Handler(func() bridge.Status { return s }, all), "GET", "/readyz", "localhost")
			want := http.StatusServiceUnavailable
			if tt.want.Ready {
				want = http.StatusOK
			}
			if r.StatusCode != want {
				t.Errorf("status %d, want %d", r.StatusCode, want)
			}
			text := body(t, r)
			if strings.Contains(text, `\u003`) || strings.Contains(tt.name, "page") != strings.Contains(text, "<devices> & more") {
				t.Errorf("not for people: %s", text)
			}
			var got Readiness
			if err := json.Unmarshal([]byte(text), &got); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("answer (-want +got):\n%s", d)
			}
		})
	}
}

func TestListen(t *testing.T) {
	for _, address := range []string{":8080", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.org:0", "8080", ""} {
		l, err := Listen(address)
		if err == nil {
			_ = l.Close()
			t.Errorf("Listen(%q) opened %v", address, l.Addr())
			continue
		}
		if address == ":8080" {
			var e *NotLoopbackError
			if !errors.As(err, &e) || !strings.Contains(err.Error(), "127.0.0.1:8080") {
				t.Errorf("Listen(%q): error %q does not say what to write", address, err)
			}
		}
	}
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

func TestServeStops(t *testing.T) {
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked, release := make(chan struct{}), make(chan struct{})
	h := Handler(func() bridge.Status {
		close(asked)
		<-release
		return sample()
	}, all)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, l, h, slog.New(slog.DiscardHandler)) }()

	answered := make(chan error, 1)
	go func() {
		r, err := http.Get("http://" + l.Addr().String() + "/api/status")
		if err == nil {
			_, err = io.ReadAll(r.Body)
			_ = r.Body.Close()
		}
		answered <- err
	}()
	<-asked
	cancel()
	close(release)
	if err := <-answered; err != nil {
		t.Errorf("the answer under way was cut: %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := http.Get("http://" + l.Addr().String() + "/healthz"); err == nil {
		t.Error("still answers after the end")
	}
}

func TestPassword(t *testing.T) {
	h := Handler(sample, Options{Password: "geheim", Payloads: true})
	for _, tt := range []struct {
		password string
		want     int
	}{{"geheim", 200}, {"", 401}, {"gehei", 401}, {"geheim ", 401}} {
		r := httptest.NewRequest("GET", "/api/status", nil)
		r.Host = "localhost"
		if tt.password != "" {
			r.SetBasicAuth("anyone", tt.password)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("password %q: status %d, want %d", tt.password, w.Code, tt.want)
		}
		if w.Code == 401 && (strings.Contains(w.Body.String(), "lab1") || w.Header().Get("WWW-Authenticate") == "") {
			t.Errorf("password %q: the refusal is %v %s", tt.password, w.Header(), w.Body)
		}
	}
	if r := get(t, h, "GET", "/healthz", "localhost"); r.StatusCode != 200 {
		t.Errorf("/healthz: status %d: whoever watches the process has no password", r.StatusCode)
	}
}

func TestWithoutPayloads(t *testing.T) {
	s := sample()
	got := body(t, get(t, Handler(func() bridge.Status { return s }, Options{}), "GET", "/api/status", "localhost"))
	for _, payload := range []string{"長", "27.5", `"hot"`} {
		if strings.Contains(got, payload) {
			t.Errorf("payload %s is shown:\n%s", payload, got)
		}
	}
	if d := cmp.Diff(sample(), s); d != "" {
		t.Errorf("the status was changed for others (-want +got):\n%s", d)
	}
}
