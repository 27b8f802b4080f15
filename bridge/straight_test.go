package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudbridge/internal/faultproxy"
	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/internal/queue"
	"cloudbridge/platforms/generic"
)

// The topics of a moody cloud's test, and how many messages go to each.
const (
	moodTopics = 4
	moodEach   = 600
	// mostMoods is how often it is moody.
	mostMoods = 24
)

// moody is a cloud that now and then says that a quota is used up, hangs up, answers late, or answers nothing for a moment.
// Once it has refused a message it takes nothing until that one comes again, as one does that counts by the hour.
type moody struct {
	fake *mqtttest.Fake

	mu      sync.Mutex
	dice    *rand.Rand
	gone    map[*mqtttest.Conn]bool // what is read from it still has not come
	refused map[*mqtttest.Conn]string
	owed    map[*mqtttest.Conn][]mqtttest.Packet
	got     map[string][]int
	moods   [4]int
	// forgives says that it refuses only the one message, and goes on with those behind it.
	forgives bool
}

func newMoody(seed uint64) *moody {
	m := &moody{
		dice: rand.New(rand.NewPCG(seed, 1)), gone: make(map[*mqtttest.Conn]bool), refused: make(map[*mqtttest.Conn]string),
		owed: make(map[*mqtttest.Conn][]mqtttest.Packet), got: make(map[string][]int),
	}
	m.fake = mqtttest.NewFake(mqtttest.Script{Properties: [][]byte{mqtttest.ReceiveMaximum(30)}, OnPacket: m.packet})
	return m
}

// packet takes a message as its mood is. Calm times are long enough for a lane to catch up.
func (m *moody) packet(c *mqtttest.Conn, p mqtttest.Packet) bool {
	if p.Kind != mqtttest.PUBLISH {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone[c] {
		return true
	}
	text := p.Topic + "=" + string(p.Payload)
	if m.refused[c] == text {
		m.refused[c] = ""
	} else if m.refused[c] == "" && m.moods[0]+m.moods[1]+m.moods[2]+m.moods[3] < mostMoods {
		switch m.dice.IntN(300) {
		case 0:
			m.refused[c] = text
			m.moods[0]++
		case 1:
			m.moods[1]++
			m.gone[c] = true
			c.Drop()
			return true
		case 2:
			m.moods[2]++
			m.owed[c] = append(m.owed[c], p)
			m.note(p)
			time.AfterFunc(50*time.Millisecond, func() { m.wake(c) })
			return true
		case 3:
			m.moods[3]++
			c.Silence()
			time.AfterFunc(50*time.Millisecond, c.Drop)
		}
	}
	switch {
	case m.refused[c] != "":
		c.ConfirmWith(p, 0x97, "")
		if m.forgives {
			m.refused[c] = ""
		}
		return true
	case len(m.owed[c]) > 0:
		m.owed[c] = append(m.owed[c], p)
	default:
		c.Confirm(p)
	}
	m.note(p)
	return true
}

func (m *moody) note(p mqtttest.Packet) {
	n, _ := strconv.Atoi(string(p.Payload))
	m.got[p.Topic] = append(m.got[p.Topic], n)
}

// wake answers what was answered late.
func (m *moody) wake(c *mqtttest.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.owed[c] {
		c.Confirm(p)
	}
	m.owed[c] = nil
}

// judge says what is wrong with what came: each topic's messages must be there, in order once those are left out that had come
// before.
func (m *moody) judge(t *testing.T) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for topic, list := range m.got {
		next := 0
		for _, n := range list {
			if n > next {
				t.Errorf("%s: %d came when %d was next", topic, n, next)
				return
			}
			next = max(next, n+1)
		}
		if next != moodEach {
			t.Errorf("%s: %d of %d came", topic, next, moodEach)
		}
	}
	if len(m.got) != moodTopics {
		t.Errorf("%d topics, want %d", len(m.got), moodTopics)
	}
}

// ways tells how many records went straight and how many were given at all.
func (b *Bridge) ways(cloud string) (straight, all uint64) {
	for _, ln := range b.clouds[cloud].all() {
		o := ln.(*orderedLane)
		o.way.mu.Lock()
		straight += o.way.count
		o.way.mu.Unlock()
		last, _ := o.queue.Tail()
		all += last
	}
	return straight, all
}

