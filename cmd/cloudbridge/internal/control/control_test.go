package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudbridge/bridge"
)

// fake is a bridge with the refused points of one cloud.
type fake struct {
	list     []bridge.Rejected
	asked    []string
	stopping bool
}

func (f *fake) note(what, cloud string, ids []uint64) error {
	f.asked = append(f.asked, fmt.Sprint(what, " ", cloud, " ", ids))
	if f.stopping {
		return bridge.ErrStopping
	}
	if cloud != "溫度 /?" {
		return fmt.Errorf("%s: %w", cloud, bridge.ErrNoCloud)
	}
	return nil
}

func (f *fake) Rejected(cloud string) ([]bridge.Rejected, error) {
	return f.list, f.note("list", cloud, nil)
}

func (f *fake) Retry(cloud string, ids []uint64) (bridge.Handled, error) {
	return bridge.Handled{Done: 2, Lost: 1}, f.note("retry", cloud, ids)
}

func (f *fake) Drop(cloud string, ids []uint64) (bridge.Handled, error) {
	return bridge.Handled{Done: 1, Missing: []uint64{9}}, f.note("drop", cloud, ids)
}

// dir is a folder with a short path: sockets take no long one.
func dir(t *testing.T) string {
	t.Helper()
	d, err := os.MkdirTemp("", "ctl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(d) })
	return d
}

func serve(t *testing.T, d string, b Bridge) (stop func()) {
	t.Helper()
	stop, err := Serve(d, b, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return stop
}

func TestAskAndAnswer(t *testing.T) {
	d := dir(t)
	f := &fake{list: []bridge.Rejected{{ID: 7, Time: time.Date(2026, 11, 20, 8, 0, 0, 5, time.UTC), Address: "1001", Value: "溫度\n27", Why: "no key"}}}
	stop := serve(t, d, f)
	defer stop()
	c := Dial(d)
	const cloud = "溫度 /?" // A name that an address must not take apart.
	list, err := c.Rejected(cloud)
	if err != nil || len(list) != 1 || list[0] != f.list[0] {
		t.Errorf("list: %+v, %v", list, err)
	}
	if h, err := c.Retry(cloud, nil); err != nil || h.Done != 2 || h.Lost != 1 {
		t.Errorf("retry: %+v, %v", h, err)
	}
	if h, err := c.Drop(cloud, []uint64{3, 9}); err != nil || h.Done != 1 || len(h.Missing) != 1 {
		t.Errorf("drop: %+v, %v", h, err)
	}
	if _, err := c.Rejected("other"); err == nil || err.Error() != "other: there is no such cloud" {
		t.Errorf("another cloud: %v", err)
	}
	want := []string{"list 溫度 /? []", "retry 溫度 /? []", "drop 溫度 /? [3 9]", "list other []"}
	if !slices.Equal(f.asked, want) {
		t.Errorf("asked %q, want %q", f.asked, want)
	}
	f.stopping = true
	if _, err := c.Retry(cloud, nil); err == nil || err.Error() != bridge.ErrStopping.Error() {
		t.Errorf("while it stops: %v", err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	d := dir(t)
	if _, err := Dial(d).Rejected("a"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("without a socket: %v", err)
	}
	stop := serve(t, d, &fake{})
	stop()
	if _, err := os.Lstat(Path(d)); err == nil {
		t.Error("the socket is there after the end")
	}
	if _, err := Dial(d).Rejected("a"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the end: %v", err)
	}
}

// TestLeftBehind takes the place of the socket of a bridge that crashed.
func TestLeftBehind(t *testing.T) {
	d := dir(t)
	l, err := net.Listen("unix", Path(d))
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(d).Rejected("a"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a socket that was left: %v", err)
	}
	stop := serve(t, d, &fake{})
	defer stop()
	if _, err := Dial(d).Rejected("溫度 /?"); err != nil {
		t.Errorf("in its place: %v", err)
	}
}

func TestMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such modes")
	}
	d := dir(t)
	defer serve(t, d, &fake{})()
	info, err := os.Stat(Path(d))
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket has mode %v, %v", info.Mode(), err)
	}
}

func TestNoSocket(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	d := dir(t)
	if err := os.WriteFile(Path(d), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Serve(d, &fake{}, log); err == nil || !strings.Contains(err.Error(), "something else has its name") {
		t.Errorf("in the place of a file: %v", err)
	}
	if data, err := os.ReadFile(Path(d)); err != nil || string(data) != "precious" {
		t.Errorf("the file was harmed: %q, %v", data, err)
	}
	long := filepath.Join(d, strings.Repeat("long", 50))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Serve(long, &fake{}, log); err == nil || !strings.Contains(err.Error(), "too long for a socket") {
		t.Errorf("with a long path: %v", err)
	}
	var u *UnreachableError
	if _, err := Dial(long).Rejected("a"); !errors.As(err, &u) || !strings.Contains(err.Error(), "too long for a socket") {
		t.Errorf("a question with a long path: %v", err)
	}
}

// TestBadQuestions are what no client of ours sends.
func TestBadQuestions(t *testing.T) {
	d := dir(t)
	f := &fake{}
	defer serve(t, d, f)()
	c := Dial(d)
	for _, tt := range []struct {
		method, path, body string
		code               int
	}{
		{"POST", "/rejected/a/retry", "", 400},
		{"POST", "/rejected/a/retry", `{"ids":["x"]}`, 400},
		{"POST", "/rejected/a/drop", `{"every":true}`, 400},
		{"POST", "/rejected/a/drop", `{"ids":[` + strings.Repeat("1,", mostBody) + `1]}`, 400},
		{"GET", "/rejected/a/drop", "", 405},
		{"POST", "/rejected/a", "", 405},
		{"GET", "/", "", 404},
	} {
		req, err := http.NewRequestWithContext(context.Background(), tt.method, "http://bridge"+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != tt.code {
			t.Errorf("%s %s %.40s: %d, want %d", tt.method, tt.path, tt.body, res.StatusCode, tt.code)
		}
	}
	if len(f.asked) > 0 {
		t.Errorf("the bridge was asked %q", f.asked)
	}
	if err := c.ask("GET", "/status", nil, nil); err == nil || !strings.Contains(err.Error(), "another version") {
		t.Errorf("a question that it does not know: %v", err)
	}
}
