package bridge

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"cloudbridge/internal/faketime"
	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
)

// TestClosedRightAfterLogin has a broker, or a line, that cuts each session a second after its login. Whether that looks like
// two clients with one id depends on whether the broker is one that would tell.
func TestClosedRightAfterLogin(t *testing.T) {
	const perhaps, sure = "perhaps another bridge or program uses the client id", "another client with the same client id"
	for name, tt := range map[string]struct {
		protocol mqtt.Protocol
		told     int // the session at whose end the broker says that another client took it over
		want     string
		not      string
		slow     bool
	}{
		"3.1.1, which cannot tell":    {protocol: mqtt.V311, want: perhaps, slow: true},
		"a broker that has not told":  {protocol: mqtt.V5, want: perhaps, slow: true},
		"a broker that has told once": {protocol: mqtt.V5, told: 2, want: sure, not: perhaps},
	} {
		t.Run(name, func(t *testing.T) {
			faketime.Test(t, func(t *testing.T) {
				f := mqtttest.NewFake(mqtttest.Script{})
				var log lockedLog
				sessions := 0
				l := &link{
					name: "far", title: "the broker", log: slog.New(slog.NewTextHandler(&log, nil)), dial: mqtt.Dial, scale: 1,
					options: func() mqtt.Options {
						return mqtt.Options{
							URL: "mqtt://fake", Protocol: tt.protocol, ClientID: "lab1", CleanStart: true, DialContext: f.Dial,
							OnMessage: func(*mqtt.Inbound) {},
						}
					},
					judge: judgeLocal, retry: newRetry(false, 1, func() float64 { return 0.5 }),
					onUp: func(context.Context, *mqtt.Session) error {
						sessions++
						c, tell := f.Accepted(), sessions == tt.told
						time.AfterFunc(time.Second, func() {
							if tell {
								c.Goodbye(0x8E, "")
							}
							c.Drop()
						})
						return nil
					},
					onDown: func(error) {},
				}
				l.init()
				ctx, cancel := context.WithCancel(context.Background())
				var running sync.WaitGroup
				running.Go(func() { l.run(ctx) })
				time.Sleep(10 * time.Minute)
				cancel()
				running.Wait()
				f.Close()
				if !log.has(tt.want) || tt.not != "" && log.has(tt.not) {
					t.Errorf("want %q and not %q, the log is\n%s", tt.want, tt.not, &log)
				}
				if n := f.Logins(); (n < 100) != tt.slow {
					t.Errorf("%d logins in ten minutes, want few: %v", n, tt.slow)
				}
			})
		})
	}
}
