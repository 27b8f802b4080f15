package generic

import (
	"testing"

	"cloudbridge/mappings"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/generic/generictest"
	"cloudbridge/platforms/platformtest"
)

func TestConformance(t *testing.T) {
	for _, protocol := range []string{"auto", "5", "3.1.1"} {
		t.Run(protocol, func(t *testing.T) {
			platformtest.Run(t, platformtest.Case{
				Kind: Kind,
				Cloud: func() any {
					c := &Cloud{Username: "alice", Password: "hunter2hunter2"}
					c.URL, c.Protocol = "mqtts://broker.emqx.io", protocol
					return c
				},
				Secrets: []string{"hunter2hunter2"},
				Broken: func() any {
					c := &Cloud{Username: "al\x00ice", Password: "hunter2hunter2"}
					c.URL, c.KeepAlive = "mqtt://alice:hunter2hunter2@host", -1
					return c
				},
				BrokenKeys: []string{"url", "username", "keepalive"},
				Scope:      mappings.Scope{Bridge: "lab1", Names: []string{"device", "rest"}},
				Places:     []any{&Place{}, &Place{Topic: "school/{bridge}/{rest...}"}, &Place{Topic: "one"}},
				BadPlaces:  []any{&Place{Topic: "a/#"}, &Place{Topic: "{unknown}"}, &Place{Topic: "$SYS/x"}},
				Sources:    []any{&Place{Topic: "school/{bridge}/cmd/{rest...}"}, &Place{Topic: "school/+/all"}, &Place{Topic: "one"}},
				Good:       []mappings.Address{{Name: "a/b"}, {Name: "/溫度"}},
				Bad:        []mappings.Address{{Name: "a/+"}, {Name: "a", Part: "b"}},
				Points:     points(),
				Emulator:   generictest.Emulator,
				Options:    emulator.Options{Set: map[string]string{"username": "alice", "password": "x", "tls": "true"}},
			})
		})
	}
}
