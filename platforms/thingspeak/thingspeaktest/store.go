package thingspeaktest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Entry is one row of a channel.
type Entry struct {
	ID      int64
	Created time.Time
	// Values are by name: field1 to field8, status, latitude, longitude, elevation; only those that were given.
	Values map[string]string
	// Bulk entries came in a bulk update, and were not told to subscribers.
	Bulk bool
}

// channel is a channel and what it holds. The cloud's mutex guards it.
type channel struct {
	Channel
	enabled [8]bool
	created time.Time
	entries []Entry
	last    int64
	// written and bulked are when the last accepted write and bulk update came: a refused one does not prolong the wait.
	written, bulked time.Time
	times           map[int64]bool
}

func newChannel(c Channel) *channel {
	ch := &channel{Channel: c, created: time.Now().UTC().Truncate(time.Second), times: make(map[int64]bool)}
	for _, f := range c.Fields {
		if f >= 1 && f <= len(ch.enabled) {
			ch.enabled[f-1] = true
		}
	}
	if c.Fields == nil {
		ch.enabled = [8]bool{true, true, true, true, true, true, true, true}
	}
	return ch
}

func fieldName(i int) string { return "field" + strconv.Itoa(i+1) }

// write takes one single update, in the names of the update form (lat and long), and tells the subscribers.
func (c *Cloud) write(ch *channel, form map[string]string, free bool) (Entry, error) {
	values, err := c.values(ch, form, map[string]string{"latitude": "lat", "longitude": "long", "elevation": "elevation"})
	if err != nil {
		return Entry{}, err
	}
	now := time.Now()
	e := Entry{Created: now.UTC().Truncate(time.Second), Values: values}
	if t, ok := readTime(form["created_at"]); ok {
		e.Created = t
	}
	c.mu.Lock()
	err = c.admit(ch, now, free)
	if err == nil {
		ch.written = now
		e = ch.add(e)
	}
	c.mu.Unlock()
	if err != nil {
		return Entry{}, err
	}
	c.tell(ch, e)
	return e, nil
}

// admit counts a write, or says which limit it breaks.
func (c *Cloud) admit(ch *channel, now time.Time, free bool) error {
	if c.spent(now) {
		return refuse(http.StatusPaymentRequired, fmt.Sprintf("the %d messages of the year are used up", c.settings.messages))
	}
	if wait := c.settings.interval - now.Sub(ch.written); wait > 0 && !ch.written.IsZero() && !free {
		return c.settings.tooSoon(fmt.Sprintf("too soon: %v after the channel's last row, which takes one every %v",
			now.Sub(ch.written).Round(time.Millisecond), c.settings.interval))
	}
	c.used++
	return nil
}

// spent says whether the year's messages are used up, and begins a new year when the old one is over.
func (c *Cloud) spent(now time.Time) bool {
	if c.year.IsZero() || now.Sub(c.year) >= c.settings.yearLength {
		c.year, c.used = now, 0
	}
	return c.used >= c.settings.messages
}

// add keeps an entry and gives it its number.
func (ch *channel) add(e Entry) Entry {
	ch.last++
	e.ID = ch.last
	ch.entries = append(ch.entries, e)
	ch.times[e.Created.Unix()] = true
	if len(ch.entries) > keptEntries {
		delete(ch.times, ch.entries[0].Created.Unix())
		ch.entries = slices.Delete(ch.entries, 0, 1)
	}
	return e
}

// ByTime puts entries into the order of their times, as feeds.json shows them: what a bulk update fills in stands where it belongs,
// though its numbers are newer. The old open-source server sorts so.
func ByTime(entries []Entry) []Entry {
	sorted := slices.Clone(entries)
	slices.SortStableFunc(sorted, func(a, b Entry) int { return a.Created.Compare(b.Created) })
	return sorted
}

