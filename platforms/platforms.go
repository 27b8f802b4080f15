// Package platforms is the contract between the engine and the clouds.
//
// A platform describes its cloud: where to connect, what it allows, what a message looks like there, and what an answer
// means. It never dials, sleeps, reads a clock or logs; it is values in, values out. The engine decides what to do.
package platforms

import (
	"errors"
	"net/http"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
)

// Platform is one account at one cloud, as one [cloud.x] table of the configuration describes it.
type Platform interface {
	// Account names whose budget is spent: two tables with an equal account share limits and login counts. It never
	// contains a secret.
	Account() string
	// Session says where and how to connect. The engine adds the handler and, where allowed, a client id and a will.
	// ok is false where the platform is reached over HTTP alone; TLS and Proxy count there too.
	Session() (o mqtt.Options, ok bool)
	// Limits holds for each lane of the account.
	Limits() Limits
	// Lane names the lane of an address: addresses in one lane share limit, queue and order. An error means that the
	// cloud has no such address, and says why.
	Lane(addr mappings.Address) (string, error)
	// Encode says what to send for these points, all of one lane. It covers a prefix of the batch, at least one
	// point, and is asked again for what is left. An error means that the first point can never be sent.
	Encode(batch []mappings.Point) ([]Delivery, error)
	// Subscriptions covers the sources of the downlinks, and the platform's own notices. With no sources it covers
	// only the notices that the platform needs even without a downlink, which may be none.
	Subscriptions(sources []mappings.Source) []mqtt.Subscription
	// Decode reads a message of the cloud's.
	Decode(m *mqtt.Message) Event
	// Judge says what an answer means on this platform.
	Judge(r Reply) Verdict
}

// Warner is the optional power of a platform that takes a point but will not do with it what a user expects. The engine
// asks for each point and says each warning of a rule once.
type Warner interface {
	// Warnings says, for people, what of the point the cloud will not show, and what to write instead.
	Warnings(p mappings.Point) []string
}

// Restorer is the optional power of a platform that keeps no retained messages but tells a feed's last value when asked.
type Restorer interface {
	// Restore is the message that asks for the last value of a downlink's source. The answer comes as an ordinary
	// message of the source. Nil means that the source cannot be asked for (a pattern with captures).
	Restore(source mappings.Source) *mqtt.Message
}

// Budgeter is the optional power of a platform whose account can be asked for its real limit.
type Budgeter interface {
	// BudgetRequest asks; nil where the account has no REST side.
	BudgetRequest() *Request
	// ParseBudget reads the answer; ok is false where it does not say.
	ParseBudget(status int, body []byte) (perMinute int, ok bool)
}

// Timekeeper is the optional power of a platform whose REST side can be asked for anything at no cost: the Date of its
// answer tells a computer without a synchronised clock what time it is.
type Timekeeper interface {
	// TimeRequest asks; nil where the account has no REST side.
	TimeRequest() *Request
}

// Filler is the optional power of a platform where one point can fill several of the addresses that Limits.MaxAddresses
// counts (the feeds of a group). Without it a point fills its own Name.
type Filler interface {
	// Fills names the addresses that the point writes to.
	Fills(p mappings.Point) []string
}

// Layer is the optional power of a platform that makes one message of each point, whatever the point.
type Layer interface {
	// Lay lays the message of a point out in m, whose memory is the caller's. The payload may be the point's own. An error
	// means that the point can never be sent, as that of Encode.
	Lay(p *mappings.Point, m *mqtt.Message) error
}

// Backfiller is the optional power of a platform that takes points of the past at their original time, over HTTP, and many
// in one request. Where it cannot, history goes out as Encode has it.
type Backfiller interface {
	// History says how history goes out in a lane. ok is false where the lane has no such path (no write key).
	History(lane string) (h HistoryLimits, ok bool)
	// EncodeHistory makes one request of a prefix of the batch, at least one point; it is asked again for what is left. All
	// are of one lane, the oldest first. With PerAddress the prefix ends before the first point of another address, so the
	// batch is better of one. An error means that the first point can never be sent; others that cannot be are told of in
	// Omitted. No points are an error. The same batch makes the same request, so where no answer came the same batch is what to
	// send again: a cloud that tells its rows apart by their time then passes over those that it has.
	EncodeHistory(batch []mappings.Point) (Delivery, error)
}

// HistoryLimits is what a platform allows for history, without any margin: the engine adds that.
type HistoryLimits struct {
	// MostPoints is the most points in one request.
	MostPoints int
	// Interval is the shortest time between two requests in one lane; zero is no limit. It is beside Limits.Interval.
	Interval time.Duration
	// CarriesLive is true where the newest point may ride in the request, as the last of the batch, at no cost of its own.
	CarriesLive bool
	// CostPerPoint is true where each point takes from Limits.PerMinute, so that history and live values share it.
	CostPerPoint bool
	// PerAddress is true where one request is for one address.
	PerAddress bool
}