// boards publish numbered messages to several topics at once, each of them from a connection of its own.
func boards(t *testing.T, url string) {
	t.Helper()
	var all sync.WaitGroup
	for i := range moodTopics {
		board := join(t, mqtt.Options{URL: url})
		all.Go(func() {
			for n := range moodEach {
				board.publish(fmt.Sprint("iot/", i), strconv.Itoa(n))
				if n%10 == 9 {
					sleep(t.Context(), 10*time.Millisecond) // The lane catches up now and then.
				}
			}
		})
	}
	all.Wait()
}

// TestMoodyCloud sends to a cloud that refuses, hangs up, stalls and falls silent at random: nothing is lost and nothing
// overtakes, on the short way and on the long one.
func TestMoodyCloud(t *testing.T) {
	for _, disk := range []bool{false, true} {
		t.Run(fmt.Sprint("disk ", disk), func(t *testing.T) {
			seed := rand.Uint64()
			house, m := unbounded(t), newMoody(seed)
			l := newLab(t, "lab1", house.URL).cloud("far", generic.Kind, anyBroker(m.fake.Listen(t), "5")).up("iot/#", "far", nil)
			l.cfg.Scale = 0.002
			if disk {
				l.cfg.Queue.Dir = t.TempDir()
			}
			br, stop := l.run()
			online(t, br)
			boards(t, house.URL)
			eventually(t, "all confirmed", func() bool {
				c := br.Status().Clouds[0].Counts
				return c.Waiting == 0 && c.Confirmed >= moodTopics*moodEach
			})
			straight, all := br.ways("far")
			m.judge(t)
			t.Logf("seed %d: %d of %d went straight; quota, cut, late, silent: %v", seed, straight, all, m.moods)
			if straight == 0 || straight >= all {
				t.Errorf("%d of %d records went straight: both ways must be taken", straight, all)
			}
			stop()
		})
	}
}

