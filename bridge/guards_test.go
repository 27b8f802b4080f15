package bridge

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

func echo(name, value string) platforms.Echo {
	return platforms.Echo{Address: mappings.Address{Name: name}, Value: value}
}

func echoList(list ...platforms.Echo) []platforms.Echo { return list }

func TestEchoes(t *testing.T) {
	on, off, group := echo("lights", "ON"), echo("lights", "OFF"), echo("room.lights", "ON")
	tests := []struct {
		name string
		// each step is "sent X", "confirmed N", "ours X", "not X" or "clear", at a time
		steps []string
	}{
		{"consumed once; the person's equal toggle is a command", []string{"0 sent on", "0.1 ours on", "0.2 not on"}},
		{"another value is a command", []string{"0 sent on", "0.1 not off", "0.2 ours on"}},
		{"before its confirmation it never ends", []string{"0 sent on", "3600 ours on"}},
		{"until 10 s after its confirmation", []string{"0 sent on", "50 confirmed 1", "60 ours on"}},
		{"not later", []string{"0 sent on", "50 confirmed 1", "60.1 not on"}},
		{"two sent, two echoes", []string{"0 sent on", "1 sent on", "2 ours on", "3 ours on", "4 not on"}},
		{"the older ends first", []string{"0 sent on", "1 confirmed 1", "8 sent on", "9 confirmed 2", "12 ours on", "13 not on"}},
		{"an older one left over ends", []string{"0 sent on", "1 sent on", "2 confirmed 1", "3 ours on", "13 confirmed 2", "20 ours on", "21 not on"}},
		{"the connection dropped", []string{"0 sent on", "1 clear", "2 not on", "3 confirmed 1", "4 not on", "5 sent on", "6 ours on"}},
		{"a feed and its group are one address", []string{"0 sent on", "1 ours group,on", "2 not group,on"}},
		{"the most exact fingerprint is used up first", []string{"0 sent on", "1 sent group", "2 ours group,on", "3 not group", "4 ours on"}},
		{"one publish with several values", []string{"0 sent on,off", "1 ours off", "2 ours on", "3 not on"}},
		{"nothing to bring back", []string{"0 sent", "1 confirmed 0", "2 not on"}},
		{"confirmed twice", []string{"0 sent on", "1 confirmed 1", "2 confirmed 1", "3 ours on", "4 not on"}},
	}
	known := map[string]platforms.Echo{"on": on, "off": off, "group": group}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEchoes(1)
			for _, step := range tt.steps {
				var seconds float64
				var verb, what string
				if n, err := fmt.Sscan(step, &seconds, &verb, &what); n < 2 {
					t.Fatal(err)
				}
				var list []platforms.Echo
				for name := range strings.SplitSeq(what, ",") {
					if echo, ok := known[name]; ok {
						list = append(list, echo)
					}
				}
				switch verb {
				case "sent":
					if tok := e.sent(list, at(seconds)); (tok == 0) != (len(list) == 0) {
						t.Errorf("%s: token %d", step, tok)
					}
				case "confirmed":
					var n echoToken
					fmt.Sscan(what, &n)
					e.confirmed(n, at(seconds))
				case "ours", "not":
					if got := e.ours(list, at(seconds)); got != (verb == "ours") {
						t.Errorf("%s: ours = %v", step, got)
					}
				case "clear":
					e.clear()
				}
			}
		})
	}
}

func TestEchoesAreBounded(t *testing.T) {
	e := newEchoes(0.1) // they end a second after the confirmation
	for i := range 10_000 {
		now := at(float64(i) / 100)
		tok := e.sent(echoList(echo("a", fmt.Sprint(i))), now)
		e.confirmed(tok, now)
		if i%2 == 0 && !e.ours(echoList(echo("a", fmt.Sprint(i))), now) {
			t.Fatalf("echo %d is not known", i)
		}
	}
	if n := e.len(); n > 60 {
		t.Errorf("%d fingerprints are kept, one second of them is 50", n)
	}
	// Nobody ever confirms these.
	for i := range mostEchoes * 5 / 4 {
		e.sent(echoList(echo("b", fmt.Sprint(i))), at(1000))
	}
	if n := e.len(); n > mostEchoes || len(e.order) > 2*mostEchoes {
		t.Errorf("%d fingerprints and %d names are kept", n, len(e.order))
	}
	if !e.ours(echoList(echo("b", fmt.Sprint(mostEchoes*5/4-1))), at(1000)) {
		t.Error("the newest was forgotten")
	}
}

