package bridge

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/platforms/generic"
)

// onlyLatest is the rule of which these tests are.
func onlyLatest(u *Uplink) { u.Keep = "latest" }

// newestLab is a house with a plain cloud at far:1883, of whose topics under "now" the newest counts, and of others each.
func (b *bubble) newestLab(dir string, set ...func(*lab)) *lab {
	l := b.lab().cloud("far", generic.Kind, anyBroker("mqtt://far:1883", "5"))
	l.cfg.Queue.Dir = dir
	l.up("now/#", "far", nil, onlyLatest).up("all/#", "far", nil)
	for _, f := range set {
		f(l)
	}
	return l
}

// home runs a lab and waits for the house alone.
func home(l *lab) (*Bridge, func()) {
	br, stop := l.run()
	eventually(l.t, "the house online", func() bool { return br.Status().Local.State == stateOnline })
	return br, stop
}

// phone hears all that comes to the far cloud.
func (b *bubble) phone() *client {
	return join(b.T, mqtt.Options{URL: "mqtt://far:1883", DialContext: b.net.DialContext}, "#")
}

// byTopic are the payloads that came, in order.
func byTopic(messages []mqtt.Message) map[string][]string {
	got := make(map[string][]string)
	for _, m := range messages {
		got[m.Topic] = append(got[m.Topic], string(m.Payload))
	}
	return got
}

// crashed copies what a crash at this moment would leave.
func crashed(t testing.TB, dir string) string {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "q")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return copied
}

// TestNewestSurviveACrashAtAnyMoment takes copies of the queue directory while a plain cloud is dead, and starts a bridge on
// each: what came more than a minute before is there, each topic's newest once, and one file was written in a minute at most.
func TestNewestSurviveACrashAtAnyMoment(t *testing.T) {
	inBubble(t, func(b *bubble) {
		const moments, every = 12, 23 // seconds
		dir := t.TempDir()
		_, stop := home(b.newestLab(dir))
		board := b.board()
		board.publish("now/once", "x")
		var copies []string
		var last []int
		var content []byte
		written := 0
		for n := 0; len(copies) < moments; n++ {
			for i := range 3 {
				board.publish(fmt.Sprintf("now/dev%d", i), fmt.Sprint(n))
			}
			time.Sleep(time.Second)
			if text, _ := newestFiles(b, dir); !bytes.Equal(text, content) {
				content, written = text, written+1
			}
			if n > 10 && n%every == 0 {
				copies, last = append(copies, crashed(b, dir)), append(last, n)
			}
		}
		stop()
		if most := moments*every/60 + 2; written > most || written < most-2 {
			b.Errorf("%d files were written in %d s, want about one a minute", written, moments*every)
		}
		b.broker("far:1883")
		phone := b.phone()
		for i, dir := range copies {
			before := len(phone.messages())
			br, stop := home(b.newestLab(dir))
			time.Sleep(time.Minute)
			got := byTopic(phone.messages()[before:])
			for i, n := 0, last[i]; i < 3; i++ {
				topic := fmt.Sprintf("now/dev%d", i)
				if len(got[topic]) != 1 {
					b.Fatalf("crash after %d s: %s came %d times, want once", n, topic, len(got[topic]))
				}
				if v, err := strconv.Atoi(got[topic][0]); err != nil || n-v > 61 {
					b.Errorf("crash after %d s: %s is that of second %s", n, topic, got[topic][0])
				}
			}
			if !slices.Equal(got["now/once"], []string{"x"}) {
				b.Errorf("crash after %d s: what was said once came as %q", last[i], got["now/once"])
			}
			if w := br.Status().Clouds[0].Counts.Waiting; w != 0 {
				b.Errorf("%d still wait", w)
			}
			if _, files := newestFiles(b, dir); files != 0 {
				b.Error("the file is there though all is confirmed")
			}
			stop()
		}
	})
}

