package mappings

import (
	"slices"
	"time"

	"cloudbridge/internal/mqtt"
)

// TimeProperty is the MQTT 5 user property that tells when a message was made, where that is not when it is sent. A bridge
// adds it to what it sends late, and to readings with a time of their own; of a message that has it a rule knows the time
// without an expression. MQTT itself has no field for that.
const TimeProperty = "ts"

// stampLayout is RFC 3339 in UTC with milliseconds, as finely as boards count.
const stampLayout = "2006-01-02T15:04:05.000Z"

// WithTime returns properties that tell the time of a message, in the place of any that told another. It copies: the original
// may be on its way to other clouds. Properties that tell this very time stay as they are, in the words of who wrote them.
func WithTime(p *mqtt.Properties, at time.Time) *mqtt.Properties {
	if t, told, _ := made(p, at); told && t.Equal(at) {
		return p
	}
	var q mqtt.Properties
	if p != nil {
		q = *p
	}
	q.User = slices.DeleteFunc(slices.Clone(q.User), func(u mqtt.UserProperty) bool { return u.Key == TimeProperty })
	q.User = append(q.User, mqtt.UserProperty{Key: TimeProperty, Value: at.UTC().Format(stampLayout)})
	return &q
}

// made is the time that a message's properties tell, or now. Where they tell one that cannot be right it is now too, and
// note says why. told is whether the time is the message's own.
func made(p *mqtt.Properties, now time.Time) (at time.Time, told bool, note string) {
	if p == nil {
		return now, false, ""
	}
	for _, u := range p.User {
		if u.Key == TimeProperty {
			if at, note = readTime(u.Value, now); note != "" {
				return now, false, "the user property " + TimeProperty + ": " + note
			}
			return at.In(now.Location()), true, ""
		}
	}
	return now, false, ""
}
