package demo

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"cloudbridge/platforms/emulator"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// house is the local broker. Everybody on this computer may use it.
type house struct {
	*emulator.Broker
	tap *tap
}

func openHouse(s *screen) (*house, error) {
	h := &house{Broker: emulator.New(emulator.Options{}), tap: &tap{screen: s}}
	if err := h.Serve(emulator.Setup{Hook: h.tap}); err != nil {
		return nil, err
	}
	return h, nil
}

func (h *house) close() error { return h.Close() }

// try are commands by which somebody can join in.
func (h *house) try() []string {
	host, port := "127.0.0.1", "1883"
	if u, err := url.Parse(h.URL()); err == nil {
		if a, p, err := net.SplitHostPort(u.Host); err == nil {
			host, port = a, p
		}
	}
	at := fmt.Sprintf("-h %s -p %s", host, port)
	return []string{
		"mosquitto_pub " + at + ` -t iot/ece2026/picow/temp -m "Pico W temperature=31"`,
		"mosquitto_pub " + at + " -t iot/ece2026/lamp/state -m ON",
		"mosquitto_sub " + at + ` -v -t "iot/#"`,
	}
}

// tap shows what is published in the house.
type tap struct {
	mochi.HookBase
	screen *screen
	// readings counts what boards published, commands what the bridge brought down.
	readings, commands atomic.Int64
}

func (t *tap) ID() string { return "tap" }

func (t *tap) Provides(b byte) bool {
	switch b {
	case mochi.OnConnectAuthenticate, mochi.OnACLCheck, mochi.OnPublished:
		return true
	}
	return false
}

// OnConnectAuthenticate lets everybody in: the broker listens on loopback alone.
func (t *tap) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }

// OnACLCheck lets everybody use every topic.
func (t *tap) OnACLCheck(*mochi.Client, string, bool) bool { return true }

// OnPublished shows a message. What the bridge tells about itself is left out.
func (t *tap) OnPublished(cl *mochi.Client, pk packets.Packet) {
	switch {
	case strings.HasPrefix(pk.TopicName, "cloudbridge/"), cl.Net.Inline:
		return
	case isCommand(pk.TopicName):
		t.commands.Add(1)
		t.screen.add(line{at: time.Now(), kind: command, who: "the bridge", where: pk.TopicName, what: string(pk.Payload)})
	default:
		t.readings.Add(1)
		t.screen.add(line{at: time.Now(), kind: reading, who: nameOf(cl.ID), where: pk.TopicName, what: string(pk.Payload)})
	}
}
