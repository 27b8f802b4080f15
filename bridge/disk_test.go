package bridge

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/platforms/adafruitio"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/generic"
	"cloudbridge/platforms/generic/generictest"
	"cloudbridge/platforms/thingspeak"
)

// TestBacklogSurvivesAStop keeps what a dead cloud did not get over a stop, and sends it in order at the next start.
func TestBacklogSurvivesAStop(t *testing.T) {
	inBubble(t, func(b *bubble) {
		dir := t.TempDir()
		start := func() (*Bridge, func()) {
			l := b.lab().cloud("far", generic.Kind, anyBroker("mqtt://far:1883", "5"))
			l.cfg.Queue.Dir = dir
			l.up("iot/#", "far", nil)
			br, stop := l.run()
			eventually(b.T, "the house online", func() bool { return br.Status().Local.State == stateOnline })
			return br, stop
		}
		_, stop := start()
		board := b.board()
		const n = 3000
		for i := range n {
			board.publish("iot/x", fmt.Sprint(i))
		}
		time.Sleep(5 * time.Second)
		stop()
		b.broker("far:1883")
		phone := join(b.T, mqtt.Options{URL: "mqtt://far:1883", DialContext: b.net.DialContext}, "#")
		br, stop := start()
		time.Sleep(time.Minute)
		got := phone.messages()
		if len(got) != n {
			b.Fatalf("the cloud got %d of %d readings", len(got), n)
		}
		for i, m := range got {
			if string(m.Payload) != fmt.Sprint(i) {
				b.Fatalf("reading %d is %s", i, m.Payload)
			}
		}
		if w := br.Status().Clouds[0].Counts.Waiting; w != 0 {
			b.Errorf("%d readings still wait", w)
		}
		stop()
	})
}

// TestNothingOnDiskWhileCloudsKeepUp asserts promise 8: while a cloud answers, the queue directory has no queue in it.
func TestNothingOnDiskWhileCloudsKeepUp(t *testing.T) {
	inBubble(t, func(b *bubble) {
		dir := t.TempDir()
		far, err := generictest.Start(emulator.Options{Listener: b.listen("far:1883"), Delay: 40 * time.Millisecond})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = far.Close() })
		b.thingSpeak()
		aio := b.adafruit(nil)
		l := b.lab().cloud("far", generic.Kind, anyBroker("mqtt://far:1883", "5")).cloud("weather", thingspeak.Kind, weatherTable)
		l.cloud("home", adafruitio.Kind, func(c any) {
			a := c.(*adafruitio.Cloud)
			a.URL, a.Username, a.Key = "mqtt://aio:1883", aio.Username(), aioKey
		})
		l.cfg.Queue.Dir = dir
		l.up("iot/#", "far", nil).up("iot/x", "weather", field(1001, 1)).up("iot/x", "home", feed("x"))
		br, stop := l.run()
		online(b.T, br)
		board := b.board()
		for i := range 2000 {
			board.publish("iot/x", fmt.Sprint(i))
			time.Sleep(50 * time.Millisecond)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			b.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() {
				b.Errorf("%s was made though every cloud kept up", filepath.Join(dir, e.Name()))
			}
		}
		stop()
	})
}

// TestNewestSurvivesAStop keeps the newest value of each feed over a stop.
func TestNewestSurvivesAStop(t *testing.T) {
	inBubble(t, func(b *bubble) {
		dir := t.TempDir()
		start := func(url string) (*Bridge, func()) {
			l := b.lab().cloud("home", adafruitio.Kind, func(c any) {
				a := c.(*adafruitio.Cloud)
				a.URL, a.Username, a.Key = url, "learner", aioKey
			})
			l.cfg.Queue.Dir = dir
			l.up("iot/{device}/temp", "home", feed("{device}"))
			br, stop := l.run()
			eventually(b.T, "the house online", func() bool { return br.Status().Local.State == stateOnline })
			return br, stop
		}
		_, stop := start("mqtt://aio:1883")
		board := b.board()
		for i := range 30 {
			board.publish(fmt.Sprintf("iot/dev%d/temp", i%3), fmt.Sprint(i))
		}
		time.Sleep(5 * time.Second)
		stop()
		aio := b.adafruit(nil)
		_, stop = start("mqtt://aio:1883")
		time.Sleep(2 * time.Minute)
		for i := range 3 {
			if v, _ := aio.Last(fmt.Sprintf("dev%d", i)); v != fmt.Sprint(27+i) {
				b.Errorf("feed dev%d has %q, want %d", i, v, 27+i)
			}
		}
		stop()
	})
}

// TestRowsSurviveACrash kills, as far as that can be done in one process, a bridge whose ThingSpeak is dead after ten
// intervals: only the last two may miss.
func TestRowsSurviveACrash(t *testing.T) {
	inBubble(t, func(b *bubble) {
		dir, copied := t.TempDir(), t.TempDir()
		l := b.lab().cloud("weather", thingspeak.Kind, weatherTable)
		l.cfg.Queue.Dir = dir
		l.up("iot/x", "weather", field(1001, 1))
		br, stop := l.run()
		eventually(b.T, "the house online", func() bool { return br.Status().Local.State == stateOnline })
		board := b.board()
		began := time.Now()
		const interval = 15750 * time.Millisecond
		for n := 0; time.Since(began) < 10*interval; n++ {
			board.publish("iot/x", fmt.Sprint(n))
			time.Sleep(time.Second)
		}
		// What is on disk at this moment is what a crash would leave.
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			b.Fatal(err)
		}
		stop()
		ts := b.thingSpeak()
		l2 := b.lab().cloud("weather", thingspeak.Kind, weatherTable)
		l2.cfg.Queue.Dir = copied
		l2.up("iot/x", "weather", field(1001, 1))
		_, stop = l2.run()
		time.Sleep(10 * time.Minute)
		stop()
		rows := ts.Feed(1001)
		if len(rows) < 8 {
			b.Errorf("%d of 10 rows came back after a crash, want at least 8", len(rows))
		}
		if bad := refused(ts); len(bad) > 0 {
			b.Errorf("refused: %+v", bad)
		}
	})
}