// TestMoodyLine sends to a real broker over TLS, through a line that is cut, swallows and stalls: nothing is lost, and nothing
// overtakes.
func TestMoodyLine(t *testing.T) {
	house := unbounded(t)
	far := mqtttest.MosquittoWith(t, mqtttest.Setup{TLS: true, Conf: []string{"max_queued_messages 0", "log_type none"}})
	line, err := faultproxy.Listen(strings.TrimPrefix(far.TLSURL, "mqtts://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = line.Close() })
	l := newLab(t, "lab1", house.URL).cloud("far", generic.Kind, anyBroker("mqtts://"+line.Addr(), "5")).up("iot/#", "far", nil)
	l.find("far").Platform.(*generic.Broker).Options.TLS = mqtt.TLS{CAFile: far.Certs.CAFile, ServerName: "localhost"}
	l.cfg.Scale = 0.002
	l.cfg.Queue.Dir = t.TempDir()
	phone := join(t, mqtt.Options{URL: far.URL}, "iot/#")
	br, stop := l.run()
	online(t, br)
	over := make(chan struct{})
	var faults sync.WaitGroup
	faults.Go(func() {
		for i := 0; ; i++ {
			ctx, cancel := context.WithTimeout(context.Background(), 60*time.Millisecond)
			select {
			case <-over:
				cancel()
				return
			case <-ctx.Done():
				cancel()
			}
			switch i % 4 {
			case 0:
				line.Cut()
			case 2:
				line.Hole(faultproxy.Up, faultproxy.Down)
			case 3:
				if err := line.Resume(); err != nil {
					t.Errorf("resume: %v", err)
				}
			}
		}
	})
	boards(t, house.URL)
	close(over)
	faults.Wait()
	if err := line.Resume(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all confirmed", func() bool {
		c := br.Status().Clouds[0].Counts
		return c.Waiting == 0 && c.Confirmed >= moodTopics*moodEach
	})
	phone.publish("iot/end", "")
	eventually(t, "the end to come", func() bool {
		got := phone.messages()
		return len(got) > 0 && got[len(got)-1].Topic == "iot/end"
	})
	m := newMoody(0)
	for _, got := range phone.messages() {
		if got.Topic != "iot/end" {
			m.note(mqtttest.Packet{Topic: got.Topic, Payload: got.Payload})
		}
	}
	m.judge(t)
	straight, all := br.ways("far")
	t.Logf("%d of %d went straight", straight, all)
	if straight == 0 || straight >= all {
		t.Errorf("%d of %d records went straight: both ways must be taken", straight, all)
	}
	stop()
}

// TestRefusedLeavesTheList refuses a message for now: before the lane's goroutine can be back, it must not count as on its way,
// or it would be passed over.
func TestRefusedLeavesTheList(t *testing.T) {
	l := newLab(t, "lab1", "mqtt://127.0.0.1:1").cloud("far", generic.Kind, anyBroker("mqtt://127.0.0.1:1", "5"))
	br, err := New(l.cfg, slog.New(slog.DiscardHandler))
	l.must(err)
	o := newOrderedLane(br.clouds["far"], "")
	f := &flight{lane: o, seq: 7, topic: "t", qos: 1, rule: -1}
	o.flights[7] = f
	o.failed(f, &mqtt.RefusedError{Reason: mqtt.Reason{Packet: mqtt.Puback, Protocol: mqtt.V5, Code: 0x97}})
	if !o.mustResend() {
		t.Fatal("the refusal asks for nothing")
	}
	if o.flights[7] != nil {
		t.Error("a refused message counts as on its way still")
	}
}

// interrupted is a queue that does something while somebody asks what waits in it.
type interrupted struct {
	queue.Interface
	at func()
}

func (q *interrupted) Stats() queue.Stats {
	s := q.Interface.Stats()
	if q.at != nil {
		at := q.at
		q.at = nil
		at()
	}
	return s
}

// TestRetryAsTheWayOpens puts a refused record back at the moment in which the short way opens: the lane must not leave it
// lying until the next reading comes.
func TestRetryAsTheWayOpens(t *testing.T) {
	l := newLab(t, "lab1", "mqtt://127.0.0.1:1").cloud("far", generic.Kind, anyBroker("mqtt://127.0.0.1:1", "5"))
	br, err := New(l.cfg, slog.New(slog.DiscardHandler))
	l.must(err)
	o := newOrderedLane(br.clouds["far"], "")
	done := make(chan struct{})
	o.queue = &interrupted{Interface: o.queue, at: func() {
		go func() {
			defer close(done)
			if err := o.put([]byte("x")); err != nil {
				t.Error(err)
			}
			_, wake := o.line()
			poke(wake)
		}()
		select {
		case <-done:
		case <-time.After(50 * time.Millisecond): // It waits for its turn, as it should.
		}
	}}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, began := o.begin(&session{}, 0)
	<-done
	if began {
		if after := o.follow(ctx); ctx.Err() != nil || after != 0 {
			t.Fatalf("the short way is open past %d, and nobody sends the record", after)
		}
	}
	if recs := peekNow(o.queue, 0, 1); len(recs) != 1 {
		t.Errorf("%d records wait, want one", len(recs))
	}
}

// TestSilentCloudWithoutDisk fills the window of the local broker while the only cloud has just fallen silent: without a disk
// the bridge must go on taking in, for the broker keeps no more than it has room for.
func TestSilentCloudWithoutDisk(t *testing.T) {
	const n = 2 * localWindow
	house := unbounded(t)
	first := make(chan struct{}, 1)
	first <- struct{}{}
	fake := mqtttest.NewFake(mqtttest.Script{OnPacket: func(c *mqtttest.Conn, p mqtttest.Packet) bool {
		if p.Kind == mqtttest.PUBLISH {
			select {
			case <-first:
				return false
			default:
				return true
			}
		}
		return false
	}})
	l := newLab(t, "lab1", house.URL).cloud("far", generic.Kind, anyBroker(fake.Listen(t), "5")).up("iot/#", "far", nil)
	l.find("far").Platform.(*generic.Broker).Options.Window = 20
	l.cfg.Scale = 20 // The cloud counts as quick for ten seconds.
	br, _ := l.run()
	online(t, br)
	pump(t, house.URL, n, 0)
	eventually(t, "all to be taken in", func() bool { return br.Status().Clouds[0].Counts.Waiting == n-1 })
}

// TestLateRefusals answers some messages late with a refusal, over a line that is slower than the pause after the first one:
// they go again in their places, before what is behind them.
func TestLateRefusals(t *testing.T) {
	house := unbounded(t)
	var mu sync.Mutex
	var came, taken []string
	fake := mqtttest.NewFake(mqtttest.Script{OnPacket: func(c *mqtttest.Conn, p mqtttest.Packet) bool {
		if p.Kind != mqtttest.PUBLISH {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		came = append(came, string(p.Payload))
		switch n := len(came); {
		case n == 3:
			c.ConfirmWith(mqtttest.Packet{Kind: mqtttest.PUBLISH, QoS: 1, ID: p.ID - 2}, 0x97, "")
			time.AfterFunc(100*time.Millisecond, func() {
				c.ConfirmWith(mqtttest.Packet{Kind: mqtttest.PUBLISH, QoS: 1, ID: p.ID - 1}, 0x97, "")
				c.ConfirmWith(p, 0x97, "")
			})
			return true
		case n < 3:
			return true
		}
		taken = append(taken, string(p.Payload))
		return false
	}})
	l := newLab(t, "lab1", house.URL).cloud("far", generic.Kind, anyBroker(fake.Listen(t), "5")).up("iot/#", "far", nil)
	l.cfg.Scale = 0.02
	br, _ := l.run()
	online(t, br)
	board := join(t, mqtt.Options{URL: house.URL})
	for n := range 3 {
		board.publish("iot/x", strconv.Itoa(n))
	}
	eventually(t, "the first refusal", func() bool { return br.Status().Clouds[0].Counts.Retried > 0 })
	board.publish("iot/x", "3")
	eventually(t, "all confirmed", func() bool { return br.Status().Clouds[0].Counts.Confirmed == 4 })
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(taken, " "); got != "0 1 2 3" {
		t.Errorf("the cloud took %s, want 0 1 2 3", got)
	}
}

// TestLeapBehindABacklog starts on a queue that had to leave numbers out, for the file that says what is settled is damaged. What
// waited is on its way, unanswered, when new readings come, and then the line is cut, twice: nothing is lost, and nothing lies about.
func TestLeapBehindABacklog(t *testing.T) {
	const old, all = 10, 15
	house, dir := unbounded(t), t.TempDir()
	m := newMoody(0)
	m.moods[0] = mostMoods // It is in no mood of its own.
	var mu sync.Mutex
	came, mute, away := 0, true, true
	login := func(int, *mqtttest.Connect) byte {
		mu.Lock()
		defer mu.Unlock()
		if away {
			return 0x88
		}
		return 0
	}
	behave := mqtttest.NewFake(mqtttest.Script{Login: login, OnPacket: func(c *mqtttest.Conn, p mqtttest.Packet) bool {
		mu.Lock()
		defer mu.Unlock()
		if p.Kind == mqtttest.PUBLISH && mute {
			came++
			return true
		}
		return m.packet(c, p)
	}})
	url := behave.Listen(t)
	lab := func() *lab {
		l := newLab(t, "lab1", house.URL).cloud("far", generic.Kind, anyBroker(url, "5")).up("iot/#", "far", nil)
		l.cfg.Queue.Dir, l.cfg.Scale = dir, 0.1
		return l
	}
	br, stop := lab().run()
	eventually(t, "the house online", func() bool { return br.Status().Local.State == stateOnline })
	board := join(t, mqtt.Options{URL: house.URL})
	n := 0
	publish := func(until int) {
		for ; n < until; n++ {
			board.publish("iot/x", strconv.Itoa(n))
		}
	}
	publish(old)
	eventually(t, "all to wait", func() bool { return br.Status().Clouds[0].Counts.Waiting == old })
	stop()
	damaged := 0
	for _, folder := range laneFolders(t, dir) {
		file := filepath.Join(dir, folder, "cursor")
		if err := os.WriteFile(file, []byte(strings.Repeat("?", 2*4096)), 0o600); err != nil {
			t.Fatal(err)
		}
		damaged++
	}
	if damaged != 1 {
		t.Fatalf("%d queues, want one", damaged)
	}
	mu.Lock()
	away = false
	mu.Unlock()
	br, stop = lab().run()
	online(t, br)
	conn := behave.Accepted()
	eventually(t, "the backlog on its way", func() bool { mu.Lock(); defer mu.Unlock(); return came >= old })
	publish(all)
	eventually(t, "all taken in", func() bool { return br.Status().Clouds[0].Counts.Waiting == all })
	conn.Drop()
	conn = behave.Accepted()
	eventually(t, "the backlog on its way again", func() bool { mu.Lock(); defer mu.Unlock(); return came >= 2*old })
	mu.Lock()
	mute = false
	mu.Unlock()
	conn.Drop()
	eventually(t, "nothing to wait", func() bool { return br.Status().Clouds[0].Counts.Waiting == 0 })
	m.mu.Lock()
	defer m.mu.Unlock()
	if got, want := fmt.Sprint(m.got["iot/x"]), "[0 1 2 3 4 5 6 7 8 9 10 11 12 13 14]"; got != want {
		t.Errorf("the cloud has %s, want %s", got, want)
	}
	stop()
}
