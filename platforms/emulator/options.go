package emulator

import (
	"fmt"
	"net"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Scaled is one of the platform's own times under these options.
func (o Options) Scaled(d time.Duration) time.Duration {
	if o.Scale == 0 {
		return d
	}
	return time.Duration(float64(d) * o.Scale)
}

// Setting returns what Set says for name, or what applies without it.
func (o Options) Setting(name, otherwise string) string {
	if s, ok := o.Set[name]; ok {
		return s
	}
	return otherwise
}

// Int is Setting for whole numbers.
func (o Options) Int(name string, otherwise int) (int, error) {
	s, ok := o.Set[name]
	if !ok {
		return otherwise, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is not a whole number", name, s)
	}
	return n, nil
}

// Bool is Setting for true and false.
func (o Options) Bool(name string, otherwise bool) (bool, error) {
	s, ok := o.Set[name]
	if !ok {
		return otherwise, nil
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, fmt.Errorf("%s: %q is neither true nor false", name, s)
	}
	return b, nil
}

// Duration is Setting for times. What the setting says is taken as it stands; the default is scaled.
func (o Options) Duration(name string, otherwise time.Duration) (time.Duration, error) {
	s, ok := o.Set[name]
	if !ok {
		return o.Scaled(otherwise), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is not a time such as 15s", name, s)
	}
	return d, nil
}

// Known refuses settings that the emulator does not have, so that a misspelt one does not pass unnoticed.
func (o Options) Known(names ...string) error {
	known := map[string]bool{}
	for _, n := range names {
		known[n] = true
	}
	var odd []string
	for n := range o.Set {
		if !known[n] {
			odd = append(odd, n)
		}
	}
	if len(odd) == 0 {
		return nil
	}
	sort.Strings(odd)
	return fmt.Errorf("no such setting: %s (there is %s)", strings.Join(odd, ", "), strings.Join(names, ", "))
}

// listen opens the listener that the options name.
func listen(given net.Listener, address string) (net.Listener, error) {
	if given != nil {
		return given, nil
	}
	if address == "" {
		address = "127.0.0.1:0"
	}
	return net.Listen("tcp", address)
}

// Table writes a TOML table of strings for Config: its name, then keys and values by turns.
func Table(name string, pairs ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[%s]\n", name)
	for i := 0; i+1 < len(pairs); i += 2 {
		fmt.Fprintf(&b, "%s = %s\n", pairs[i], strconv.Quote(pairs[i+1]))
	}
	return b.String()
}
