package mqtt

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// Secret is a password or key. It prints as *** in every verb, in JSON and in logs; Reveal gives the text.
type Secret string

const hidden = "***"

// Reveal returns the secret itself, for the one place that sends it.
func (s Secret) Reveal() string { return string(s) }

// String hides the secret.
func (s Secret) String() string { return hidden }

// Format hides the secret in every verb of package fmt, %x and %#v included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue hides the secret in structured logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalJSON hides the secret in JSON.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(hidden) }

// MarshalText hides the secret in TOML and wherever else text is asked for.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
