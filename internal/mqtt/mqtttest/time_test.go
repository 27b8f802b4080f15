package mqtttest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"cloudbridge/internal/faketime"
	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
)

// timed runs a test in synthetic time, in each version, with a broker at the other end of a pipe.
func timed(t *testing.T, script mqtttest.Script, test func(t *testing.T, f *mqtttest.Fake, o mqtt.Options)) {
	t.Helper()
	both(t, func(t *testing.T, v mqtt.Protocol) {
		faketime.Test(t, func(t *testing.T) {
			f := mqtttest.NewFake(script)
			defer f.Close()
			test(t, f, mqtt.Options{URL: "mqtt://fake", Protocol: v, CleanStart: true, DialContext: f.Dial})
		})
	})
}

func dial(t *testing.T, o mqtt.Options) *mqtt.Session {
	t.Helper()
	s, err := mqtt.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAnIdleSessionOnlyPings(t *testing.T) {
	timed(t, mqtttest.Script{}, func(t *testing.T, f *mqtttest.Fake, o mqtt.Options) {
		s := dial(t, o)
		time.Sleep(time.Hour + time.Second)
		// Twice in each keepalive of 60 s.
		if n := len(f.Received(mqtttest.PINGREQ)); n != 120 {
			t.Errorf("%d PINGREQ in an hour, want 120", n)
		}
		if err := s.Err(); err != nil {
			t.Error(err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestABusySessionPingsNoMoreThanItMust(t *testing.T) {
	// The broker's confirmations are signs of life enough.
	timed(t, mqtttest.Script{}, func(t *testing.T, f *mqtttest.Fake, o mqtt.Options) {
		s := dial(t, o)
		for range 600 {
			time.Sleep(time.Second)
			if err := s.Publish(t.Context(), &mqtt.Message{Topic: "a", QoS: 1}, nil); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(f.Received(mqtttest.PINGREQ)); n != 0 {
			t.Errorf("%d PINGREQ beside 600 confirmed messages", n)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestASilentBrokerIsGivenUpInTime(t *testing.T) {
	const keepAlive = 40 * time.Second
	for name, traffic := range map[string]time.Duration{"idle": 0, "publishing": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			timed(t, mqtttest.Script{}, func(t *testing.T, f *mqtttest.Fake, o mqtt.Options) {
				o.KeepAlive = keepAlive
				s := dial(t, o)
				time.Sleep(7 * time.Second)
				f.Accepted().Silence()
				since := time.Now()
				r := &results{}
				for sent := 0; traffic > 0 && s.Err() == nil; sent++ {
					if err := s.Publish(t.Context(), &mqtt.Message{Topic: "a", QoS: byte(sent % 2)}, r.of(sent)); err != nil {
						break
					}
					time.Sleep(traffic)
				}
				<-s.Done()
				if took := time.Since(since); took > keepAlive*3/2 {
					t.Errorf("noticed after %v, more than one and a half keepalives", took)
				}
				if !errors.Is(s.Err(), mqtt.ErrSilent) {
					t.Errorf("the session ended with %v", s.Err())
				}
			})
		})
	}
}

func TestABrokerThatOnlySendsStillHearsFromUs(t *testing.T) {
	timed(t, mqtttest.Script{}, func(t *testing.T, f *mqtttest.Fake, o mqtt.Options) {
		o.KeepAlive = 20 * time.Second
		s := dial(t, o)
		broker := f.Accepted()
		last := time.Now()
		seen := 0
		for range 600 {
			time.Sleep(time.Second)
			broker.Publish(0, 0, "a", "x")
			synctest.Wait()
			if n := len(f.Received(mqtttest.PINGREQ)); n > seen {
				seen, last = n, time.Now()
			}
			if silence := time.Since(last); silence > o.KeepAlive {
				t.Fatalf("the broker heard nothing for %v", silence)
			}
		}
		if seen > 62 {
			t.Errorf("%d PINGREQ in 600 s", seen)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestALongUploadIsNotTakenForSilence(t *testing.T) {
	// The broker takes a piece each ten seconds and can answer the PINGREQ only when it has got it, behind the message.
	const pieces = 20
	timed(t, mqtttest.Script{}, func(t *testing.T, f *mqtttest.Fake, o mqtt.Options) {
		o.KeepAlive = 30 * time.Second
		slow := &slowPipe{}
		pipe := o.DialContext
		o.DialContext = slow.dial(pipe)
		s := dial(t, o)
		slow.pause.Store(int64(10 * time.Second))
		result := make(chan error, 1)
		m := &mqtt.Message{Topic: "a", QoS: 1, Payload: make([]byte, pieces*64<<10)}
		if err := s.Publish(t.Context(), m, func(r mqtt.Result) { result <- r.Err }); err != nil {
			t.Fatal(err)
		}
		if err := <-result; err != nil {
			t.Error(err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestClosingWaitsForABrokerOnlyAMoment(t *testing.T) {
	ignore := func(_ *mqtttest.Conn, p mqtttest.Packet) bool { return p.Kind == mqtttest.DISCONNECT }
	timed(t, mqtttest.Script{OnPacket: ignore}, func(t *testing.T, f *mqtttest.Fake, o mqtt.Options) {
		s := dial(t, o)
		since := time.Now()
		both := make(chan error, 2)
		for range 2 {
			go func() { both <- s.Close(context.Background()) }()
		}
		if err := errors.Join(<-both, <-both); err != nil {
			t.Error(err)
		}
		if took := time.Since(since); took > time.Second {
			t.Errorf("it took %v", took)
		}
		synctest.Wait()
		if n := len(f.Received(mqtttest.DISCONNECT)); n != 1 {
			t.Errorf("%d DISCONNECT packets", n)
		}
	})
}