// TestNewestSurviveACrashWhileTheCloudFlaps does the same with a cloud that comes and goes: after the crash it has no value that is
// more than a minute behind, whatever it had before.
func TestNewestSurviveACrashWhileTheCloudFlaps(t *testing.T) {
	inBubble(t, func(b *bubble) {
		seed := rand.Uint64()
		b.Logf("seed %d", seed)
		dice := rand.New(rand.NewPCG(seed, 1))
		b.broker("far:1883")
		phone := b.phone()
		line := &breakable{dial: b.net.DialContext}
		dir := t.TempDir()
		_, stop := home(b.newestLab(dir, func(l *lab) { l.cfg.DialContext = line.dialContext }))
		board := b.board()
		type crash struct {
			dir        string
			last, came int
		}
		var crashes []crash
		for n, until := 0, 0; len(crashes) < 20; n++ {
			for i := range 3 {
				board.publish(fmt.Sprintf("now/dev%d", i), fmt.Sprint(n))
			}
			if n == until {
				until += 1 + dice.IntN(100)
				line.set(dice.IntN(2) == 0)
			}
			time.Sleep(time.Second - time.Duration(dice.IntN(1000))*time.Microsecond)
			if n > 10 && dice.IntN(20) == 0 {
				crashes = append(crashes, crash{crashed(b, dir), n, len(phone.messages())})
			}
		}
		stop()
		for _, c := range crashes {
			before := len(phone.messages())
			_, stop := home(b.newestLab(c.dir))
			time.Sleep(time.Minute)
			stop()
			all := phone.messages()
			last := byTopic(append(all[:c.came:c.came], all[before:]...))
			for i := range 3 {
				values := last[fmt.Sprintf("now/dev%d", i)]
				if v, err := strconv.Atoi(values[len(values)-1]); err != nil || c.last-v > 61 {
					b.Errorf("crash after %d s: the cloud has the value of second %s", c.last, values[len(values)-1])
				}
			}
		}
	})
}

// TestNewestOverStops stops and starts in an outage, with what keeps all beside it: each topic's newest comes once, in the
// order of what waits, and is counted once.
func TestNewestOverStops(t *testing.T) {
	inBubble(t, func(b *bubble) {
		dir := t.TempDir()
		start := func() (*Bridge, func()) { return home(b.newestLab(dir)) }
		br, stop := start()
		board := b.board()
		board.publish("all/x", "first")
		for i := range 30 {
			board.publish(fmt.Sprintf("now/dev%d", i%3), fmt.Sprint(i))
		}
		board.publish("all/x", "last")
		for range 3 {
			time.Sleep(5 * time.Second)
			if w := br.Status().Clouds[0].Counts.Waiting; w != 5 {
				b.Errorf("%d wait, want 5", w)
			}
			stop()
			br, stop = start()
		}
		board.publish("now/dev1", "newer")
		b.broker("far:1883")
		phone := b.phone()
		time.Sleep(time.Minute)
		want := "all/x=first now/dev0=27 now/dev1=newer now/dev2=29 all/x=last "
		if got := spell(phone.messages()); got != want {
			b.Errorf("the cloud got %s, want %s", got, want)
		}
		if w := br.Status().Clouds[0].Counts.Waiting; w != 0 {
			b.Errorf("%d still wait", w)
		}
		stop()
	})
}

