package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/platforms"
)

// requestTime bounds one HTTP request, and mostAnswer its response, of which only some words are read.
const (
	requestTime = 30 * time.Second
	mostAnswer  = 64 << 10
)

// newHTTPClient makes the client of a cloud's REST side, with the proxy and the certificates of its table. It never follows
// a redirect: that would carry a key to another host.
func newHTTPClient(cfg Config, o mqtt.Options) (*http.Client, error) {
	o.TLS.ServerName = "" // It is the broker's name.
	secure, err := o.TLS.Config("")
	if err != nil {
		return nil, err
	}
	tr := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		TLSClientConfig:     secure,
		MaxIdleConnsPerHost: 2,
		IdleConnTimeout:     90 * time.Second,
		DialContext:         cfg.DialContext,
		ForceAttemptHTTP2:   true,
	}
	if o.Proxy != "" {
		proxy, err := url.Parse(o.Proxy)
		if err != nil {
			return nil, errors.New("the proxy's address cannot be read")
		}
		tr.Proxy = http.ProxyURL(proxy)
	}
	return &http.Client{
		Transport:     tr,
		Timeout:       requestTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// webLink is the way to a cloud's REST side. It has no connection to keep up: its state is that of the last request.
type webLink struct {
	b *Bridge
	c *cloud

	mu    sync.Mutex
	retry *retry
	state string
	since time.Time
	why   string
	next  time.Time
}

func (w *webLink) init(b *Bridge, c *cloud) {
	w.b, w.c = b, c
	w.retry = newRetry(c.limits.Public, b.scale, nil)
	w.state, w.since = stateConnecting, time.Now()
}

// send makes one request and judges its answer.
func (w *webLink) send(ctx context.Context, r *platforms.Request, history bool) platforms.Verdict {
	status, body, err := w.do(ctx, r)
	if err != nil {
		cause, words := readNetwork(err)
		w.mu.Lock()
		wait := w.retry.next(cause)
		w.mu.Unlock()
		w.set(stateOffline, words, time.Now().Add(wait))
		return platforms.Verdict{Outcome: platforms.Retry, Why: words}
	}
	v := w.c.platform.Judge(platforms.Reply{HTTPStatus: status, Body: body, History: history})
	switch {
	case v.Outcome == platforms.Retry:
		w.mu.Lock()
		w.retry.after(v.After)
		wait := w.retry.next(causeOf(v.Cause))
		w.mu.Unlock()
		w.set(stateThrottled, v.Why, time.Now().Add(wait))
	case v.Cause == platforms.BadLogin || v.Cause == platforms.QuotaUsed:
		w.set(stateRefused, v.Why, time.Time{})
	default:
		w.mu.Lock()
		w.retry.held(linkHeld)
		w.mu.Unlock()
		w.set(stateOnline, "", time.Time{})
	}
	return v
}

func (w *webLink) do(ctx context.Context, r *platforms.Request) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return 0, nil, withoutQuery(err)
	}
	for k, v := range r.Header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", "cloudbridge")
	res, err := w.c.client.Do(req)
	if err != nil {
		return 0, nil, withoutQuery(err)
	}
	defer res.Body.Close()
	w.b.saw(req, res.Header)
	body, err = io.ReadAll(io.LimitReader(res.Body, mostAnswer))
	return res.StatusCode, body, err
}

// withoutQuery takes the address out of an error of package http, for its query may hold a key.
func withoutQuery(err error) error {
	if u, ok := err.(*url.Error); ok {
		return u.Err
	}
	return err
}

// set notes the state and logs a change once.
func (w *webLink) set(state, why string, next time.Time) {
	w.mu.Lock()
	changed := w.state != state || w.why != why
	if w.state != state {
		w.since = time.Now()
	}
	w.state, w.why, w.next = state, why, next
	w.mu.Unlock()
	if !changed {
		return
	}
	if why == "" {
		w.b.log.Info(fmt.Sprintf("%s: %s takes what is sent", w.c.name, w.c.title))
	} else {
		w.b.log.Warn(fmt.Sprintf("%s: %s", w.c.name, why))
	}
	w.c.changed()
}

func (w *webLink) status() LinkStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	return LinkStatus{State: w.state, Since: w.since, Why: w.why, Next: w.next}
}

// reachable says how a cloud can be reached now: ok with its session, which is nil over HTTP; else at is when a new
// attempt over HTTP is due.
type reachable struct {
	ok      bool
	session *session
	at      time.Time
}

// reach says whether the cloud can be sent to, and gives a channel that is closed when that may have changed.
func (c *cloud) reach(now time.Time) (reachable, <-chan struct{}) {
	if c.link != nil {
		s, upc := c.link.up()
		return reachable{ok: s != nil, session: s}, upc
	}
	c.http.mu.Lock()
	defer c.http.mu.Unlock()
	if c.http.state != stateOnline && c.http.next.After(now) {
		return reachable{at: c.http.next}, nil
	}
	return reachable{ok: true}, nil
}

// cameUp is when the way to the cloud came up, so that a lane knows the first slot after it.
func (c *cloud) cameUp(s *session) time.Time {
	if s != nil {
		return s.began
	}
	c.http.mu.Lock()
	defer c.http.mu.Unlock()
	return c.http.since
}

// filling notes whether history is going out, and how far it is.
func (c *cloud) filling(on bool, text string) {
	if c.link != nil {
		c.link.fill(on, text)
	}
}
