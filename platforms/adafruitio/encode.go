package adafruitio

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// maxValue is the longest value that Adafruit IO stores in a feed that keeps its history, in bytes.
const maxValue = 1024

// Encode makes one message of each point.
func (p *Platform) Encode(batch []mappings.Point) ([]platforms.Delivery, error) {
	var all []platforms.Delivery
	for i := range batch {
		d, err := p.encode(&batch[i])
		if err != nil {
			if len(all) > 0 {
				return all, nil // What comes before can go; this point is then the first, and told of.
			}
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

func (p *Platform) encode(pt *mappings.Point) (platforms.Delivery, error) {
	// Rules are checked when they are loaded, but a point may come from the queue of an older configuration.
	if err := checkName(pt.Name); err != nil {
		return platforms.Delivery{}, err
	}
	text, err := textOf(pt)
	if err != nil {
		return platforms.Delivery{}, err
	}
	d := platforms.Delivery{Points: 1, Cost: 1, Message: &mqtt.Message{Topic: p.topic(pt.Name), QoS: min(pt.QoS, 1)}}
	at, err := positionOf(pt)
	if err != nil { // A wrong position is no reason to lose the value.
		d.Left = append(d.Left, err.Error())
	}
	if group, ok := strings.CutPrefix(pt.Name, groupPrefix); ok {
		feeds, left, err := readGroup(text, p.plan.points)
		if err != nil {
			return platforms.Delivery{}, fmt.Errorf("group %s: %w", group, err)
		}
		d.Left = append(d.Left, left...)
		d.Message.Payload = groupPayload(feeds, at)
		d.Cost = len(feeds)
		d.Echoes = groupEchoes(group, feeds)
		return d, nil
	}
	if err := checkValue(text); err != nil {
		return platforms.Delivery{}, err
	}
	switch {
	case at != nil:
		d.Message.Topic += "/json"
		d.Message.Payload = valuePayload(text, at)
	case misread(text):
		d.Message.Payload = valuePayload(text, nil)
	default:
		d.Message.Payload = []byte(text)
	}
	d.Echoes = feedEchoes(pt.Name, text)
	return d, nil
}

// feedEchoes are what comes back of a value: on its feed, and on the group that the feed is in.
func feedEchoes(name, text string) []platforms.Echo {
	group, feed := splitFeed(name)
	return []platforms.Echo{
		{Address: mappings.Address{Name: name}, Value: text},
		{Address: mappings.Address{Name: groupPrefix + group}, Value: canonical([]pair{{feed, text}})},
	}
}

// Fills are the feeds that a point writes: those of its group's object, or its own.
func (p *Platform) Fills(pt mappings.Point) []string {
	group, ok := strings.CutPrefix(pt.Name, groupPrefix)
	if !ok {
		return []string{pt.Name}
	}
	text, err := textOf(&pt)
	if err != nil {
		return nil
	}
	feeds, _, err := readGroup(text, p.plan.points)
	if err != nil {
		return nil // Nothing will be written; Encode says why.
	}
	all := make([]string, len(feeds))
	for i, f := range feeds {
		all[i] = feedKey(group, f.key)
	}
	return all
}

// textOf is the point's value as the text that Adafruit IO stores: everything there is text.
func textOf(pt *mappings.Point) (string, error) {
	for _, part := range pt.Parts {
		if part.Name == "" && part.Value.Kind != mappings.NoValue {
			return string(part.Value.AppendText(nil)), nil
		}
	}
	return "", errors.New("there is no value to send")
}

// checkValue refuses here what Adafruit IO would refuse there, where ten refusals in a minute lock the account.
func checkValue(text string) error {
	switch {
	case text == "":
		return errors.New("the value is empty, and Adafruit IO wants one")
	case len(text) > maxValue:
		return fmt.Errorf("the value has %d bytes, and Adafruit IO takes %d", len(text), maxValue)
	case !utf8.ValidString(text):
		return errors.New("the value is not text in UTF-8, and Adafruit IO stores only such text")
	}
	return nil
}

// misread says whether Adafruit IO would store something else than the text: of a JSON object with a member value it
// takes only that member, even on the plain topic. Wrapped as the text of such a member it is stored as it is.
func misread(text string) bool {
	if !gjson.Valid(text) {
		return false
	}
	object := gjson.Parse(text)
	if !object.IsObject() {
		return false
	}
	found := false
	object.ForEach(func(key, _ gjson.Result) bool {
		found = key.String() == "value"
		return !found
	})
	return found
}

// position is where a reading was taken. Its numbers are kept as they will be written.
type position struct{ lat, lon, ele string }

// positionOf reads the location parts; nil stands for none, as of a board without a satellite fix. A place needs both
// angles.
func positionOf(pt *mappings.Point) (*position, error) {
	var at position
	for _, part := range pt.Parts {
		var to *string
		switch part.Name {
		case partLat:
			to = &at.lat
		case partLon:
			to = &at.lon
		case partEle:
			to = &at.ele
		default:
			continue
		}
		if part.Value.Kind == mappings.NoValue {
			continue
		}
		f, ok := part.Value.Number()
		if !ok {
			return nil, fmt.Errorf("%s: %q is not a number", part.Name, part.Value.String())
		}
		if err := inRange(part.Name, f); err != nil {
			return nil, fmt.Errorf("%s: %w", part.Name, err)
		}
		*to = strconv.FormatFloat(f, 'f', -1, 64)
	}
	switch {
	case at.lat != "" && at.lon != "":
		return &at, nil
	case at.lat != "" || at.lon != "":
		return nil, errors.New("the position: lat and lon are not both there")
	}
	return nil, nil
}

// inRange checks one of the numbers of a position.
func inRange(part string, f float64) error {
	most := map[string]float64{partLat: 90, partLon: 180, partEle: math.MaxFloat64}[part]
	if math.IsNaN(f) || math.Abs(f) > most {
		return fmt.Errorf("%v is not between %v and %v", f, -most, most)
	}
	return nil
}

// append writes the members of a position.
func (at *position) append(b []byte) []byte {
	b = append(append(b, `"lat":`...), at.lat...)
	b = append(append(b, `,"lon":`...), at.lon...)
	if at.ele != "" {
		b = append(append(b, `,"ele":`...), at.ele...)
	}
	return b
}

// valuePayload is a value in JSON, always as a string: a number would be stored as Adafruit IO writes it.
func valuePayload(text string, at *position) []byte {
	return append(appendDatum(nil, text, at), '}')
}

// pair is one feed of a group, and its value.
type pair struct{ key, text string }

// readGroup reads the value of a rule for a group: an object of feeds and values. What cannot be a feed, or a value, is
// left out and told of; an error means that nothing is left. So is what is more than most, the points of a whole minute:
// Adafruit IO would never take such a message, and locks the account of whoever tries it again and again.
func readGroup(text string, most int) (feeds []pair, left []string, err error) {
	if !gjson.Valid(text) || !gjson.Parse(text).IsObject() {
		return nil, nil, fmt.Errorf("the value must be a JSON object of feeds and values, as {\"temp\": 27}, and is %q", platforms.Shorten(text, quoted))
	}
	known := map[string]string{}
	gjson.Parse(text).ForEach(func(name, value gjson.Result) bool {
		if value.Type == gjson.Null {
			return true // A sensor without a reading.
		}
		f := pair{text: valueText(value)}
		if f.key, err = Key(name.String()); err == nil {
			err = checkValue(f.text)
		}
		if other, ok := known[f.key]; err == nil && ok {
			err = fmt.Errorf("it is the same feed as %q, %s", other, f.key)
		}
		if err == nil && len(feeds) == most {
			err = fmt.Errorf("one message can fill %d feeds, the points of a minute of this account: write a second rule for the rest", most)
		}
		if err != nil {
			left = append(left, fmt.Sprintf("%q: %v", platforms.Shorten(name.String(), quoted), err))
			return true
		}
		known[f.key] = name.String()
		feeds = append(feeds, f)
		return true
	})
	switch {
	case len(feeds) > 0:
		return feeds, left, nil
	case len(left) > 0:
		return nil, nil, errors.New(strings.Join(left, "; "))
	}
	return nil, nil, errors.New("the JSON object has no value for any feed")
}

// valueText is a JSON value as text. A number keeps its digits.
func valueText(v gjson.Result) string {
	switch v.Type {
	case gjson.String:
		return v.String()
	case gjson.JSON:
		var b bytes.Buffer
		if json.Compact(&b, []byte(v.Raw)) == nil {
			return b.String()
		}
	}
	return v.Raw
}

// quoted is how many characters of a text a message shows.
const quoted = 60

func groupPayload(feeds []pair, at *position) []byte {
	b := append([]byte(`{"feeds":`), appendPairs(nil, feeds)...)
	if at != nil {
		b = append(at.append(append(b, `,"location":{`...)), '}')
	}
	return append(b, '}')
}

// groupEchoes are what comes back of a group: each feed by itself, and the group, which Adafruit IO may send whole or
// feed by feed. A feed and its group have different addresses here, because a connection that reads both gets both.
func groupEchoes(group string, feeds []pair) []platforms.Echo {
	address := mappings.Address{Name: groupPrefix + group}
	var all []platforms.Echo
	if len(feeds) > 1 {
		all = append(all, platforms.Echo{Address: address, Value: canonical(feeds)})
	}
	for _, f := range feeds {
		all = append(all,
			platforms.Echo{Address: mappings.Address{Name: feedKey(group, f.key)}, Value: f.text},
			platforms.Echo{Address: address, Value: canonical([]pair{f})})
	}
	return all
}

// canonical writes feeds in the order of their keys, so that equal groups are equal texts.
func canonical(feeds []pair) string {
	sorted := append([]pair(nil), feeds...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].key < sorted[j].key })
	return string(appendPairs(nil, sorted))
}

func appendPairs(b []byte, feeds []pair) []byte {
	b = append(b, '{')
	for i, f := range feeds {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, f.key), ':')
		b = appendString(b, f.text)
	}
	return append(b, '}')
}

// appendString writes a JSON string as people would: <, > and & stay as they are.
func appendString(b []byte, s string) []byte {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // A string always can be encoded.
	return append(b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}
