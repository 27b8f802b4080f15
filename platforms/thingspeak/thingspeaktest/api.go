package thingspeaktest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"cloudbridge/platforms/emulator"
)

// largestBody bounds what one request may make the emulator hold: 14,400 rows of 8 fields fit many times over.
const largestBody = 32 << 20

// call is one request, taken apart.
type call struct {
	w    http.ResponseWriter
	r    *http.Request
	body string
	// form is the query and, for a form, the body.
	form map[string]string
	// json is whether the answer is JSON and not text.
	json bool
}

// api is ThingSpeak's REST side.
func (c *Cloud) api() http.Handler {
	mux := http.NewServeMux()
	for _, ending := range []string{"", ".json"} {
		mux.HandleFunc("/update"+ending, c.handle(c.update))
		mux.HandleFunc("/talkbacks/{id}/commands"+ending, c.handle(c.commands))
		mux.HandleFunc("/talkbacks/{id}/commands/execute"+ending, c.handle(c.execute))
		mux.HandleFunc("/channels/{id}/feeds/last"+ending, c.handle(c.latest))
	}
	mux.HandleFunc("/channels/{id}/feeds.json", c.handle(c.feed))
	mux.HandleFunc("/channels/{id}/bulk_update.json", c.handle(c.bulkJSON))
	mux.HandleFunc("/channels/{id}/bulk_update.csv", c.handle(c.bulkCSV))
	mux.HandleFunc("/", c.handle(func(*call) (any, error) {
		return nil, refuse(http.StatusNotFound, "there is nothing at this address")
	}))
	return mux
}

// handle records a request and writes its answer: what f returns, or why it refused.
func (c *Cloud) handle(f func(*call) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		in := &call{w: w, r: r, json: strings.HasSuffix(r.URL.Path, ".json")}
		answer, err := in.read()
		if err == nil {
			answer, err = f(in)
		}
		e := emulator.Event{What: "request", Topic: r.Method + " " + r.URL.Path, Payload: in.shown(), Accepted: err == nil}
		if err != nil {
			e.Why = err.Error()
		}
		c.Add(e)
		if err != nil {
			in.refuse(err)
			return
		}
		in.answer(answer)
	}
}

// read takes the body and the form. It gives an answer only in its signature, so that its refusals are answered as all others.
func (in *call) read() (any, error) {
	body, err := io.ReadAll(http.MaxBytesReader(in.w, in.r.Body, largestBody))
	if err != nil {
		return nil, refuse(http.StatusRequestEntityTooLarge, "the body cannot be read, or is too long")
	}
	in.body = string(body)
	if in.form, err = readForm(in.r.URL.RawQuery); err != nil {
		return nil, refuse(http.StatusBadRequest, err.Error())
	}
	more := map[string]string{}
	switch kind := in.r.Header.Get("Content-Type"); {
	case strings.HasPrefix(kind, "application/json"):
		more, err = flat(body)
	case strings.HasPrefix(kind, "application/x-www-form-urlencoded"):
		more, err = readForm(in.body)
	}
	if err != nil {
		return nil, refuse(http.StatusBadRequest, err.Error())
	}
	for k, v := range more {
		in.form[k] = v
	}
	return nil, nil
}

// flat reads the texts and numbers of a JSON object as a form.
func flat(body []byte) (map[string]string, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(body, &object); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	form := make(map[string]string)
	for k, raw := range object {
		if v, ok := scalar(raw); ok {
			form[k] = v
		}
	}
	return form, nil
}

// scalar gives a text or a number as text.
func scalar(raw json.RawMessage) (string, bool) {
	var text string
	if json.Unmarshal(raw, &text) == nil && string(raw) != "null" {
		return text, true
	}
	var n json.Number
	if json.Unmarshal(raw, &n) == nil && n != "" {
		return n.String(), true
	}
	return "", false
}

// shown is what the record keeps of a request: the whole of a small one.
func (in *call) shown() string {
	const most = 4096
	s := in.body
	if s == "" {
		s = in.r.URL.RawQuery
	}
	if len(s) > most {
		s = cut(s, most) + "..."
	}
	return s
}

// key is the API key of a request, as a parameter or a header.
func (in *call) key() string {
	if k := in.form["api_key"]; k != "" {
		return k
	}
	return in.r.Header.Get("THINGSPEAKAPIKEY")
}

func (in *call) methods(allowed ...string) error {
	for _, m := range allowed {
		if in.r.Method == m {
			return nil
		}
	}
	return refuse(http.StatusMethodNotAllowed, in.r.Method+" is not for this address")
}

