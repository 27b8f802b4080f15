package mqtt

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"golang.org/x/net/proxy"

	"cloudbridge/internal/mqtt/wire"
)

// link is an open transport: whatever layers it has, abort cuts the lowest, which never waits.
type link struct {
	net.Conn
	lowest net.Conn
	// flow is the lowest connection where what lies on it can be written from any goroutine; nil for WebSocket.
	flow *wire.Flow
}

func (l *link) abort() { _ = l.lowest.Close() }

// address is a broker's URL, taken apart.
type address struct {
	host, hostPort string
	secure         bool
	websocket      *url.URL // nil for plain TCP
}

// parseURL never puts the URL into an error, for people write passwords into it.
func parseURL(raw string) (address, error) {
	u, err := url.Parse(raw)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		return address{}, fmt.Errorf("url: %w", err)
	}
	ports := map[string]string{"mqtt": "1883", "mqtts": "8883", "ws": "80", "wss": "443"}
	port, ok := ports[u.Scheme]
	switch {
	case !ok:
		return address{}, fmt.Errorf("url: scheme %q is none of mqtt, mqtts, ws, wss", u.Scheme)
	case u.Hostname() == "":
		return address{}, errors.New("url: the host is missing, as in mqtt://localhost:1883")
	case u.User != nil:
		return address{}, errors.New("url: user name and password have their own keys")
	}
	if u.Port() != "" {
		port = u.Port()
	}
	a := address{
		host: u.Hostname(), hostPort: net.JoinHostPort(u.Hostname(), port),
		secure: u.Scheme == "mqtts" || u.Scheme == "wss",
	}
	if u.Scheme == "ws" || u.Scheme == "wss" {
		a.websocket = u
		if u.Path == "" {
			u.Path = "/mqtt" // What brokers listen on unless told otherwise.
		}
	}
	return a, nil
}

// open connects, through every layer that the options name.
func (o Options) open(ctx context.Context) (*link, error) {
	a, err := parseURL(o.URL)
	if err != nil {
		return nil, err
	}
	// Files are read first: a missing one should not cost the broker a connection.
	var secure *tls.Config
	if a.secure {
		if secure, err = o.TLS.Config(a.host); err != nil {
			return nil, err
		}
	}
	dial, err := o.dialer()
	if err != nil {
		return nil, err
	}
	lowest, err := dial(ctx, "tcp", a.hostPort)
	if ctx.Err() != nil && err != nil {
		return nil, fmt.Errorf("connect to %s: %w", a.hostPort, ctx.Err())
	}
	if err != nil {
		return nil, err // It says "dial tcp" and whom.
	}
	l := &link{Conn: lowest, lowest: lowest}
	if a.websocket == nil {
		l.flow = wire.NewFlow(lowest)
		l.Conn = l.flow
	}
	if err := l.climb(ctx, a, secure); err != nil {
		l.abort()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("connect to %s: %w", a.hostPort, err)
	}
	return l, nil
}

// climb adds TLS and WebSocket on top of the lowest connection.
func (l *link) climb(ctx context.Context, a address, secure *tls.Config) error {
	if secure != nil {
		c := tls.Client(l.Conn, secure)
		if err := c.HandshakeContext(ctx); err != nil {
			return err
		}
		l.Conn = c
	}
	if a.websocket != nil {
		c, err := upgrade(ctx, l.Conn, a.websocket)
		if err != nil {
			return err
		}
		l.Conn = c
	}
	return nil
}

// Config makes the configuration for a connection to a host; empty leaves the name to the dialler.
func (t TLS) Config(host string) (*tls.Config, error) {
	c := &tls.Config{
		ServerName:         host,
		InsecureSkipVerify: t.InsecureSkipVerify,
		MinVersion:         tls.VersionTLS12,
		// One record for one write, which holds many packets.
		DynamicRecordSizingDisabled: true,
	}
	if t.ServerName != "" {
		c.ServerName = t.ServerName
	}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca file: %w", err)
		}
		if c.RootCAs, err = x509.SystemCertPool(); err != nil {
			c.RootCAs = x509.NewCertPool()
		}
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca file: %s holds no certificate in PEM form", t.CAFile)
		}
	}
	if t.ClientCertFile != "" || t.ClientKeyFile != "" {
		pair, err := tls.LoadX509KeyPair(t.ClientCertFile, t.ClientKeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Dial makes a dialFunc what the SOCKS package wants to dial through.
func (f dialFunc) Dial(network, address string) (net.Conn, error) {
	return f(context.Background(), network, address)
}

// DialContext makes a dialFunc what the SOCKS package wants to dial through.
func (f dialFunc) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}

// dialer is how the lowest connection is made: directly or through a proxy.
func (o Options) dialer() (dialFunc, error) {
	direct := dialFunc(o.DialContext)
	if direct == nil {
		direct = (&net.Dialer{}).DialContext
	}
	if o.Proxy == "" {
		return direct, nil
	}
	u, err := url.Parse(o.Proxy)
	if err != nil || u.Hostname() == "" {
		return nil, errors.New("proxy: an address such as http://proxy:3128 or socks5://proxy:1080 is wanted")
	}
	switch u.Scheme {
	case "http":
		return func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := direct(ctx, network, withPort(u, "80"))
			if err != nil {
				return nil, fmt.Errorf("proxy: %w", err)
			}
			tunnel, err := tunnel(ctx, c, u, address)
			if err != nil {
				_ = c.Close()
				return nil, fmt.Errorf("proxy %s: %w", u.Host, err)
			}
			return tunnel, nil
		}, nil
	case "socks5", "socks5h":
		var auth *proxy.Auth
		if u.User != nil {
			password, _ := u.User.Password()
			auth = &proxy.Auth{User: u.User.Username(), Password: password}
		}
		d, err := proxy.SOCKS5("tcp", withPort(u, "1080"), auth, direct)
		if err != nil {
			return nil, fmt.Errorf("proxy: %w", err)
		}
		return d.(proxy.ContextDialer).DialContext, nil
	}
	return nil, fmt.Errorf("proxy: scheme %q is neither http nor socks5", u.Scheme)
}

func withPort(u *url.URL, port string) string {
	if u.Port() != "" {
		port = u.Port()
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// tunnel asks an HTTP proxy for a connection to target.
func tunnel(ctx context.Context, c net.Conn, via *url.URL, target string) (net.Conn, error) {
	defer cutOff(ctx, c)()
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: http.Header{}}
	if via.User != nil {
		password, _ := via.User.Password()
		credentials := base64.StdEncoding.EncodeToString([]byte(via.User.Username() + ":" + password))
		request.Header.Set("Proxy-Authorization", "Basic "+credentials)
	}
	if err := request.Write(c); err != nil {
		return nil, err
	}
	// The broker speaks only when spoken to, so nothing of its can be in the buffer behind the proxy's answer.
	answer, err := http.ReadResponse(bufio.NewReader(c), request)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answered %s", answer.Status)
	}
	return c, nil
}

// cutOff makes reads and writes on c fail when ctx ends; the function it gives lifts that again.
func cutOff(ctx context.Context, c net.Conn) func() {
	past := time.Unix(1, 0)
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(past) })
	return func() { stop() }
}