// Omission is what a delivery of history leaves out of one of its points.
type Omission struct {
	// Point is the point's place among those of the delivery.
	Point int
	// Whole is true where nothing of the point is left to send: the cloud would never take it.
	Whole bool
	// Why says what is left out, and why; in the words of Delivery.Left, or of an error of Encode's.
	Why string
}

// Kind is a platform as the configuration knows it: one line of platforms/all.
type Kind struct {
	// Name is the value of the key platform.
	Name string
	// Title is how people call it: "Adafruit IO".
	Title string
	// NewCloud returns a pointer to a struct with `toml` tags and its defaults set, for the keys of a [cloud.x] table
	// that are the platform's own. A field of type mqtt.Secret with the tag "k" can also be given as "k_file".
	// It embeds Connection where the keys for any cloud apply.
	NewCloud func() any
	// NewPlace returns a pointer to a struct with `toml` tags for the place keys of a rule.
	NewPlace func() any
	// Open checks what NewCloud's struct holds and makes the platform of it. Problems come all at once, each a
	// *KeyError inside errors.Join where a key is to blame.
	Open func(cloud any) (Platform, error)
	// Target compiles a place as the destination of an uplink.
	Target func(p Platform, place any, scope mappings.Scope) (*mappings.Target, error)
	// Source compiles a place as the source of a downlink.
	Source func(p Platform, place any, scope mappings.Scope) (*mappings.Source, error)
	// Retains is true where the cloud keeps retained messages (plain MQTT), false where it plots over time.
	Retains bool
	// TakesAnyTopic is true for MQTT brokers, where a rule may be twoway and a cloud may have announce.
	TakesAnyTopic bool
}

// KeyError blames one key of the platform's table or place. Config adds file, line and column.
type KeyError struct {
	// Key is the TOML key, dotted below its table ("channels.1001.write_key").
	Key  string
	Text string
	// Hint says what to write instead; may be empty.
	Hint string
	// Err is the cause, where there is one: a *mappings.SyntaxError has the place inside the key's string.
	Err error
}

// Blame blames a key for the pattern, template or expression that stands there.
func Blame(key string, err error) *KeyError {
	e := &KeyError{Key: key, Text: err.Error(), Err: err}
	var syntax *mappings.SyntaxError
	if errors.As(err, &syntax) {
		e.Text, e.Hint = syntax.Text, syntax.Hint
	}
	return e
}

// Unwrap gives the cause.
func (e *KeyError) Unwrap() error { return e.Err }

// Error gives key and text as one line.
func (e *KeyError) Error() string { return e.Key + ": " + e.Text }

// Connection holds the keys that any cloud and [local] may have. Platforms embed it in their cloud struct.
type Connection struct {
	URL                string        `toml:"url"`
	CAFile             string        `toml:"ca_file"`
	ClientCertFile     string        `toml:"client_cert_file"`
	ClientKeyFile      string        `toml:"client_key_file"`
	ClientID           string        `toml:"client_id"`
	KeepAlive          time.Duration `toml:"keepalive"`
	Protocol           string        `toml:"protocol"`
	Proxy              string        `toml:"proxy"`
	InsecureSkipVerify bool          `toml:"insecure_skip_verify"`
	// APIURL is the REST side, for proxies and emulators.
	APIURL string `toml:"api_url"`
}

// LaneKind is how a lane keeps what waits.
type LaneKind int

// The kinds of lane of the design's section 4.
const (
	// Ordered: one queue, strictly in order, many in flight (plain MQTT).
	Ordered LaneKind = iota
	// Rows: points join into one row per interval; a live slot, and a history with original times.
	Rows
	// Budgeted: points spend an account's points per minute; keep = "latest" holds the newest of each address,
	// keep = "all" a queue.
	Budgeted
)

// Confirmation is how a platform lets us know that it has a message.
type Confirmation int

// The ways a delivery over MQTT is confirmed. An HTTP delivery is confirmed by its response.
const (
	// ByAck: PUBACK or PUBCOMP.
	ByAck Confirmation = iota
	// ByPing: the PINGRESP to a PINGREQ written after the message; shown as "sent", never as "confirmed".
	ByPing
	// ByQuiet: PUBACK, and no notice of throttling or error for the topic within Limits.Quiet.
	ByQuiet
)

