package bridge

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/platforms/adafruitio"
	"cloudbridge/platforms/generic"
)

// newestFiles reads the files of newest values in a queue directory.
func newestFiles(t testing.TB, dir string) (data []byte, n int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", snapshotFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, text...)
	}
	return data, len(files)
}

// TestNewestWithAlways holds the acknowledgement back until a newest value is on disk, at a plain cloud and at Adafruit IO.
func TestNewestWithAlways(t *testing.T) {
	for name, set := range map[string]func(b *bubble, l *lab){
		"plain": func(_ *bubble, l *lab) {
			l.cloud("far", generic.Kind, anyBroker("mqtt://far:1883", "5")).up("now/#", "far", nil, onlyLatest)
		},
		"Adafruit IO": func(_ *bubble, l *lab) {
			l.cloud("home", adafruitio.Kind, func(c any) {
				a := c.(*adafruitio.Cloud)
				a.URL, a.Username, a.Key = "mqtt://aio:1883", "learner", aioKey
			}).up("now/{device}", "home", feed("{device}"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				l := b.lab()
				l.cfg.Queue.Dir, l.cfg.Queue.Durability = t.TempDir(), always
				set(b, l)
				br, stop := home(l)
				board := b.board()
				held := 0
				for i := range 5 {
					value := fmt.Sprintf("value-%d", i)
					board.publish("now/x", value)
					time.Sleep(10 * time.Millisecond)
					began := time.Now()
					for br.local.main.desk.open() > 0 {
						held++
						time.Sleep(10 * time.Millisecond)
						if time.Since(began) > 2*time.Second {
							b.Fatal("it is never acknowledged")
						}
					}
					if text, _ := newestFiles(b, l.cfg.Queue.Dir); !bytes.Contains(text, []byte(value)) {
						b.Fatalf("%s is acknowledged and not on disk", value)
					}
				}
				if held == 0 {
					b.Error("nothing was held back")
				}
				stop()
			})
		})
	}
}

// TestNewestOnTheirWayAreKept has a cloud swallow newest values: what is on its way, and never confirmed, is on disk as well.
func TestNewestOnTheirWayAreKept(t *testing.T) {
	var mute atomic.Bool
	mute.Store(true)
	swallows := mqtttest.NewFake(mqtttest.Script{OnPacket: func(_ *mqtttest.Conn, p mqtttest.Packet) bool {
		return p.Kind == mqtttest.PUBLISH && mute.Load()
	}})
	house := mqtttest.Mosquitto(t)
	l := newLab(t, "lab1", house.URL).cloud("far", generic.Kind, anyBroker(swallows.Listen(t), "5")).up("iot/#", "far", nil, onlyLatest)
	l.cfg.Queue.Dir, l.cfg.Scale = t.TempDir(), 0.02
	br, stop := l.run()
	online(t, br)
	board := join(t, mqtt.Options{URL: house.URL})
	for _, value := range []string{"first value", "second value"} {
		board.publish("iot/x", value)
		eventually(t, value+" on disk", func() bool {
			text, _ := newestFiles(t, l.cfg.Queue.Dir)
			return bytes.Contains(text, []byte(value))
		})
	}
	if text, _ := newestFiles(t, l.cfg.Queue.Dir); bytes.Contains(text, []byte("first value")) {
		t.Error("what a newer value has overtaken is kept")
	}
	mute.Store(false)
	swallows.Accepted().Drop()
	eventually(t, "the file to go", func() bool { _, n := newestFiles(t, l.cfg.Queue.Dir); return n == 0 })
	if c := br.Status().Clouds[0].Counts; c.Confirmed != 1 || c.Replaced != 1 {
		t.Errorf("%+v, want one confirmed and one replaced", c)
	}
	stop()
}

// TestOldNewestOfAFeedGo lets Adafruit IO come back to feeds that speak without end: the file from the outage does not stay
// until nothing waits, for after a crash it would say what was so long ago.
func TestOldNewestOfAFeedGo(t *testing.T) {
	inBubble(t, func(b *bubble) {
		l := b.lab().cloud("home", adafruitio.Kind, func(c any) {
			a := c.(*adafruitio.Cloud)
			a.URL, a.Username, a.Key = "mqtt://aio:1883", "learner", aioKey
		})
		l.cfg.Queue.Dir = t.TempDir()
		l.up("iot/{device}/temp", "home", feed("{device}"))
		br, stop := home(l)
		board := b.board()
		n := 0
		speak := func(seconds int) {
			for range seconds {
				for i := range 3 {
					board.publish(fmt.Sprintf("iot/dev%d/temp", i), fmt.Sprint(n))
				}
				n++
				time.Sleep(time.Second)
			}
		}
		speak(90)
		if _, files := newestFiles(b, l.cfg.Queue.Dir); files != 1 {
			b.Error("nothing is on disk in an outage")
		}
		b.adafruit(nil)
		online(b, br)
		speak(30)
		if _, files := newestFiles(b, l.cfg.Queue.Dir); files != 0 {
			b.Error("the file from the outage is there still")
		}
		stop()
	})
}

