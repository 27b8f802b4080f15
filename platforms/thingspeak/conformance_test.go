package thingspeak

import (
	"strconv"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/platformtest"
	"cloudbridge/platforms/thingspeak/thingspeaktest"
)

const (
	hiddenPassword = "hunter2password"
	hiddenKey      = "HUNTER2WRITEKEY"
)

// past is a history with each kind of value, out of order at one place, and in another zone than ThingSpeak's.
func past() []mappings.Point {
	var all []mappings.Point
	for i, parts := range [][]mappings.Part{
		{part("field1", real(27.5)), part("field8", text("溫 & 濕 <\"\t"))},
		{part("field1", raw("27.50")), part("status", text("ok")), part("lat", real(25.03)), part("long", real(-121.5)), part("elevation", whole(12))},
		{part("field2", whole(9007199254740993)), part("field3", real(1e-7))},
		{part("status", text("a status alone"))},
	} {
		p := point("1001", parts...)
		p.Time = at.Truncate(time.Second).Add(time.Duration(i) * 15 * time.Second)
		all = append(all, p)
	}
	all[2], all[3] = all[3], all[2]
	return all
}

// stored is what the emulator keeps of a channel, in the names of points.
func stored(e emulator.Emulator, channel string) (all []mappings.Point) {
	id, err := strconv.ParseInt(channel, 10, 64)
	if err != nil {
		panic(err)
	}
	for _, entry := range e.(*thingspeaktest.Cloud).Feed(id) {
		p := mappings.Point{Name: channel, Time: entry.Created}
		for name, value := range entry.Values {
			switch name {
			case "latitude":
				name = "lat"
			case "longitude":
				name = "long"
			}
			p.Parts = append(p.Parts, part(name, text(value)))
		}
		all = append(all, p)
	}
	return all
}

func TestConformance(t *testing.T) {
	for _, via := range []string{"mqtt", "rest"} {
		t.Run(via, func(t *testing.T) {
			platformtest.Run(t, platformtest.Case{
				Kind: Kind,
				Cloud: func() any {
					c := device()
					c.Password, c.Via = hiddenPassword, via
					c.Channels = map[string]Channel{"1001": {WriteKey: hiddenKey, ReadKey: hiddenKey}}
					return c
				},
				Secrets: []string{hiddenPassword, hiddenKey},
				Broken: func() any {
					c := device()
					c.URL, c.APIURL = "mqtts://me:"+hiddenPassword+"@mqtt3.thingspeak.com", "https://me:"+hiddenPassword+"@api.thingspeak.com"
					c.Username, c.Password, c.Plan = "", hiddenPassword, "premium"
					c.Channels = map[string]Channel{"1001": {WriteKey: hiddenKey + " " + hiddenKey}}
					return c
				},
				BrokenKeys: []string{"url", "api_url", "username", "plan", "channels.1001.write_key"},
				Scope:      mappings.Scope{Bridge: "lab1", Names: []string{"device"}},
				Places: []any{
					&Place{Channel: number64(1001), Field: number64(1)},
					&Place{Channel: number64(1001), Field1: "json.temperature ?? json.temp", Field2: "json.humidity", Status: "device", Lat: 25.03},
				},
				BadPlaces: []any{
					&Place{}, &Place{Channel: number64(1001)}, &Place{Channel: number64(1001), Field: number64(9)}, &Place{Channel: number64(1001), Field1: "room"},
				},
				Sources: []any{&Place{Channel: number64(1001), Field: number64(1)}, &Place{Channel: number64(1001)}},
				Good:    []mappings.Address{{Name: "1001", Part: "field1"}, {Name: "1001"}, {Name: "1002", Part: "status"}},
				Bad:     []mappings.Address{{Name: "weather"}, {Name: "1001", Part: "field9"}, {Name: "1001/publish"}, {Name: "+"}},
				Points: []mappings.Point{
					point("1001", part("field1", real(27.5)), part("field8", text("溫 & 濕")), part("status", text("ok")), part("lat", real(25.03))),
					point("1001", part("field2", raw("27"))),
				},
				Echo: func(d platforms.Delivery) (all []*mqtt.Message) {
					for _, e := range d.Echoes {
						if e.Address.Part != "" {
							all = append(all, &mqtt.Message{Topic: "channels/1001/subscribe/fields/" + e.Address.Part, Payload: []byte(e.Value)})
						}
					}
					return all
				},
				Emulator:       thingspeaktest.Emulator,
				History:        past(),
				HistoryOptions: emulator.Options{Set: map[string]string{"bulk_delay": "1ms"}},
				Stored:         stored,
			})
		})
	}
}
