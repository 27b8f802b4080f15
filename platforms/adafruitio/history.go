package adafruitio

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// mostHistory is the most points of one request. It is our choice, for Adafruit IO tells of no limit but that of the minute's points:
// each one counts, and a request beyond that is refused whole.
const mostHistory = 100

// createdLayout is RFC 3339 in UTC, with milliseconds where there are any, so that readings of one second keep their order.
const createdLayout = "2006-01-02T15:04:05.999Z"

// History is over REST, feed by feed, for MQTT has no field for the time. Each point costs one of the account's minute, so a request
// takes at most a third of them: what is written now must fit in beside.
func (p *Platform) History(in string) (platforms.HistoryLimits, bool) {
	if in != lane || p.api == "" {
		return platforms.HistoryLimits{}, false
	}
	return platforms.HistoryLimits{
		MostPoints:   min(max(p.plan.points/3, 1), mostHistory),
		CostPerPoint: true,
		PerAddress:   true,
	}, true
}

// EncodeHistory makes a batch of the points of one feed, or a request of one point of a group, of which Adafruit IO takes no more.
func (p *Platform) EncodeHistory(batch []mappings.Point) (platforms.Delivery, error) {
	limits, ok := p.History(lane)
	switch {
	case len(batch) == 0:
		return platforms.Delivery{}, errors.New("there is no point to send")
	case !ok:
		return platforms.Delivery{}, errors.New("this account has no REST side for history: write api_url")
	}
	name := batch[0].Name
	if err := checkName(name); err != nil {
		return platforms.Delivery{}, err
	}
	if group, ok := strings.CutPrefix(name, groupPrefix); ok {
		return p.groupHistory(group, &batch[0])
	}
	d := platforms.Delivery{Request: p.post("/feeds/" + name + "/data/batch")}
	body := []byte(`{"data":[`)
	for i := range batch[:min(len(batch), limits.MostPoints)] {
		if batch[i].Name != name {
			break
		}
		text, at, left, err := readPast(&batch[i])
		if err == nil {
			err = checkValue(text)
		}
		switch {
		case err != nil && i == 0:
			return platforms.Delivery{}, err
		case err != nil:
			d.Omitted = append(d.Omitted, platforms.Omission{Point: i, Whole: true, Why: err.Error()})
			d.Points++
			continue
		case left != "":
			d.Omitted = append(d.Omitted, platforms.Omission{Point: i, Why: left})
		}
		if d.Cost > 0 {
			body = append(body, ',')
		}
		body = appendCreated(appendDatum(body, text, at), &batch[i])
		d.Points++
		d.Cost++
		d.Echoes = append(d.Echoes, feedEchoes(name, text)...)
	}
	d.Request.Body = append(body, `]}`...)
	return d, nil
}

// groupHistory writes the feeds of one point of a group, all at its time. They stand in a list here, and in an object over MQTT.
func (p *Platform) groupHistory(group string, pt *mappings.Point) (platforms.Delivery, error) {
	text, at, left, err := readPast(pt)
	if err != nil {
		return platforms.Delivery{}, err
	}
	feeds, bad, err := readGroup(text, p.plan.points)
	if err != nil {
		return platforms.Delivery{}, fmt.Errorf("group %s: %w", group, err)
	}
	d := platforms.Delivery{
		Request: p.post("/groups/" + group + "/data"), Points: 1, Cost: len(feeds), Echoes: groupEchoes(group, feeds),
	}
	if left != "" {
		bad = append([]string{left}, bad...)
	}
	for _, why := range bad {
		d.Omitted = append(d.Omitted, platforms.Omission{Why: why})
	}
	body := []byte(`{"feeds":[`)
	for i, f := range feeds {
		if i > 0 {
			body = append(body, ',')
		}
		body = appendString(append(body, `{"key":`...), f.key)
		body = append(appendString(append(body, `,"value":`...), f.text), '}')
	}
	body = append(body, ']')
	if at != nil {
		body = append(at.append(append(body, `,"location":{`...)), '}')
	}
	d.Request.Body = appendCreated(body, pt)
	return d, nil
}

// readPast reads what a point of the past must have, and says of a position that is left out why.
func readPast(pt *mappings.Point) (text string, at *position, left string, err error) {
	if text, err = textOf(pt); err != nil {
		return "", nil, "", err
	}
	if pt.Time.IsZero() {
		return "", nil, "", errors.New("the point has no time")
	}
	at, err = positionOf(pt)
	if err != nil { // A wrong position is no reason to lose the value.
		left = err.Error()
	}
	return text, at, left, nil
}

// appendDatum opens an object with a value, always as text, and where it was read.
func appendDatum(b []byte, text string, at *position) []byte {
	b = appendString(append(b, `{"value":`...), text)
	if at != nil {
		b = at.append(append(b, ','))
	}
	return b
}

// appendCreated closes an object with the point's own time.
func appendCreated(b []byte, pt *mappings.Point) []byte {
	b = append(b, `,"created_at":"`...)
	b = pt.Time.UTC().Truncate(time.Millisecond).AppendFormat(b, createdLayout)
	return append(b, `"}`...)
}

// post is a request of the REST side that has no body yet.
func (p *Platform) post(path string) *platforms.Request {
	return &platforms.Request{
		Method: http.MethodPost,
		URL:    p.api + "/" + url.PathEscape(p.user) + path,
		Header: http.Header{"X-Aio-Key": {p.session.Password.Reveal()}, "Content-Type": {"application/json"}},
	}
}