// TestDamagedNewest reads files of newest values that a bad card has spoilt: what is whole is used.
func TestDamagedNewest(t *testing.T) {
	dir := t.TempDir()
	var recs [][]byte
	for i := range 3 {
		p := reading(fmt.Sprint("topic", i), float64(i), int64(i))
		recs = append(recs, p.Append(nil))
	}
	if err := writeSnapshot(dir, recs); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, snapshotFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-3] ^= 1
	for name, c := range map[string]struct {
		data []byte
		n    int
		ok   bool
	}{
		"whole":     {whole, 3, true},
		"torn":      {whole[:len(whole)-1], 2, false},
		"torn head": {whole[:len(whole)-len(recs[2])-4], 2, false},
		"flipped":   {flipped, 2, false},
		"foreign":   {[]byte("something else"), 0, false},
		"empty":     {nil, 0, false},
		"no record": {snapshotHead, 0, true},
	} {
		if err := os.WriteFile(path, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		points, err := readSnapshot(dir)
		if len(points) != c.n || (err == nil) != c.ok {
			t.Errorf("%s: %d points, error %v; want %d", name, len(points), err, c.n)
		}
		for i, p := range points {
			if want := reading(fmt.Sprint("topic", i), float64(i), int64(i)); p.Name != want.Name || !p.Time.Equal(want.Time) {
				t.Errorf("%s: point %d is %+v", name, i, p)
			}
		}
	}
	if err := writeSnapshot(dir, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("without points there is a file")
	}
}

// TestNewestNotOnDiskWhileTheCloudKeepsUp has readings go through a cloud that answers, with either durability.
func TestNewestNotOnDiskWhileTheCloudKeepsUp(t *testing.T) {
	for _, durability := range []string{"when-behind", always} {
		t.Run(durability, func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				dir := t.TempDir()
				b.broker("far:1883")
				br, stop := b.newestLab(dir, func(l *lab) { l.cfg.Queue.Durability = durability }).run()
				online(b, br)
				board := b.board()
				for i := range 1000 {
					board.publish(fmt.Sprintf("now/dev%d", i%3), fmt.Sprint(i))
					time.Sleep(20 * time.Millisecond)
				}
				for _, e := range laneFolders(t, dir) {
					b.Errorf("%s was made though the cloud kept up", e)
				}
				if n := br.Status().Clouds[0].Counts.Confirmed; n != 1000 {
					b.Errorf("%d of 1000 confirmed", n)
				}
				stop()
			})
		})
	}
}

// TestOldNewestStayGone crashes after the cloud has come back, and newer values with it, while something is always on its way:
// what the disk had from before must not come over what is newer.
func TestOldNewestStayGone(t *testing.T) {
	inBubble(t, func(b *bubble) {
		dir := t.TempDir()
		br, stop := home(b.newestLab(dir))
		board := b.board()
		n := 0
		speak := func(seconds int) {
			for range seconds * 10 {
				board.publish(fmt.Sprintf("now/dev%d", n%3), fmt.Sprint(n))
				n++
				time.Sleep(100 * time.Millisecond)
			}
		}
		speak(90)
		if _, files := newestFiles(b, dir); files != 1 {
			b.Fatal("nothing is on disk in an outage")
		}
		b.broker("far:1883")
		phone := b.phone()
		online(b, br)
		speak(3)
		copied := crashed(b, dir)
		stop()
		before := byTopic(phone.messages())
		_, stop = home(b.newestLab(copied))
		time.Sleep(time.Minute)
		stop()
		for topic, values := range byTopic(phone.messages()) {
			if len(values) != len(before[topic]) {
				b.Errorf("after the crash %s came as %s, it was %s before", topic, values[len(before[topic]):], before[topic][len(before[topic])-1])
			}
		}
	})
}
