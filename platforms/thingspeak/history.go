package thingspeak

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// bulkSize is the most bytes of a bulk update. It is our choice, for ThingSpeak tells of none: the 14,400 rows of a paid plan fit
// if they are like most rows, and a line of 4 Mbit/s has sent it before the next one is due.
const bulkSize = 4 << 20

// History is by bulk update, which needs the write key of the channel. ThingSpeak does not tell subscribers of such rows, so the
// live row that rides along does not reach them either.
func (p *Platform) History(lane string) (platforms.HistoryLimits, bool) {
	channel, ok := strings.CutPrefix(lane, lanePrefix)
	if !ok || p.bulkKey(channel) == "" {
		return platforms.HistoryLimits{}, false
	}
	return platforms.HistoryLimits{
		MostPoints:  p.cloud.bulkRows(),
		Interval:    p.cloud.bulkInterval(),
		CarriesLive: true,
		PerAddress:  true, // Which a lane is anyway.
	}, true
}

// bulkKey is the write key with which a channel's history goes out, or empty. The servers of the old style have no bulk update;
// and where rows go to a broker that is not ThingSpeak's, the key must not go to ThingSpeak unless api_url says so.
func (p *Platform) bulkKey(channel string) string {
	elsewhere := !p.cloud.rowsOverREST() && !publicHost(p.session.URL) && p.cloud.ownAPIURL() == ""
	if p.cloud.legacy() || elsewhere {
		return ""
	}
	return p.cloud.Channels[channel].WriteKey.Reveal()
}

// EncodeHistory makes a bulk update of the rows. Of two rows in one second ThingSpeak would refuse the second one without a word,
// so it moves on to the next second that no row of the batch has; the others keep theirs. What rows of other requests have is not
// known here: whoever makes the rows gives each a second of its own.
func (p *Platform) EncodeHistory(batch []mappings.Point) (platforms.Delivery, error) {
	if len(batch) == 0 {
		return platforms.Delivery{}, errors.New("there is no row to send")
	}
	channel := batch[0].Name
	if err := checkChannel(channel); err != nil {
		return platforms.Delivery{}, err
	}
	key := p.bulkKey(channel)
	if key == "" {
		return platforms.Delivery{}, errors.New("channel " + channel + " has no path for history")
	}
	batch = sameChannel(batch, p.cloud.bulkRows())
	u := bulk{body: append(appendQuoted([]byte(`{"write_api_key":`), key), `,"updates":[`...)}
	seconds := distinct(batch)
	for i := range batch {
		if !u.add(&batch[i], seconds[i]) {
			break // The next request begins with it.
		}
		if u.rows == 0 {
			return platforms.Delivery{}, errors.New(u.omitted[0].Why)
		}
	}
	h := make(http.Header)
	h.Set("Content-Type", "application/json")
	return platforms.Delivery{
		Request: &platforms.Request{
			Method: http.MethodPost,
			URL:    p.cloud.APIURL + "/channels/" + channel + "/bulk_update.json",
			Header: h,
			Body:   append(u.body, `]}`...),
		},
		Points:  u.points,
		Omitted: u.omitted,
	}, nil
}

// sameChannel is the prefix of a batch that goes to the channel of the first row, most rows at the most.
func sameChannel(batch []mappings.Point, most int) []mappings.Point {
	n := 0
	for n < min(len(batch), most) && batch[n].Name == batch[0].Name {
		n++
	}
	return batch[:n]
}

// distinct gives each row a second of its own, counted since 1970. Each second belongs to the first row that has it; another
// moves on to the next one that is free.
func distinct(batch []mappings.Point) []int64 {
	owned := make(map[int64]bool, len(batch))
	for i := range batch {
		owned[batch[i].Time.Unix()] = true
	}
	used := make(map[int64]bool, len(batch))
	from := make(map[int64]int64) // where the search from a second goes on, so that many rows in one do not search again
	seconds := make([]int64, len(batch))
	for i := range batch {
		own := batch[i].Time.Unix()
		s := own
		if used[s] {
			s = max(s, from[own])
			for owned[s] || used[s] {
				s++
			}
			from[own] = s + 1
		}
		used[s] = true
		seconds[i] = s
	}
	return seconds
}

// bulk is a bulk update in the making.
type bulk struct {
	body         []byte
	points, rows int
	omitted      []platforms.Omission
}

// add takes a row in, or says that the update is as long as it may be.
func (u *bulk) add(pt *mappings.Point, second int64) bool {
	r := compose(pt.Parts)
	// The form is made for its length alone: what a live row would have left out is left out here too.
	r.form(pt.Time)
	err := r.empty(pt.Name)
	if err == nil && pt.Time.IsZero() {
		err = errors.New("channel " + pt.Name + ": the row has no time")
	}
	if err != nil {
		u.omitted = append(u.omitted, platforms.Omission{Point: u.points, Whole: true, Why: err.Error()})
		u.points++
		return true
	}
	before := len(u.body)
	if u.rows > 0 {
		u.body = append(u.body, ',')
	}
	u.body = r.appendUpdate(u.body, second)
	if len(u.body) > bulkSize && u.rows > 0 {
		u.body = u.body[:before]
		return false
	}
	for _, why := range r.left {
		u.omitted = append(u.omitted, platforms.Omission{Point: u.points, Why: why})
	}
	u.points++
	u.rows++
	return true
}

// appendUpdate writes a row as a bulk update has it, where two parts have other names than in the form of a single row. Values are
// texts, which is what ThingSpeak keeps of them; a number would lose the digits that it does not need.
func (r *row) appendUpdate(b []byte, second int64) []byte {
	b = append(b, `{"created_at":"`...)
	b = time.Unix(second, 0).UTC().AppendFormat(b, stampLayout)
	b = append(b, '"')
	for i, text := range r.texts {
		if text == "" {
			continue
		}
		b = append(b, `,"`...)
		switch name := partNames[i]; name {
		case "lat":
			b = append(b, `latitude":`+decimal(text)...)
		case "long":
			b = append(b, `longitude":`+decimal(text)...)
		default:
			b = appendQuoted(append(append(b, name...), `":`...), text)
		}
	}
	return append(b, '}')
}

// decimal writes an angle as the number that ThingSpeak's page on bulk updates wants there. The row holds no other text for it.
func decimal(text string) string {
	n, _ := number(text)
	return strconv.FormatFloat(n, 'f', -1, 64)
}

// appendQuoted writes a JSON string as people would: <, > and & stay as they are. Most texts are numbers, which need no escaping.
func appendQuoted(dst []byte, text string) []byte {
	if !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return append(append(append(dst, '"'), text...), '"')
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // A string always can be encoded.
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}

var _ platforms.Timekeeper = (*Platform)(nil)

// TimeRequest asks for the front page's head, which needs no key.
func (p *Platform) TimeRequest() *platforms.Request {
	if p.cloud.APIURL == "" {
		return nil
	}
	return &platforms.Request{Method: http.MethodHead, URL: p.cloud.APIURL + "/", Header: make(http.Header)}
}
