package queue

import "testing"

func BenchmarkAppendCommit(b *testing.B) {
	m := NewMemory(0, "oldest")
	rec := make([]byte, 120)
	safe := func() {}
	b.ReportAllocs()
	var seq uint64
	for b.Loop() {
		if err := m.Append(rec, safe); err != nil {
			b.Fatal(err)
		}
		if seq++; seq%64 == 0 {
			if err := m.Commit(seq); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkAppendPeekCommit(b *testing.B) {
	m := NewMemory(0, "oldest")
	rec := make([]byte, 120)
	ctx := b.Context()
	b.ReportAllocs()
	var after, seq uint64
	for b.Loop() {
		if err := m.Append(rec, nil); err != nil {
			b.Fatal(err)
		}
		if seq++; seq%64 == 0 {
			recs, err := m.Peek(ctx, after, 64)
			if err != nil {
				b.Fatal(err)
			}
			after = recs[len(recs)-1].Seq
			if err := m.Commit(after); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkAppendFull(b *testing.B) {
	rec := make([]byte, 120)
	m := NewMemory(1000*(120+RecordOverhead), "oldest")
	safe := func() {}
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Append(rec, safe); err != nil {
			b.Fatal(err)
		}
	}
}
