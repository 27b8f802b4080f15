package clock

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSynchronised(t *testing.T) {
	tests := map[string]struct {
		state  int
		status int32
		err    error
		marker bool
		want   bool
		why    string
		fails  bool
	}{
		"synchronised":                         {state: unix.TIME_OK, status: unix.STA_PLL, want: true, why: "kernel"},
		"a leap second is near":                {state: unix.TIME_INS, status: unix.STA_PLL | unix.STA_INS, want: true, why: "kernel"},
		"not synchronised":                     {state: unix.TIME_ERROR, status: unix.STA_UNSYNC, why: "not synchronised"},
		"an error of the clock":                {state: unix.TIME_ERROR, why: "not synchronised"},
		"the flag alone":                       {state: unix.TIME_OK, status: unix.STA_UNSYNC, why: "not synchronised"},
		"timesyncd's marker":                   {state: unix.TIME_ERROR, status: unix.STA_UNSYNC, marker: true, want: true, why: "timesyncd"},
		"forbidden, as in some containers":     {err: unix.EPERM, fails: true},
		"forbidden, but the marker is visible": {err: unix.EPERM, marker: true, want: true, why: "timesyncd", fails: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if tt.marker {
				write(t, filepath.Join(root, markerFile), "")
			}
			ok, why, err := linux(root, func(x *unix.Timex) (int, error) {
				if x.Modes != 0 {
					t.Errorf("modes %#x would set the clock", x.Modes)
				}
				x.Status = tt.status
				return tt.state, tt.err
			}).Synchronised()
			if ok != tt.want || !strings.Contains(why, tt.why) || !ok && (err != nil) != tt.fails {
				t.Errorf("got %v, %q, %v, want %v, %q", ok, why, err, tt.want, tt.why)
			}
			if tt.fails && !ok && !errors.Is(err, tt.err) {
				t.Errorf("the error is %v, want %v in it", err, tt.err)
			}
		})
	}
}

func TestBootIDFile(t *testing.T) {
	root := t.TempDir()
	s := linux(root, unix.Adjtimex)
	if id, err := s.BootID(); err == nil {
		t.Errorf("no file gave %q", id)
	}
	write(t, filepath.Join(root, bootIDFile), "0c1e4c9e-7f7a-4d06-a2f5-8a7a9b3d6f11\n")
	if id, err := s.BootID(); err != nil || id != "0c1e4c9e-7f7a-4d06-a2f5-8a7a9b3d6f11" {
		t.Errorf("got %q, %v", id, err)
	}
}

// TestThisComputer asks the real kernel: the answers must be such as a running system gives.
func TestThisComputer(t *testing.T) {
	a, b := New(), New()
	if a.BootID() != b.BootID() || strings.HasPrefix(a.BootID(), "process-") {
		t.Errorf("one boot is called %q and %q", a.BootID(), b.BootID())
	}
	first := a.SinceBoot()
	if first <= 0 || b.SinceBoot() < first {
		t.Errorf("the boot lasted %v, and then %v", first, b.SinceBoot())
	}
	a.Check(time.Now())
	ok, why := a.Right()
	t.Logf("this computer's clock is right: %v (%s)", ok, why)
	if why == "" {
		t.Error("no reason is given")
	}
	a.Saw(time.Now(), time.Now())
	if ok, why := a.Right(); !ok {
		t.Errorf("the clock agrees with itself and is not right: %s", why)
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
