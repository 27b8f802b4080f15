package thingspeak

import (
	"bytes"
	"encoding/json"
	"strings"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// Decode reads a value of a field, or a whole entry as JSON.
func (p *Platform) Decode(m *mqtt.Message) platforms.Event {
	channel, part, ok := readTopic(m.Topic)
	if !ok {
		return platforms.Event{}
	}
	e := platforms.Event{
		Kind:    platforms.Command,
		Address: mappings.Address{Name: channel, Part: part},
		Payload: m.Payload,
	}
	value := string(m.Payload)
	if part == "" {
		r, ok := readEntry(m.Payload)
		if !ok {
			return platforms.Event{}
		}
		value = r.fingerprint()
	}
	e.Echoes = []platforms.Echo{{Address: e.Address, Value: value}}
	return e
}

// readTopic takes channels/ID/subscribe and channels/ID/subscribe/fields/fieldN apart, and their old forms with a format
// and a read key behind.
func readTopic(topic string) (channel, part string, ok bool) {
	levels := strings.Split(topic, "/")
	if len(levels) < 3 || levels[0] != "channels" || levels[2] != "subscribe" || checkChannel(levels[1]) != nil {
		return "", "", false
	}
	rest := levels[3:]
	switch {
	case len(rest) == 0:
		return levels[1], "", true
	case rest[0] == "json" && len(rest) <= 2:
		return levels[1], "", true
	case rest[0] == "fields" && (len(rest) == 2 || len(rest) == 3):
		if i := partOrder(rest[1]); i >= 0 && i < fields {
			return levels[1], rest[1], true
		}
	}
	return "", "", false
}

// readEntry reads the fields and the status of an entry.
func readEntry(payload []byte) (row, bool) {
	var r row
	var entry map[string]any
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	if d.Decode(&entry) != nil || entry == nil {
		return r, false
	}
	for i, name := range partNames[:partOrder("status")+1] {
		switch v := entry[name].(type) {
		case string:
			r.texts[i] = v
		case json.Number:
			r.texts[i] = v.String()
		}
	}
	return r, true
}