// TestFullQueueForgetsNoNewest fills a queue behind newest values: what keeps all loses its oldest, and no topic its newest.
func TestFullQueueForgetsNoNewest(t *testing.T) {
	for name, onDisk := range map[string]bool{"memory": false, "disk": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				dir, size := "", int64(200_000)
				if onDisk {
					dir, size = t.TempDir(), 3<<20
				}
				br, stop := home(b.newestLab(dir, func(l *lab) { l.cfg.Queue.MaxSize = size }))
				board := b.board()
				const topics, all = 20, 600
				for i := range topics {
					board.publish(fmt.Sprintf("now/dev%02d", i), "old")
					board.publish(fmt.Sprintf("now/dev%02d", i), fmt.Sprint(i))
				}
				big := strings.Repeat("x", int(size)/200)
				for i := range all {
					board.publish("all/x", fmt.Sprint(i, " ", big))
				}
				time.Sleep(time.Second)
				s := br.Status().Clouds[0].Counts
				b.broker("far:1883")
				phone := b.phone()
				time.Sleep(time.Minute)
				got := byTopic(phone.messages())
				for i := range topics {
					topic := fmt.Sprintf("now/dev%02d", i)
					if !slices.Equal(got[topic], []string{fmt.Sprint(i)}) {
						b.Errorf("%s came as %q, want %d", topic, got[topic], i)
					}
				}
				if n := len(got["all/x"]); n == all || n < all/10 || uint64(all-n) != s.Dropped || s.Reasons["dropped: the queue was full"] != s.Dropped {
					b.Errorf("%d of %d came, %d were counted as dropped: %v", n, all, s.Dropped, s.Reasons)
				}
				board.publish("now/dev00", "after")
				time.Sleep(time.Second)
				if v := byTopic(phone.messages())["now/dev00"]; !slices.Contains(v, "after") {
					b.Errorf("a topic is stuck: %q", v)
				}
				stop()
			})
		})
	}
}

// TestFullQueueKeepsOldest has a queue that keeps what is old be full when a topic's first reading comes: it is dropped and
// counted, and the topic's next one goes.
func TestFullQueueKeepsOldest(t *testing.T) {
	inBubble(t, func(b *bubble) {
		br, stop := home(b.newestLab("", func(l *lab) {
			l.cfg.Queue.MaxSize, l.cfg.Clouds[0].Overflow = 100_000, "newest"
		}))
		board := b.board()
		const all = 120
		for i := range all {
			board.publish("all/x", fmt.Sprint(i, strings.Repeat(" ", 1000)))
		}
		for i := range 2000 {
			board.publish("all/y", fmt.Sprint(i))
		}
		// The room that is left is not enough for one of these, and even less for the name of the topic.
		topic := "now/" + strings.Repeat("x", 500)
		board.publish(topic, "lost")
		time.Sleep(time.Second)
		s := br.Status().Clouds[0].Counts
		b.broker("far:1883")
		phone := b.phone()
		time.Sleep(time.Minute)
		if n := uint64(len(phone.messages())); n+s.Dropped != all+2000+1 || s.Dropped < 3 {
			b.Errorf("%d came and %d were dropped, of %d", n, s.Dropped, all+2000+1)
		}
		board.publish(topic, "kept")
		time.Sleep(time.Second)
		if got := byTopic(phone.messages())[topic]; !slices.Equal(got, []string{"kept"}) {
			b.Errorf("the topic came as %q, want what came when there was room", got)
		}
		stop()
	})
}

// TestNewestAreBounded has more topics wait than there is room for: the rest is dropped, counted, with the reason.
func TestNewestAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		topics, size int
		set          func(*lab)
		why          string
	}{
		"topics": {mostLatest + 50, 2, func(*lab) {}, "dropped: 10000 topics wait for their turn already"},
		"bytes": {
			100, 10_000, func(l *lab) { l.cfg.Queue.MaxSize = 2e6 },
			"dropped: the newest values that wait for their turn fill their memory already",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				br, stop := home(b.newestLab(t.TempDir(), c.set))
				board := b.board()
				value := strings.Repeat("x", c.size)
				const again = 20
				for i := range c.topics + again {
					board.publish(fmt.Sprintf("now/%d", i%c.topics), value)
				}
				time.Sleep(time.Second)
				s := br.Status().Clouds[0]
				over := c.topics - int(s.Counts.Waiting)
				if over < 40 || s.Counts.Dropped != uint64(over) || s.Counts.Reasons[c.why] != s.Counts.Dropped ||
					s.Counts.Replaced != again {
					b.Errorf("%d of %d wait: %+v", s.Counts.Waiting, c.topics, s.Counts)
				}
				b.broker("far:1883")
				phone := b.phone()
				time.Sleep(10 * time.Minute)
				if got := byTopic(phone.messages()); len(got) != c.topics-over || len(phone.messages()) != len(got) {
					b.Errorf("%d topics came in %d messages, want %d", len(got), len(phone.messages()), c.topics-over)
				}
				stop()
			})
		})
	}
}

