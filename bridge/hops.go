package bridge

import (
	"fmt"
	"slices"

	"cloudbridge/internal/mqtt"
)

// hopsProperty is the MQTT 5 user property by which bridges know each other's messages. A message carries one such
// property for each bridge that published it, oldest first; its value is the bridge's local client id. One property each
// and not a list in one, because a client id may hold any character.
const hopsProperty = "cloudbridge"

// hopsOf lists the bridges that a message came through, oldest first.
func hopsOf(p *mqtt.Properties) []string {
	if p == nil {
		return nil
	}
	var ids []string
	for _, u := range p.User {
		if u.Key == hopsProperty {
			ids = append(ids, u.Value)
		}
	}
	return ids
}

// withHop returns properties that also name this bridge. It copies: the original may be on its way to other clouds.
func withHop(p *mqtt.Properties, id string) *mqtt.Properties {
	var q mqtt.Properties
	if p != nil {
		q = *p
	}
	q.User = append(slices.Clone(q.User), mqtt.UserProperty{Key: hopsProperty, Value: id})
	return &q
}

// hopRefusal says why a message that was received must go no further: it was here before, or it came through more bridges
// than the rule takes.
func hopRefusal(p *mqtt.Properties, own string, most int) (why string, refused bool) {
	ids := hopsOf(p)
	switch {
	case slices.Contains(ids, own):
		return "it went through this bridge before", true
	case len(ids) > most:
		return fmt.Sprintf("it came through %d bridges and max_hops is %d", len(ids), most), true
	}
	return "", false
}
