// Package web shows the state of a bridge over HTTP, read-only. It renders one bridge.Status and holds no state of its
// own, so that it cannot disagree with the rest.
//
// It listens on loopback addresses only, and answers only requests that name one as their host: a page on the internet
// whose name is made to point at 127.0.0.1 gets nothing.
package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"cloudbridge/bridge"
	"cloudbridge/internal/mqtt"
)

// shutdownTime is how long answers under way may still take when the server stops.
const shutdownTime = time.Second

// NotLoopbackError means that the address would be seen from the network.
type NotLoopbackError struct{ Listen string }

// Error says which address, and what to write instead.
func (e *NotLoopbackError) Error() string {
	return fmt.Sprintf("listen on %q: only this computer may look at the status; write 127.0.0.1:8080 or [::1]:8080", e.Listen)
}

// Listen opens the address, which must be a loopback one.
func Listen(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", address, err)
	}
	if !loopback(host) {
		return nil, &NotLoopbackError{Listen: address}
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	// A hosts file may call anything localhost.
	if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		_ = l.Close()
		return nil, &NotLoopbackError{Listen: address}
	}
	return l, nil
}

// Serve answers on l until ctx ends, then lets answers under way finish.
func Serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve the status: %w", err)
	case <-ctx.Done():
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if err := srv.Shutdown(late); err != nil {
		_ = srv.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the status: %w", err)
	}
	return nil
}

// Options say who may see what.
type Options struct {
	// Password, where set, is asked for before the status is shown; the user name does not matter.
	Password mqtt.Secret
	// Payloads is false where readings and commands are nobody's business.
	Payloads bool
}

// Handler answers /api/status, /healthz and /readyz from what status returns.
func Handler(status func() bridge.Status, o Options) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/status", func(w http.ResponseWriter, r *http.Request) {
		if !o.admits(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="cloudbridge", charset="UTF-8"`)
			http.Error(w, "the status wants the password of [web]", http.StatusUnauthorized)
			return
		}
		s := status()
		if !o.Payloads {
			withoutPayloads(&s)
		}
		writeJSON(w, http.StatusOK, s)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeText(w, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		r := readiness(status())
		code := http.StatusOK
		if !r.Ready {
			code = http.StatusServiceUnavailable
		}
		writeJSON(w, code, r)
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		writeText(w, "cloudbridge\n\n/api/status   everything, as JSON\n/readyz       200 when readings can cross, else 503 and why\n/healthz      200 while the process lives\n")
	})
	return guard(mux)
}

func (o Options) admits(r *http.Request) bool {
	if o.Password == "" {
		return true
	}
	// Digests are of one length, so that the comparison does not tell how long the password is.
	_, given, _ := r.BasicAuth()
	want, got := sha256.Sum256([]byte(o.Password.Reveal())), sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// withoutPayloads takes out what came in from boards and clouds. What status returned is a copy, but its slices are cloned
// all the same: nothing here may change what another reader sees.
func withoutPayloads(s *bridge.Status) {
	s.Clouds = slices.Clone(s.Clouds)
	for i := range s.Clouds {
		rejected := slices.Clone(s.Clouds[i].Rejected)
		for j := range rejected {
			rejected[j].Value = ""
		}
		s.Clouds[i].Rejected = rejected
	}
	s.Rules = slices.Clone(s.Rules)
	for i := range s.Rules {
		r := &s.Rules[i]
		r.LastValue = ""
		if r.LastProblem != nil {
			p := *r.LastProblem
			p.Payload = ""
			r.LastProblem = &p
		}
	}
}

// guard refuses foreign hosts and sets what every answer carries.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		if !loopback(hostname(r.Host)) {
			http.Error(w, "this status is for this computer: ask for localhost or 127.0.0.1", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func hostname(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
}

// loopback says whether a host can only mean this computer. Names other than localhost are not looked up: whoever owns
// the name decides where it points.
func loopback(host string) bool {
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// Readiness is the answer of /readyz.
type Readiness struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons,omitempty"`
}

// readiness is true when readings can cross: the local broker is there, and at least one cloud. One cloud being away is
// what the bridge is made for; the reasons name it all the same.
func readiness(s bridge.Status) Readiness {
	var r Readiness
	if !reached(s.Local) {
		r.Reasons = append(r.Reasons, "local broker: "+words(s.Local))
	}
	online := len(s.Clouds) == 0
	for _, c := range s.Clouds {
		if reached(c.LinkStatus) {
			online = true
			continue
		}
		r.Reasons = append(r.Reasons, c.Name+": "+words(c.LinkStatus))
	}
	r.Ready = reached(s.Local) && online
	return r
}

func reached(l bridge.LinkStatus) bool {
	switch l.State {
	case "online", "throttled", "backfilling":
		return true
	}
	return false
}

func words(l bridge.LinkStatus) string {
	state := l.State
	if state == "" {
		state = "not started"
	}
	if l.Why == "" {
		return state
	}
	return state + ": " + l.Why
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false) // It is read as it is, by people too, and never put into a page.
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		http.Error(w, "write the status: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(body.Bytes())
}

func writeText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(text))
}
