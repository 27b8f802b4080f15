package adafruitiotest

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"
)

var errPayload = errors.New("rejected, payload is not valid for this topic")

// readPayload reads what is published to a place.
func readPayload(p place, payload []byte) ([]write, error) {
	switch {
	case p.group && p.format == "csv":
		return groupCSV(p.key, payload)
	case p.group:
		return groupJSON(p.key, payload)
	case p.format == "csv":
		return feedCSV(p.key, payload)
	}
	w, ok := unwrap(payload)
	if !ok && p.format == "json" {
		return nil, errPayload
	}
	w.key = p.key
	return []write{w}, nil
}

// unwrap reads a value: JSON with a member value is taken apart, anything else stays as it is, with ok false.
func unwrap(payload []byte) (w write, ok bool) {
	if gjson.ValidBytes(payload) {
		o := gjson.ParseBytes(payload)
		if o.IsObject() && o.Get("value").Exists() {
			return write{value: text(o.Get("value")), lat: text(o.Get("lat")), lon: text(o.Get("lon")), ele: text(o.Get("ele"))}, true
		}
	}
	return write{value: string(payload)}, false
}

// text is a JSON value as it is stored; null is nothing.
func text(v gjson.Result) string {
	switch v.Type {
	case gjson.String:
		return v.String()
	case gjson.Null:
		return ""
	case gjson.JSON:
		var b bytes.Buffer
		if json.Compact(&b, []byte(v.Raw)) == nil {
			return b.String()
		}
	}
	return v.Raw
}

func feedCSV(key string, payload []byte) ([]write, error) {
	r := csv.NewReader(bytes.NewReader(payload))
	r.TrimLeadingSpace = true
	cells, err := r.Read()
	if err != nil || len(cells) > 4 {
		return nil, errPayload
	}
	cells = append(cells, "", "", "")
	return []write{{key: key, value: cells[0], lat: cells[1], lon: cells[2], ele: cells[3]}}, nil
}

// member is the key of a feed of a group.
func member(group, name string) (string, error) {
	key, err := slug(name)
	if err != nil || group == defaultGroup {
		return key, err
	}
	return group + "." + key, nil
}

func groupJSON(group string, payload []byte) ([]write, error) {
	feeds := gjson.GetBytes(payload, "feeds")
	if !gjson.ValidBytes(payload) || !feeds.IsObject() {
		return nil, errPayload
	}
	at := gjson.GetBytes(payload, "location")
	var all []write
	var problem error
	feeds.ForEach(func(name, value gjson.Result) bool {
		var key string
		if key, problem = member(group, name.String()); problem != nil {
			return false
		}
		all = append(all, write{key: key, value: text(value), lat: text(at.Get("lat")), lon: text(at.Get("lon")), ele: text(at.Get("ele"))})
		return true
	})
	if problem == nil && len(all) == 0 {
		problem = errPayload
	}
	return all, problem
}

func groupCSV(group string, payload []byte) ([]write, error) {
	r := csv.NewReader(bytes.NewReader(payload))
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	if err != nil {
		return nil, errPayload
	}
	var all []write
	var at [3]string
	for _, row := range rows {
		switch {
		case row[0] == "location" && len(row) >= 3:
			copy(at[:], row[1:])
		case len(row) == 2:
			key, err := member(group, row[0])
			if err != nil {
				return nil, err
			}
			all = append(all, write{key: key, value: row[1]})
		default:
			return nil, errPayload
		}
	}
	if len(all) == 0 {
		return nil, errPayload
	}
	for i := range all {
		all[i].lat, all[i].lon, all[i].ele = at[0], at[1], at[2]
	}
	return all, nil
}

// fanOut sends values to whoever reads them, on every path that Adafruit IO has for them; the writer is no exception.
// The account's topics are written with the name as the account has it.
func (c *Cloud) fanOut(a *account, writes []write) {
	byGroup := map[string][]write{}
	var groups []string
	for _, w := range writes {
		c.fanOutFeed(a, w.key, w)
		group, _ := split(w.key)
		if group == defaultGroup && c.rules.defaultPath {
			c.fanOutFeed(a, defaultGroup+"."+w.key, w)
		}
		if c.rules.groupsEach {
			c.fanOutGroup(a, group, []write{w})
			continue
		}
		if byGroup[group] == nil {
			groups = append(groups, group)
		}
		byGroup[group] = append(byGroup[group], w)
	}
	for _, g := range groups {
		c.fanOutGroup(a, g, byGroup[g])
	}
}

func (c *Cloud) send(topic, payload string) { _ = c.Publish(topic, []byte(payload), 1, false) }

func (c *Cloud) fanOutFeed(a *account, path string, w write) {
	for _, family := range []string{"/feeds/", "/f/"} {
		topic := a.name + family + path
		c.send(topic, w.value)
		c.send(topic+"/json", w.json())
		c.send(topic+"/csv", w.csv())
	}
}

func (c *Cloud) fanOutGroup(a *account, group string, writes []write) {
	values := map[string]string{}
	var lines strings.Builder
	for _, w := range writes {
		_, feed := split(w.key)
		values[feed] = w.value
		fmt.Fprintf(&lines, "%s,%s\n", feed, cell(w.value))
	}
	message := map[string]any{"feeds": values}
	if w := writes[0]; w.lat != "" {
		message["location"] = w.location()
		fmt.Fprintf(&lines, "location,%s,%s", w.lat, w.lon)
		if w.ele != "" {
			lines.WriteString("," + w.ele)
		}
		lines.WriteByte('\n')
	}
	object := compact(message)
	for _, family := range []string{"/groups/", "/g/"} {
		topic := a.name + family + group
		c.send(topic, object)
		c.send(topic+"/json", object)
		c.send(topic+"/csv", lines.String())
	}
}

func (w write) location() map[string]any {
	at := map[string]any{}
	for k, v := range map[string]string{"lat": w.lat, "lon": w.lon, "ele": w.ele} {
		if v != "" {
			at[k] = json.Number(v)
		}
	}
	return at
}

// json is what subscribers of a feed's json topic get; values are always strings there.
func (w write) json() string {
	message := w.location()
	message["value"] = w.value
	return compact(message)
}

func (w write) csv() string {
	return strings.Join([]string{cell(w.value), w.lat, w.lon, w.ele}, ",")
}

// cell quotes a value where CSV needs it.
func cell(value string) string {
	if !strings.ContainsAny(value, "\",\r\n") {
		return value
	}
	return `"` + strings.ReplaceAll(value, `"`, `""`) + `"`
}

// compact writes JSON without spaces, and without the escapes that only web pages need.
func compact(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // Maps of strings and of numbers that were checked: nothing here cannot be encoded.
	return strings.TrimSuffix(b.String(), "\n")
}