func TestBreaker(t *testing.T) {
	b := newBreaker()
	send := func(rule int, payload string, seconds float64) string {
		ok, tripped := b.allow(rule, "home/lamp", []byte(payload), at(seconds))
		return fmt.Sprintf("%v %v", ok, tripped)
	}
	for i := range 50 {
		if got := send(0, "1", float64(i)/10); got != "true false" {
			t.Fatalf("message %d: %s", i+1, got)
		}
	}
	steps := []struct {
		rule    int
		payload string
		at      float64
		want    string
	}{
		{0, "0", 5, "true false"}, // another payload
		{1, "1", 5, "true false"}, // another rule
		{0, "1", 5, "false true"}, // the 51st
		{0, "1", 5.1, "false false"},
		{0, "0", 6, "false false"}, // the rule is stopped, whatever it carries
		{1, "1", 6, "true false"},
		{0, "1", 64.9, "false false"},
		{0, "1", 65, "true false"}, // tried again
	}
	for _, s := range steps {
		if got := send(s.rule, s.payload, s.at); got != s.want {
			t.Errorf("rule %d, %s at %v s: %s, want %s", s.rule, s.payload, s.at, got, s.want)
		}
	}
}

func TestBreakerSpan(t *testing.T) {
	for _, tt := range []struct {
		apart float64 // seconds between equal messages
		trips bool
	}{{0.19, true}, {0.2, false}, {1, false}} {
		b := newBreaker()
		tripped := false
		for i := range 500 {
			_, now := b.allow(0, "t", []byte("x"), noon.Add(time.Duration(float64(i)*tt.apart*1e9)))
			tripped = tripped || now
		}
		if tripped != tt.trips {
			t.Errorf("one message each %v s: tripped %v, want %v", tt.apart, tripped, tt.trips)
		}
	}
}

func TestBreakerForgets(t *testing.T) {
	b := newBreaker()
	for i := range 10 * breakerMemory {
		b.allow(0, fmt.Sprint("topic/", i), nil, at(float64(i)/1000))
		if i%20 == 0 {
			if _, tripped := b.allow(1, "again", nil, at(float64(i)/1000)); tripped != (i == 50*20) {
				t.Fatalf("repetition %d: tripped %v", i/20, tripped)
			}
			if i == 50*20 {
				break
			}
		}
	}
	for i := range 10 * breakerMemory {
		b.allow(0, fmt.Sprint("other/", i), nil, at(100))
	}
	if len(b.seen) > breakerMemory || b.recent.Len() != len(b.seen) {
		t.Errorf("%d kinds of message are kept, %d in order", len(b.seen), b.recent.Len())
	}
}

func TestHops(t *testing.T) {
	own := func(ids ...string) *mqtt.Properties {
		p := &mqtt.Properties{ContentType: "text/plain", User: []mqtt.UserProperty{{Key: "unit", Value: "C"}}}
		for _, id := range ids {
			p.User = append(p.User, mqtt.UserProperty{Key: hopsProperty, Value: id})
		}
		return p
	}
	tests := []struct {
		name    string
		props   *mqtt.Properties
		most    int
		refused string
	}{
		{"no properties", nil, 0, ""},
		{"no bridge", own(), 0, ""},
		{"one bridge, none allowed", own("b"), 0, "came through 1 bridges and max_hops is 0"},
		{"one bridge, one allowed", own("b"), 1, ""},
		{"two bridges, one allowed", own("b", "c"), 1, "came through 2 bridges"},
		{"ourselves", own("a"), 5, "this bridge before"},
		{"ourselves further back", own("b", "a", "c"), 5, "this bridge before"},
		{"commas in an id", own("b,a"), 1, ""},
	}
	for _, tt := range tests {
		why, refused := hopRefusal(tt.props, "a", tt.most)
		if refused != (tt.refused != "") || !strings.Contains(why, tt.refused) {
			t.Errorf("%s: %v %q, want %q", tt.name, refused, why, tt.refused)
		}
	}
}

