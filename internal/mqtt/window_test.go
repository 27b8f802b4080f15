package mqtt

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"cloudbridge/internal/faketime"
)

func TestTheWindowServesInTheOrderOfAsking(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		w := window{max: 10, maxBytes: 100}
		take := func(size int) {
			if err := w.acquire(t.Context(), nil, size); err != nil {
				t.Error(err)
			}
		}
		take(60)
		order := make(chan int, 3)
		for _, size := range []int{90, 10, 20} {
			go func() {
				take(size)
				order <- size
			}()
			synctest.Wait()
		}
		if len(order) != 0 {
			t.Fatal("a small message went before a large one that asked first")
		}
		w.release(60)
		synctest.Wait()
		if first, second := <-order, <-order; first != 90 && second != 90 || len(order) != 0 {
			t.Errorf("got %d and %d, and %d more", first, second, len(order))
		}
		w.release(90)
		if last := <-order; last != 20 {
			t.Errorf("got %d", last)
		}
		if w.used != 2 || w.bytes != 30 {
			t.Errorf("%d publishes with %d bytes are left", w.used, w.bytes)
		}
	})
}

func TestGivingUpGivesTheRoomBack(t *testing.T) {
	faketime.Test(t, func(t *testing.T) {
		w := window{max: 1}
		if err := w.acquire(t.Context(), nil, 1); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		waits := make(chan error, 3)
		go func() { waits <- w.acquire(ctx, ended, 1) }()
		synctest.Wait()
		cancel()
		if err := <-waits; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		go func() { waits <- w.acquire(t.Context(), ended, 1) }()
		synctest.Wait()
		close(ended)
		if err := <-waits; !errors.Is(err, errEnded) {
			t.Errorf("got %v", err)
		}
		w.release(1)
		if err := w.acquire(t.Context(), nil, 1); err != nil || w.used != 1 || len(w.waiting) != 0 {
			t.Errorf("%v, %d used, %d waiting", err, w.used, len(w.waiting))
		}
	})
}

func TestIdentifiers(t *testing.T) {
	p := NewPacketIDs()
	open, err := p.take(true)
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxString - 1 {
		id, err := p.take(false)
		if err != nil || id == 0 || id == open {
			t.Fatalf("identifier %d after %d: %v", id, i, err)
		}
	}
	if _, err := p.take(false); !errors.Is(err, errNoPacketID) {
		t.Errorf("one too many gave %v", err)
	}
	p.free(300)
	if id, err := p.take(false); id != 300 || err != nil {
		t.Errorf("got %d, %v", id, err)
	}
	p.hold(5)
	if still := p.begin(true); len(still) != 1 || still[0] != open || !p.holds(5) {
		t.Errorf("after a kept session %v are open", still)
	}
	if still := p.begin(false); len(still) != 0 || p.holds(5) {
		t.Errorf("after a fresh session %v are open", still)
	}
}
