package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"
	"time"

	"cloudbridge/internal/faketime"
)

func TestCarry(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	broken := errors.New("broken")
	untilCancelled := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	tests := []struct {
		name    string
		signals int
		run     func(context.Context) error
		want    error
		after   time.Duration
	}{
		{"ends by itself", 0, func(context.Context) error { return broken }, broken, 0},
		{"one signal", 1, untilCancelled, nil, 0},
		{"one signal, slow end", 1, func(ctx context.Context) error { <-ctx.Done(); time.Sleep(4 * time.Second); return nil }, nil, 4 * time.Second},
		{"error at the end", 1, func(ctx context.Context) error { <-ctx.Done(); return broken }, broken, 0},
		{"two signals", 2, func(ctx context.Context) error { <-ctx.Done(); time.Sleep(4 * time.Second); return nil }, errStopNow, 0},
		{"stuck", 1, func(context.Context) error { time.Sleep(time.Minute); return nil }, errStuck, stopTime},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			faketime.Test(t, func(t *testing.T) {
				signals := make(chan os.Signal, 2)
				for range tt.signals {
					signals <- os.Interrupt
				}
				start := time.Now()
				if err := carry(signals, quiet, tt.run); !errors.Is(err, tt.want) {
					t.Errorf("error %v, want %v", err, tt.want)
				}
				if d := time.Since(start); d != tt.after {
					t.Errorf("took %v, want %v", d, tt.after)
				}
				// What was left behind ends by itself, in the bubble's own time.
				time.Sleep(time.Hour)
			})
		})
	}
}

func TestCarryExitCodes(t *testing.T) {
	signals := make(chan os.Signal, 2)
	signals <- os.Interrupt
	signals <- os.Interrupt
	block := make(chan struct{})
	defer close(block)
	err := carry(signals, slog.New(slog.DiscardHandler), func(context.Context) error { <-block; return nil })
	var f *failure
	if !errors.As(err, &f) || f.code != exitInterrupted {
		t.Errorf("second Ctrl-C: %v, want exit code %d", err, exitInterrupted)
	}
}
