package mqtttest

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
)

// webSocketProxy offers the MQTT broker at target over WebSocket, for Mosquitto is often built without. It gives the
// address it listens on.
func webSocketProxy(t testing.TB, target string, withTLS *tls.Config) string {
	t.Helper()
	upgrader := websocket.Upgrader{Subprotocols: []string{"mqtt"}}
	var conns sync.WaitGroup
	mux := http.NewServeMux()
	mux.HandleFunc("/mqtt", func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		conns.Add(1)
		defer conns.Done()
		relay(ws, target)
	})
	server := httptest.NewUnstartedServer(mux)
	if withTLS != nil {
		server.TLS = withTLS
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(func() {
		server.Close()
		conns.Wait()
	})
	return server.Listener.Addr().String()
}

// relay copies both ways until either side ends. MQTT may cut its packets over frames as it likes, so each read of
// the broker becomes one frame.
func relay(ws *websocket.Conn, target string) {
	defer func() { _ = ws.Close() }()
	if ws.Subprotocol() != "mqtt" {
		return
	}
	broker, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = broker.Close() }()
	down := make(chan struct{})
	go func() {
		defer close(down)
		defer func() { _ = ws.Close() }()
		buf := make([]byte, 32<<10)
		for {
			n, err := broker.Read(buf)
			if n > 0 && ws.WriteMessage(websocket.BinaryMessage, buf[:n]) != nil {
				return
			}
			if err != nil {
				return
			}
		}
	}()
	for {
		_, r, err := ws.NextReader()
		if err != nil {
			break
		}
		if _, err := io.Copy(broker, r); err != nil {
			break
		}
	}
	_ = broker.Close()
	<-down
}
