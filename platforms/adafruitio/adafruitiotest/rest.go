package adafruitiotest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// apiPath stands before every path of the REST side.
const apiPath = "/api/v2"

// largestBody is more than any request needs.
const largestBody = 8 << 20

// api is the REST side.
func (c *Cloud) api() http.Handler {
	mux := http.NewServeMux()
	for pattern, answer := range map[string]func(*account, *http.Request, []byte) (int, any, error){
		"GET /{user}/throttle":                c.getThrottle,
		"GET /{user}/feeds":                   c.getFeeds,
		"GET /{user}/feeds/{key}/data":        c.getData,
		"POST /{user}/feeds/{key}/data":       c.postData,
		"POST /{user}/feeds/{key}/data/batch": c.postBatch,
		"GET /{user}/feeds/{key}/data/last":   c.getLast,
		"GET /{user}/feeds/{key}/data/retain": c.getRetain,
		"POST /{user}/groups/{key}/data":      c.postGroup,
	} {
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" "+apiPath+path, func(w http.ResponseWriter, r *http.Request) { c.serve(w, r, answer) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		c.note("request", "", r.Method+" "+r.URL.Path, "", errors.New("not found"))
		reply(w, http.StatusNotFound, map[string]string{"error": "not found"})
	})
	return mux
}

// serve checks the key, answers, and records.
func (c *Cloud) serve(w http.ResponseWriter, r *http.Request, answer func(*account, *http.Request, []byte) (int, any, error)) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, largestBody))
	if err != nil {
		reply(w, http.StatusRequestEntityTooLarge, map[string]string{"error": "request is too large"})
		return
	}
	c.mu.Lock()
	a := c.accounts[strings.ToLower(r.PathValue("user"))]
	key := r.Header.Get("X-AIO-Key")
	if key == "" {
		key = r.URL.Query().Get("x-aio-key")
	}
	var status int
	var result any
	switch {
	case a == nil || key != a.key:
		status, err = http.StatusUnauthorized, errors.New("request failed - invalid API key provided")
	case c.banned(a):
		status, err = http.StatusTooManyRequests, errors.New("request failed - user is temporarily blocked")
	default:
		status, result, err = answer(a, r, body)
	}
	c.note("request", "", r.Method+" "+r.URL.Path, string(body), err)
	c.mu.Unlock()
	if err != nil {
		result = map[string]string{"error": err.Error()}
	}
	reply(w, status, result)
}

