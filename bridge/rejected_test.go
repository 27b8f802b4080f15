package bridge

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/queue"
	"cloudbridge/mappings"
	"cloudbridge/platforms/adafruitio"
	"cloudbridge/platforms/adafruitio/adafruitiotest"
	"cloudbridge/platforms/generic"
	"cloudbridge/platforms/hivemqcloud"
	"cloudbridge/platforms/thingspeak"
)

// refusing is a house with an Adafruit IO account.
func (b *bubble) refusing(dir, url string) *lab {
	l := b.lab().cloud("home", adafruitio.Kind, func(c any) {
		a := c.(*adafruitio.Cloud)
		a.URL, a.Username, a.Key = url, "learner", aioKey
	})
	l.cfg.Queue.Dir = dir
	return l.up("iot/{device}/temp", "home", feed("{device}.temp"), func(u *Uplink) { u.Keep = "all" })
}

func values(points []adafruitiotest.Point) (list []string) {
	for _, p := range points {
		list = append(list, p.Value)
	}
	return list
}

// TestRetryWhileRunning has readings refused, mends what was wrong, and sends them again in order; over a restart.
func TestRetryWhileRunning(t *testing.T) {
	inBubble(t, func(b *bubble) {
		aio := b.adafruit(map[string]string{"groups": "refuse"})
		dir := t.TempDir()
		br, stop := b.refusing(dir, "mqtt://aio:1883").run()
		online(b.T, br)
		board := b.board()
		for i := range 5 {
			board.publish("iot/picow/temp", fmt.Sprintf("2%d.5", i))
			time.Sleep(5 * time.Second) // Refusals of messages that are under way together may overtake each other.
		}
		time.Sleep(30 * time.Second)
		list := br.Status().Clouds[0].Rejected
		if len(list) != 5 || list[0].Value != "20.5" || list[4].Value != "24.5" || list[0].Address != "picow.temp" || list[0].Why == "" {
			b.Fatalf("refused: %+v", list)
		}
		if _, err := os.Stat(filepath.Join(dir, rejectedFile)); err != nil {
			b.Errorf("the list is not on disk: %v", err)
		}
		stop()

		br, stop = b.refusing(dir, "mqtt://aio:1883").run()
		online(b.T, br)
		again, err := br.Rejected("home")
		if err != nil || len(again) != 5 {
			b.Fatalf("after a restart: %v, %+v, want\n%+v", err, again, list)
		}
		for i := range again {
			if !again[i].Time.Equal(list[i].Time) {
				b.Errorf("after a restart entry %d is of %s, want %s", i, again[i].Time, list[i].Time)
			}
			again[i].Time, list[i].Time = time.Time{}, time.Time{}
			if again[i] != list[i] {
				b.Errorf("after a restart entry %d is %+v, want %+v", i, again[i], list[i])
			}
		}
		if h, err := br.Drop("home", []uint64{list[1].ID, 99}); err != nil || h.Done != 1 || len(h.Missing) != 1 {
			b.Errorf("drop: %+v, %v", h, err)
		}
		if err := aio.AddFeed("learner", "picow.temp"); err != nil {
			b.Fatal(err)
		}
		if h, err := br.Retry("home", nil); err != nil || h.Done != 4 {
			b.Errorf("retry: %+v, %v", h, err)
		}
		time.Sleep(time.Minute)
		if got := values(aio.Points("learner", "picow.temp")); strings.Join(got, " ") != "20.5 22.5 23.5 24.5" {
			b.Errorf("the feed has %v", got)
		}
		s := br.Status().Clouds[0]
		if len(s.Rejected) != 0 || s.Counts.Retried != 4 || s.Counts.Confirmed != 4 || s.Counts.Waiting != 0 {
			b.Errorf("then: %+v, rejected %+v", s.Counts, s.Rejected)
		}
		if _, err := br.Retry("nowhere", nil); !errors.Is(err, ErrNoCloud) {
			b.Errorf("a cloud that is not there: %v", err)
		}
		stop()
		if _, err := br.Retry("home", nil); !errors.Is(err, ErrStopping) {
			b.Errorf("after the stop: %v", err)
		}
	})
}

