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
