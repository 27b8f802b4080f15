package mappings

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudbridge/internal/mqtt"
)

func records() []Point {
	return []Point{
		{},
		{
			Rule: 7, Cloud: "weather", Name: "1001", Local: "iot/溫度", QoS: 2, Retain: true, Time: noon, Arrived: noon.Add(time.Nanosecond),
			Parts: []Part{
				{"field1", Value{Kind: Float, Float: 22.5}},
				{"field2", Value{Kind: Int, Int: -1 << 63}},
				{"status", Value{Kind: Text, Bytes: []byte("溫度")}},
				{"on", Value{Kind: Bool, Int: 1}},
				{"raw", Value{Kind: Raw, Bytes: []byte("\xff\x00")}},
				{"json", Value{Kind: JSON, Bytes: []byte(`{"a":1}`)}},
				{"none", Value{}},
			},
		},
		{
			Cloud: "hive", Name: "a/b", Time: time.Time{}, Arrived: time.Unix(-1, 5),
			Parts: []Part{{"", Value{Kind: Raw, Bytes: []byte{}}}},
			Properties: &mqtt.Properties{
				ContentType: "application/json", ResponseTopic: "r", CorrelationData: []byte{0, 1}, UTF8: true, Expiry: time.Minute,
				User: []mqtt.UserProperty{{Key: "k", Value: "v"}, {Key: "k", Value: ""}},
			},
		},
		{Rule: -1, Properties: &mqtt.Properties{}},
		{Properties: &mqtt.Properties{CorrelationData: []byte{}}},
	}
}

func TestRecord(t *testing.T) {
	for i, p := range records() {
		rec := p.Append([]byte("kept"))
		if !bytes.HasPrefix(rec, []byte("kept")) {
			t.Fatalf("%d: Append does not append", i)
		}
		rec = rec[4:]
		got, err := ReadPoint(rec)
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		if diff := cmp.Diff(p, got); diff != "" {
			t.Errorf("%d: %s", i, diff)
		}
		for n := range rec {
			if _, err := ReadPoint(rec[:n]); err == nil {
				t.Errorf("%d: the first %d of %d bytes are read as a whole record", i, n, len(rec))
			}
		}
		if _, err := ReadPoint(append(bytes.Clone(rec), 0)); err == nil {
			t.Errorf("%d: a byte too many is not noticed", i)
		}
		clear(rec)
		if diff := cmp.Diff(p, got); diff != "" {
			t.Errorf("%d: the point shares memory with its record: %s", i, diff)
		}
	}
	if _, err := ReadPoint([]byte{99}); err == nil {
		t.Error("a record of an unknown layout is read")
	}
}

func TestPointClone(t *testing.T) {
	p := records()[1]
	c := p.Clone()
	if diff := cmp.Diff(p, c); diff != "" {
		t.Error(diff)
	}
	copy(p.Parts[2].Value.Bytes, "xxxxxx")
	p.Parts[0].Name = "x"
	if diff := cmp.Diff(records()[1], c); diff != "" {
		t.Errorf("the copy changed with its original: %s", diff)
	}
}

func FuzzReadPoint(f *testing.F) {
	for _, p := range records() {
		f.Add(p.Append(nil))
	}
	f.Fuzz(func(t *testing.T, rec []byte) {
		p, err := ReadPoint(rec)
		if err != nil {
			return
		}
		again, err := ReadPoint(p.Append(nil))
		if err != nil {
			t.Fatalf("what was read cannot be written and read again: %v", err)
		}
		if diff := cmp.Diff(p, again); diff != "" {
			t.Fatal(diff)
		}
	})
}

// FuzzPointReader reads records one after the other: each is what ReadPoint makes of it, whatever came before it, and a clone
// stays as it was.
func FuzzPointReader(f *testing.F) {
	for _, p := range records() {
		for _, q := range records() {
			f.Add(p.Append(nil), q.Append(nil))
		}
		rec := p.Append(nil)
		f.Add(rec, rec[:len(rec)/2])
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		var r PointReader
		var kept []Point
		var want []Point
		for _, rec := range [][]byte{one, two, one, one} {
			w, wantErr := ReadPoint(rec)
			mine := bytes.Clone(rec)
			got, err := r.Read(mine)
			if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
				t.Fatalf("%v, ReadPoint says %v", err, wantErr)
			}
			if err != nil {
				continue
			}
			if diff := cmp.Diff(w, got); diff != "" {
				t.Fatal(diff)
			}
			kept, want = append(kept, got.Clone()), append(want, w)
		}
		for i := range kept {
			if len(want[i].Parts) == 0 {
				want[i].Parts, kept[i].Parts = nil, nil
			}
			if diff := cmp.Diff(want[i], kept[i]); diff != "" {
				t.Errorf("the clone of record %d has changed: %s", i, diff)
			}
		}
	})
}

// TestCloneStays keeps clones of points while the memory that they were read from, and the reader, serve others.
func TestCloneStays(t *testing.T) {
	var r PointReader
	var kept []Point
	for range 2 {
		for _, p := range records()[:3] {
			rec := p.Append(nil)
			got, err := r.Read(rec)
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, got.Clone())
			// The values share the record's memory, and a clone has its own.
			for _, part := range got.Parts {
				clear(part.Value.Bytes)
			}
		}
	}
	for i, got := range kept {
		want := records()[i%3]
		if len(want.Parts) == 0 {
			want.Parts, got.Parts = nil, nil
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d: %s", i, diff)
		}
	}
}