// values takes from a form what the channel keeps: enabled fields, the status and the location, whose names in the form are given.
// What is unknown or blank is passed over, as ThingSpeak does.
func (c *Cloud) values(ch *channel, form, location map[string]string) (map[string]string, error) {
	values := make(map[string]string)
	for i, on := range ch.enabled {
		if v := form[fieldName(i)]; on && v != "" {
			values[fieldName(i)] = v
		}
	}
	if v := form["status"]; v != "" {
		values["status"] = v
	}
	for name, v := range values {
		if !utf8.ValidString(v) {
			return nil, refuse(http.StatusUnprocessableEntity, name+": not UTF-8")
		}
		if len(v) > valueSize {
			if !c.settings.truncate {
				return nil, refuse(http.StatusBadRequest, fmt.Sprintf("%s: %d bytes are more than %d", name, len(v), valueSize))
			}
			values[name] = cut(v, valueSize)
		}
	}
	for name, key := range location {
		v := form[key]
		if v == "" {
			continue
		}
		if !within(name, v) {
			return nil, refuse(http.StatusBadRequest, fmt.Sprintf("%s: %q is no such place", key, v))
		}
		values[name] = v
	}
	if len(values) == 0 {
		return nil, &refusal{status: http.StatusOK, zero: true, why: "nothing to keep: no enabled field, no status, no location"}
	}
	return values, nil
}

func within(name, text string) bool {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return false
	}
	switch name {
	case "latitude":
		return math.Abs(n) <= 90
	case "longitude":
		return math.Abs(n) <= 180
	}
	return true
}

// cut shortens a text to at most n bytes without cutting a character in two.
func cut(s string, n int) string {
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// emission is one message of the broker's about an entry.
type emission struct {
	topic   string
	payload []byte
}

// emissions are what subscribers get to see of an entry: all of it, and each of its fields.
func (c *Cloud) emissions(ch *channel, e Entry) []emission {
	base := fmt.Sprintf("channels/%d/subscribe", ch.ID)
	all := []emission{{base, ch.json(e, true)}}
	tails := []string{""}
	if c.settings.legacy {
		tails = append(tails, "/"+ch.ReadKey)
		all = append(all, emission{base + "/json", all[0].payload}, emission{base + "/json/" + ch.ReadKey, all[0].payload})
	}
	for i := range ch.enabled {
		v, ok := e.Values[fieldName(i)]
		if !ok {
			continue
		}
		for _, tail := range tails {
			all = append(all, emission{base + "/fields/" + fieldName(i) + tail, []byte(v)})
		}
	}
	return all
}

// tell emits an entry to those who subscribed to the channel or to one of its fields.
func (c *Cloud) tell(ch *channel, e Entry) {
	for _, m := range c.emissions(ch, e) {
		// An emulator that is being closed has no subscribers left, so an error has nobody to be told to.
		_ = c.Publish(m.topic, m.payload, 0, false)
	}
}

// locations are the parts of an entry beside the fields.
var locations = []string{"latitude", "longitude", "elevation", "status"}

// json writes an entry. A full one, as updates and subscribers get it, has the channel and the place; one of a feed has not.
// Fields that are not enabled are absent, and enabled ones without a value are null.
func (ch *channel) json(e Entry, full bool) []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	if full {
		fmt.Fprintf(&b, `"channel_id":%d,`, ch.ID)
	}
	fmt.Fprintf(&b, `"created_at":%q,"entry_id":%d`, e.Created.Format(time.RFC3339), e.ID)
	put := func(name string) {
		fmt.Fprintf(&b, ",%q:", name)
		v, ok := e.Values[name]
		if !ok {
			b.WriteString("null")
			return
		}
		text, err := json.Marshal(v)
		if err != nil {
			panic(err) // A string always has a JSON form.
		}
		b.Write(text)
	}
	for i, on := range ch.enabled {
		if on {
			put(fieldName(i))
		}
	}
	if full {
		for _, name := range locations {
			put(name)
		}
	}
	b.WriteByte('}')
	return b.Bytes()
}
