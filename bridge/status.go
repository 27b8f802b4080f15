package bridge

import "time"

// Status is the whole state of a bridge at one moment, copied out. The page, the metrics, the status command and
// /api/status all render this value.
type Status struct {
	Name     string        `json:"name"`
	Version  string        `json:"version"`
	ClientID string        `json:"client_id"`
	Started  time.Time     `json:"started"`
	Now      time.Time     `json:"now"`
	Process  ProcessStatus `json:"process"`
	Local    LinkStatus    `json:"local"`
	Clouds   []CloudStatus `json:"clouds"`
	Rules    []RuleStatus  `json:"rules"`
	// Unmatched counts local messages that came to no rule, by reason.
	Unmatched Counts `json:"unmatched"`
}

// ProcessStatus is the program itself, as far as nobody outside can see it: memory and open files are the system's to tell.
type ProcessStatus struct {
	// Goroutines rise and fall with connections; a figure that only rises is a leak.
	Goroutines int `json:"goroutines"`
}

// LinkStatus is one connection.
type LinkStatus struct {
	// State is online, connecting, throttled, backfilling, offline or refused.
	State string    `json:"state"`
	Since time.Time `json:"since"`
	// Why is for people; empty while all is well.
	Why      string    `json:"why,omitempty"`
	Next     time.Time `json:"next_attempt,omitzero"`
	URL      string    `json:"url"`
	Protocol string    `json:"protocol,omitempty"`
	Logins   uint64    `json:"logins"`
	Received uint64    `json:"received"`
	Sent     uint64    `json:"sent"`
}

// CloudStatus is one cloud.
type CloudStatus struct {
	Name     string `json:"name"`
	Platform string `json:"platform"`
	LinkStatus
	Counts Counts `json:"counts"`
	// MonthBytes is what topics and payloads had this calendar month, both ways.
	MonthBytes int64        `json:"month_bytes"`
	Lanes      []LaneStatus `json:"lanes"`
	Rejected   []Rejected   `json:"rejected,omitempty"`
}

// Counts are in the words that are the same everywhere.
type Counts struct {
	Waiting   uint64 `json:"waiting"`
	Sent      uint64 `json:"sent"`
	Confirmed uint64 `json:"confirmed"`
	Skipped   uint64 `json:"skipped"`
	Replaced  uint64 `json:"replaced"`
	Dropped   uint64 `json:"dropped"`
	Refused   uint64 `json:"refused"`
	Retried   uint64 `json:"retried"`
	// Reasons counts skipped, replaced, dropped, refused and retried by reason ("dropped: too old").
	Reasons map[string]uint64 `json:"reasons,omitempty"`
}

// LaneStatus is one lane of a cloud.
type LaneStatus struct {
	Name    string `json:"name"`
	Waiting int    `json:"waiting"`
	Bytes   int64  `json:"bytes"`
	// MemoryOnly says that the disk cannot be written, and Why what is wrong with it.
	MemoryOnly bool   `json:"memory_only,omitempty"`
	Why        string `json:"why,omitempty"`
	// NextSlot is when the platform's limit allows the next delivery.
	NextSlot time.Time `json:"next_slot,omitzero"`
}

// Rejected is a point that the cloud refused for good.
type Rejected struct {
	// ID names it for whoever wants it sent again or dropped; a number is never used again.
	ID      uint64    `json:"id"`
	Lane    string    `json:"lane,omitempty"`
	Time    time.Time `json:"time"`
	Address string    `json:"address"`
	Value   string    `json:"value"`
	Why     string    `json:"why"`
	// Retry says that the next start sends it again; Lost that it cannot be sent again.
	Retry bool `json:"retry,omitempty"`
	Lost  bool `json:"lost,omitempty"`
}

// RuleStatus is one rule.
type RuleStatus struct {
	Label     string `json:"label"`
	Direction string `json:"direction"` // up or down
	Cloud     string `json:"cloud"`
	Counts    Counts `json:"counts"`
	// LastProblem is the last message that could not be read, and why.
	LastProblem *Problem  `json:"last_problem,omitempty"`
	LastValue   string    `json:"last_value,omitempty"`
	LastAt      time.Time `json:"last_at,omitzero"`
}

// Problem is a message that a rule could not read.
type Problem struct {
	Time    time.Time `json:"time"`
	Topic   string    `json:"topic"`
	Payload string    `json:"payload"`
	Why     string    `json:"why"`
}
