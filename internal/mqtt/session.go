package mqtt

import (
	"context"
	"fmt"
	"net"
	"time"
)

// Options say how to open one session. They are plain values; files are read when dialling, so that a renewed
// certificate is taken up at the next connection.
type Options struct {
	// URL is mqtt://host:1883, mqtts://host:8883, ws://host:80/mqtt or wss://host:443/mqtt.
	URL      string
	Protocol Protocol
	ClientID string
	Username string
	Password Secret
	// CleanStart also stands for the clean session flag of MQTT 3.1.1.
	CleanStart bool
	// SessionExpiry is how long the broker keeps the session after the connection is gone (MQTT 5).
	SessionExpiry time.Duration
	// KeepAlive is the longest silence, 60 s where it is zero. A silent peer is given up within 1.5 of it.
	KeepAlive time.Duration
	// ReceiveMaximum is the most unacknowledged messages that the broker may send us (MQTT 5); zero means 1,000.
	ReceiveMaximum int
	// MaximumPacketSize in bytes is announced (MQTT 5) and enforced in both versions; zero means 4 MiB.
	MaximumPacketSize int
	// Window is the most publishes that wait for a confirmation at once; zero means 1,000. The broker's Receive
	// Maximum lowers it. WindowBytes, where not zero, bounds their payloads together.
	Window      int
	WindowBytes int
	Will        *Message
	TLS         TLS
	// Proxy is an http:// or socks5:// address, or empty.
	Proxy string
	// OnMessage is called for each message received, in order, on the reading goroutine: it must never block. Only
	// a message whose Ack is called is acknowledged. What it is given is good until it returns: who answers later keeps the
	// Acknowledgement, and who keeps more a copy, of the payload too.
	OnMessage func(*Inbound)
	// OnRead is called on the reading goroutine: with true when something has come in, and with false when all of it was
	// handed on and the session waits for more. Whoever corks other sessions in between sends one packet of many where it
	// would send many of one.
	OnRead func(came bool)
	// DialContext replaces the TCP dialler, for tests.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// PacketIDs carries packet identifiers over the connections of one kept session; nil for a session of its own.
	PacketIDs *PacketIDs
}

// TLS says whom to trust and who we are.
type TLS struct {
	CAFile             string
	ClientCertFile     string
	ClientKeyFile      string
	InsecureSkipVerify bool
	// ServerName replaces the host of the URL in SNI and in the certificate's check; SNI is always sent.
	ServerName string
}

// Packet names the kind of packet that carried a reason code.
type Packet string

// The packets with which a broker answers or refuses.
const (
	Connack    Packet = "CONNACK"
	Puback     Packet = "PUBACK"
	Pubrec     Packet = "PUBREC"
	Pubcomp    Packet = "PUBCOMP"
	Suback     Packet = "SUBACK"
	Unsuback   Packet = "UNSUBACK"
	Disconnect Packet = "DISCONNECT"
)

// Reason is a code from the broker as it stood on the wire: a 3.1.1 CONNACK keeps its 1 to 5, and Adafruit's 6 and 7.
type Reason struct {
	Packet   Packet
	Protocol Protocol
	Code     byte
	Text     string
	// Server is where the broker says one should go instead (the server reference of codes 0x9C and 0x9D).
	Server string
}

// RefusedError is a broker's refusal of a connection, a subscription or a message, or its goodbye.
type RefusedError struct{ Reason }

// Error says which packet brought which code.
func (e *RefusedError) Error() string {
	s := fmt.Sprintf("%s code %d (0x%02X)", e.Packet, e.Code, e.Code)
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// Result tells the fate of one publish. Err is nil when the broker confirmed it (QoS 0: when it is written to the
// connection), a *RefusedError when the broker refused it, and otherwise the error that ended the session, after which
// nobody knows whether the broker had it.
type Result struct{ Err error }

// Capabilities are what the broker granted in its CONNACK.
type Capabilities struct {
	Protocol       Protocol
	SessionPresent bool
	// Window is the number of unconfirmed publishes that this session allows: the lower of ours and the broker's.
	Window             int
	MaximumPacketSize  int
	MaximumQoS         byte
	RetainAvailable    bool
	WildcardsAvailable bool
	SubscriptionIDs    bool
	SharedAvailable    bool
	AssignedClientID   string
	KeepAlive          time.Duration
}
