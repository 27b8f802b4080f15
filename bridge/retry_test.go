package bridge

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestRetryPaces(t *testing.T) {
	tests := []struct {
		name     string
		cause    retryCause
		public   bool
		atOnce   bool
		first    time.Duration // the longest first wait, after the one at once
		low, top time.Duration
	}{
		{"network, private", retryNetwork, false, true, 100 * time.Millisecond, 50 * time.Millisecond, time.Second},
		{"network, public", retryNetwork, true, true, time.Second, 200 * time.Millisecond, 30 * time.Second},
		{"login, private", retryLogin, false, false, 2 * time.Minute, time.Minute, 15 * time.Minute},
		{"login, public", retryLogin, true, false, 2 * time.Minute, time.Minute, 15 * time.Minute},
		{"banned", retryBanned, true, false, 2 * time.Minute, time.Minute, time.Hour},
		{"throttled", retryThrottled, true, false, 90 * time.Second, time.Minute, 5 * time.Minute},
		{"client id", retryClientID, true, false, time.Minute, 30 * time.Second, 10 * time.Minute},
		{"busy, public", retryBusy, true, false, 5 * time.Second, 2 * time.Second, time.Minute},
		{"busy, private", retryBusy, false, false, 500 * time.Millisecond, 200 * time.Millisecond, 5 * time.Second},
		{"name not found", retryDNS, true, false, 4 * time.Second, 2 * time.Second, time.Minute},
		{"clock", retryClock, true, false, time.Minute, 30 * time.Second, 5 * time.Minute},
		{"no such cause", retryCauses, true, true, time.Second, 200 * time.Millisecond, 30 * time.Second},
	}
	random := rand.New(rand.NewPCG(7, 7))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const runs = 2000
			var sum time.Duration
			least, most := time.Hour*24, time.Duration(0)
			for range runs {
				r := newRetry(tt.public, 1, random.Float64)
				d := r.next(tt.cause)
				if tt.atOnce {
					if d != 0 {
						t.Fatalf("the first retry waits %v", d)
					}
					d = r.next(tt.cause)
				}
				if d < tt.low || d > tt.first {
					t.Fatalf("the first wait is %v, want %v to %v", d, tt.low, tt.first)
				}
				for range 20 {
					d = r.next(tt.cause)
				}
				sum += d
				least, most = min(least, d), max(most, d)
			}
			// At the ceiling the waits are spread evenly over the whole range.
			width := tt.top - tt.low
			if least < tt.low || least > tt.low+width/20 || most > tt.top || most < tt.top-width/20 {
				t.Errorf("waits from %v to %v, want %v to %v", least, most, tt.low, tt.top)
			}
			if mean, want := sum/runs, tt.low+width/2; mean < want-width/20 || mean > want+width/20 {
				t.Errorf("mean wait %v, want about %v", mean, want)
			}
		})
	}
}

func TestRetryGrowsDoubling(t *testing.T) {
	r := newRetry(true, 1, func() float64 { return 1 })
	var got []time.Duration
	for range 7 {
		got = append(got, r.next(retryNetwork))
	}
	want := []time.Duration{0, 1, 2, 4, 8, 16, 30}
	for i := range want {
		if got[i] != want[i]*time.Second {
			t.Errorf("wait %d = %v, want %v s", i, got[i], int64(want[i]))
		}
	}
}

func TestRetryHeldAndTold(t *testing.T) {
	r := newRetry(true, 0.1, func() float64 { return 1 })
	for range 9 {
		r.next(retryNetwork)
	}
	r.held(5 * time.Second) // a minute at this scale is 6 s
	if d := r.next(retryNetwork); d != 3*time.Second {
		t.Errorf("a link that fell at once is forgiven: wait %v, want the ceiling of 3 s", d)
	}
	if d := r.next(retryLogin); d != 12*time.Second {
		t.Errorf("another cause has its own pace: wait %v, want 12 s", d)
	}
	r.held(6 * time.Second)
	if d := r.next(retryNetwork); d != 0 {
		t.Errorf("after a link that held the first retry waits %v", d)
	}
	r.after(22 * time.Second)
	r.after(5 * time.Second)
	if d := r.next(retryThrottled); d != 22*time.Second {
		t.Errorf("told 22 s, waits %v", d)
	}
	if d := r.next(retryNetwork); d != 100*time.Millisecond {
		t.Errorf("what was told holds for more than one wait: %v", d)
	}
}
