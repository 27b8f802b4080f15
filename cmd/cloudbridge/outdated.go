package main

import (
	"fmt"
	"strings"

	"cloudbridge/platforms/thingspeak"
)

// outdatedTopic answers a topic that belongs to ThingSpeak itself, and not to a board, with what to write today; it is empty
// for every other topic. Textbooks still print such topics with the channel's key at their end; the key is not repeated.
func outdatedTopic(topic string) string {
	advice := thingspeak.Advice(topic)
	if advice == "" {
		return ""
	}
	channel, field := "1001", "1"
	levels := strings.Split(strings.Trim(topic, "/"), "/")
	if c := levels[1]; strings.Trim(c, "0123456789") == "" {
		channel = c
	}
	for _, l := range levels {
		if n, ok := strings.CutPrefix(l, "field"); ok && len(n) == 1 && n >= "1" && n <= "8" {
			field = n
		}
	}
	rule := `[[uplink]]
  local   = "iot/lab/board1/temp"   # what the board publishes to`
	if levels[2] == "subscribe" {
		rule = `[[downlink]]
  local   = "iot/lab/board1/led"    # what the board subscribes to`
	}
	return fmt.Sprintf(`%s

  [cloud.weather]
  platform  = "thingspeak"
  client_id = "..."
  username  = "..."
  password  = "..."

  %s
  cloud   = "weather"
  channel = %s
  field   = %s
`, wrap(advice, 100), rule, channel, field)
}