func reply(w http.ResponseWriter, status int, body any) {
	if text, ok := body.(string); ok {
		w.Header().Set("Content-Type", "text/csv")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// refusal is the status for what store refused.
func refusal(err error) int {
	var throttled *throttledError
	switch {
	case errors.As(err, &throttled), errors.Is(err, errBlocked):
		return http.StatusTooManyRequests
	case errors.Is(err, errAccess):
		return http.StatusNotFound
	}
	return http.StatusUnprocessableEntity
}

var errNotFound = errors.New("not found - API documentation can be found at https://io.adafruit.com/api/docs")

// found is the feed that a path names. Over HTTP a feed must be there before it is written.
func (a *account) found(r *http.Request) (*feed, error) {
	key, err := normal(r.PathValue("key"))
	if err != nil || a.feeds[key] == nil {
		return nil, errNotFound
	}
	return a.feeds[key], nil
}

// datum is a point as the REST side shows it.
func (f *feed) datum(p Point) map[string]any {
	d := map[string]any{
		"id": strconv.Itoa(p.ID), "value": p.Value, "feed_id": f.id, "feed_key": f.key,
		"created_at": p.Created.UTC().Format(time.RFC3339), "created_epoch": p.Created.Unix(),
	}
	for k, v := range map[string]string{"lat": p.Lat, "lon": p.Lon, "ele": p.Ele} {
		if v != "" {
			d[k] = json.Number(v)
		}
	}
	return d
}

// readDatum reads a point that is posted.
func readDatum(key string, d gjson.Result) (write, error) {
	if !d.IsObject() || !d.Get("value").Exists() {
		return write{}, errors.New("value is missing")
	}
	w := write{key: key, value: text(d.Get("value")), lat: text(d.Get("lat")), lon: text(d.Get("lon")), ele: text(d.Get("ele"))}
	var err error
	w.created, err = created(d)
	return w, err
}

// created is the point's own time, if it has one.
func created(d gjson.Result) (time.Time, error) {
	if at := d.Get("created_at"); at.Exists() && at.Type != gjson.Null {
		t, err := time.Parse(time.RFC3339, at.String())
		if err != nil {
			return time.Time{}, errors.New("created_at is not a time")
		}
		return t, nil
	}
	if at := d.Get("epoch"); at.Type == gjson.Number {
		return time.UnixMilli(int64(at.Float() * 1000)), nil
	}
	return time.Time{}, nil
}

// storeFor stores what was posted to one feed, and returns the points as they are now.
func (c *Cloud) storeFor(a *account, f *feed, data []gjson.Result) ([]any, int, error) {
	var writes []write
	for _, d := range data {
		w, err := readDatum(f.key, d)
		if err != nil {
			return nil, http.StatusUnprocessableEntity, err
		}
		writes = append(writes, w)
	}
	if len(writes) == 0 {
		return nil, http.StatusUnprocessableEntity, errors.New("data is missing")
	}
	if err := c.store(a, writes, "http"); err != nil {
		return nil, refusal(err), err
	}
	var all []any
	for _, p := range f.points[len(f.points)-len(writes):] {
		all = append(all, f.datum(p))
	}
	return all, http.StatusOK, nil
}

func (c *Cloud) postData(a *account, r *http.Request, body []byte) (int, any, error) {
	f, err := a.found(r)
	if err != nil {
		return http.StatusNotFound, nil, err
	}
	if !gjson.ValidBytes(body) {
		return http.StatusBadRequest, nil, errors.New("body is not JSON")
	}
	d := gjson.ParseBytes(body)
	if inner := d.Get("datum"); inner.IsObject() {
		d = inner
	}
	all, status, err := c.storeFor(a, f, []gjson.Result{d})
	if err != nil {
		return status, nil, err
	}
	return status, all[0], nil
}

// postBatch takes both bodies that are in use: a bare array, and an object with the array as data.
func (c *Cloud) postBatch(a *account, r *http.Request, body []byte) (int, any, error) {
	f, err := a.found(r)
	if err != nil {
		return http.StatusNotFound, nil, err
	}
	d := gjson.ParseBytes(body)
	if inner := d.Get("data"); d.IsObject() {
		d = inner
	}
	if !gjson.ValidBytes(body) || !d.IsArray() {
		return http.StatusBadRequest, nil, errors.New("body is not a list of data")
	}
	all, status, err := c.storeFor(a, f, d.Array())
	return status, all, err
}

func (c *Cloud) postGroup(a *account, r *http.Request, body []byte) (int, any, error) {
	group, err := slug(r.PathValue("key"))
	if err != nil || !a.groups[group] {
		return http.StatusNotFound, nil, errNotFound
	}
	d := gjson.ParseBytes(body)
	if !gjson.ValidBytes(body) || !d.Get("feeds").IsArray() {
		return http.StatusBadRequest, nil, errors.New("feeds is not a list")
	}
	at, when := d.Get("location"), time.Time{}
	if when, err = created(d); err != nil {
		return http.StatusUnprocessableEntity, nil, err
	}
	var writes []write
	for _, one := range d.Get("feeds").Array() {
		key, err := member(group, one.Get("key").String())
		if err != nil {
			return http.StatusUnprocessableEntity, nil, err
		}
		writes = append(writes, write{
			key: key, value: text(one.Get("value")), created: when,
			lat: text(at.Get("lat")), lon: text(at.Get("lon")), ele: text(at.Get("ele")),
		})
	}
	if len(writes) == 0 {
		return http.StatusUnprocessableEntity, nil, errors.New("feeds is empty")
	}
	if err := c.store(a, writes, "http"); err != nil {
		return refusal(err), nil, err
	}
	var all []any
	for _, w := range writes {
		f := a.feeds[w.key]
		all = append(all, f.datum(f.points[len(f.points)-1]))
	}
	return http.StatusOK, all, nil
}

func (c *Cloud) getData(a *account, r *http.Request, _ []byte) (int, any, error) {
	const most = 1000
	f, err := a.found(r)
	if err != nil {
		return http.StatusNotFound, nil, err
	}
	limit := most
	if s := r.URL.Query().Get("limit"); s != "" {
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 {
			return http.StatusBadRequest, nil, fmt.Errorf("limit %q is not a number of points", s)
		}
		limit = min(limit, most)
	}
	all := []any{}
	for i := len(f.points) - 1; i >= 0 && len(all) < limit; i-- { // The newest comes first.
		all = append(all, f.datum(f.points[i]))
	}
	return http.StatusOK, all, nil
}

func (c *Cloud) getLast(a *account, r *http.Request, _ []byte) (int, any, error) {
	f, err := a.found(r)
	if err != nil || len(f.points) == 0 {
		return http.StatusNotFound, nil, errNotFound
	}
	return http.StatusOK, f.datum(f.points[len(f.points)-1]), nil
}

func (c *Cloud) getRetain(a *account, r *http.Request, _ []byte) (int, any, error) {
	f, err := a.found(r)
	if err != nil {
		return http.StatusNotFound, nil, err
	}
	if len(f.points) == 0 {
		return http.StatusOK, "", nil
	}
	p := f.points[len(f.points)-1]
	return http.StatusOK, write{value: p.Value, lat: p.Lat, lon: p.Lon, ele: p.Ele}.csv() + "\n", nil
}

func (c *Cloud) getFeeds(a *account, _ *http.Request, _ []byte) (int, any, error) {
	all := []any{}
	for _, key := range a.keys() {
		f := a.feeds[key]
		d := map[string]any{"id": f.id, "key": f.key, "name": f.key}
		if n := len(f.points); n > 0 {
			d["last_value"] = f.points[n-1].Value
		}
		all = append(all, d)
	}
	return http.StatusOK, all, nil
}

// getThrottle tells the limit of the account, and how much of it is used.
func (c *Cloud) getThrottle(a *account, _ *http.Request, _ []byte) (int, any, error) {
	used := a.spent.count(time.Now(), c.rules.minute)
	return http.StatusOK, map[string]int{"data_rate_limit": a.points, "active_data_rate": used}, nil
}
