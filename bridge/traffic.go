package bridge

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"cloudbridge/internal/mqtt"
)

// traffic counts what goes to and comes from a cloud in a calendar month, for plans that have an allowance. It only
// warns.
type traffic struct {
	mu     sync.Mutex
	month  trafficMonth
	warned bool
	next   time.Time // when to look which month it is
}

// trafficMonth is what a month had so far. Bytes are those of topics and payloads, without the few that MQTT and TLS add.
type trafficMonth struct {
	Month string `json:"month"` // 2026-11
	Bytes int64  `json:"bytes"`
}

// add counts a message, and says once a month that the allowance is used.
func (t *traffic) add(m *mqtt.Message, now time.Time, most int64) (used bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !now.Before(t.next) || t.next.Sub(now) > lookAtMonth {
		t.turn(now)
	}
	t.month.Bytes += int64(len(m.Topic) + len(m.Payload))
	if most <= 0 || t.warned || t.month.Bytes <= most {
		return false
	}
	t.warned = true
	return true
}

// lookAtMonth is how long a look at the month serves, from one full quarter of an hour to the next: midnight is at one of
// them in each zone of the world.
const lookAtMonth = 15 * time.Minute

// turn looks which month it is: now and then, and when the clock was set, forward or back. mu is held.
func (t *traffic) turn(now time.Time) {
	t.next = now.Truncate(lookAtMonth).Add(lookAtMonth)
	if month := now.Format("2006-01"); t.month.Month != month {
		t.month, t.warned = trafficMonth{Month: month}, false
	}
}

func (t *traffic) state() trafficMonth {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.month
}

func (t *traffic) restore(m trafficMonth) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.month = m
}

// carried counts a message that went to or came from the cloud.
func (c *cloud) carried(m *mqtt.Message, way *atomic.Uint64, now time.Time) {
	way.Add(1)
	if c.traffic.add(m, now, c.cfg.MonthlyData) {
		c.b.log.Warn(fmt.Sprintf("%s: this month's data is beyond monthly_data (%.1f GB): it goes on, but the plan may end",
			c.name, float64(c.cfg.MonthlyData)/1e9))
	}
}
