// Package all lists the platforms: a new one is a folder and a line here.
package all

import (
	"cloudbridge/platforms"
	"cloudbridge/platforms/adafruitio"
	"cloudbridge/platforms/adafruitio/adafruitiotest"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/generic"
	"cloudbridge/platforms/generic/generictest"
	"cloudbridge/platforms/hivemqcloud"
	"cloudbridge/platforms/hivemqcloud/hivemqcloudtest"
	"cloudbridge/platforms/thingspeak"
	"cloudbridge/platforms/thingspeak/thingspeaktest"
)

// list has each platform with its emulator, in the order in which people are shown them.
var list = []struct {
	kind     platforms.Kind
	emulator emulator.Kind
}{
	{thingspeak.Kind, thingspeaktest.Emulator},
	{adafruitio.Kind, adafruitiotest.Emulator},
	{hivemqcloud.Kind, hivemqcloudtest.Emulator},
	{generic.Kind, generictest.Emulator},
}

// Kinds are the platforms that a configuration can name.
func Kinds() []platforms.Kind {
	kinds := make([]platforms.Kind, 0, len(list))
	for _, p := range list {
		kinds = append(kinds, p.kind)
	}
	return kinds
}

// Emulators are their emulators, in the same order.
func Emulators() []emulator.Kind {
	kinds := make([]emulator.Kind, 0, len(list))
	for _, p := range list {
		kinds = append(kinds, p.emulator)
	}
	return kinds
}
