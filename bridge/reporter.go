package bridge

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"sync"
	"time"

	"cloudbridge/internal/mqtt"
)

// refresh is how often the number of waiting readings is told while nothing else changes, and refreshIdle how often it is
// looked at while nothing waits.
const (
	refresh     = 5 * time.Second
	refreshIdle = time.Minute
)

// reporter publishes the state of the bridge as retained messages: to the house, or to a cloud's announce topic. Each new
// session gets all of it again, for a broker may have lost what it retained.
type reporter struct {
	b    *Bridge
	link *link
	wake chan struct{}

	mu sync.Mutex
	// said is what the current session was told, by topic.
	on     *session
	said   map[string][]byte
	closed bool
}

func newReporter(b *Bridge, l *link) *reporter {
	return &reporter{b: b, link: l, wake: make(chan struct{}, 1)}
}

func (r *reporter) poke() { poke(r.wake) }

func (r *reporter) run(ctx context.Context) {
	for {
		s, err := r.link.wait(ctx)
		if err != nil {
			return
		}
		for s.ctx.Err() == nil && ctx.Err() == nil {
			tctx, cancel := context.WithTimeout(s.ctx, time.Second)
			r.tell(tctx, s, r.topics())
			cancel()
			next := refreshIdle
			if r.b.waiting() > 0 {
				next = refresh
			}
			waitAny(ctx, r.wake, s.ctx.Done(), time.Now().Add(next))
		}
	}
}

// tell publishes what differs from what this session was told.
func (r *reporter) tell(ctx context.Context, s *session, topics map[string][]byte) {
	for topic, payload := range topics {
		if !r.news(s, topic, payload) {
			continue
		}
		m := &mqtt.Message{Topic: topic, Payload: payload, QoS: 1, Retain: true}
		// A state that is not told is told with the next change, or on the next session.
		if s.Publish(ctx, m, func(mqtt.Result) {}) == nil {
			r.mu.Lock()
			r.said[topic] = payload
			r.mu.Unlock()
		}
	}
}

// news says whether a session was not told this yet. Publishing may wait for room, so nothing is locked meanwhile.
func (r *reporter) news(s *session, topic string, payload []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.on != s {
		r.on, r.said = s, make(map[string][]byte)
	}
	return !r.closed && !bytes.Equal(r.said[topic], payload)
}

// topics are what is to be said now.
func (r *reporter) topics() map[string][]byte {
	b := r.b
	now := time.Now()
	if r.link != b.local.main.link {
		for _, c := range b.order {
			if c.link == r.link {
				return map[string][]byte{c.cfg.Announce: b.stateNow()}
			}
		}
		return nil
	}
	topics := map[string][]byte{b.local.stateTopic(): b.stateNow()}
	for _, c := range b.order {
		st := c.state(now)
		topics["cloudbridge/"+b.local.id+"/cloud/"+c.name] = encodeState(stateMessage{
			State: st.State, Since: st.Since, Why: st.Why, Waiting: c.waiting(),
		})
	}
	return topics
}

// close says a last word and waits until the broker has it, or ctx ends.
func (r *reporter) close(ctx context.Context, state, why string) {
	s, _ := r.link.up()
	topics := r.topics()
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	if s == nil {
		return
	}
	var wg sync.WaitGroup
	for topic, payload := range topics {
		var last stateMessage
		_ = json.Unmarshal(payload, &last) // It is ours; only what waits is taken from it.
		last.State, last.Since, last.Why = state, time.Now(), why
		m := &mqtt.Message{Topic: topic, Payload: encodeState(last), QoS: 1, Retain: true}
		wg.Add(1)
		if s.Publish(ctx, m, func(mqtt.Result) { wg.Done() }) != nil {
			wg.Done()
		}
	}
	said := make(chan struct{})
	go func() {
		wg.Wait()
		close(said)
	}()
	select {
	case <-said:
	case <-ctx.Done():
	}
}

// stateMessage is the JSON of a state topic. Times are RFC 3339 in UTC, waiting counts readings.
type stateMessage struct {
	State   string    `json:"state"`
	Since   time.Time `json:"since"`
	Why     string    `json:"why,omitempty"`
	Waiting int       `json:"waiting"`
}

func encodeState(m stateMessage) []byte {
	m.Since = m.Since.UTC().Truncate(time.Second)
	data, err := json.Marshal(m)
	if err != nil {
		return []byte(`{"state":"` + m.State + `"}`)
	}
	return data
}

// stateNow is the state of a bridge that is there to tell it, with all that waits.
func (b *Bridge) stateNow() []byte {
	return encodeState(stateMessage{State: stateOnline, Since: b.started, Waiting: b.waiting()})
}

// waiting counts what waits for all clouds.
func (b *Bridge) waiting() int {
	n := 0
	for _, c := range b.order {
		n += c.waiting()
	}
	return n
}

func (b *Bridge) stateJSON(state, why string) []byte {
	return encodeState(stateMessage{State: state, Since: b.started, Why: why})
}

// state is the state of a cloud, however it is reached.
func (c *cloud) state(now time.Time) LinkStatus {
	if c.link == nil {
		return c.http.status()
	}
	return c.link.status(now)
}

// randomID makes a client id that nobody else uses.
func randomID(name string) string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // It never fails.
	return name + "-" + hex.EncodeToString(b[:])
}
