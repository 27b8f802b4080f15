package mqtttest_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
)

// listen serves each connection to a loopback port until the end of the test.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var busy sync.WaitGroup
	busy.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			busy.Go(func() {
				defer func() { _ = c.Close() }()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		busy.Wait()
	})
	return l.Addr().String()
}

// join copies both ways until one side ends.
func join(a, b net.Conn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(a, b)
		_ = a.Close()
	}()
	_, _ = io.Copy(b, a)
	_ = b.Close()
	<-done
}

func TestTheServersNameIsAlwaysSent(t *testing.T) {
	certs := mqtttest.NewCerts(t, t.TempDir())
	names := make(chan string, 10)
	f := mqtttest.NewFake(mqtttest.Script{})
	t.Cleanup(f.Close)
	config := certs.Server()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		names <- hello.ServerName
		return nil, nil
	}
	addr := listen(t, func(c net.Conn) {
		inner, _ := f.Dial(context.Background(), "", "")
		join(tls.Server(c, config), inner)
	})
	_, port, _ := net.SplitHostPort(addr)
	toLoopback := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	trust := mqtt.TLS{CAFile: certs.CAFile}
	tests := map[string]struct {
		o    mqtt.Options
		want string
	}{
		"the host of the URL": {mqtt.Options{URL: "mqtts://localhost:" + port, TLS: trust}, "localhost"},
		"a name given for an address": {mqtt.Options{
			URL: "mqtts://" + addr, TLS: mqtt.TLS{CAFile: certs.CAFile, ServerName: "localhost"},
		}, "localhost"},
		"without a check": {mqtt.Options{
			URL: "mqtts://abc123.s1.eu.hivemq.cloud:" + port, DialContext: toLoopback,
			TLS: mqtt.TLS{InsecureSkipVerify: true},
		}, "abc123.s1.eu.hivemq.cloud"},
		"an address has none": {mqtt.Options{URL: "mqtts://" + addr, TLS: trust}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.o.Protocol, test.o.CleanStart = mqtt.V5, true
			open(t, test.o)
			if got := <-names; got != test.want {
				t.Errorf("the server saw the name %q, want %q", got, test.want)
			}
		})
	}
}

