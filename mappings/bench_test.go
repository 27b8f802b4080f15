package mappings

import (
	"fmt"
	"testing"

	"cloudbridge/internal/mqtt"
)

// thousand is a table of 1,000 rules of the usual kinds, of which one matches benchMessage.
func thousand(tb testing.TB) *Table {
	var up []Uplink
	for i := range 1000 {
		switch i % 4 {
		case 0:
			up = append(up, uplink(tb, fmt.Sprintf("iot/room%d/{device}/temp", i), "c", "{device}", ""))
		case 1:
			up = append(up, uplink(tb, fmt.Sprintf("iot/room%d/picow/temp", i), "c", "n", ""))
		case 2:
			up = append(up, uplink(tb, fmt.Sprintf("home%d/{rest...}", i), "c", "{rest}", ""))
		case 3:
			up = append(up, uplink(tb, fmt.Sprintf("home%d/#", i), "c", "n", ""))
		}
	}
	return NewTable("lab1", up, nil)
}

var benchMessage = &mqtt.Message{Topic: "iot/room400/picow/temp", Payload: []byte("27.5")}

// BenchmarkMatch is one pattern on one topic, without a table.
func BenchmarkMatch(b *testing.B) {
	p := mustPattern(b, "iot/{room}/{device}/temp")
	var captures []string
	b.ReportAllocs()
	for b.Loop() {
		var ok bool
		if captures, ok = p.Match(benchMessage.Topic, captures[:0]); !ok {
			b.Fatal("no match")
		}
	}
}

func BenchmarkUp(b *testing.B) {
	table := thousand(b)
	var r Result
	b.ReportAllocs()
	for b.Loop() {
		table.Up(benchMessage, nil, noon, &r)
	}
	if len(r.Points) != 1 {
		b.Fatalf("%d points", len(r.Points))
	}
}

func BenchmarkUpWithID(b *testing.B) {
	table := thousand(b)
	var r Result
	ids := []int{401}
	b.ReportAllocs()
	for b.Loop() {
		table.Up(benchMessage, ids, noon, &r)
	}
}

func BenchmarkUpNoMatch(b *testing.B) {
	table := thousand(b)
	var r Result
	m := &mqtt.Message{Topic: "iot/room9999/picow/temp"}
	b.ReportAllocs()
	for b.Loop() {
		table.Up(m, nil, noon, &r)
	}
}

func benchExpr(b *testing.B, src, payload string) {
	table := NewTable("lab1", []Uplink{uplink(b, "a", "c", "n", src)}, nil)
	m := &mqtt.Message{Topic: "a", Payload: []byte(payload)}
	var r Result
	b.ReportAllocs()
	for b.Loop() {
		table.Up(m, nil, noon, &r)
	}
	if len(r.Points) != 1 {
		b.Fatalf("%d points, problems %v", len(r.Points), r.Problems)
	}
}

const benchJSON = `{"device":"pico-w-01","uptime":123456,"rssi":-61,"temperature":22.75,"humidity":60.5,"timestamp":1795147100}`

func BenchmarkExprJSON(b *testing.B) { benchExpr(b, `json.temperature`, benchJSON) }
func BenchmarkExprJSONArithmetic(b *testing.B) {
	benchExpr(b, `json.temperature * 1.8 + 32`, benchJSON)
}

func BenchmarkExprJSONMissing(b *testing.B) { benchExpr(b, `json.temp ?? json.temperature`, benchJSON) }

func BenchmarkExprAfter(b *testing.B) {
	benchExpr(b, `after(text, "temperature=")`, "Pico W temperature=27")
}

func BenchmarkExprMatch(b *testing.B) {
	benchExpr(b, "number(match(text, `T=([0-9.]+)`))", "T=27.5 H=60")
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (Scope{Names: []string{"device"}}).Expr(`(json.temperature ?? json.temp) * 1.8 + 32`, WantAny); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOverlaps(b *testing.B) {
	p, q := mustPattern(b, "iot/{device}/temp"), mustPattern(b, "iot/{room}/humidity")
	b.ReportAllocs()
	for b.Loop() {
		p.Overlaps(q)
	}
}

func BenchmarkRecord(b *testing.B) {
	p := records()[1]
	var rec []byte
	b.ReportAllocs()
	for b.Loop() {
		rec = p.Append(rec[:0])
		if _, err := ReadPoint(rec); err != nil {
			b.Fatal(err)
		}
	}
}

// The promise of the table: what does not match costs no memory, what matches at most three allocations beyond the
// result (here: the point's list of parts is the result).
func TestAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("allocations cannot be counted under the race detector")
	}
	table := thousand(t)
	var r Result
	none := &mqtt.Message{Topic: "iot/room9999/picow/temp"}
	if n := testing.AllocsPerRun(100, func() { table.Up(none, nil, noon, &r) }); n >= 1 {
		t.Errorf("a message without a rule costs %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { table.Up(benchMessage, nil, noon, &r) }); n > 1+3 {
		t.Errorf("a message with one rule costs %v allocations", n)
	}
}

// TestPlainRuleMakesNoGarbage runs the rule that most messages have: the topic goes over as it is, and nobody looks into the
// payload.
func TestPlainRuleMakesNoGarbage(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes garbage of its own")
	}
	table := NewTable("lab1", []Uplink{uplink(t, "iot/{rest...}", "c", "school/{rest}", "")}, nil)
	var r Result
	ids := []int{table.Filters()[0].ID}
	m := &mqtt.Message{Topic: "iot/ece/picow/temp", Payload: []byte("27.5"), QoS: 1, Subscriptions: ids}
	if n := testing.AllocsPerRun(1000, func() { table.Up(m, ids, noon, &r) }); n != 0 {
		t.Errorf("%v allocations for a message", n)
	}
	if len(r.Points) != 1 || r.Points[0].Name != "school/ece/picow/temp" {
		t.Errorf("made %+v", r)
	}
}