// Limits is what a platform allows, without any margin: the engine adds that.
type Limits struct {
	Kind LaneKind
	// Interval is the shortest time between two deliveries in one lane; zero is no limit.
	Interval time.Duration
	// PerMinute is the most points in any minute for the whole account (a sliding window); zero is no limit.
	PerMinute int
	// MaxAddresses is the most different address names the account may have (feeds); zero is no limit.
	MaxAddresses int
	// MessagesPerYear is for the forecast that check makes; zero is no limit.
	MessagesPerYear int
	// MaxPayload in bytes; zero is no limit.
	MaxPayload int
	MaxQoS     byte
	// DefaultQoS of uplinks whose rule says nothing.
	DefaultQoS byte
	Retain     bool
	// Will is whether the cloud takes a will (and so announce).
	Will bool
	// Window is the most unconfirmed publishes on MQTT 3.1.1, where no broker tells; zero is 20.
	Window      int
	WindowBytes int
	Confirm     Confirmation
	// Quiet is how long no complaint means that all is well (ByQuiet).
	Quiet time.Duration
	// EchoesOwn is true where the cloud sends our own publishes back to us and No Local cannot stop it.
	EchoesOwn bool
	// Public is true for clouds where a login too many may be punished.
	Public bool
	// LoginsPerMinute is what the engine may at most spend on logins.
	LoginsPerMinute int
	// RandomClientID is true where a client id must be made anew for each connection, because one that is in use
	// disconnects the other client. It is false where the user gave one.
	RandomClientID bool
}

// Delivery is one thing to send: an MQTT message or an HTTP request.
type Delivery struct {
	Message *mqtt.Message
	Request *Request
	// Points is how many points of the batch it carries, counted on from the end of the delivery before it.
	Points int
	// Cost is what it takes from a PerMinute budget; zero means Points.
	Cost int
	// Echoes are what the cloud may send back to us for it, by address and decoded value.
	Echoes []Echo
	// Left says for each part of the points that this delivery leaves out because the cloud would not take it (a text
	// that is too long) which it is and why; the rest of the row goes all the same.
	Left []string
	// Omitted says the same of a delivery that EncodeHistory made, by point.
	Omitted []Omission
}

// Echo is a fingerprint of something that we sent.
type Echo struct {
	Address mappings.Address
	Value   string
}

// Request is an HTTP request as a value. Header and Body may hold secrets: they are never logged.
type Request struct {
	Method string
	URL    string
	Header http.Header
	Body   []byte
}

// EventKind says what a message from the cloud is.
type EventKind int

// The kinds of event.
const (
	Nothing EventKind = iota
	// Command: a value for the house.
	Command
	// Throttled: the account must wait.
	Throttled
	// Rejected: something that we sent was refused.
	Rejected
)

// Event is what a message of the cloud's means.
type Event struct {
	Kind EventKind
	// Command is set for a Command; Message properties and the retained flag are the engine's to add.
	Address mappings.Address
	Payload []byte
	// Echoes are the fingerprints under which our own publish would have been noted, most exact first.
	Echoes []Echo
	// For is how long a Throttled account must wait.
	For time.Duration
	// Topic is the topic of ours that a notice is about; empty when it is about the account.
	Topic string
	// Banned is true where the notice says that the account is banned, not only slowed.
	Banned bool
	Why    string
}

// Reply is an answer of the cloud's to something that we did.
type Reply struct {
	// Reason is the MQTT packet and code; zero where HTTP is set.
	mqtt.Reason
	// Topic is the topic or filter that the answer is about, where there is one.
	Topic string
	// HTTP status, and the body of the response.
	HTTPStatus int
	Body       []byte
	// History is true for the response to a delivery that EncodeHistory made. Where such a one is Refused and carries
	// several points, one of them may be to blame for all: the engine halves it until it knows which.
	History bool
}

// Outcome is what becomes of what was sent.
type Outcome int

// The outcomes.
const (
	// Confirmed: the cloud has it.
	Confirmed Outcome = iota
	// Retry: not now; the same again may succeed.
	Retry
	// Refused: never; the same again will be refused again.
	Refused
)

// Cause is why, for the pace of the next attempt and for the words.
type Cause int

// The causes.
const (
	Unknown       Cause = iota
	Busy                // the cloud is down or overloaded
	SlowDown            // too quick: wait as told
	Banned              // the account is locked for a while
	BadLogin            // wrong user, password or key
	NotAllowed          // this account may not use this topic, channel or feed
	ClientIDTaken       // another connection with our client id took over, or ours is not valid
	QuotaUsed           // sessions, messages a year, feeds: no more to be had
	TooLarge            // the message is larger than the cloud takes
	WrongProtocol       // the broker does not speak this version of MQTT
	Invalid             // the cloud cannot read what we sent
	NotThere            // the channel or feed is not there for history, and a value of now makes it
)

// Verdict is a platform's reading of a Reply.
type Verdict struct {
	Outcome Outcome
	Cause   Cause
	// After is the least time to wait before a retry; zero leaves it to the engine.
	After time.Duration
	// UpTo, where not zero, says that After is for the first such answer in an hour: the n-th waits n times as long, and
	// at most this.
	UpTo time.Duration
	// Why is for people: lower case, no period, names what to do where that is known.
	Why string
}
