// Command report writes what the benchmark measured into docs/performance.md: a table for each workload, and whether each
// target is met. It reads the benchmark's result files and measures nothing itself.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench/report:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("report", flag.ContinueOnError)
	doc := flags.String("doc", "docs/performance.md", "the document; what stands between its two markers is replaced")
	version := flags.String("version", "cloudbridge", "what cloudbridge says of its version")
	all := flags.String("all", "bench/results/all.json", "results of all workloads")
	old := flags.String("old", "bench/results/3.1.1.json", "results with MQTT 3.1.1 at the cloud")
	safe := flags.String("always", "bench/results/always.json", "results with durability always")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	m := measured{version: *version}
	for _, part := range []struct {
		path string
		into **results
	}{{*all, &m.all}, {*old, &m.old}, {*safe, &m.always}} {
		r, err := read(part.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// A part can be measured alone; the table of targets says what is not.
			fmt.Fprintln(os.Stderr, "bench/report: not measured:", part.path)
		case err != nil:
			return err
		default:
			*part.into = r
		}
	}
	if m.all == nil && m.old == nil && m.always == nil {
		return errors.New("there are no results: run make bench")
	}
	text, err := os.ReadFile(*doc)
	if err != nil {
		return err
	}
	text, err = replace(text, m.markdown())
	if err != nil {
		return fmt.Errorf("%s: %w", *doc, err)
	}
	return os.WriteFile(*doc, text, 0o644)
}

// The markers between which the document is ours.
const (
	beginMarker = "<!-- bench:begin -->"
	endMarker   = "<!-- bench:end -->"
)

// replace puts text between the markers.
func replace(doc []byte, text string) ([]byte, error) {
	before, rest, ok := strings.Cut(string(doc), beginMarker)
	if !ok {
		return nil, errors.New("there is no line " + beginMarker)
	}
	_, after, ok := strings.Cut(rest, endMarker)
	if !ok {
		return nil, errors.New("there is no line " + endMarker + " after " + beginMarker)
	}
	return []byte(before + beginMarker + "\n" + text + "\n" + endMarker + after), nil
}
