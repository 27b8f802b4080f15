// Package mqtttest starts the brokers that tests talk to: a real Mosquitto on a free loopback port, and [Fake], which
// misbehaves as its script says. Its own tests are the suite that [mqtt.Session] passes in both protocol versions.
package mqtttest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// RequireVariable is the environment variable that turns a missing outside program from a skip into a failure.
const RequireVariable = "CLOUDBRIDGE_TEST_REQUIRE"

// Program finds an outside program that a test needs. Without it the test is skipped, or fails where the environment
// says that nothing may be skipped.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"} {
			if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return found
			}
		}
		if os.Getenv(RequireVariable) != "" {
			t.Fatalf("%s is not installed and %s asks for it", name, RequireVariable)
		}
		t.Skipf("needs %s, which is not installed", name)
	}
	return path
}

// Setup says how a Mosquitto is configured. The zero value is one listener that lets everybody in.
type Setup struct {
	// Users are names and passwords; where there are some, nobody else is let in.
	Users map[string]string
	// TLS adds a listener with a certificate for localhost and 127.0.0.1, signed by the CA in Broker.Certs.
	TLS bool
	// ClientCerts makes that listener ask for a certificate signed by the same CA.
	ClientCerts bool
	// Websocket adds ws (and with TLS wss) in front of the broker, on path /mqtt.
	Websocket bool
	// Conf are further lines of mosquitto.conf.
	Conf []string
}

// Broker is a running Mosquitto.
type Broker struct {
	// Addr is host:port and URL mqtt://host:port of the plain listener.
	Addr, URL string
	// TLSURL, WSURL and WSSURL are empty where Setup did not ask for them.
	TLSURL, WSURL, WSSURL string
	// Certs is set with Setup.TLS.
	Certs *Certs
	// Dir holds the configuration and the persistent state.
	Dir string

	t       testing.TB
	program string
	mu      sync.Mutex
	process *exec.Cmd
	exited  chan struct{}
	log     lockedBuffer
}

// Mosquitto starts a Mosquitto that lets everybody in, with extraConf added to its configuration, and stops it at the
// end of the test.
func Mosquitto(t testing.TB, extraConf ...string) *Broker {
	t.Helper()
	return MosquittoWith(t, Setup{Conf: extraConf})
}

// MosquittoWith starts a Mosquitto as s says, and stops it at the end of the test.
func MosquittoWith(t testing.TB, s Setup) *Broker {
	t.Helper()
	b := &Broker{t: t, program: Program(t, "mosquitto"), Dir: t.TempDir()}
	if s.TLS || s.ClientCerts {
		s.TLS = true
		b.Certs = NewCerts(t, b.Dir)
	}
	// Another process may take a port between our looking and Mosquitto's listening; then other ports are tried.
	var err error
	for range 5 {
		b.configure(s)
		if err = b.start(); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatalf("start mosquitto: %v\n%s", err, b.Log())
	}
	t.Cleanup(func() {
		b.Stop()
		if t.Failed() {
			t.Logf("mosquitto's log:\n%s", tail(b.Log(), 8000))
		}
	})
	if s.Websocket {
		b.WSURL = "ws://" + webSocketProxy(t, b.Addr, nil) + "/mqtt"
		if s.TLS {
			b.WSSURL = "wss://" + webSocketProxy(t, b.Addr, b.Certs.Server()) + "/mqtt"
		}
	}
	return b
}

func (b *Broker) configure(s Setup) {
	b.Addr = FreeAddr(b.t)
	b.URL = "mqtt://" + b.Addr
	conf := []string{
		"listener " + portOf(b.Addr) + " 127.0.0.1",
		"persistence true",
		"persistence_location " + b.Dir + string(filepath.Separator),
		"log_dest stderr",
		"log_type all",
		"log_timestamp_format %H:%M:%S",
		"set_tcp_nodelay true",
	}
	if os.Geteuid() == 0 {
		// As root Mosquitto would become a user who may not write into the test's folder.
		conf = append(conf, "user root")
	}
	if s.TLS {
		addr := FreeAddr(b.t)
		b.TLSURL = "mqtts://" + addr
		conf = append(conf, "listener "+portOf(addr)+" 127.0.0.1",
			"cafile "+b.Certs.CAFile, "certfile "+b.Certs.CertFile, "keyfile "+b.Certs.KeyFile)
		if s.ClientCerts {
			conf = append(conf, "require_certificate true")
		}
	}
	if len(s.Users) > 0 {
		conf = append(conf, "allow_anonymous false", "password_file "+passwordFile(b.t, b.Dir, s.Users))
	} else {
		conf = append(conf, "allow_anonymous true")
	}
	conf = append(conf, s.Conf...)
	text := strings.Join(conf, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(b.Dir, "mosquitto.conf"), []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b *Broker) start() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	cmd := exec.Command(b.program, "-c", filepath.Join(b.Dir, "mosquitto.conf"))
	cmd.Stderr = &b.log
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	b.process, b.exited = cmd, exited
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if c, err := net.DialTimeout("tcp", b.Addr, time.Second); err == nil {
			_ = c.Close()
			select {
			case <-exited: // Somebody else answered on our port.
			default:
				return nil
			}
		}
		select {
		case <-exited:
			return errors.New("it ended at once")
		case <-time.After(5 * time.Millisecond):
		}
	}
	_ = cmd.Process.Kill()
	<-exited
	return errors.New("it does not listen")
}

// Stop ends the broker in good order; it saves what it keeps for absent clients. Stopping twice does no harm.
func (b *Broker) Stop() { b.end(syscall.SIGTERM) }

// Kill ends the broker as a power cut would.
func (b *Broker) Kill() { b.end(syscall.SIGKILL) }

func (b *Broker) end(sig syscall.Signal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.process == nil {
		return
	}
	if err := b.process.Process.Signal(sig); err != nil {
		_ = b.process.Process.Kill()
	}
	select {
	case <-b.exited:
	case <-time.After(5 * time.Second):
		_ = b.process.Process.Kill()
		<-b.exited
	}
	b.process = nil
}

// Start starts a stopped broker again, on the same ports and with what it had saved.
func (b *Broker) Start() {
	b.t.Helper()
	if err := b.start(); err != nil {
		b.t.Fatalf("start mosquitto again: %v\n%s", err, tail(b.Log(), 4000))
	}
}

// Restart stops the broker and starts it again on the same ports, with what it had saved.
func (b *Broker) Restart() {
	b.t.Helper()
	b.Stop()
	b.Start()
}

// Log is everything that the broker has written so far.
func (b *Broker) Log() string { return b.log.String() }

// FreeAddr is a loopback address on which nobody listens.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// Eventually polls until ok says so, and fails the test when that takes longer than ten seconds.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

func tail(s string, n int) string {
	if len(s) > n {
		return fmt.Sprintf("(%d bytes before)\n%s", len(s)-n, s[len(s)-n:])
	}
	return s
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
