package mqtt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/gorilla/websocket"
)

// upgrade makes a WebSocket of c, which already is encrypted where it must be.
func upgrade(ctx context.Context, c net.Conn, u *url.URL) (net.Conn, error) {
	defer cutOff(ctx, c)()
	given := func(context.Context, string, string) (net.Conn, error) { return c, nil }
	d := websocket.Dialer{
		NetDialContext:    given,
		NetDialTLSContext: given,
		Subprotocols:      []string{"mqtt"},
		ReadBufferSize:    4 << 10,
		WriteBufferSize:   16 << 10,
	}
	// The dialer would set its own deadline from ctx and lift ours; without one it leaves ours alone.
	ws, answer, err := d.DialContext(context.WithoutCancel(ctx), u.String(), http.Header{})
	if err != nil {
		if answer != nil {
			return nil, fmt.Errorf("websocket: the server answered %s", answer.Status)
		}
		return nil, fmt.Errorf("websocket: %w", err)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return &socket{Conn: ws}, nil
}

// socket is a WebSocket as a stream of bytes: MQTT may cut its packets over messages as it likes.
type socket struct {
	*websocket.Conn
	message io.Reader
}

func (s *socket) Read(p []byte) (int, error) {
	for {
		if s.message == nil {
			kind, r, err := s.NextReader()
			if err != nil {
				return 0, closing(err)
			}
			if kind != websocket.BinaryMessage {
				return 0, errors.New("websocket: a message that is not binary")
			}
			s.message = r
		}
		n, err := s.message.Read(p)
		if errors.Is(err, io.EOF) {
			s.message, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, closing(err)
		}
	}
}

// closing makes the end of a WebSocket without a reason the end of a stream.
func closing(err error) error {
	var e *websocket.CloseError
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code {
	case websocket.CloseNormalClosure, websocket.CloseGoingAway, websocket.CloseNoStatusReceived, websocket.CloseAbnormalClosure:
		return io.EOF
	}
	return err
}

func (s *socket) Write(p []byte) (int, error) {
	if err := s.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (s *socket) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

var _ net.Conn = (*socket)(nil)