// TestTwoTablesTwoQueues has two tables of one account, whose cloud is away over a stop: each keeps what is its own.
func TestTwoTablesTwoQueues(t *testing.T) {
	inBubble(t, func(b *bubble) {
		dir := t.TempDir()
		start := func() (*Bridge, func()) {
			l := b.lab()
			l.cfg.Queue.Dir = dir
			for _, name := range []string{"one", "two"} {
				l.cloud(name, generic.Kind, anyBroker("mqtt://far:1883", "5")).up("iot/"+name, name, nil)
			}
			br, stop := l.run()
			eventually(b.T, "the house online", func() bool { return br.Status().Local.State == stateOnline })
			return br, stop
		}
		_, stop := start()
		board := b.board()
		for i := range 20 {
			board.publish("iot/one", fmt.Sprint(i))
			board.publish("iot/two", fmt.Sprint(i))
		}
		time.Sleep(5 * time.Second)
		stop()
		b.broker("far:1883")
		phone := join(b.T, mqtt.Options{URL: "mqtt://far:1883", DialContext: b.net.DialContext}, "#")
		_, stop = start()
		time.Sleep(time.Minute)
		count := map[string]int{}
		for _, m := range phone.messages() {
			count[m.Topic]++
		}
		if count["iot/one"] != 20 || count["iot/two"] != 20 {
			b.Errorf("the cloud got %v, want 20 of each", count)
		}
		stop()
	})
}

// TestAcknowledgedIsOnDiskInTime looks at what a crash would leave of readings that nobody holds any more: those of a
// rule that samples, and those that came with QoS 0.
func TestAcknowledgedIsOnDiskInTime(t *testing.T) {
	for name, set := range map[string]func(*Uplink, *mqtt.Message){
		"sampled": func(u *Uplink, _ *mqtt.Message) { u.Every = time.Second },
		"QoS 0":   func(_ *Uplink, m *mqtt.Message) { m.QoS = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				dir, copied := t.TempDir(), t.TempDir()
				l := b.lab().cloud("far", generic.Kind, anyBroker("mqtt://far:1883", "5"))
				l.cfg.Queue.Dir = dir
				var m mqtt.Message
				l.up("iot/#", "far", nil, func(u *Uplink) { set(u, &m) })
				br, stop := l.run()
				eventually(b.T, "the house online", func() bool { return br.Status().Local.State == stateOnline })
				board := b.board()
				const n = 20
				for i := range n {
					board.publish("iot/x", fmt.Sprint(i), func(out *mqtt.Message) {
						if name == "QoS 0" {
							out.QoS = 0
						}
					})
					time.Sleep(time.Second)
				}
				time.Sleep(5 * time.Second)
				if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
					b.Fatal(err)
				}
				stop()
				b.broker("far:1883")
				phone := join(b.T, mqtt.Options{URL: "mqtt://far:1883", DialContext: b.net.DialContext}, "#")
				l2 := b.lab().cloud("far", generic.Kind, anyBroker("mqtt://far:1883", "5"))
				l2.cfg.Queue.Dir = copied
				l2.up("other", "far", nil)
				_, stop = l2.run()
				time.Sleep(time.Minute)
				stop()
				if got := len(phone.messages()); got < n-2 {
					b.Errorf("after a crash the cloud got %d of %d", got, n)
				}
			})
		})
	}
}

// TestDrainRate paces a backlog, and lets what is new go at once when it is over.
func TestDrainRate(t *testing.T) {
	inBubble(t, func(b *bubble) {
		l := b.lab().cloud("far", generic.Kind, anyBroker("mqtt://far:1883", "5"))
		l.cfg.Queue.Dir = t.TempDir()
		l.cfg.Clouds[0].DrainRate = 10
		l.up("iot/#", "far", nil)
		br, stop := l.run()
		eventually(b.T, "the house online", func() bool { return br.Status().Local.State == stateOnline })
		board := b.board()
		for i := range 200 {
			board.publish("iot/x", fmt.Sprint(i))
		}
		time.Sleep(5 * time.Second)
		b.broker("far:1883")
		phone := join(b.T, mqtt.Options{URL: "mqtt://far:1883", DialContext: b.net.DialContext}, "#")
		online := func() bool { return br.Status().Clouds[0].Protocol != "" }
		eventually(b.T, "the cloud back", online)
		time.Sleep(10 * time.Second)
		if n := len(phone.messages()); n < 80 || n > 120 {
			b.Errorf("%d of the backlog came in 10 s, want about 100", n)
		}
		time.Sleep(15 * time.Second)
		if n := len(phone.messages()); n != 200 {
			b.Errorf("%d of the backlog came in the end, want 200", n)
		}
		for i := range 100 {
			board.publish("iot/y", fmt.Sprint(i))
		}
		time.Sleep(time.Second)
		if n := len(phone.messages()); n != 300 {
			b.Errorf("%d messages after the backlog, want all 300 at once", n)
		}
		stop()
	})
}
