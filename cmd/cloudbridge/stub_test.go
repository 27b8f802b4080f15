package main

import (
	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// stubPlatform is a platform that only has limits.
type stubPlatform struct{ limits platforms.Limits }

func (stubPlatform) Account() string { return "stub" }

func (stubPlatform) Session() (mqtt.Options, bool) { return mqtt.Options{}, false }

func (s stubPlatform) Limits() platforms.Limits { return s.limits }

func (stubPlatform) Lane(mappings.Address) (string, error) { return "", nil }

func (stubPlatform) Encode([]mappings.Point) ([]platforms.Delivery, error) { return nil, nil }

func (stubPlatform) Subscriptions([]mappings.Source) []mqtt.Subscription { return nil }

func (stubPlatform) Decode(*mqtt.Message) platforms.Event { return platforms.Event{} }

func (stubPlatform) Judge(platforms.Reply) platforms.Verdict { return platforms.Verdict{} }