func TestCertificates(t *testing.T) {
	broker := mqtttest.MosquittoWith(t, mqtttest.Setup{TLS: true, ClientCerts: true})
	ours := mqtt.TLS{CAFile: broker.Certs.CAFile, ClientCertFile: broker.Certs.ClientCert, ClientKeyFile: broker.Certs.ClientKey}
	open(t, mqtt.Options{URL: broker.TLSURL, Protocol: mqtt.V311, CleanStart: true, TLS: ours})

	tests := map[string]struct {
		change func(*mqtt.TLS)
		want   string
	}{
		"a server nobody knows":   {func(c *mqtt.TLS) { c.CAFile = "" }, "certificate"},
		"another server's name":   {func(c *mqtt.TLS) { c.ServerName = "elsewhere" }, "elsewhere"},
		"no client certificate":   {func(c *mqtt.TLS) { c.ClientCertFile, c.ClientKeyFile = "", "" }, ""},
		"a missing CA file":       {func(c *mqtt.TLS) { c.CAFile = "/nowhere.pem" }, "ca file"},
		"a CA file without a CA":  {func(c *mqtt.TLS) { c.CAFile = c.ClientKeyFile }, "holds no certificate"},
		"a certificate alone":     {func(c *mqtt.TLS) { c.ClientKeyFile = "" }, "client certificate"},
		"a missing key":           {func(c *mqtt.TLS) { c.ClientKeyFile = "/nowhere.pem" }, "client certificate"},
		"a key of something else": {func(c *mqtt.TLS) { c.ClientKeyFile = broker.Certs.KeyFile }, "client certificate"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := mqtt.Options{URL: broker.TLSURL, Protocol: mqtt.V311, CleanStart: true, TLS: ours}
			test.change(&o.TLS)
			_, err := mqtt.Dial(soon(t), o)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
}

func TestBadAddresses(t *testing.T) {
	tests := map[string]string{
		"":                       `scheme "" is none of mqtt, mqtts, ws, wss`,
		"localhost:1883":         `scheme "localhost" is none of`,
		"http://localhost":       `scheme "http" is none of`,
		"mqtt://":                "the host is missing",
		"mqtt://a:secret@host":   "user name and password have their own keys",
		"mqtt://:secret@h:bad\n": "url:",
	}
	for url, want := range tests {
		_, err := mqtt.Dial(soon(t), mqtt.Options{URL: url, Protocol: mqtt.V5})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q gave %v, want %q in it and no secret", url, err, want)
		}
	}
	for _, o := range []mqtt.Options{
		{URL: "mqtt://h"},
		{URL: "mqtt://h", Protocol: 3},
		{URL: "mqtt://h", Protocol: mqtt.V311},
		{URL: "mqtt://h", Protocol: mqtt.V5, ClientID: "\xff"},
		{URL: "mqtt://h", Protocol: mqtt.V5, Proxy: "ftp://p"},
		{URL: "mqtt://h", Protocol: mqtt.V5, Proxy: "p"},
		{URL: "mqtt://h", Protocol: mqtt.V5, Will: &mqtt.Message{Topic: "#"}},
		{URL: "mqtt://h", Protocol: mqtt.V5, Will: &mqtt.Message{Topic: "a", Payload: make([]byte, 65536)}},
		{URL: "mqtt://h", Protocol: mqtt.V5, Password: mqtt.Secret(strings.Repeat("x", 65536))},
	} {
		o.DialContext = func(context.Context, string, string) (net.Conn, error) {
			t.Error("dialled in spite of bad options")
			return nil, errors.New("no")
		}
		if _, err := mqtt.Dial(soon(t), o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestDefaultPorts(t *testing.T) {
	for scheme, want := range map[string]string{"mqtt": "h:1883", "mqtts": "h:8883", "ws": "h:80", "wss": "h:443"} {
		var got string
		_, _ = mqtt.Dial(soon(t), mqtt.Options{
			URL: scheme + "://h", Protocol: mqtt.V5,
			DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
				got = address
				return nil, errors.New("no")
			},
		})
		if got != want {
			t.Errorf("%s dials %s, want %s", scheme, got, want)
		}
	}
}

func TestThroughProxies(t *testing.T) {
	broker := mqtttest.MosquittoWith(t, mqtttest.Setup{TLS: true, Websocket: true})
	var mu sync.Mutex
	targets := map[string]int{}
	connect := func(target string) (net.Conn, error) {
		mu.Lock()
		targets[target]++
		mu.Unlock()
		_, port, _ := net.SplitHostPort(target)
		return net.Dial("tcp", "127.0.0.1:"+port) // The proxy knows names that we do not.
	}
	overHTTP := listen(t, func(c net.Conn) { proxyHTTP(c, connect) })
	overSOCKS := listen(t, func(c net.Conn) { proxySOCKS(c, connect) })
	for _, proxy := range []string{"http://bob:pw@" + overHTTP, "socks5://bob:pw@" + overSOCKS} {
		for name, url := range map[string]string{"tcp": broker.URL, "tls": broker.TLSURL, "wss": broker.WSSURL} {
			t.Run(proxy[:5]+name, func(t *testing.T) {
				url = strings.Replace(url, "127.0.0.1", "broker.invalid", 1)
				s := open(t, mqtt.Options{
					URL: url, Protocol: mqtt.V5, CleanStart: true, Proxy: proxy,
					TLS: mqtt.TLS{CAFile: broker.Certs.CAFile, ServerName: "localhost"},
				})
				if err := publish(t, s, &mqtt.Message{Topic: "a", QoS: 1}); err != nil {
					t.Error(err)
				}
			})
		}
		wrong := strings.Replace(proxy, "pw", "wrong", 1)
		_, err := mqtt.Dial(soon(t), mqtt.Options{URL: broker.URL, Protocol: mqtt.V5, CleanStart: true, Proxy: wrong})
		if err == nil || strings.Contains(err.Error(), "wrong") {
			t.Errorf("a wrong password at the proxy gave %v", err)
		}
	}
	for target := range targets {
		if !strings.HasPrefix(target, "broker.invalid:") {
			t.Errorf("the proxy was asked for %s", target)
		}
	}
	if len(targets) != 3 {
		t.Errorf("the proxies were asked for %v", targets)
	}
}

func proxyHTTP(c net.Conn, connect func(string) (net.Conn, error)) {
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	r.Header.Set("Authorization", r.Header.Get("Proxy-Authorization"))
	if name, password, _ := r.BasicAuth(); r.Method != http.MethodConnect || name != "bob" || password != "pw" {
		_, _ = fmt.Fprint(c, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
		return
	}
	target, err := connect(r.Host)
	if err != nil {
		return
	}
	_, _ = fmt.Fprint(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	join(c, target)
}

func proxySOCKS(c net.Conn, connect func(string) (net.Conn, error)) {
	take := func(n int) []byte {
		b := make([]byte, n)
		_, _ = io.ReadFull(c, b)
		return b
	}
	take(int(take(2)[1]))
	_, _ = c.Write([]byte{5, 2})
	name := string(take(int(take(2)[1])))
	password := string(take(int(take(1)[0])))
	if name != "bob" || password != "pw" {
		_, _ = c.Write([]byte{1, 1})
		return
	}
	_, _ = c.Write([]byte{1, 0})
	if head := take(4); head[3] != 3 {
		return // The name must be resolved by the proxy.
	}
	host := string(take(int(take(1)[0])))
	target, err := connect(fmt.Sprintf("%s:%d", host, binary.BigEndian.Uint16(take(2))))
	if err != nil {
		return
	}
	_, _ = c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	join(c, target)
}

func TestEachLayerObeysTheContext(t *testing.T) {
	mute := listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	tests := map[string]mqtt.Options{
		"mqtt":         {URL: "mqtt://" + mute},
		"tls":          {URL: "mqtts://" + mute},
		"websocket":    {URL: "ws://" + mute},
		"proxy":        {URL: "mqtt://broker.invalid", Proxy: "http://" + mute},
		"socks5 proxy": {URL: "mqtt://broker.invalid", Proxy: "socks5://" + mute},
	}
	for name, o := range tests {
		t.Run(name, func(t *testing.T) {
			o.Protocol, o.CleanStart = mqtt.V5, true
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(30*time.Millisecond, cancel)
			done := make(chan error, 1)
			go func() {
				_, err := mqtt.Dial(ctx, o)
				done <- err
			}()
			select {
			case err := <-done:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			case <-soon(t).Done():
				t.Fatal("it does not come back")
			}
		})
	}
}

func TestAServerThatIsNoBroker(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	other := listen(t, func(c net.Conn) { _, _ = fmt.Fprint(c, "HTTP/1.1 400 Bad Request\r\n\r\n") })
	for url, want := range map[string]string{
		strings.Replace(web.URL, "http", "ws", 1): "websocket: the server answered 404",
		"mqtt://" + other:                         "is this an MQTT port?",
	} {
		_, err := mqtt.Dial(soon(t), mqtt.Options{URL: url, Protocol: mqtt.V5, CleanStart: true})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gave %v, want %q in it", url, err, want)
		}
	}
}