// TestRetryWithoutBridge has refused readings sent again by the next start.
func TestRetryWithoutBridge(t *testing.T) {
	inBubble(t, func(b *bubble) {
		aio := b.adafruit(map[string]string{"groups": "refuse"})
		dir := t.TempDir()
		br, stop := b.refusing(dir, "mqtt://aio:1883").run()
		online(b.T, br)
		board := b.board()
		for i := range 4 {
			board.publish("iot/picow/temp", fmt.Sprint(i))
			time.Sleep(5 * time.Second)
		}
		time.Sleep(30 * time.Second)
		cfg := b.refusing(dir, "mqtt://aio:1883").cfg
		if _, err := OpenRejected(&cfg); !errors.Is(err, queue.ErrLocked) {
			b.Errorf("with a running bridge: %v", err)
		}
		stop()
		f, err := OpenRejected(&cfg)
		if err != nil || f.Damage != nil {
			b.Fatal(err, f.Damage)
		}
		list, _ := f.Rejected("home")
		if len(list) != 4 {
			b.Fatalf("the file has %+v", list)
		}
		if h, err := f.Drop("home", []uint64{list[0].ID}); err != nil || h.Done != 1 {
			b.Errorf("drop: %+v, %v", h, err)
		}
		if h, err := f.Retry("home", []uint64{list[0].ID, list[1].ID, list[3].ID}); err != nil || h.Done != 2 || len(h.Missing) != 1 {
			b.Errorf("retry: %+v, %v", h, err)
		}
		if err := f.Close(); err != nil {
			b.Error(err)
		}
		if err := aio.AddFeed("learner", "picow.temp"); err != nil {
			b.Fatal(err)
		}
		br, stop = b.refusing(dir, "mqtt://aio:1883").run()
		time.Sleep(2 * time.Minute)
		if got := values(aio.Points("learner", "picow.temp")); strings.Join(got, " ") != "1 3" {
			b.Errorf("the feed has %v, want 1 and 3", got)
		}
		if rest, _ := br.Rejected("home"); len(rest) != 1 || rest[0].ID != list[2].ID {
			b.Errorf("the list has %+v, want number %d", rest, list[2].ID)
		}
		stop()
	})
}

// TestStartBesideCommand starts a bridge while a command has the lock for a moment.
func TestStartBesideCommand(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.adafruit(nil)
		l := b.refusing(t.TempDir(), "mqtt://aio:1883")
		f, err := OpenRejected(&l.cfg)
		if err != nil {
			b.Fatal(err)
		}
		br, stop := l.run()
		time.Sleep(lockTime / 2)
		if err := f.Close(); err != nil {
			b.Error(err)
		}
		online(b.T, br)
		stop()
	})
}

// TestRetryUnblocks sends a reading again to a topic that rests because this account may not use it: the cloud is asked
// anew, and its answer counts.
func TestRetryUnblocks(t *testing.T) {
	inBubble(t, func(b *bubble) {
		hive, table, _ := b.hive(map[string]string{"filter": "open/#"})
		l := b.lab().cloud("hive", hivemqcloud.Kind, table("5"))
		l.cfg.Queue.Dir = t.TempDir()
		l.up("iot/#", "hive", nil)
		br, stop := l.run()
		online(b.T, br)
		board := b.board()
		board.publish("iot/x", "1")
		time.Sleep(20 * time.Second)
		board.publish("iot/x", "2")
		time.Sleep(20 * time.Second)
		if n := hive.Count("publish", false); n != 1 {
			b.Fatalf("the cloud refused %d messages, want 1: the topic rests after it", n)
		}
		if h, err := br.Retry("hive", nil); err != nil || h.Done != 2 {
			b.Fatalf("retry: %+v, %v", h, err)
		}
		time.Sleep(20 * time.Second)
		if n := hive.Count("publish", false); n < 2 {
			b.Errorf("the cloud was not asked anew: %d refusals", n)
		}
		list, _ := br.Rejected("hive")
		if len(list) != 2 || list[0].Value != "1" || list[1].Value != "2" || list[0].ID <= 2 {
			b.Errorf("the list has %+v, want both again under new numbers", list)
		}
		stop()
	})
}

