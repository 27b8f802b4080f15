package mqtttest

import (
	"os/exec"
	"strings"
	"testing"
)

func publish(t *testing.T, b *Broker, args ...string) (string, error) {
	t.Helper()
	args = append([]string{"-p", portOf(b.Addr), "-t", "a/b", "-m", "x", "-q", "1"}, args...)
	out, err := exec.Command(Program(t, "mosquitto_pub"), args...).CombinedOutput()
	return string(out), err
}

func TestMosquittoKeepsWhatItHasOverARestart(t *testing.T) {
	b := Mosquitto(t)
	addr := b.Addr
	if out, err := publish(t, b, "-r"); err != nil {
		t.Fatal(err, out)
	}
	b.Restart()
	if b.Addr != addr {
		t.Fatalf("the address changed from %s to %s", addr, b.Addr)
	}
	out, err := exec.Command(Program(t, "mosquitto_sub"), "-p", portOf(b.Addr), "-t", "#", "-C", "1", "-W", "5").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "x" {
		t.Fatalf("the retained message is gone: %q, %v", out, err)
	}
	if log := b.Log(); strings.Count(log, "mosquitto version") < 2 {
		t.Errorf("the log does not hold both runs:\n%s", log)
	}
}

func TestMosquittoAsksForPasswords(t *testing.T) {
	b := MosquittoWith(t, Setup{Users: map[string]string{"alice": "wonder"}})
	if out, err := publish(t, b); err == nil {
		t.Fatalf("a stranger was let in: %s", out)
	}
	if out, err := publish(t, b, "-u", "alice", "-P", "wonder"); err != nil {
		t.Fatal(err, out)
	}
}

func TestMosquittoSpeaksTLS(t *testing.T) {
	b := MosquittoWith(t, Setup{TLS: true, ClientCerts: true, Websocket: true})
	port := b.TLSURL[strings.LastIndexByte(b.TLSURL, ':')+1:]
	out, err := exec.Command(Program(t, "mosquitto_pub"), "-h", "localhost", "-p", port, "-t", "a", "-m", "x", "-q", "1",
		"--cafile", b.Certs.CAFile, "--cert", b.Certs.ClientCert, "--key", b.Certs.ClientKey).CombinedOutput()
	if err != nil {
		t.Fatal(err, string(out))
	}
	if b.WSURL == "" || b.WSSURL == "" {
		t.Error("no WebSocket address")
	}
}
