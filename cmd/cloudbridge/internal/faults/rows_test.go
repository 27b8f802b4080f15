package faults

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloudbridge/cmd/cloudbridge/internal/trial"
	"cloudbridge/internal/faultproxy"
	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/thingspeak/thingspeaktest"
)

// rowEvery is the interval of a channel that takes a row a second: the bridge keeps a margin of 0.7 s.
const rowEvery = 1700 * time.Millisecond

// TestFaultsSampledRows kills the bridge with -9 after ten intervals in which ThingSpeak was dead. The rule samples, so what came
// in during the last two intervals may be gone; everything before is there after the next start, at its right time.
func TestFaultsSampledRows(t *testing.T) {
	if !full {
		t.Skip("takes half a minute; CLOUDBRIDGE_FAULTS=full runs it")
	}
	w := &world{T: t, house: mqtttest.Mosquitto(t, "max_queued_messages 0")}
	channel, err := thingspeaktest.New(thingspeaktest.Options{Options: emulator.Options{
		Set: map[string]string{"interval": "1s", "bulk_interval": "1s"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = channel.Close() })
	w.wan = trial.Line(t, trial.HostOf(channel.URL()))
	api := trial.Line(t, trial.HostOf(channel.APIURL()))
	table := channel.Config("weather")
	table = strings.ReplaceAll(table, trial.HostOf(channel.URL()), w.wan.Addr())
	table = strings.ReplaceAll(table, trial.HostOf(channel.APIURL()), api.Addr())
	text := fmt.Sprintf(`[bridge]
name = "lab1"
[local]
url = %q
client_id = "lab1-0001"
[queue]
dir = %q
[web]
listen = "off"
[log]
level = "debug"
%s
[[uplink]]
local = "fault/0"
cloud = "weather"
channel = 1001
field = 1
`, w.house.URL, filepath.Join(t.TempDir(), "queue"), table)
	w.bridge = trial.New(t, trial.Build(t, race), text)
	for _, p := range []*faultproxy.Proxy{w.wan, api} {
		p.Refuse()
	}
	w.bridge.Start()
	mqtttest.Eventually(t, "the bridge to subscribe", func() bool { return strings.Contains(w.house.Log(), " 1 fault/0\n") })
	w.publish(topics * 10) // ten a second for the one topic that the rule reads
	w.flow(10*rowEvery + rowEvery/2)
	_ = w.bridge.Kill(syscall.SIGKILL)
	killed := time.Now()
	sent := w.board.End()
	for _, p := range []*faultproxy.Proxy{w.wan, api} {
		w.resume(p)
	}
	w.bridge.Start()
	saved := 0
	for quiet, began := time.Now(), time.Now(); time.Since(quiet) < 6*time.Second && time.Since(began) < time.Minute; w.flow(100 * time.Millisecond) {
		if n := len(channel.Feed(1001)); n > saved {
			saved, quiet = n, time.Now()
		}
	}
	w.stop()
	w.judgeRows(channel, sent, killed)
}

// judgeRows compares the rows of the channel with what Mosquitto had taken before the kill.
func (w *world) judgeRows(channel *thingspeaktest.Cloud, sent []trial.Message, killed time.Time) {
	w.Helper()
	rows := thingspeaktest.ByTime(channel.Feed(1001))
	var before []thingspeaktest.Entry // rows of what came before the kill; Mosquitto kept what came later
	newest := time.Time{}
	for _, r := range rows {
		n, err := strconv.Atoi(r.Values["field1"])
		if err != nil || n >= len(sent) {
			w.Fatalf("a row says %v", r.Values)
		}
		if at := sent[n].Acked; at.Before(killed) {
			before = append(before, r)
			if at.After(newest) {
				newest = at
			}
			// The cloud counts whole seconds, and rows never share one.
			if off := r.Created.Sub(at).Abs(); off > 2*time.Second {
				w.Errorf("the row of %v says that it is of %v", at, r.Created)
			}
		}
	}
	for i := 1; i < len(before); i++ {
		if gap := before[i].Created.Sub(before[i-1].Created); gap > rowEvery+1500*time.Millisecond {
			w.Errorf("a gap of %v behind the row of %v", gap, before[i-1].Created)
		}
	}
	lost := killed.Sub(newest)
	w.Logf("killed after 10.5 intervals: %d rows came back, and of the last %.1f intervals nothing", len(before), lost.Seconds()/rowEvery.Seconds())
	const reading = 100 * time.Millisecond
	if most := 2*rowEvery + 3*reading; lost > most {
		w.Errorf("the readings of the last %v are lost, want at most those of %v", lost, most)
	}
	for _, e := range channel.Events() {
		// To ask for the time by HEAD / is no use of the channel.
		if !e.Accepted && !strings.HasPrefix(e.Topic, "HEAD ") {
			w.Errorf("refused: %+v", e)
		}
	}
}
