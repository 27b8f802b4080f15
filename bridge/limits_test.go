package bridge

import (
	"fmt"
	"net"
	"testing"
	"time"

	"cloudbridge/internal/faketime"
	"cloudbridge/internal/mqtt"
	"cloudbridge/platforms/adafruitio"
	"cloudbridge/platforms/adafruitio/adafruitiotest"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/generic/generictest"
	"cloudbridge/platforms/thingspeak"
	"cloudbridge/platforms/thingspeak/thingspeaktest"
)

// jitter is by how much the internet may put off an arrival (the design's figure).
const jitter = 300 * time.Millisecond

// bubble is a house and its clouds inside a synctest bubble: real limits, and no real time.
type bubble struct {
	*testing.T
	net *emulator.Network
}

func (b *bubble) listen(address string) net.Listener {
	b.Helper()
	l, err := b.net.Listen(address)
	if err != nil {
		b.Fatal(err)
	}
	return l
}

// inBubble runs f with an emulated local broker at house:1883.
func inBubble(t *testing.T, f func(b *bubble)) {
	t.Helper()
	faketime.Test(t, func(t *testing.T) {
		b := &bubble{T: t, net: emulator.NewNetwork()}
		b.broker("house:1883")
		f(b)
	})
}

// broker starts the emulator of a plain broker.
func (b *bubble) broker(address string) *generictest.Server {
	b.Helper()
	c, err := generictest.Start(emulator.Options{Listener: b.listen(address)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	return c
}

func (b *bubble) lab() *lab {
	l := newLab(b.T, "lab1", "mqtt://house:1883")
	l.cfg.DialContext = b.net.DialContext
	return l
}

func (b *bubble) board() *client {
	return join(b.T, mqtt.Options{URL: "mqtt://house:1883", DialContext: b.net.DialContext})
}

// adafruit starts the emulator of Adafruit IO at aio:1883, and its REST side at aio:80.
func (b *bubble) adafruit(set map[string]string) *adafruitiotest.Cloud {
	b.Helper()
	c, err := adafruitiotest.Start(emulator.Options{Listener: b.listen("aio:1883"), HTTPListener: b.listen("aio:80"), Delay: jitter, Set: set})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	return c
}

// withREST is the table of an account whose history goes over REST.
func withREST(aio *adafruitiotest.Cloud) func(any) {
	return func(c any) {
		a := c.(*adafruitio.Cloud)
		a.URL, a.APIURL, a.Username, a.Key = "mqtt://aio:1883", "http://aio:80/api/v2", aio.Username(), aioKey
	}
}

// thingSpeak starts the emulator of ThingSpeak at ts:1883.
func (b *bubble) thingSpeak() *thingspeaktest.Cloud {
	b.Helper()
	c, err := thingspeaktest.New(thingspeaktest.Options{Options: emulator.Options{Listener: b.listen("ts:1883"), HTTPListener: b.listen("ts:80"), Delay: jitter}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	return c
}

func weatherTable(c any) {
	d := thingspeaktest.DemoDevice()
	t := c.(*thingspeak.Cloud)
	t.URL, t.ClientID, t.Username, t.Password = "mqtt://ts:1883", d.ClientID, d.Username, mqtt.Secret(d.Password)
}

func field(channel, n int64) func(any) {
	return func(p any) {
		place := p.(*thingspeak.Place)
		place.Channel, place.Field = &channel, &n
	}
}

func feed(key string) func(any) { return func(p any) { p.(*adafruitio.Place).Feed = key } }

// refused lists what an emulator refused.
func refused(e emulator.Emulator) (list []emulator.Event) {
	for _, ev := range e.Events() {
		if !ev.Accepted {
			list = append(list, ev)
		}
	}
	return list
}

// TestAdafruitBudget lets sensors speak once a second for three minutes on a free account: nothing is refused, nobody is
// throttled, and each feed is as fresh as its fair share of the budget allows.
func TestAdafruitBudget(t *testing.T) {
	for _, feeds := range []int{10, 20} {
		t.Run(fmt.Sprint(feeds), func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				aio := b.adafruit(map[string]string{"max_feeds": fmt.Sprint(feeds)})
				l := b.lab().cloud("home", adafruitio.Kind, func(c any) {
					a := c.(*adafruitio.Cloud)
					a.URL, a.Username, a.Key, a.MaxFeeds = "mqtt://aio:1883", aio.Username(), aioKey, feeds
				})
				l.up("iot/{device}/temp", "home", feed("{device}"))
				br, stop := l.run()
				online(t, br)
				board := b.board()
				began := time.Now()
				const span = 3 * time.Minute
				for n := 0; time.Since(began) < span; n++ {
					for i := range feeds {
						board.publish(fmt.Sprintf("iot/dev%d/temp", i), fmt.Sprint(n))
					}
					time.Sleep(time.Until(began.Add(time.Duration(n+1) * time.Second)))
				}
				s := br.Status()
				stop()
				if bad := refused(aio); len(bad) > 0 {
					t.Fatalf("refused: %+v", bad)
				}
				share := time.Duration(feeds) * 63 * time.Second / 30
				points := 0
				for i := range feeds {
					name := fmt.Sprintf("dev%d", i)
					last, oldest := began, time.Duration(0)
					for _, p := range aio.Points(aio.Username(), name) {
						points++
						oldest = max(oldest, p.Arrived.Sub(last))
						last = p.Arrived
					}
					oldest = max(oldest, began.Add(span).Sub(last))
					if slack := 5 * time.Second; oldest > share+slack {
						t.Errorf("feed %s was %v old, its fair share is %v", name, oldest, share)
					}
				}
				t.Logf("%d feeds: %d points in %v, fair share %v, counts %+v", feeds, points, span, share, s.Clouds[0].Counts)
				if most := 3*30 + 1; points > most || points < 80 {
					t.Errorf("%d points in three minutes, want nearly all of the 90 that the plan allows", points)
				}
				if got := aio.Count("login", true); got != 1 {
					t.Errorf("%d logins, want 1", got)
				}
			})
		})
	}
}

const aioKey = mqtt.Secret("aio_emulator")

// TestThingSpeakRows lets 12 sensors on two channels of one account speak once a second: each row is accepted.
func TestThingSpeakRows(t *testing.T) {
	inBubble(t, func(b *bubble) {
		ts := b.thingSpeak()
		l := b.lab().cloud("weather", thingspeak.Kind, weatherTable)
		for i := range int64(12) {
			l.up(fmt.Sprintf("iot/s%d", i), "weather", field(1001+i/6, 1+i%6))
		}
		br, stop := l.run()
		online(t, br)
		board := b.board()
		began := time.Now()
		const span = 5 * time.Minute
		for n := 0; time.Since(began) < span; n++ {
			for i := range 12 {
				board.publish(fmt.Sprintf("iot/s%d", i), fmt.Sprint(n))
			}
			time.Sleep(time.Until(began.Add(time.Duration(n+1) * time.Second)))
		}
		stop()
		if bad := refused(ts); len(bad) > 0 {
			t.Fatalf("refused: %+v", bad)
		}
		for _, id := range []int64{1001, 1002} {
			rows := ts.Feed(id)
			if len(rows) < 18 {
				t.Errorf("channel %d has %d rows after %v, want one for each 15.75 s", id, len(rows), span)
			}
			for _, r := range rows {
				if len(r.Values) != 6 {
					t.Errorf("channel %d, row %d has the fields %v, want all six", id, r.ID, r.Values)
				}
			}
			t.Logf("channel %d: %d rows, the last %v", id, len(rows), rows[len(rows)-1].Values)
		}
		if got := ts.Count("login", true); got != 1 {
			t.Errorf("%d logins, want 1", got)
		}
	})
}

// TestElevenFeeds refuses the eleventh feed of a free account here, before the cloud counts it as a failure.
func TestElevenFeeds(t *testing.T) {
	inBubble(t, func(b *bubble) {
		aio := b.adafruit(nil)
		l := b.lab().cloud("home", adafruitio.Kind, func(c any) {
			a := c.(*adafruitio.Cloud)
			a.URL, a.Username, a.Key = "mqtt://aio:1883", aio.Username(), aioKey
		})
		l.up("iot/{device}/temp", "home", feed("{device}"))
		br, stop := l.run()
		online(t, br)
		board := b.board()
		for i := range 11 {
			board.publish(fmt.Sprintf("iot/dev%d/temp", i), "1")
		}
		time.Sleep(time.Minute)
		s := br.Status()
		stop()
		if bad := refused(aio); len(bad) > 0 {
			t.Errorf("the cloud refused: %+v", bad)
		}
		if got := len(aio.Feeds(aio.Username())); got != 10 {
			t.Errorf("the account has %d feeds, want 10", got)
		}
		if s.Clouds[0].Counts.Refused != 1 || len(s.Clouds[0].Rejected) != 1 || s.Clouds[0].Rejected[0].Address != "dev10" {
			t.Errorf("refused %d: %+v, want the eleventh by name", s.Clouds[0].Counts.Refused, s.Clouds[0].Rejected)
		}
	})
}

// TestEchoAndEqualToggle sees that a feed's echo of our own value does not come down, and that a person's equal toggle
// right after it does.
func TestEchoAndEqualToggle(t *testing.T) {
	inBubble(t, func(b *bubble) {
		aio := b.adafruit(nil)
		l := b.lab().cloud("home", adafruitio.Kind, func(c any) {
			a := c.(*adafruitio.Cloud)
			a.URL, a.Username, a.Key = "mqtt://aio:1883", aio.Username(), aioKey
		})
		l.up("house/lamp/state", "home", feed("lights"))
		l.down("home", feed("lights"), "house/lamp/set")
		br, stop := l.run()
		online(t, br)
		lamp := join(b.T, mqtt.Options{URL: "mqtt://house:1883", DialContext: b.net.DialContext}, "house/lamp/set")
		lamp.publish("house/lamp/state", "ON")
		time.Sleep(3 * time.Second)
		if got := lamp.messages(); len(got) != 0 {
			t.Fatalf("our own value came down again: %s", spell(got))
		}
		if v, ok := aio.Last("lights"); !ok || v != "ON" {
			t.Fatalf("the feed has %q, want ON", v)
		}
		if err := aio.Toggle("lights", "ON"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := lamp.messages(); len(got) != 1 || string(got[0].Payload) != "ON" {
			t.Fatalf("after a person's toggle the lamp heard %q, want ON once", spell(got))
		}
		stop()
	})
}
