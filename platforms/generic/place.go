package generic

import (
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// Place is where a rule writes or reads at a broker.
type Place struct {
	// Topic is a template where the rule writes (empty: the same topic as the local one), a pattern where it reads.
	Topic string `toml:"topic"`
}

// NewPlace returns an empty Place.
func NewPlace() any { return &Place{} }

// Target compiles a place as the destination of an uplink.
func Target(_ platforms.Platform, place any, scope mappings.Scope) (*mappings.Target, error) {
	topic := place.(*Place).Topic
	if topic == "" {
		topic = "{topic}"
	}
	name, err := scope.Topic(topic)
	if err != nil {
		return nil, platforms.Blame("topic", err)
	}
	fix := func(s string) (string, error) { return s, CheckTopic(s) }
	if s, ok := name.Constant(); ok {
		if err := CheckTopic(s); err != nil {
			return nil, &platforms.KeyError{Key: "topic", Text: err.Error(), Hint: "choose another topic"}
		}
		fix = nil
	}
	return &mappings.Target{Name: name, Fix: fix, Parts: []mappings.PartSpec{{}}}, nil
}

// Source compiles a place as the source of a downlink.
func Source(_ platforms.Platform, place any, scope mappings.Scope) (*mappings.Source, error) {
	topic := place.(*Place).Topic
	if topic == "" {
		return nil, &platforms.KeyError{
			Key: "topic", Text: "missing: which topic of the cloud to take",
			Hint: `write topic = "school/{bridge}/cmd/{rest...}", for example`,
		}
	}
	name, err := mappings.ParsePattern(topic, scope.Bridge)
	if err != nil {
		return nil, platforms.Blame("topic", err)
	}
	return &mappings.Source{Name: name}, nil
}
