package bridge

import (
	"context"
	"net"
	"time"

	"cloudbridge/internal/clock"
	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// Config is everything a bridge needs, checked and compiled. Package config makes it from a file.
type Config struct {
	// Name is the bridge's name.
	Name      string
	Local     Local
	Clouds    []Cloud
	Uplinks   []Uplink
	Downlinks []Downlink
	Queue     Queue
	// Clock says whether this computer's time is right; nil counts as right.
	Clock *clock.Source
	// Version is shown in the status.
	Version string
	// DialContext replaces the TCP dialler of all connections, for tests.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// Control, where set, is called when the queue directory is this bridge's alone; what it returns is called before that
	// ends. It serves whoever wants to talk to the bridge from this computer.
	Control func(*Bridge) (stop func())
	// Scale multiplies the engine's own times and the platforms' limits. Zero is 1; tests shorten it.
	Scale float64
}

// Local is the broker beside the bridge.
type Local struct {
	// Session has URL, credentials, TLS; its Protocol may be Auto. The engine adds the rest.
	Session mqtt.Options
	// Share is the group of MQTT 5 shared subscriptions, or empty.
	Share string
}

// Cloud is one [cloud.<name>] table.
type Cloud struct {
	Name     string
	Kind     *platforms.Kind
	Platform platforms.Platform
	// Announce is a topic at the cloud for this bridge's retained state, or empty.
	Announce string
	// DrainRate is messages per second while a backlog is sent; zero is no limit.
	DrainRate float64
	// Overflow is "oldest" or "newest": which goes when the queue is full.
	Overflow string
	// MonthlyData in bytes only warns; zero is none.
	MonthlyData int64
}

// Queue says where and how much waits.
type Queue struct {
	Dir     string
	MaxSize int64
	// Durability is "when-behind" or "always".
	Durability string
}

// Uplink is one uplink rule, or the way up of a twoway rule.
type Uplink struct {
	mappings.Uplink
	// Label names the rule for people: file, line and local pattern ("cloudbridge.toml:31 iot/+/temp").
	Label string
	// Every is the sampling interval, zero where the platform's own applies.
	Every        time.Duration
	Aggregate    string // "last" where empty
	MinChange    float64
	AtLeastEvery time.Duration
	// Keep is "all", "latest", or empty for the platform's own.
	Keep   string
	MaxAge time.Duration
	// History and Retained are nil where the rule says nothing.
	History  *bool
	Retained *bool
	MaxHops  int
	Twoway   bool
}

// Downlink is one downlink rule, or the way down of a twoway rule.
type Downlink struct {
	mappings.Downlink
	Label          string
	AcceptRetained bool
	// MaxAge is the oldest a command may be, counted from its arrival here; zero means none ("none" in the file).
	MaxAge  time.Duration
	MaxHops int
	Restore bool // on_connect = "restore"
	Twoway  bool
}