// TestRetryOrder sends points again in the order in which they came, whichever was refused first.
func TestRetryOrder(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.broker("far:1883")
		l := b.lab().cloud("far", generic.Kind, anyBroker("mqtt://far:1883", "5"))
		l.up("iot/#", "far", nil) // Without a queue directory: the list is in memory alone.
		br, stop := l.run()
		online(b.T, br)
		phone := join(b.T, mqtt.Options{URL: "mqtt://far:1883", DialContext: b.net.DialContext}, "#")
		now := time.Now()
		for i := range 6 {
			came := now.Add(-time.Duration(i) * time.Second)
			br.clouds["far"].refuse(&mappings.Point{
				Rule: 0, Cloud: "far", Name: "iot/x", Time: came, Arrived: came, QoS: 1,
				Parts: []mappings.Part{{Value: mappings.Value{Kind: mappings.Raw, Bytes: fmt.Append(nil, 5-i)}}},
			}, nil, "no", now)
		}
		if h, err := br.Retry("far", nil); err != nil || h.Done != 6 {
			b.Errorf("retry: %+v, %v", h, err)
		}
		got := phone.wait(6)
		if text := spell(got); text != "iot/x=0 iot/x=1 iot/x=2 iot/x=3 iot/x=4 iot/x=5 " {
			b.Errorf("the cloud got %s", text)
		}
		if n := br.Status().Rules[0].Counts.Retried; n != 6 {
			b.Errorf("the rule counts %d sent again, want 6", n)
		}
		stop()
	})
}

// TestRetryOfRow fills a refused row in at its own time; one whose time nobody knows stays on the list.
func TestRetryOfRow(t *testing.T) {
	inBubble(t, func(b *bubble) {
		ts := b.thingSpeak()
		l := b.lab().cloud("weather", thingspeak.Kind, weatherTable)
		l.cfg.Queue.Dir = t.TempDir()
		l.up("iot/x", "weather", field(1001, 1))
		br, stop := l.run()
		online(b.T, br)
		board := b.board()
		c, now := br.clouds["weather"], time.Now()
		row := func(value string) *mappings.Point {
			return &mappings.Point{
				Rule: 0, Cloud: "weather", Name: "1001", Time: now.Add(-time.Hour), Arrived: now,
				Parts: []mappings.Part{{Name: "field1", Value: mappings.Value{Kind: mappings.Raw, Bytes: []byte(value)}}},
			}
		}
		c.refuse(row("7"), nil, "the key was wrong", now)
		c.refuse(row("8"), nil, errNoClock.Error(), now)
		if h, err := br.Retry("weather", nil); err != nil || h.Done != 1 || h.Lost != 1 {
			b.Errorf("retry: %+v, %v", h, err)
		}
		// The first row after the link's return is live.
		board.publish("iot/x", "1")
		time.Sleep(3 * time.Minute)
		found := 0
		for _, e := range ts.Feed(1001) {
			if e.Values["field1"] == "7" {
				found++
				if d := e.Created.Sub(now.Add(-time.Hour)).Abs(); d >= time.Second {
					b.Errorf("the row has a time %s off its own", d)
				}
			}
			if e.Values["field1"] == "8" {
				b.Error("a row whose time nobody knows was sent")
			}
		}
		if found != 1 {
			b.Errorf("the row is there %d times: %+v", found, ts.Feed(1001))
		}
		if list, _ := br.Rejected("weather"); len(list) != 1 || !list[0].Lost || list[0].Value != "field1=8" {
			b.Errorf("the list has %+v", list)
		}
		stop()
	})
}

// filed are lists with three entries of two clouds, saved.
func filed(t *testing.T, dir string) (*rejectedLists, []Cloud) {
	t.Helper()
	lab := newLab(t, "lab1", "mqtt://house").cloud("a", generic.Kind, anyBroker("mqtt://a:1883", "5")).cloud("b", generic.Kind, anyBroker("mqtt://b:1883", "5"))
	l := newRejectedLists()
	for i, name := range []string{"a", "b", "a"} {
		l.add(name, refusal{lane: "x", time: noon, address: "t/" + fmt.Sprint(i), value: "溫度", why: "no", record: []byte{1, 2, byte(i)}})
	}
	if err := l.save(dir, lab.cfg.Clouds); err != nil {
		t.Fatal(err)
	}
	return l, lab.cfg.Clouds
}

func TestRejectedFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, rejectedFile)
	_, clouds := filed(t, dir)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(whole), "\n")
	flip := func(s string, i int) string { return s[:i] + string(s[i]^1) + s[i+1:] }
	tests := []struct {
		name, text string
		left       string // the addresses that are still there
		words      string // in the error
	}{
		{"whole", string(whole), "t/0 t/2|t/1", ""},
		{"a line is damaged", lines[0] + flip(lines[1], 40) + lines[2] + lines[3], "t/2|t/1", "1 refused points in it cannot be read"},
		{"the head is damaged", flip(lines[0], 12) + lines[1] + lines[2] + lines[3], "t/0 t/2|t/1", "damaged"},
		{"torn", string(whole[:len(whole)-9]), "t/0|t/1", "damaged"},
		{"empty", "", "|", "damaged"},
		{"something else", "hello\nworld\n", "|", "damaged"},
		{"newer", string(seal(nil, rejectedHead{Format: rejectedFormat, Version: 2})) + lines[1], "|", "newer version"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			l := newRejectedLists()
			err := l.load(dir, clouds)
			if (err == nil) != (tt.words == "") || err != nil && !strings.Contains(err.Error(), tt.words) {
				t.Errorf("load: %v, want %q", err, tt.words)
			}
			if got := addresses(l, "a") + "|" + addresses(l, "b"); got != tt.left {
				t.Errorf("left: %s, want %s", got, tt.left)
			}
			l.add("a", refusal{})
			if err := l.save(dir, clouds); err != nil {
				t.Fatal(err)
			}
			now, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if kept := string(now) == tt.text; kept != (tt.name == "newer") {
				t.Errorf("the file was left as it is: %v", kept)
			}
		})
	}
}

func addresses(l *rejectedLists, cloud string) string {
	var list []string
	for _, r := range l.list(cloud) {
		list = append(list, r.Address)
	}
	return strings.Join(list, " ")
}

// TestRejectedFileFollowsAccounts finds the list of a cloud under its new name, and gives nobody another account's.
func TestRejectedFileFollowsAccounts(t *testing.T) {
	dir := t.TempDir()
	_, clouds := filed(t, dir)
	renamed := []Cloud{clouds[0]}
	renamed[0].Name = "new"
	l := newRejectedLists()
	if err := l.load(dir, renamed); err != nil {
		t.Fatal(err)
	}
	if got := addresses(l, "new"); got != "t/0 t/2" {
		t.Errorf("under its new name the cloud has %q", got)
	}
	if err := l.save(dir, renamed); err != nil {
		t.Fatal(err)
	}
	back := newRejectedLists()
	if err := back.load(dir, clouds); err != nil {
		t.Fatal(err)
	}
	if got := addresses(back, "b"); got != "t/1" {
		t.Errorf("the cloud that was away for a while has %q", got)
	}
	// A number is not used again, though its entry is gone.
	back.take("a", func(*refusal) bool { return true })
	back.take("b", func(*refusal) bool { return true })
	if err := back.save(dir, clouds); err != nil {
		t.Fatal(err)
	}
	last := newRejectedLists()
	if err := last.load(dir, clouds); err != nil {
		t.Fatal(err)
	}
	last.add("a", refusal{})
	if got := last.list("a")[0].ID; got != 4 {
		t.Errorf("the next entry has number %d, want 4", got)
	}
}

// TestRejectedBytes bounds what the records of a lane take.
func TestRejectedBytes(t *testing.T) {
	l := newRejectedLists()
	for range 5 {
		l.add("a", refusal{record: make([]byte, mostRejectedBytes/4)})
	}
	if n := len(l.list("a")); n != 4 {
		t.Errorf("%d records are kept, want 4", n)
	}
	l.add("a", refusal{lane: "big", record: make([]byte, mostRejectedBytes+1)})
	if list := l.list("a"); !list[len(list)-1].Lost {
		t.Error("a record that is too large is kept")
	}
}

func FuzzRejectedFile(f *testing.F) {
	f.Add([]byte("hello\nworld\n"))
	f.Add(seal(seal(nil, rejectedHead{Format: rejectedFormat, Version: 1, Last: 3}), rejectedLine{Account: "a", ID: 3}))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, rejectedFile), data, 0o600); err != nil {
			t.Fatal(err)
		}
		l := newRejectedLists()
		if l.load(dir, nil) != nil && l.foreign {
			return
		}
		before := len(l.strangers)
		if err := l.save(dir, nil); err != nil {
			t.Fatal(err)
		}
		again := newRejectedLists()
		if err := again.load(dir, nil); err != nil || len(again.strangers) != before {
			t.Fatalf("%v, %d entries of %d came back", err, len(again.strangers), before)
		}
	})
}
