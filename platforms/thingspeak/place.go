package thingspeak

import (
	"fmt"
	"strconv"

	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// Place is where in ThingSpeak a rule writes or reads: a channel, and a field for the rule's value or an expression for each
// part of the row.
type Place struct {
	Channel *int64 `toml:"channel"`
	Field   *int64 `toml:"field"`
	// The rest are expressions, or numbers that are always the same.
	Field1    any `toml:"field1"`
	Field2    any `toml:"field2"`
	Field3    any `toml:"field3"`
	Field4    any `toml:"field4"`
	Field5    any `toml:"field5"`
	Field6    any `toml:"field6"`
	Field7    any `toml:"field7"`
	Field8    any `toml:"field8"`
	Status    any `toml:"status"`
	Lat       any `toml:"lat"`
	Long      any `toml:"long"`
	Elevation any `toml:"elevation"`
}

// keyed is one expression of a place.
type keyed struct {
	key string
	src any
}

// expressions are the expressions that the place gives, in the order of the row.
func (p *Place) expressions() []keyed {
	all := [len(partNames)]any{
		p.Field1, p.Field2, p.Field3, p.Field4, p.Field5, p.Field6, p.Field7, p.Field8,
		p.Status, p.Lat, p.Long, p.Elevation,
	}
	var given []keyed
	for i, src := range all {
		if src != nil {
			given = append(given, keyed{partNames[i], src})
		}
	}
	return given
}

const channelHint = "the number is the Channel ID at the top of the channel's page on thingspeak.mathworks.com"

// channel checks the place's channel and gives its name.
func (p *Place) channel() (string, error) {
	if p.Channel == nil {
		return "", &platforms.KeyError{Key: "channel", Text: "missing: ThingSpeak needs the number of a channel", Hint: channelHint}
	}
	if *p.Channel < 1 {
		return "", &platforms.KeyError{
			Key: "channel", Text: fmt.Sprintf("channel %d: the number of a ThingSpeak channel is 1 or more", *p.Channel), Hint: channelHint,
		}
	}
	return strconv.FormatInt(*p.Channel, 10), nil
}

// field checks the place's field and gives its part; empty where it names none.
func (p *Place) field() (string, error) {
	if p.Field == nil {
		return "", nil
	}
	if *p.Field < 1 || *p.Field > fields {
		return "", &platforms.KeyError{Key: "field", Text: fmt.Sprintf("field %d: a ThingSpeak channel has fields 1 to 8", *p.Field)}
	}
	return "field" + strconv.FormatInt(*p.Field, 10), nil
}

// address checks both; what is wrong is empty, and told to f.
func (p *Place) address(f *faults) (channel, field string) {
	channel, err := p.channel()
	f.keep(err)
	field, err = p.field()
	f.keep(err)
	return channel, field
}

func target(platform platforms.Platform, place any, scope mappings.Scope) (*mappings.Target, error) {
	ts, p, err := own(platform, place)
	if err != nil {
		return nil, err
	}
	var f faults
	channel, field := p.address(&f)
	if channel != "" {
		if fault := ts.checkKey(channel); fault != nil {
			f.keep(fault)
		}
	}
	t := &mappings.Target{}
	plotted := field != ""
	if field != "" {
		t.Parts = append(t.Parts, mappings.PartSpec{Name: field})
	}
	for _, e := range p.expressions() {
		if e.key == field {
			f.add(e.key, "leave one of the two out", "field = %d and %s name the same field", *p.Field, e.key)
			continue
		}
		location := partOrder(e.key) > partOrder("status")
		plotted = plotted || !location
		x, err := expression(scope, e)
		f.keep(err)
		t.Parts = append(t.Parts, mappings.PartSpec{Name: e.key, Value: x, Optional: location})
	}
	if !plotted && p.Field == nil {
		f.add("channel", "write field = 1, or field1 = \"...\" with an expression", "channel %s is named without a field: "+
			"a row needs field, field1 to field8, or status", channel)
	}
	if err := f.join(); err != nil {
		return nil, err
	}
	if t.Name, err = scope.Template(channel); err != nil {
		return nil, err
	}
	return t, nil
}

// expression compiles one value of a place, which may also be a fixed number.
func expression(scope mappings.Scope, e keyed) (*mappings.Expr, error) {
	switch v := e.src.(type) {
	case string:
		x, err := scope.Expr(v, mappings.WantAny)
		if err != nil {
			return nil, platforms.Blame(e.key, err)
		}
		return x, nil
	case int64:
		return constant(e.key, float64(v))
	case float64:
		return constant(e.key, v)
	}
	return nil, &platforms.KeyError{
		Key: e.key, Text: fmt.Sprintf("%v is neither an expression nor a number", e.src),
		Hint: fmt.Sprintf("write %s = \"json.temperature\", with the quotes", e.key),
	}
}

func constant(key string, v float64) (*mappings.Expr, error) {
	if why := outOfRange(key, v); why != "" {
		return nil, &platforms.KeyError{Key: key, Text: why}
	}
	return mappings.ConstNumber(v), nil
}

func source(platform platforms.Platform, place any, scope mappings.Scope) (*mappings.Source, error) {
	ts, p, err := own(platform, place)
	if err != nil {
		return nil, err
	}
	var f faults
	channel, field := p.address(&f)
	for _, e := range p.expressions() {
		f.add(e.key, "a downlink names what it reads with channel = 1001 and field = 1; without field it gets the whole entry as JSON",
			"%s says what to write, and a downlink reads", e.key)
	}
	if !ts.cloud.overMQTT() {
		f.add("channel", whereDevice, "commands come down over MQTT, and this cloud has write keys alone: it needs client_id, username "+
			"and password too")
	}
	if err := f.join(); err != nil {
		return nil, err
	}
	name, err := mappings.ParsePattern(channel, scope.Bridge)
	if err != nil {
		return nil, err
	}
	return &mappings.Source{Name: name, Part: field}, nil
}

// own checks that the platform and the place are of this package, which only a fault in the program would break.
func own(platform platforms.Platform, place any) (*Platform, *Place, error) {
	ts, ok := platform.(*Platform)
	if !ok {
		return nil, nil, fmt.Errorf("thingspeak: %T is another platform", platform)
	}
	p, ok := place.(*Place)
	if !ok {
		return nil, nil, fmt.Errorf("thingspeak: %T is another platform's place", place)
	}
	return ts, p, nil
}

// checkKey says whether the key that a write to the channel needs is there.
func (p *Platform) checkKey(channel string) *platforms.KeyError {
	if (!p.cloud.rowsOverREST() && !p.cloud.legacy()) || p.cloud.Channels[channel].WriteKey != "" {
		return nil
	}
	return &platforms.KeyError{
		Key:  "channel",
		Text: fmt.Sprintf("channel %s has no write key here: add [cloud.<name>.channels.%s] write_key = \"...\"", channel, channel),
		Hint: whereKey,
	}
}
