package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"cloudbridge/cmd/cloudbridge/internal/terminal"
	"cloudbridge/platforms/all"
	"cloudbridge/platforms/emulator"
)

type emulateCommand struct {
	Platform   string            `arg:"" help:"Which cloud: ${platforms}."`
	Listen     string            `placeholder:"ADDRESS" help:"Where MQTT clients connect. Without it: 127.0.0.1 and a free port."`
	ListenHTTP string            `name:"listen-http" placeholder:"ADDRESS" help:"Where HTTP clients connect. Without it: 127.0.0.1 and a free port."`
	Name       string            `default:"pretend" help:"The name of the cloud in the config that is shown."`
	Scale      float64           `default:"1" help:"Multiply every time of the platform's rules: 0.1 turns 15 s into 1.5 s."`
	Delay      time.Duration     `placeholder:"300ms" help:"Put each arrival off by a random time up to this."`
	Set        map[string]string `placeholder:"KEY=VALUE" help:"A setting of the one platform, such as interval=3s."`
}

// Help is the long text of "emulate --help".
func (emulateCommand) Help() string {
	return "It refuses what the real cloud refuses, and says so. It shows the [cloud] table that connects a bridge to it. Ctrl-C ends it."
}

// Run starts the emulator and tells what happens at it until Ctrl-C.
func (r *emulateCommand) Run(c *console) error {
	kind, err := emulatorNamed(r.Platform)
	if err != nil {
		return err
	}
	if r.Scale <= 0 {
		return misused(fmt.Sprintf("--scale %v: times can be shortened, not done away with", r.Scale), "write a number above 0: --scale 0.01 is a hundred times as quick, --scale 1 as the platform is")
	}
	for _, address := range []string{r.Listen, r.ListenHTTP} {
		if open, err := reachable(address); err != nil {
			return misused(fmt.Sprintf("listen on %q: %v", address, err), "an address is host:port, such as 127.0.0.1:1884")
		} else if open {
			c.warn("listening on " + address + ": everybody on the network can reach this emulator, and a malformed packet can end it")
		}
	}
	w := &watch{c: c}
	em, err := kind.Start(emulator.Options{
		Listen: r.Listen, ListenHTTP: r.ListenHTTP, Scale: r.Scale, Delay: r.Delay, Set: r.Set, Log: w.event,
	})
	if err != nil {
		return fail(fmt.Errorf("start the emulator of %s: %w", kind.Name, err))
	}
	w.begin(kind.Name, r.Name, em)
	<-c.signal
	w.end(em)
	return em.Close()
}

func emulatorNames() []string {
	var names []string
	for _, k := range all.Emulators() {
		names = append(names, k.Name)
	}
	return names
}

func emulatorNamed(name string) (emulator.Kind, error) {
	kinds := all.Emulators()
	i := slices.IndexFunc(kinds, func(k emulator.Kind) bool { return k.Name == name })
	if i < 0 {
		return emulator.Kind{}, misused(fmt.Sprintf("there is no emulator of %q", name), "there are "+joinOr(emulatorNames()))
	}
	return kinds[i], nil
}

// reachable says whether other computers could connect to an address to listen on.
func reachable(address string) (bool, error) {
	if address == "" {
		return false, nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false, errors.New("there is no port")
	}
	if host == "localhost" {
		return false, nil
	}
	a, err := netip.ParseAddr(host)
	return err != nil || !a.IsLoopback(), nil
}

// watch tells a person what happens at an emulator, one line for each event.
type watch struct {
	c *console

	mu                sync.Mutex
	ready             bool
	early             []emulator.Event
	accepted, refused int
}

// begin says how the emulator can be reached. Events that came before are told after it.
func (w *watch) begin(platform, name string, em emulator.Emulator) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.c.out
	fmt.Fprintf(out, "a pretend %s\n\n", out.Paint(terminal.Bold, platform))
	fmt.Fprintf(out, "  MQTT  %s\n", em.URL())
	if em.APIURL() != "" {
		fmt.Fprintf(out, "  HTTP  %s\n", em.APIURL())
	}
	fmt.Fprintf(out, "\n%s\n\n%s\n", out.Paint(terminal.Faint, "for a bridge, in cloudbridge.toml:"), indent(em.Config(name)))
	if lines := byHand(platform, em); len(lines) > 0 {
		fmt.Fprintf(out, "%s\n\n%s\n", out.Paint(terminal.Faint, "by hand:"), indent(strings.Join(lines, "\n")))
	}
	fmt.Fprintln(out, out.Paint(terminal.Faint, "what happens (Ctrl-C ends):"))
	w.ready = true
	for _, e := range w.early {
		w.show(e)
	}
}

func (w *watch) event(e emulator.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ready {
		w.early = append(w.early, e)
		return
	}
	w.show(e)
}

func (w *watch) show(e emulator.Event) {
	out := w.c.out
	word, style := "ok", terminal.Green
	if e.Accepted {
		w.accepted++
	} else {
		word, style = "refused", terminal.Red
		w.refused++
	}
	text := fmt.Sprintf("%s  %s  %s", e.Time.Format(time.TimeOnly), out.Paint(style, terminal.Pad(word, 7)), terminal.Pad(e.What, 9))
	// A login has no topic; what is said of it stands in the same column.
	if e.Topic != "" {
		text += "  " + terminal.Printable(e.Topic)
	}
	if e.Payload != "" {
		text += "  " + terminal.Cut(terminal.Printable(e.Payload), 120)
	}
	if e.ClientID != "" {
		text += out.Paint(terminal.Faint, "  from "+terminal.Printable(e.ClientID))
	}
	if e.Why != "" {
		text += "  " + out.Paint(style, terminal.Printable(e.Why))
	}
	fmt.Fprintln(out, text)
}

func (w *watch) end(em emulator.Emulator) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Fprintf(w.c.out, "\n%d accepted, %d refused\n", w.accepted, w.refused)
	for _, what := range []string{"login", "publish", "subscribe", "request"} {
		ok, no := em.Count(what, true), em.Count(what, false)
		if ok+no > 0 {
			fmt.Fprintf(w.c.out, "  %s  %d accepted, %d refused\n", terminal.Pad(what, 9), ok, no)
		}
	}
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			b.WriteString("  ")
		}
		b.WriteString(line)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}
