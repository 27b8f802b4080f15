package bridge

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cloudbridge/internal/faketime"
	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
)

// TestNoSecondReader gives a connection up that could not be made ready, and whose reading goroutine is held up, as by a disk:
// the link dials anew only when that one is done, for the next session's uses the same memory.
func TestNoSecondReader(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		f := mqtttest.NewFake(mqtttest.Script{})
		release, first := make(chan struct{}), true
		held := sync.OnceFunc(func() { <-release })
		l := &link{
			name: "far", title: "the cloud", log: slog.New(slog.DiscardHandler), dial: mqtt.Dial, scale: 1,
			options: func() mqtt.Options {
				return mqtt.Options{
					URL: "mqtt://fake", Protocol: mqtt.V5, ClientID: "lab1", CleanStart: true, DialContext: f.Dial,
					OnMessage: func(*mqtt.Inbound) { held() },
				}
			},
			judge: judgeLocal, retry: newRetry(false, 1, nil),
			onUp: func(ctx context.Context, _ *mqtt.Session) error {
				if first {
					first = false
					sleep(ctx, time.Second)
					return errors.New("not ready")
				}
				return nil
			},
			onDown: func(error) {},
		}
		l.init()
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { l.run(ctx) })
		broker := f.Accepted()
		synctest.Wait()
		broker.Publish(0, 0, "a", "x")
		time.Sleep(time.Minute)
		if n := f.Logins(); n != 1 {
			t.Errorf("%d logins while the first session still hands messages on", n)
		}
		close(release)
		time.Sleep(time.Minute)
		if n := f.Logins(); n != 2 {
			t.Errorf("%d logins in all, want 2", n)
		}
		cancel()
		running.Wait()
		f.Close()
	})
}
