// Package hivemqcloudtest is an emulator of a cluster at HiveMQ Cloud. It enforces what docs/platforms.md tells of it:
// TLS alone with a server name, a permission for each credential, the goodbye after a message that was not allowed, the
// sessions of the plan, the Receive Maximum.
//
// Settings:
//
//	host                 the cluster's name; also "localhost" is taken as a server name, for tools that know no other
//	username, password   the first credential ("bridge", "bridge-password")
//	permission           what it may do: "both" (default), "publish" or "subscribe"
//	filter               where it may do it ("#")
//	credentials          more of them: "user password permission filter; user password permission filter"
//	sessions             how many the cluster has (100), those of clients that are away included
//	receive_maximum      how many messages may be unconfirmed (10)
//	queue                how many messages are kept for a client (1000)
//	ack_delay            how long a PUBACK takes ("0s"); with a time, too many unconfirmed messages are sure to be noticed
//	disconnect_every     how often every client is disconnected unannounced ("0s" is never)
//
// Of its limits it announces the Receive Maximum alone, where HiveMQ announces more: what a client is not told of, it must
// not use.
package hivemqcloudtest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"cloudbridge/platforms/emulator"
)

// Credential is a user of the cluster and what it may do.
type Credential struct {
	Username, Password string
	// Permission is "both", "publish" or "subscribe".
	Permission string
	// Filter is where.
	Filter string
}

// Server is a running emulator.
type Server struct {
	*emulator.Broker
	host        string
	credentials []Credential
	sessions    int
	receiveMax  int
	ackDelay    time.Duration
	caFile      string
}

var _ emulator.Emulator = (*Server)(nil)

// Emulator is this emulator for the command line.
var Emulator = emulator.Kind{Name: "hivemq-cloud", Start: func(o emulator.Options) (emulator.Emulator, error) {
	s, err := Start(o)
	if err != nil {
		return nil, err // and not a nil *Server inside the interface
	}
	return s, nil
}}

// Start starts an emulator.
func Start(o emulator.Options) (*Server, error) {
	set := o.Settings()
	s := &Server{
		Broker: emulator.New(o), host: set.Text("host", "demo.s1.eu.hivemq.cloud"),
		sessions: set.Int("sessions", 100), receiveMax: set.Int("receive_maximum", 10), ackDelay: set.Duration("ack_delay", 0),
	}
	queue, every := set.Int("queue", 1000), set.Duration("disconnect_every", 0)
	var err error
	s.credentials, err = credentials(set)
	if err = errors.Join(set.Err(), err); err != nil {
		return nil, err
	}
	if s.receiveMax < 1 || s.receiveMax > math.MaxUint16 || queue < 1 || queue > math.MaxUint16 || s.sessions < 1 {
		return nil, fmt.Errorf("sessions, receive_maximum and queue are numbers from 1 to %d", math.MaxUint16)
	}
	if err := s.serve(queue); err != nil {
		return nil, err
	}
	if every > 0 {
		s.disconnectEvery(every)
	}
	return s, nil
}

func (s *Server) serve(queue int) error {
	cert, err := emulator.NewCertificate(s.host, "localhost", "127.0.0.1", "::1")
	if err != nil {
		return err
	}
	if s.caFile, err = cert.File(); err != nil {
		return err
	}
	s.AtClose(func() { _ = cert.Remove() })
	caps := mochi.NewDefaultServerCapabilities()
	caps.ReceiveMaximum = uint16(s.receiveMax)
	caps.MaximumInflight = uint16(queue)
	caps.MaximumClientWritesPending = int32(queue)
	caps.TopicAliasMaximum = 0
	return s.Serve(emulator.Setup{
		Hook: &hook{server: s}, Capabilities: caps, WebSocket: "/mqtt", Wrap: s.wrap,
		TLS: &tls.Config{Certificates: []tls.Certificate{cert.TLS}, MinVersion: tls.VersionTLS12},
	})
}

func credentials(set *emulator.Settings) ([]Credential, error) {
	all := []Credential{{
		set.Text("username", "bridge"), set.Text("password", "bridge-password"), set.Text("permission", "both"), set.Text("filter", "#"),
	}}
	for _, line := range strings.Split(set.Text("credentials", ""), ";") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		words := strings.Fields(line)
		if len(words) != 4 {
			return nil, fmt.Errorf("credentials: %d words where there should be user, password, permission and filter", len(words))
		}
		all = append(all, Credential{words[0], words[1], words[2], words[3]})
	}
	for _, c := range all {
		switch c.Permission {
		case "both", "publish", "subscribe":
		default:
			return nil, fmt.Errorf("permission: %q is none of both, publish, subscribe", c.Permission)
		}
		if !mochi.IsValidFilter(c.Filter, false) {
			return nil, fmt.Errorf("filter: %q is no topic filter", c.Filter)
		}
	}
	return all, nil
}

// Config is the table that connects a bridge to this cluster, as its first credential.
func (s *Server) Config(name string) string { return s.ConfigAs(name, s.credentials[0].Username) }

// ConfigAs is Config for another credential.
func (s *Server) ConfigAs(name, username string) string {
	var password string
	for _, c := range s.credentials {
		if c.Username == username {
			password = c.Password
		}
	}
	return emulator.Table("cloud."+name, "platform", "hivemq-cloud", "host", s.host, "url", s.URL(),
		"username", username, "password", password, "ca_file", s.caFile)
}

// Host is the cluster's name, which a client must ask for.
func (s *Server) Host() string { return s.host }

// CAFile is the certificate that a client must trust.
func (s *Server) CAFile() string { return s.caFile }

// Disconnect ends every connection without a word, as the maintenance does.
func (s *Server) Disconnect() {
	for _, cl := range s.Server.Clients.GetAll() {
		if cl.Net.Inline || cl.Closed() {
			continue
		}
		s.Add(emulator.Event{What: "disconnect", Accepted: true, ClientID: cl.ID, Why: "maintenance"})
		cl.Stop(packets.ErrServerShuttingDown)
	}
}

func (s *Server) disconnectEvery(d time.Duration) {
	s.After(d, func() {
		s.Disconnect()
		s.disconnectEvery(d)
	})
}
