package bridge

import (
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
)

func TestTraffic(t *testing.T) {
	var tr traffic
	m := &mqtt.Message{Topic: "12345", Payload: []byte("67890")}
	november := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	for i, want := range []bool{false, false, true, false} {
		if got := tr.add(m, november, 25); got != want {
			t.Errorf("message %d of 10 bytes, 25 allowed: used %v, want %v", i+1, got, want)
		}
	}
	if got := tr.state(); got != (trafficMonth{Month: "2026-11", Bytes: 40}) {
		t.Errorf("counted %+v", got)
	}
	if tr.add(m, november.AddDate(0, 1, 0), 25) || tr.state().Bytes != 10 {
		t.Errorf("a new month began with %+v", tr.state())
	}
	if tr.add(m, november.AddDate(0, 1, 0), 0) {
		t.Error("warned without an allowance")
	}
}

// TestTrafficTurnsWithTheClock sets the clock: each message counts for the month in which the clock then is, in a zone whose
// midnight is not at a full hour of the others'.
func TestTrafficTurnsWithTheClock(t *testing.T) {
	var tr traffic
	m := &mqtt.Message{Topic: "12345", Payload: []byte("67890")}
	nepal := time.FixedZone("Nepal", 5*60*60+45*60)
	for _, tt := range []struct {
		what, month string
		now         time.Time
	}{
		{"before midnight", "2026-11", time.Date(2026, 11, 30, 23, 59, 59, 0, nepal)},
		{"midnight", "2026-12", time.Date(2026, 12, 1, 0, 0, 0, 0, nepal)},
		{"set forward", "2031-02", time.Date(2031, 2, 3, 0, 0, 0, 0, nepal)},
		{"set back", "2026-12", time.Date(2026, 12, 1, 0, 0, 1, 0, nepal)},
		{"set back a little", "2026-11", time.Date(2026, 11, 30, 23, 0, 0, 0, nepal)},
	} {
		if tr.add(m, tt.now, 25); tr.state() != (trafficMonth{Month: tt.month, Bytes: 10}) {
			t.Errorf("%s: %+v, want the first message of %s", tt.what, tr.state(), tt.month)
		}
	}
}
