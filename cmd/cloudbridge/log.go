package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"cloudbridge/cmd/cloudbridge/internal/terminal"

	"github.com/lmittmann/tint"
)

// newLogger writes one line per event: in colours on a terminal, plain where the output is piped, JSON on request.
func newLogger(w terminal.Stream, level, format string) (*slog.Logger, error) {
	var l slog.Level
	switch level {
	case "":
	case "debug", "info", "warn", "error":
		if err := l.UnmarshalText([]byte(level)); err != nil {
			return nil, fmt.Errorf("log level %q: %w", level, err)
		}
	default:
		return nil, fmt.Errorf("log level %q: there are debug, info, warn and error", level)
	}
	switch format {
	case "", "text":
		stamp := "2006-01-02 15:04:05"
		if w.Terminal {
			stamp = time.TimeOnly
		}
		return slog.New(printable{tint.NewTextHandler(w, &tint.Options{Level: l, TimeFormat: stamp, NoColor: !w.Color})}), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l})), nil
	}
	return nil, fmt.Errorf("log format %q: there are text and json", format)
}

// printable keeps control characters that came in from a network out of the message of a line, so that a payload or the
// words of a broker cannot steer a terminal or forge a second line. (Attributes are quoted by the handler.)
type printable struct{ slog.Handler }

// Handle cleans the message and passes it on.
func (p printable) Handle(ctx context.Context, r slog.Record) error {
	r.Message = terminal.Printable(r.Message)
	return p.Handler.Handle(ctx, r)
}

// WithAttrs keeps the cleaning.
func (p printable) WithAttrs(attrs []slog.Attr) slog.Handler {
	return printable{p.Handler.WithAttrs(attrs)}
}

// WithGroup keeps the cleaning.
func (p printable) WithGroup(name string) slog.Handler { return printable{p.Handler.WithGroup(name)} }
