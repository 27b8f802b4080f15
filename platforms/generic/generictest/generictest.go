// Package generictest is an emulator of a plain MQTT broker that somebody runs without much thought: it takes every topic
// and remembers what is retained.
//
// Settings:
//
//	username, password   only this user may log in; without them everybody may
//	protocol             "auto" (3.1.1 and 5, the default) or "3.1.1"
//	refusal              how a 3.1.1 broker answers MQTT 5: "1" (a CONNACK of 3.1.1 with code 1, the default), "0x84" or "close"
//	tls                  "true" for TLS
//	websocket            a path such as "/mqtt" for WebSockets on a listener of their own
package generictest

import (
	"crypto/subtle"
	"crypto/tls"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"cloudbridge/platforms/emulator"
)

// Server is a running emulator.
type Server struct {
	*emulator.Broker
	username, password string
	only311            bool
	refusal            string
	caFile             string
}

var _ emulator.Emulator = (*Server)(nil)

// Emulator is this emulator for the command line.
var Emulator = emulator.Kind{Name: "mqtt", Start: func(o emulator.Options) (emulator.Emulator, error) {
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
		Broker: emulator.New(o), username: set.Text("username", ""), password: set.Text("password", ""),
		only311: set.Word("protocol", "auto", "3.1.1") == "3.1.1", refusal: set.Word("refusal", "1", "0x84", "close"),
	}
	setup := emulator.Setup{Hook: &hook{server: s}, WebSocket: set.Text("websocket", "")}
	secure := set.Bool("tls", false)
	if err := set.Err(); err != nil {
		return nil, err
	}
	if secure {
		var err error
		if setup.TLS, err = s.secure(); err != nil {
			return nil, err
		}
	}
	return s, s.Serve(setup)
}

func (s *Server) secure() (*tls.Config, error) {
	cert, err := emulator.NewCertificate("localhost", "127.0.0.1", "::1")
	if err != nil {
		return nil, err
	}
	if s.caFile, err = cert.File(); err != nil {
		return nil, err
	}
	s.AtClose(func() { _ = cert.Remove() })
	return &tls.Config{Certificates: []tls.Certificate{cert.TLS}}, nil
}

// Config is the table that connects a bridge to this broker.
func (s *Server) Config(name string) string {
	pairs := []string{"platform", "mqtt", "url", s.URL()}
	if s.username != "" {
		pairs = append(pairs, "username", s.username, "password", s.password)
	}
	if s.caFile != "" {
		pairs = append(pairs, "ca_file", s.caFile)
	}
	return emulator.Table("cloud."+name, pairs...)
}

// hook says who may do what, and notes it.
type hook struct {
	mochi.HookBase
	server *Server
}

func (h *hook) ID() string { return "mqtt" }

func (h *hook) Provides(b byte) bool {
	switch b {
	case mochi.OnConnect, mochi.OnConnectAuthenticate, mochi.OnACLCheck, mochi.OnPublish, mochi.OnSubscribed:
		return true
	}
	return false
}

func (h *hook) OnConnect(cl *mochi.Client, pk packets.Packet) error {
	s := h.server
	if pk.ProtocolVersion == 5 && s.only311 {
		s.Add(emulator.Event{What: "login", ClientID: cl.ID, Why: "this broker speaks only MQTT 3.1.1"})
		switch s.refusal {
		case "1":
			_, _ = cl.Net.Conn.Write([]byte{0x20, 2, 0, 1})
		case "0x84":
			emulator.WriteConnack(cl, 0x84)
		}
		return packets.ErrUnsupportedProtocolVersion
	}
	if s.username != "" && !(same(pk.Connect.Username, s.username) && same(pk.Connect.Password, s.password)) {
		s.Add(emulator.Event{What: "login", ClientID: cl.ID, Why: "wrong user name or password"})
		if pk.ProtocolVersion == 5 { // Mosquitto answers so in both versions, and not with "bad user name or password".
			emulator.WriteConnack(cl, 0x87)
		} else {
			emulator.WriteConnack(cl, 5)
		}
		return packets.ErrNotAuthorized
	}
	s.Add(emulator.Event{What: "login", Accepted: true, ClientID: cl.ID})
	return nil
}

func same(got []byte, want string) bool { return subtle.ConstantTimeCompare(got, []byte(want)) == 1 }

func (h *hook) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }

func (h *hook) OnACLCheck(*mochi.Client, string, bool) bool { return true }

func (h *hook) OnPublish(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	h.server.NotePublish(cl, pk)
	return pk, nil
}

func (h *hook) OnSubscribed(cl *mochi.Client, pk packets.Packet, codes []byte) {
	h.server.NoteSubscribe(cl, pk, codes, "not a valid topic filter")
}
