package thingspeak

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// stampLayout is how times are written, over every path: in whole seconds, for ThingSpeak knows the rows of a channel by them,
// and a row that comes once live and once as history must be known as one.
const stampLayout = "2006-01-02T15:04:05Z"

// row is what of a point ThingSpeak will take.
type row struct {
	// texts are the values in the order of partNames; empty is none.
	texts [len(partNames)]string
	// left are the parts that it will not take, and why.
	left []string
}

// Encode makes one update of the first point: ThingSpeak takes one row at a time.
func (p *Platform) Encode(batch []mappings.Point) ([]platforms.Delivery, error) {
	if len(batch) == 0 {
		return nil, nil
	}
	pt := &batch[0]
	if err := checkChannel(pt.Name); err != nil {
		return nil, err
	}
	if fault := p.checkKey(pt.Name); fault != nil {
		return nil, errors.New(fault.Text)
	}
	r := compose(pt.Parts)
	form := r.form(pt.Time)
	if err := r.empty(pt.Name); err != nil {
		return nil, err
	}
	d := platforms.Delivery{Points: 1, Echoes: r.echoes(pt.Name), Left: r.left}
	if p.cloud.rowsOverREST() {
		d.Request = p.request(pt.Name, form)
	} else {
		d.Message = p.message(pt, &r, form)
	}
	return []platforms.Delivery{d}, nil
}

func (p *Platform) message(pt *mappings.Point, r *row, form []byte) *mqtt.Message {
	topic := "channels/" + pt.Name + "/publish"
	if !p.cloud.legacy() {
		return &mqtt.Message{Topic: topic, Payload: form}
	}
	key := "/" + p.cloud.Channels[pt.Name].WriteKey.Reveal()
	if i, ok := r.onlyField(); ok && pt.Time.IsZero() {
		// One field without a time of its own needs no form.
		return &mqtt.Message{Topic: topic + "/fields/" + partNames[i] + key, Payload: []byte(r.texts[i])}
	}
	return &mqtt.Message{Topic: topic + key, Payload: form}
}

func (p *Platform) request(channel string, form []byte) *platforms.Request {
	h := make(http.Header)
	h.Set("Content-Type", "application/x-www-form-urlencoded")
	// The key travels in a header, so that nothing that shows an address or a body shows the key.
	h.Set("THINGSPEAKAPIKEY", p.cloud.Channels[channel].WriteKey.Reveal())
	return &platforms.Request{
		Method: http.MethodPost,
		URL:    p.cloud.APIURL + "/update.json",
		Header: h,
		Body:   form,
	}
}

// compose takes of the parts what ThingSpeak takes. A part named twice counts as written last.
func compose(parts []mappings.Part) row {
	var r row
	for _, part := range parts {
		i := partOrder(part.Name)
		if i < 0 {
			r.leave(part.Name, "no part of a ThingSpeak row")
			continue
		}
		text, why := fit(part, i > partOrder("status"))
		if why != "" {
			r.leave(part.Name, why)
			continue
		}
		r.texts[i] = text
	}
	return r
}

func (r *row) leave(part, why string) { r.left = append(r.left, part+": "+why) }

// fit gives the text of a part, or says why ThingSpeak would not take it. A part of the location is sent as a
// number and nothing else, so that a blank beside it cannot cost the row.
func fit(part mappings.Part, location bool) (text, why string) {
	text = part.Value.String()
	switch {
	case text == "":
		return "", "the value is empty, which ThingSpeak takes for no value"
	case !utf8.ValidString(text):
		return "", "the value is not UTF-8 text"
	case location:
		n, ok := part.Value.Number()
		if !ok || math.IsNaN(n) || math.IsInf(n, 0) {
			return "", fmt.Sprintf("%q is not a number", platforms.Shorten(text, quoted))
		}
		return mappings.Value{Kind: mappings.Float, Float: n}.String(), outOfRange(part.Name, n)
	case len(text) > textSize:
		return "", fmt.Sprintf("%d bytes: ThingSpeak takes %d at the most", len(text), textSize)
	}
	return text, ""
}

func outOfRange(part string, n float64) string {
	limit := map[string]float64{"lat": 90, "long": 180}[part]
	if limit == 0 || math.Abs(n) <= limit {
		return ""
	}
	return fmt.Sprintf("%v is outside -%v to %v", n, limit, limit)
}

