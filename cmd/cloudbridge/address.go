package main

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"cloudbridge/bridge"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// address finds the place at a cloud that keys name, as the same keys in a downlink would.
func address(cfg *bridge.Config, cl *bridge.Cloud, keys map[string]any) (mappings.Address, error) {
	var none mappings.Address
	if len(keys) == 0 {
		return none, misused("explain --cloud "+cl.Name+" wants to know where the value stands there",
			"add --feed, --group, --channel with --field, or --topic")
	}
	place := cl.Kind.NewPlace()
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if !set(place, key, keys[key]) {
			return none, misused(fmt.Sprintf("--%s: %s (%s) has no such place", key, cl.Name, cl.Kind.Name))
		}
	}
	source, err := cl.Kind.Source(cl.Platform, place, mappings.Scope{Bridge: cfg.Name})
	if err != nil {
		return none, wrongPlace(err)
	}
	if !source.Name.MatchesOne() {
		return none, misused(fmt.Sprintf("%q stands for several places: name the one that the value comes from", source.Name))
	}
	return mappings.Address{Name: source.Name.Filter(), Part: source.Part}, nil
}

func wrongPlace(err error) error {
	var k *platforms.KeyError
	if errors.As(err, &k) {
		f := &failure{code: exitConfig, err: fmt.Errorf("--%s", k.Error())}
		if k.Hint != "" {
			f.hints = []string{k.Hint}
		}
		return f
	}
	return &failure{code: exitConfig, err: err}
}

// set fills the field of a place that has the TOML key, and says whether there is one.
func set(place any, key string, value any) bool {
	v := reflect.ValueOf(place).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("toml") != key {
			continue
		}
		given := reflect.ValueOf(value)
		field := v.Field(i)
		if field.Kind() == reflect.Pointer {
			field.Set(reflect.New(field.Type().Elem()))
			field = field.Elem()
		}
		if !given.CanConvert(field.Type()) {
			return false
		}
		field.Set(given.Convert(field.Type()))
		return true
	}
	return false
}
