// Command check compares two outputs of go test -bench and fails where the second allocates more than noise explains.
// The statistics are benchstat's. Time is printed and never fails: it is another on each machine and in each hour, while
// what a message allocates is a property of the program.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench-check:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	tolerated := defaultTolerance
	flags.Float64Var(&tolerated.allocs, "allocs", tolerated.allocs, "growth of allocs/op that is tolerated, as a share of the baseline's")
	flags.Float64Var(&tolerated.bytes, "bytes", tolerated.bytes, "growth of B/op that is tolerated, as a share of the baseline's")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 2 {
		return fmt.Errorf("give the baseline and the new output of go test -bench, not %d files", flags.NArg())
	}
	table, err := benchstat(flags.Arg(0), flags.Arg(1), "csv", "*")
	if err != nil {
		return err
	}
	rows, err := parse(table)
	if err != nil {
		return err
	}
	times, err := benchstat(flags.Arg(0), flags.Arg(1), "text", ".unit:sec/op")
	if err != nil {
		return err
	}
	_, _ = out.Write(times)
	return judge(rows, tolerated).tell(out)
}

// The columns' names in benchstat's tables.
const (
	baselineColumn = "baseline"
	newColumn      = "new"
)

// benchstat compares two files. A baseline from another machine is as good: what it says of itself is left out.
func benchstat(baseline, current, format, filter string) ([]byte, error) {
	cmd := exec.Command("go", "tool", "benchstat", "-format", format, "-table", "pkg", "-filter", filter,
		baselineColumn+"="+baseline, newColumn+"="+current)
	var faults bytes.Buffer
	cmd.Stderr = &faults
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("benchstat: %w: %s", err, bytes.TrimSpace(faults.Bytes()))
	}
	return out, nil
}