// plots says whether there is anything but a location in the row: ThingSpeak would keep that, but no reading was in it.
func (r *row) plots() bool {
	for _, text := range r.texts[:partOrder("status")+1] {
		if text != "" {
			return true
		}
	}
	return false
}

// empty is the error of a row that can never go.
func (r *row) empty(channel string) error {
	switch {
	case r.plots():
		return nil
	case len(r.left) > 0:
		return fmt.Errorf("channel %s: %s", channel, strings.Join(r.left, "; "))
	}
	return fmt.Errorf("channel %s: the row has neither a field nor a status", channel)
}

// onlyField gives the field of a row that has one field and nothing else.
func (r *row) onlyField() (int, bool) {
	found := -1
	for i, text := range r.texts {
		if text == "" {
			continue
		}
		if found >= 0 || i >= fields {
			return 0, false
		}
		found = i
	}
	return found, found >= 0
}

// form writes the row as a form, and takes out of the row what would make the message longer than ThingSpeak takes.
func (r *row) form(at time.Time) []byte {
	var stamp string
	if !at.IsZero() {
		// ThingSpeak's own example for MQTT, "2014-12-31 23:59:59", leaves open in which time zone that is. Its pages on REST
		// name ISO 8601 too, which with a Z means the same everywhere and has no space to escape.
		stamp = "created_at=" + at.UTC().Format(stampLayout)
	}
	form := make([]byte, 0, 256)
	for i, text := range r.texts {
		if text == "" {
			continue
		}
		before := len(form)
		if before > 0 {
			form = append(form, '&')
		}
		form = append(form, partNames[i]...)
		form = append(form, '=')
		form = appendEscaped(form, text)
		if len(form)+1+len(stamp) > messageSize {
			r.leave(partNames[i], fmt.Sprintf("the row would be longer than the %d bytes that ThingSpeak takes", messageSize))
			r.texts[i] = ""
			form = form[:before]
		}
	}
	if stamp != "" {
		if len(form) > 0 {
			form = append(form, '&')
		}
		form = append(form, stamp...)
	}
	return form
}

// appendEscaped writes text so that it is safe in a form: letters and digits as they are, the rest by percent. A space is %20,
// for a plus would be read as a plus by whoever decodes by the rule for addresses.
func appendEscaped(dst []byte, text string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(text) {
		switch c := text[i]; {
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c == '-', c == '.', c == '_', c == '~':
			dst = append(dst, c)
		default:
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}

// echoes are the ways in which the row may come back: each field on its own topic, and all of it as one entry.
func (r *row) echoes(channel string) []platforms.Echo {
	var echoes []platforms.Echo
	for i, text := range r.texts[:fields] {
		if text != "" {
			echoes = append(echoes, platforms.Echo{Address: mappings.Address{Name: channel, Part: partNames[i]}, Value: text})
		}
	}
	return append(echoes, platforms.Echo{Address: mappings.Address{Name: channel}, Value: r.fingerprint()})
}

// fingerprint tells entries apart by their fields and status. A location is left out: ThingSpeak may write it in other digits.
func (r *row) fingerprint() string {
	var b []byte
	for i, text := range r.texts[:partOrder("status")+1] {
		if text != "" {
			b = append(append(append(b, partNames[i]...), '='), text...)
			b = append(b, '\n')
		}
	}
	return string(b)
}

// Warnings tells of text in a field, which ThingSpeak keeps but never draws.
func (p *Platform) Warnings(pt mappings.Point) []string {
	var warnings []string
	for _, part := range pt.Parts {
		i := partOrder(part.Name)
		if i < 0 || i >= fields {
			continue
		}
		if _, ok := number(part.Value.String()); !ok {
			warnings = append(warnings, fmt.Sprintf("channel %s field %d gets text: ThingSpeak draws only numbers; "+
				`write value = 'after(text, "temperature=")' or value = 'number(text)' to send the number in it`, pt.Name, i+1))
		}
	}
	return warnings
}

// number reads a number as ThingSpeak's charts do: decimal digits, no infinity, no hexadecimal.
func number(text string) (float64, bool) {
	text = strings.TrimSpace(text)
	if text == "" || strings.Trim(text, "0123456789+-.eE") != "" {
		return 0, false
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, false
	}
	return n, true
}
