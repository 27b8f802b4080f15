package thingspeak

import (
	"fmt"
	"strings"
)

// Advice answers a topic of ThingSpeak's first MQTT API, which many textbooks still print, with today's way: the place keys of
// a rule. It is empty for any other topic, and never repeats the key that is in such a topic.
func Advice(topic string) string {
	levels := strings.Split(strings.Trim(topic, "/"), "/")
	if len(levels) < 3 || levels[0] != "channels" || (levels[2] != "publish" && levels[2] != "subscribe") {
		return ""
	}
	channel := levels[1]
	if checkChannel(channel) != nil {
		channel = "<ID>"
	}
	field := "field = 1"
	if len(levels) >= 5 && levels[3] == "fields" {
		if i := partOrder(levels[4]); i >= 0 && i < fields {
			field = fmt.Sprintf("field = %d", i+1)
		}
	}
	rule := "[[uplink]]"
	if levels[2] == "subscribe" {
		rule = "[[downlink]]"
	}
	return fmt.Sprintf("this is a topic of ThingSpeak's own broker, in the old API with the key in the topic or in the new one. Your boards "+
		"publish any topic to the local broker, without keys; in the configuration a %s with channel = %s and %s does the rest, "+
		"and the cloud's table has client_id, username and password: %s", rule, channel, field, whereDevice)
}
