package emulator

import (
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// NotePublish records a message that was taken, for a hook's OnPublish. What the inline client publishes is the emulator's
// own, and no event.
func (b *Broker) NotePublish(cl *mochi.Client, pk packets.Packet) {
	if !cl.Net.Inline {
		b.Add(Event{What: "publish", Accepted: true, ClientID: cl.ID, Topic: pk.TopicName, Payload: string(pk.Payload)})
	}
}

// NoteSubscribe records each filter of a SUBSCRIBE, for a hook's OnSubscribed; why is for the filters that were refused.
func (b *Broker) NoteSubscribe(cl *mochi.Client, pk packets.Packet, codes []byte, why string) {
	for i, f := range pk.Filters {
		e := Event{What: "subscribe", Accepted: codes[i] <= 2, ClientID: cl.ID, Topic: f.Filter}
		if !e.Accepted {
			e.Why = why
		}
		b.Add(e)
	}
}
