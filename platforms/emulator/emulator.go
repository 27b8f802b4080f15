// Package emulator is what the emulators of the clouds share: the contract that demo, emulate and tests use, a record of
// what was accepted and refused, and the start of an embedded broker.
//
// An emulator enforces its platform's rules as far as they are known; it is for loopback, never for a network.
package emulator

import (
	"net"
	"time"
)

// Options start an emulator.
type Options struct {
	// Listen, ListenWS and ListenHTTP are addresses; empty is 127.0.0.1 on a free port. ListenWS matters only to
	// emulators that also take WebSockets.
	Listen, ListenWS, ListenHTTP string
	// Listener, WSListener and HTTPListener, where set, are used instead (in-memory networks in tests). With a Listener of
	// a Network the other two are never sockets: without WSListener there are no WebSockets, and a platform with a REST
	// side needs HTTPListener.
	Listener, WSListener, HTTPListener net.Listener
	// Scale multiplies every time of the platform's rules: 0.01 turns 15 s into 150 ms. Zero is 1.
	Scale float64
	// Delay is the longest time by which an arrival is put off, at random; zero is none. It is not scaled.
	Delay time.Duration
	// Log, where set, is told each event. It must not block.
	Log func(Event)
	// Set overrides settings of the one platform, by name ("interval" = "3s"); each emulator documents its own.
	Set map[string]string
}

// Event is one thing that a client did and what came of it.
type Event struct {
	Time     time.Time
	Accepted bool
	// What is login, publish, subscribe, request, or another word of the platform's.
	What     string
	ClientID string
	// Topic or path, and what was sent.
	Topic   string
	Payload string
	// Why it was refused.
	Why string
}

// Emulator is a running emulator.
type Emulator interface {
	// URL is where MQTT clients connect; APIURL where HTTP clients do, or empty.
	URL() string
	APIURL() string
	// Config is the [cloud.<name>] table that connects a bridge to it.
	Config(name string) string
	// Events is what happened so far, oldest first.
	Events() []Event
	// Count counts events: all of a kind of What, accepted or not.
	Count(what string, accepted bool) int
	Close() error
}

// Kind is an emulator as the command line knows it.
type Kind struct {
	// Name is the platform's.
	Name  string
	Start func(Options) (Emulator, error)
}