// accepted is an answer with 202.
type accepted struct {
	Success bool `json:"success"`
}

func (in *call) answer(v any) {
	switch v := v.(type) {
	case string:
		in.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(in.w, v)
	case []byte:
		in.w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = in.w.Write(v)
	default:
		in.w.Header().Set("Content-Type", "application/json; charset=utf-8")
		if _, ok := v.(accepted); ok {
			in.w.WriteHeader(http.StatusAccepted)
		}
		_ = json.NewEncoder(in.w).Encode(v)
	}
}

func (in *call) refuse(err error) {
	r, ok := err.(*refusal)
	if !ok {
		r = refuse(http.StatusBadRequest, err.Error())
	}
	w := in.w
	text := r.code
	if r.zero {
		text = "0"
	}
	if !in.json || r.zero {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(r.status)
		_, _ = io.WriteString(w, text)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(r.status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"status": strconv.Itoa(r.status),
		"error":  map[string]string{"error_code": r.code, "message": r.why, "details": ""},
	})
}

// update is one row, with the write key alone telling the channel.
func (c *Cloud) update(in *call) (any, error) {
	if err := in.methods(http.MethodGet, http.MethodPost); err != nil {
		return nil, err
	}
	if max(len(in.body), len(in.r.URL.RawQuery)) > c.settings.messageSize {
		return nil, refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("a message may have %d bytes", c.settings.messageSize))
	}
	ch := c.byWriteKey(in.key())
	if ch == nil {
		return nil, c.settings.badKey()
	}
	queue := in.form["talkback_key"]
	e, err := c.write(ch, in.form, queue != "" && c.settings.talkbackFree)
	if err != nil {
		return nil, err
	}
	if queue != "" {
		return c.popByKey(queue, in.json), nil
	}
	if in.json {
		return ch.json(e, true), nil
	}
	return strconv.FormatInt(e.ID, 10), nil
}

func (c *Cloud) byWriteKey(key string) *channel {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ch := range c.channels {
		if key != "" && ch.WriteKey == key {
			return ch
		}
	}
	return nil
}

// named is the channel in a request's path.
func (c *Cloud) named(in *call) (*channel, error) {
	id, err := strconv.ParseInt(in.r.PathValue("id"), 10, 64)
	c.mu.Lock()
	ch := c.channels[id]
	c.mu.Unlock()
	if err != nil || ch == nil {
		return nil, refuse(http.StatusNotFound, "there is no such channel")
	}
	return ch, nil
}

// readable is the channel in a request's path, if the request may read it.
func (c *Cloud) readable(in *call) (*channel, error) {
	if err := in.methods(http.MethodGet); err != nil {
		return nil, err
	}
	ch, err := c.named(in)
	if err != nil {
		return nil, err
	}
	if key := in.key(); !ch.Public && (key == "" || (key != ch.ReadKey && key != ch.WriteKey)) {
		return nil, refuse(http.StatusUnauthorized, "the read key is not the channel's")
	}
	return ch, nil
}

// feed is the latest entries of a channel, by their times.
func (c *Cloud) feed(in *call) (any, error) {
	ch, err := c.readable(in)
	if err != nil {
		return nil, err
	}
	results := 100
	if s := in.form["results"]; s != "" {
		if results, err = strconv.Atoi(s); err != nil || results < 0 {
			return nil, refuse(http.StatusBadRequest, "results is not a number")
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	about := map[string]any{
		"id": ch.ID, "name": ch.Name, "created_at": ch.created.Format("2006-01-02T15:04:05Z"), "last_entry_id": ch.last,
	}
	for i, on := range ch.enabled {
		if on {
			about[fieldName(i)] = fieldName(i)
		}
	}
	entries := ByTime(ch.entries)
	entries = entries[max(0, len(entries)-min(results, keptEntries)):]
	feeds := make([]json.RawMessage, len(entries))
	for i, e := range entries {
		feeds[i] = ch.json(e, false)
	}
	return map[string]any{"channel": about, "feeds": feeds}, nil
}

// latest is the entry of a channel that came last, as the old open-source server has it; history may have filled in newer numbers
// for older times.
func (c *Cloud) latest(in *call) (any, error) {
	ch, err := c.readable(in)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(ch.entries) == 0 {
		return "-1", nil
	}
	return ch.json(ch.entries[len(ch.entries)-1], false), nil
}
