package intern

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"
)

func TestTextIsKeptOnce(t *testing.T) {
	var p Pool
	if _, ok := p.Find([]byte("a/b")); ok {
		t.Fatal("an empty pool has found something")
	}
	one, two := p.Text([]byte("a/b")), p.Text([]byte("a/b"))
	if one != "a/b" || unsafe.StringData(one) != unsafe.StringData(two) {
		t.Errorf("%q and %q are not one text", one, two)
	}
	if found, ok := p.Find([]byte("a/b")); !ok || found != "a/b" {
		t.Errorf("found %q, %v", found, ok)
	}
	key := []byte("a/b")
	if n := testing.AllocsPerRun(100, func() { p.Text(key) }); n != 0 {
		t.Errorf("%v allocations for a known text", n)
	}
}

func TestPoolIsBounded(t *testing.T) {
	var p Pool
	for i := range 10 * most {
		if got := p.Text(fmt.Append(nil, i)); got != fmt.Sprint(i) {
			t.Fatalf("%q instead of %d", got, i)
		}
	}
	if len(p.known) > most {
		t.Errorf("%d texts are kept", len(p.known))
	}
	if long := strings.Repeat("x", longest+1); p.Text([]byte(long)) != long {
		t.Error("a long text is another one")
	} else if _, ok := p.Find([]byte(long)); ok {
		t.Error("a long text is kept")
	}
}
