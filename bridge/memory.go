package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"cloudbridge/internal/mqtt"
)

// memoryFile holds what a bridge must know of its last run: how much of each account's budget is spent, what the local
// session is subscribed to, what the house was told last.
const memoryFile = "state.json"

// memory is that file. It is written at the start, at a clean stop, and with each login to a public cloud, which is rare:
// a bridge that crashes and starts again and again must not log in without end. A file that was not written at a stop
// tells that nobody knows what else was spent since: then each budget counts as just used.
type memory struct {
	dir string

	mu     sync.Mutex
	pacers map[string]*pacer
	past   memoryState
	// known is false at the very first start, when nothing can have been spent.
	known bool
	down  map[string]saying
}

// memoryState is the file's content.
type memoryState struct {
	Version int                   `json:"version"`
	Clean   bool                  `json:"clean"`
	Pacers  map[string]pacerState `json:"pacers,omitempty"`
	Logins  map[string][]spend    `json:"logins,omitempty"`
	Filters map[string][]string   `json:"filters,omitempty"`
	Down    map[string]saying     `json:"down,omitempty"`
	// Traffic is by the name of the cloud.
	Traffic map[string]trafficMonth `json:"traffic,omitempty"`
}

// saying is the last thing that a downlink told the house.
type saying struct {
	Topic   string `json:"topic"`
	Payload []byte `json:"payload"`
}

func newMemory(dir string) *memory {
	return &memory{dir: dir, pacers: make(map[string]*pacer), down: make(map[string]saying)}
}

// load reads the file and marks it as not cleanly closed. A bridge that cannot read or write it runs all the same.
func (m *memory) load(b *Bridge) {
	if m.dir == "" {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	data, err := os.ReadFile(filepath.Join(m.dir, memoryFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		m.past.Clean = true
	case err != nil:
		b.log.Warn("read the state of the last run: " + err.Error())
		m.known = true
	default:
		m.known = true
		if err := json.Unmarshal(data, &m.past); err != nil {
			b.log.Warn("the state of the last run is damaged: budgets count as just used: " + err.Error())
			m.past = memoryState{}
		}
	}
	for key, p := range m.pacers {
		m.recall(key, p)
	}
	now := time.Now()
	if m.known {
		b.accounts.eachLogins(func(key string, l *logins) { l.restore(m.past.Logins[key], now) })
	}
	for k, v := range m.past.Down {
		m.down[k] = v
	}
	for _, c := range b.order {
		c.traffic.restore(m.past.Traffic[c.name])
	}
	open := m.past
	open.Clean = false
	if err := m.write(open); err != nil {
		b.log.Warn("write the state: " + err.Error())
	}
}

// recall gives a pacer what was spent before. mu is held.
func (m *memory) recall(key string, p *pacer) {
	if !m.known {
		return
	}
	now := time.Now()
	if !m.past.Clean {
		p.spendAll(now)
		return
	}
	if s, ok := m.past.Pacers[key]; ok {
		p.restore(s, now)
	}
}

// remember takes note of a pacer, so that it is saved, and gives it its past.
func (m *memory) remember(account, lane string, p *pacer) {
	key := account + "/" + lane
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pacers[key] == p {
		return
	}
	m.pacers[key] = p
	m.recall(key, p)
}

// save writes the file at a clean stop.
func (m *memory) save(b *Bridge) {
	if m.dir == "" {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := memoryState{Clean: true, Pacers: make(map[string]pacerState), Logins: b.accounts.loginStates(), Filters: m.past.Filters, Down: m.down}
	for key, p := range m.past.Pacers {
		s.Pacers[key] = p // A lane that this run did not use keeps its past.
	}
	for key, p := range m.pacers {
		s.Pacers[key] = p.state()
	}
	s.Traffic = make(map[string]trafficMonth)
	for _, c := range b.order {
		s.Traffic[c.name] = c.traffic.state()
	}
	if err := m.write(s); err != nil {
		b.log.Warn("write the state: " + err.Error())
	}
}

// loggedIn saves how often the accounts were logged in to.
func (m *memory) loggedIn(b *Bridge) {
	if m.dir == "" {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	open := m.past
	open.Clean, open.Logins = false, b.accounts.loginStates()
	// A count that cannot be saved is only missed after a crash, and a disk that fails is told of at the start.
	_ = m.write(open)
}

// write replaces the file in one step.
func (m *memory) write(s memoryState) error {
	s.Version = 1
	data, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(m.dir, 0o750); err != nil {
		return err
	}
	path := filepath.Join(m.dir, memoryFile)
	if err := os.WriteFile(path+".new", append(data, '\n'), 0o640); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.Rename(path+".new", path)
}

// stale returns the filters that a kept session had and is not to have any more.
func (m *memory) stale(session string, now []mqtt.Subscription) (gone []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	wanted := make(map[string]bool, len(now))
	for _, f := range names(now) {
		wanted[f] = true
	}
	for _, f := range m.past.Filters[session] {
		if !wanted[f] {
			gone = append(gone, f)
		}
	}
	return gone
}

// subscribed notes what a session is subscribed to.
func (m *memory) subscribed(session string, now []mqtt.Subscription) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := names(now)
	if slices.Equal(m.past.Filters[session], list) {
		return
	}
	if m.past.Filters == nil {
		m.past.Filters = make(map[string][]string)
	}
	m.past.Filters[session] = list
	if m.dir != "" {
		open := m.past
		open.Clean = false
		// What cannot be noted is at worst a filter that stays: its messages match no rule and are counted.
		_ = m.write(open)
	}
}

// sessions are the local sessions that the broker keeps for us, as far as we know, by their suffixes.
func (m *memory) sessions() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.past.Filters))
}

// ended forgets a local session that the broker keeps no more.
func (m *memory) ended(session string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.past.Filters, session)
	if m.dir != "" {
		open := m.past
		open.Clean = false
		// What cannot be noted is at worst ended once more.
		_ = m.write(open)
	}
}

// lastDown notes what a downlink told the house.
func (m *memory) lastDown(cloud, source, topic string, payload []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down[cloud+" "+source] = saying{Topic: topic, Payload: slices.Clone(payload)}
}

// saysAlready says whether the house was told just this last.
func (m *memory) saysAlready(cloud, source, topic string, payload []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.down[cloud+" "+source]
	return ok && s.Topic == topic && slices.Equal(s.Payload, payload)
}