func TestWithHopCopies(t *testing.T) {
	p := &mqtt.Properties{ContentType: "text/plain", User: make([]mqtt.UserProperty, 1, 8)}
	p.User[0] = mqtt.UserProperty{Key: "unit", Value: "C"}
	a, b := withHop(p, "a"), withHop(p, "b")
	c := withHop(a, "c")
	if len(p.User) != 1 || p.User[:2][1] != (mqtt.UserProperty{}) {
		t.Errorf("the original changed: %+v", p.User[:2])
	}
	for _, tt := range []struct {
		p    *mqtt.Properties
		want []string
	}{{p, nil}, {a, []string{"a"}}, {b, []string{"b"}}, {c, []string{"a", "c"}}, {withHop(nil, "d"), []string{"d"}}, {nil, nil}} {
		if got := hopsOf(tt.p); !slices.Equal(got, tt.want) {
			t.Errorf("hops = %v, want %v", got, tt.want)
		}
	}
	if c.ContentType != "text/plain" || c.User[0].Key != "unit" {
		t.Errorf("other properties are gone: %+v", c)
	}
}

func TestRejected(t *testing.T) {
	r := newRejectedLists()
	if got := r.list("w"); len(got) != 0 {
		t.Errorf("an empty list holds %v", got)
	}
	for i := range mostRejected + 30 {
		gone := r.add("w", refusal{time: at(float64(i)), address: fmt.Sprint(i), value: strings.Repeat("大", 500), why: "too large"})
		if want := i >= mostRejected; (gone == 1) != want {
			t.Errorf("refusal %d pushed %d out", i, gone)
		}
	}
	got := r.list("w")
	if len(got) != mostRejected || got[0].Address != "30" || got[mostRejected-1].Address != fmt.Sprint(mostRejected+29) {
		t.Errorf("%d kept, from %s to %s", len(got), got[0].Address, got[len(got)-1].Address)
	}
	if r.count() != mostRejected+30 {
		t.Errorf("count = %d", r.count())
	}
	if v := got[0].Value; len(v) > 250 || !strings.HasPrefix(v, "大") {
		t.Errorf("a value of %d bytes is kept", len(v))
	}
}

// The reading side and the sending side of a cloud use the guards at the same time.
func TestGuardsTogether(t *testing.T) {
	e, b, r, p := newEchoes(1), newBreaker(), newRejectedLists(), newPacer(platforms.Limits{PerMinute: 30}, 1, noon)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 200 {
				now := at(float64(i) / 100)
				list := echoList(echo("a", fmt.Sprint(g, " ", i)))
				tok := e.sent(list, now)
				e.confirmed(tok, now)
				if !e.ours(list, now) {
					t.Error("our own echo is not known")
				}
				b.allow(g, "t", []byte{byte(i)}, now)
				r.add("c", refusal{})
				p.take(p.next(now, 1), 1)
			}
		})
	}
	wg.Wait()
	if e.len() != 0 || r.count() != 800 {
		t.Errorf("%d fingerprints left, %d rejected", e.len(), r.count())
	}
}

func BenchmarkEchoes(b *testing.B) {
	e := newEchoes(1)
	list := echoList(echo("home/lamp", "ON"))
	now := noon
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Millisecond)
		e.confirmed(e.sent(list, now), now)
		e.ours(list, now)
	}
}

func BenchmarkBreaker(b *testing.B) {
	br := newBreaker()
	payload := []byte(`{"temperature":27.5,"humidity":60}`)
	now := noon
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Second)
		br.allow(0, "iot/ece2026/picow/temp", payload, now)
	}
}
