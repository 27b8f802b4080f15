package thingspeaktest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cloudbridge/platforms/emulator"
)

// bulkRow is one row of a bulk update.
type bulkRow struct {
	created string
	delta   string
	values  map[string]string
}

// bulkJSON takes {"write_api_key":"...","updates":[{"created_at":"...","field1":...},...]}.
func (c *Cloud) bulkJSON(in *call) (any, error) {
	ch, err := c.bulkChannel(in)
	if err != nil {
		return nil, err
	}
	var body struct {
		Key     string                       `json:"write_api_key"`
		Updates []map[string]json.RawMessage `json:"updates"`
	}
	if err := json.Unmarshal([]byte(in.body), &body); err != nil {
		return nil, refuse(http.StatusBadRequest, "not JSON: "+err.Error())
	}
	rows := make([]bulkRow, len(body.Updates))
	for i, update := range body.Updates {
		r := bulkRow{values: map[string]string{}}
		for name, raw := range update {
			v, ok := scalar(raw)
			if !ok {
				continue
			}
			switch name {
			case "created_at":
				r.created = v
			case "delta_t":
				r.delta = v
			default:
				r.values[name] = v
			}
		}
		rows[i] = r
	}
	return c.bulk(ch, body.Key, rows)
}

// csvColumns are the columns of a CSV row behind its time.
var csvColumns = []string{
	"field1", "field2", "field3", "field4", "field5", "field6", "field7", "field8", "latitude", "longitude", "elevation", "status",
}

// bulkCSV takes write_api_key=...&time_format=absolute|relative&updates=TIME,F1,...,F8,LAT,LONG,ELEV,STATUS|TIME,...
func (c *Cloud) bulkCSV(in *call) (any, error) {
	ch, err := c.bulkChannel(in)
	if err != nil {
		return nil, err
	}
	relative := in.form["time_format"] == "relative"
	if !relative && in.form["time_format"] != "absolute" {
		return nil, refuse(http.StatusBadRequest, "time_format is neither absolute nor relative")
	}
	var rows []bulkRow
	for _, line := range strings.Split(in.form["updates"], "|") {
		if line == "" {
			continue
		}
		cells := strings.Split(line, ",")
		if len(cells) > len(csvColumns)+1 {
			return nil, refuse(http.StatusBadRequest, fmt.Sprintf("%d cells in a row are more than there are columns", len(cells)))
		}
		r := bulkRow{values: map[string]string{}}
		if relative {
			r.delta = cells[0]
		} else {
			r.created = cells[0]
		}
		for i, cell := range cells[1:] {
			r.values[csvColumns[i]] = cell
		}
		rows = append(rows, r)
	}
	return c.bulk(ch, in.form["write_api_key"], rows)
}

func (c *Cloud) bulkChannel(in *call) (*channel, error) {
	if err := in.methods(http.MethodPost); err != nil {
		return nil, err
	}
	return c.named(in)
}

// bulk judges a bulk update and applies it later: whoever sent it never hears what became of its rows.
func (c *Cloud) bulk(ch *channel, key string, rows []bulkRow) (any, error) {
	switch {
	case key == "" || key != ch.WriteKey:
		return nil, refuse(http.StatusUnauthorized, "the write key is not the channel's")
	case len(rows) == 0:
		return nil, refuse(http.StatusBadRequest, "no updates")
	case len(rows) > c.settings.bulkSize:
		return nil, refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("%d rows are more than %d", len(rows), c.settings.bulkSize))
	}
	relative := rows[0].delta != ""
	for _, r := range rows {
		if (r.delta != "") != relative || (r.created != "") == relative {
			return nil, refuse(http.StatusBadRequest, "each row needs created_at, or each delta_t")
		}
	}
	if err := c.admitBulk(ch, time.Now()); err != nil {
		return nil, err
	}
	c.After(c.settings.bulkDelay, func() { c.apply(ch, rows) })
	return accepted{Success: true}, nil
}

func (c *Cloud) admitBulk(ch *channel, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.spent(now) {
		return refuse(http.StatusPaymentRequired, fmt.Sprintf("the %d messages of the year are used up", c.settings.messages))
	}
	last, interval := ch.bulked, c.settings.bulkInterval
	if c.settings.bulkCount && ch.written.After(last) {
		last, interval = ch.written, min(interval, c.settings.interval)
	}
	if !last.IsZero() && now.Sub(last) < interval {
		return refuse(http.StatusTooManyRequests, fmt.Sprintf("too soon: %v after the channel's last bulk update, which may come every %v",
			now.Sub(last).Round(time.Millisecond), interval))
	}
	ch.bulked = now
	if c.settings.bulkCount {
		ch.written = now
	}
	return nil
}

// apply writes the rows of a bulk update, each of which may fail by itself. Subscribers are not told of any.
func (c *Cloud) apply(ch *channel, rows []bulkRow) {
	previous := c.base(ch, rows)
	for i, r := range rows {
		e, err := c.bulkEntry(ch, r, previous, i == 0)
		if err == nil {
			previous = e.Created
			err = c.keepBulk(ch, e)
		}
		event := emulator.Event{What: "row", Topic: fmt.Sprintf("channel %d", ch.ID), Payload: r.String(), Accepted: err == nil}
		if err != nil {
			event.Why = err.Error()
		}
		c.Add(event)
	}
}

// base is the time that the first delta_t counts from: the channel's newest entry, or so long ago that the last row is now.
func (c *Cloud) base(ch *channel, rows []bulkRow) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(ch.entries) > 0 {
		return ch.entries[len(ch.entries)-1].Created
	}
	var total int64
	for _, r := range rows {
		n, _ := strconv.ParseInt(r.delta, 10, 64)
		total += n
	}
	return time.Now().UTC().Truncate(time.Second).Add(-time.Duration(total) * time.Second)
}

func (c *Cloud) bulkEntry(ch *channel, r bulkRow, previous time.Time, first bool) (Entry, error) {
	e := Entry{Bulk: true}
	if r.delta != "" {
		n, err := strconv.ParseInt(r.delta, 10, 64)
		if err != nil || n < 0 || (n == 0 && !first) {
			return e, fmt.Errorf("delta_t %q is not a number of seconds after the row before", r.delta)
		}
		e.Created = previous.Add(time.Duration(n) * time.Second)
	} else {
		t, ok := readTime(r.created)
		if !ok {
			return e, fmt.Errorf("created_at %q is not a time", r.created)
		}
		e.Created = t
	}
	values, err := c.values(ch, r.values, map[string]string{"latitude": "latitude", "longitude": "longitude", "elevation": "elevation"})
	if r, ok := err.(*refusal); ok && r.zero {
		// A row without anything that the channel knows, as after a misspelt key, makes an empty entry here.
		values, err = map[string]string{}, nil
	}
	e.Values = values
	return e, err
}

func (c *Cloud) keepBulk(ch *channel, e Entry) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch.times[e.Created.Unix()] {
		return fmt.Errorf("the channel has a row of %s already", e.Created.Format(time.RFC3339))
	}
	if c.spent(time.Now()) {
		return fmt.Errorf("the %d messages of the year are used up", c.settings.messages)
	}
	c.used++
	ch.add(e)
	return nil
}

func (r bulkRow) String() string {
	s := r.created
	if s == "" {
		s = "+" + r.delta + " s"
	}
	for _, name := range csvColumns {
		if v := r.values[name]; v != "" {
			s += " " + name + "=" + v
		}
	}
	return s
}
