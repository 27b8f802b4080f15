// Package control lets commands on this computer talk to the bridge that runs: HTTP with JSON over a Unix socket in the
// queue directory. Who may use the socket is what the file system says: the bridge's own user and group.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"cloudbridge/bridge"
)

// socketFile is the socket in the queue directory.
const socketFile = "control.sock"

// socketMode lets the bridge's user and group talk to it, and nobody else.
const socketMode = 0o660

// answerTime is how long one question may take, with its answer.
const answerTime = 10 * time.Second

// shutdownTime is how long answers under way may still take when the server stops.
const shutdownTime = time.Second

// mostBody bounds a question: it holds numbers.
const mostBody = 64 << 10

// Bridge is what the socket offers. A *bridge.Bridge has it; its methods may be called at any time.
type Bridge interface {
	Rejected(cloud string) ([]bridge.Rejected, error)
	Retry(cloud string, ids []uint64) (bridge.Handled, error)
	Drop(cloud string, ids []uint64) (bridge.Handled, error)
}

var _ Bridge = (*bridge.Bridge)(nil)

// Path is where the socket of a queue directory stands.
func Path(dir string) string { return filepath.Join(dir, socketFile) }

// Serve answers on the socket of a queue directory until the function that it returns is called. Only the holder of the
// directory's lock may call it: what a bridge that crashed left there is removed.
func Serve(dir string, b Bridge, log *slog.Logger) (stop func(), err error) {
	l, err := listen(Path(dir))
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", Path(dir), err)
	}
	srv := &http.Server{
		Handler:           handler(b),
		ReadHeaderTimeout: answerTime,
		ReadTimeout:       answerTime,
		WriteTimeout:      answerTime,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Warn("control socket: " + err.Error())
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			_ = srv.Close()
		}
		<-ended
	}, nil
}

func listen(path string) (net.Listener, error) {
	info, err := os.Lstat(path)
	switch {
	case err == nil && (info.Mode().IsRegular() || info.IsDir()):
		return nil, errors.New("something else has its name: move that away")
	case err == nil:
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, wordsOf(path, err)
	}
	if err := os.Chmod(path, socketMode); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// longestPath is what every system takes as the path of a socket.
const longestPath = 103

// wordsOf explains what systems say badly.
func wordsOf(path string, err error) error {
	switch {
	case len(path) > longestPath:
		return fmt.Errorf("its path is too long for a socket (%d bytes, %d are possible): choose a shorter [queue] dir", len(path), longestPath)
	case unsupported(err):
		return errors.New("not on this system: it has no Unix sockets")
	}
	return err
}

// wish is the body of a question that changes something. No ids are all of them.
type wish struct {
	IDs []uint64 `json:"ids,omitempty"`
}

type listAnswer struct {
	Rejected []bridge.Rejected `json:"rejected"`
}

type errorAnswer struct {
	Error string `json:"error"`
}

func handler(b Bridge) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /rejected/{cloud}", func(w http.ResponseWriter, r *http.Request) {
		list, err := b.Rejected(r.PathValue("cloud"))
		answer(w, listAnswer{list}, err)
	})
	change := func(do func(string, []uint64) (bridge.Handled, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var q wish
			d := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostBody))
			d.DisallowUnknownFields()
			if err := d.Decode(&q); err != nil {
				write(w, http.StatusBadRequest, errorAnswer{"read the question: " + err.Error()})
				return
			}
			h, err := do(r.PathValue("cloud"), q.IDs)
			answer(w, h, err)
		}
	}
	mux.HandleFunc("POST /rejected/{cloud}/retry", change(b.Retry))
	mux.HandleFunc("POST /rejected/{cloud}/drop", change(b.Drop))
	return mux
}

func answer(w http.ResponseWriter, v any, err error) {
	switch {
	case err == nil:
		write(w, http.StatusOK, v)
	case errors.Is(err, bridge.ErrNoCloud):
		write(w, http.StatusNotFound, errorAnswer{err.Error()})
	default:
		write(w, http.StatusConflict, errorAnswer{err.Error()})
	}
}

func write(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// Whoever asked may have gone.
	_ = json.NewEncoder(w).Encode(v)
}

// ErrNotRunning means that no bridge answers in the queue directory.
var ErrNotRunning = errors.New("no bridge is running")

// UnreachableError means that nobody knows whether a bridge answers: its socket cannot be used from here.
type UnreachableError struct {
	Path string
	Err  error
}

// Error names the socket and what is in the way.
func (e *UnreachableError) Error() string { return "control socket " + e.Path + ": " + e.Err.Error() }

// Unwrap gives what is in the way.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Client asks the bridge of a queue directory.
type Client struct {
	http *http.Client
	path string
}

// Dial makes a client. It connects with each question.
func Dial(dir string) *Client {
	path := Path(dir)
	return &Client{path: path, http: &http.Client{
		Timeout: answerTime,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", path)
			},
		},
	}}
}

// Rejected lists what a cloud refused for good, oldest first.
func (c *Client) Rejected(cloud string) ([]bridge.Rejected, error) {
	var a listAnswer
	err := c.ask(http.MethodGet, "/rejected/"+url.PathEscape(cloud), nil, &a)
	return a.Rejected, err
}

// Retry sends refused points again. No ids are all of them.
func (c *Client) Retry(cloud string, ids []uint64) (h bridge.Handled, err error) {
	return h, c.ask(http.MethodPost, "/rejected/"+url.PathEscape(cloud)+"/retry", wish{ids}, &h)
}

// Drop takes refused points off the list. No ids are all of them.
func (c *Client) Drop(cloud string, ids []uint64) (h bridge.Handled, err error) {
	return h, c.ask(http.MethodPost, "/rejected/"+url.PathEscape(cloud)+"/drop", wish{ids}, &h)
}

// ask puts one question. The error is ErrNotRunning where nobody listens.
func (c *Client) ask(method, path string, question, into any) error {
	var body io.Reader
	if question != nil {
		data, err := json.Marshal(question)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequest(method, "http://bridge"+path, body)
	if err != nil {
		return err
	}
	res, err := c.http.Do(req)
	if err != nil {
		var op *net.OpError
		switch {
		case nobody(err):
			return ErrNotRunning
		case errors.As(err, &op) && op.Op == "dial":
			return &UnreachableError{Path: c.path, Err: wordsOf(c.path, op.Err)}
		}
		return fmt.Errorf("control socket %s: %w", c.path, err)
	}
	defer func() { _ = res.Body.Close() }()
	d := json.NewDecoder(res.Body)
	if res.StatusCode != http.StatusOK {
		var a errorAnswer
		if d.Decode(&a) != nil || a.Error == "" {
			// A bridge of another version may not know the question.
			return fmt.Errorf("control socket %s: HTTP %d: is the bridge that runs of another version?", c.path, res.StatusCode)
		}
		return errors.New(a.Error)
	}
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("control socket %s: read the answer: %w", c.path, err)
	}
	return nil
}

// nobody says whether an error of connecting means that no bridge runs: there is no socket, or one that was left behind.
func nobody(err error) bool { return errors.Is(err, fs.ErrNotExist) || connectionRefused(err) }
