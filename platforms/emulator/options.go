package emulator

import (
	"fmt"
	"net"
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