// TestSampledNewest keeps one point of a rule that samples, too, and not one for each interval.
func TestSampledNewest(t *testing.T) {
	inBubble(t, func(b *bubble) {
		l := b.lab().cloud("far", generic.Kind, anyBroker("mqtt://far:1883", "5"))
		l.up("now/#", "far", nil, onlyLatest, func(u *Uplink) { u.Every = 2 * time.Second })
		_, stop := home(l)
		board := b.board()
		for i := range 20 {
			board.publish("now/x", fmt.Sprint(i))
			time.Sleep(time.Second)
		}
		time.Sleep(3 * time.Second)
		b.broker("far:1883")
		phone := b.phone()
		time.Sleep(time.Minute)
		stop()
		if got := byTopic(phone.messages())["now/x"]; !slices.Equal(got, []string{"19"}) {
			b.Errorf("the cloud got %q, want the newest alone", got)
		}
	})
}

// TestNewestAtAMoodyCloud sends to a cloud that refuses, hangs up, stalls and falls silent at random: of each topic nothing comes
// over what is newer, the last value comes, and each reading is counted once.
func TestNewestAtAMoodyCloud(t *testing.T) {
	for _, durability := range []string{"when-behind", always} {
		t.Run(durability, func(t *testing.T) {
			seed := rand.Uint64()
			house, m := unbounded(t), newMoody(seed)
			m.forgives = true
			l := newLab(t, "lab1", house.URL).cloud("far", generic.Kind, anyBroker(m.fake.Listen(t), "5"))
			l.up("iot/#", "far", nil, onlyLatest)
			l.cfg.Scale, l.cfg.Queue.Dir, l.cfg.Queue.Durability = 0.002, t.TempDir(), durability
			br, stop := l.run()
			online(t, br)
			boards(t, house.URL)
			eventually(t, "each reading to be counted", func() bool {
				c := br.Status().Clouds[0].Counts
				return c.Waiting == 0 && c.Confirmed+c.Replaced >= moodTopics*moodEach
			})
			eventually(t, "all to be acknowledged", func() bool { return br.local.main.desk.open() == 0 })
			eventually(t, "the file to go", func() bool { _, n := newestFiles(t, l.cfg.Queue.Dir); return n == 0 })
			c := br.Status().Clouds[0].Counts
			t.Logf("seed %d: %d confirmed, %d replaced; quota, cut, late, silent: %v", seed, c.Confirmed, c.Replaced, m.moods)
			if c.Confirmed+c.Replaced != moodTopics*moodEach || c.Dropped+c.Refused > 0 {
				t.Errorf("of %d readings: %+v", moodTopics*moodEach, c)
			}
			stop()
			m.mu.Lock()
			defer m.mu.Unlock()
			for topic, list := range m.got {
				if !slices.IsSorted(list) || list[len(list)-1] != moodEach-1 {
					t.Errorf("%s: what is old came after what is newer, or the last is not %d: %v", topic, moodEach-1, list)
				}
			}
		})
	}
}

// TestNewestByTheirOwnTime has an older reading come late: it does not take the place of a newer one that waits.
func TestNewestByTheirOwnTime(t *testing.T) {
	n := newNewest(0)
	point := func(seconds float64) *newestPoint {
		return &newestPoint{topic: "a", time: at(seconds), rec: []byte("x")}
	}
	first, newer, late := point(1), point(3), point(2)
	for _, c := range []struct{ e, old *newestPoint }{{first, nil}, {newer, first}, {late, late}} {
		if old, why := n.put(c.e); old != c.old || why != "" {
			t.Errorf("%v replaced %v, %q; want %v", c.e.time, old, why, c.old)
		}
	}
	if n.waiting["a"] != newer || n.bytes != newer.size() {
		t.Errorf("%v waits, with %d bytes", n.waiting["a"].time, n.bytes)
	}
}
