package emulator

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Settings reads Options.Set, and keeps all that is wrong with it. Each method takes the name of a setting and what applies
// without it.
type Settings struct {
	options Options
	names   []string
	faults  []error
}

// Settings begins to read the settings.
func (o Options) Settings() *Settings { return &Settings{options: o} }

func (s *Settings) text(name string) (text string, given bool) {
	s.names = append(s.names, name)
	text, given = s.options.Set[name]
	return text, given
}

func (s *Settings) blame(name, text, kind string) {
	s.faults = append(s.faults, fmt.Errorf("%s: %q is %s", name, text, kind))
}

// Text is a setting as it stands.
func (s *Settings) Text(name, otherwise string) string {
	if text, given := s.text(name); given {
		return text
	}
	return otherwise
}

// Word is one of several words, of which the first applies without the setting.
func (s *Settings) Word(name string, words ...string) string {
	text := s.Text(name, words[0])
	if !slices.Contains(words, text) {
		s.blame(name, text, "none of "+strings.Join(words, ", "))
	}
	return text
}

// Int is a whole number of zero or more.
func (s *Settings) Int(name string, otherwise int) int {
	text, given := s.text(name)
	if !given {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		s.blame(name, text, "not a whole number")
	}
	return n
}

// Bool is true or false.
func (s *Settings) Bool(name string, otherwise bool) bool {
	text, given := s.text(name)
	if !given {
		return otherwise
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		s.blame(name, text, "neither true nor false")
	}
	return b
}

// Duration is a time. What the setting says is taken as it stands; the default is scaled.
func (s *Settings) Duration(name string, otherwise time.Duration) time.Duration {
	text, given := s.text(name)
	if !given {
		return s.options.Scaled(otherwise)
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		s.blame(name, text, "not a time such as 15s")
	}
	return d
}

// Err is what is wrong, once all settings are read. A setting that nobody has read is misspelt, and must not pass unnoticed.
func (s *Settings) Err() error {
	faults := slices.Clone(s.faults)
	for _, name := range slices.Sorted(maps.Keys(s.options.Set)) {
		if !slices.Contains(s.names, name) {
			faults = append(faults, fmt.Errorf("no such setting: %s (there is %s)", name, strings.Join(s.names, ", ")))
		}
	}
	return errors.Join(faults...)
}
