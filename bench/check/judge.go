package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// row is one benchmark's comparison in one unit.
type row struct {
	pkg, name, unit string
	// old and new are the medians, each only where its file has the benchmark.
	old, new       float64
	hasOld, hasNew bool
	// differs is benchstat's judgement that the difference is more than noise.
	differs bool
	// samples is how often each side ran; of unequal numbers the smaller one.
	samples int
}

func (r row) String() string {
	return fmt.Sprintf("%s %s: %s %s, baseline %s", strings.TrimPrefix(r.pkg, "cloudbridge/"), r.name, number(r.new), r.unit, number(r.old))
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// The units that are judged.
const (
	unitAllocs = "allocs/op"
	unitBytes  = "B/op"
)

// parse reads the tables that benchstat prints as CSV, one for each package and unit: a line with the files, a line with
// the unit of each column, and one for each benchmark. A file without the package has no column.
func parse(tables []byte) ([]row, error) {
	var rows []row
	var files, units []string
	pkg := ""
	lines := bufio.NewScanner(bytes.NewReader(tables))
	for lines.Scan() {
		line := lines.Text()
		switch {
		case line == "":
			files, units = nil, nil
			continue
		case strings.HasPrefix(line, "pkg: "):
			pkg = strings.TrimPrefix(line, "pkg: ")
			continue
		}
		cells, err := csv.NewReader(strings.NewReader(line)).Read()
		if err != nil {
			return nil, fmt.Errorf("read benchstat's table: %w", err)
		}
		switch {
		case files == nil:
			files = cells
		case units == nil:
			units = cells
		case cells[0] != "geomean":
			r, err := parseRow(files, units, cells)
			if err != nil {
				return nil, fmt.Errorf("read benchstat's table: %q: %w", line, err)
			}
			r.pkg = pkg
			rows = append(rows, r)
		}
	}
	return rows, lines.Err()
}

func parseRow(files, units, cells []string) (r row, err error) {
	r.name = cells[0]
	for i := 1; i < len(cells) && i < len(units); i++ {
		text := cells[i]
		if text == "" {
			continue
		}
		file := ""
		if i < len(files) {
			file = files[i]
		}
		switch {
		case units[i] == "vs base":
			// A question mark is a difference that has no percentage, for it begins at nothing.
			r.differs = text != "~"
		case units[i] == "P":
			r.samples, err = samples(text)
		case file == baselineColumn:
			r.unit, r.hasOld = units[i], true
			r.old, err = strconv.ParseFloat(text, 64)
		case file == newColumn:
			r.unit, r.hasNew = units[i], true
			r.new, err = strconv.ParseFloat(text, 64)
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// samples reads the smaller number of "p=0.002 n=6" or "p=0.002 n=6+5".
func samples(text string) (int, error) {
	_, counts, ok := strings.Cut(text, "n=")
	if !ok {
		return 0, fmt.Errorf("no number of samples in %q", text)
	}
	least := 0
	for i, c := range strings.Split(counts, "+") {
		n, err := strconv.Atoi(c)
		if err != nil {
			return 0, err
		}
		if i == 0 || n < least {
			least = n
		}
	}
	return least, nil
}

// tolerance is what may change without a word.
type tolerance struct {
	allocs, bytes float64 // shares of the baseline
	// slackAllocs and slackBytes come on top: a buffer that grew, a timer that fired in between.
	slackAllocs, slackBytes float64
	// batch has the benchmarks whose iteration is a thousand messages. What varies there is how many messages one
	// wake-up or one flush serves, and one allocation for ten messages is still that.
	batch       string
	batchAllocs float64
	batchBytes  float64
}

var defaultTolerance = tolerance{
	allocs: 0.02, bytes: 0.1,
	slackAllocs: 0.5, slackBytes: 16,
	batch: "Carry/", batchAllocs: 100, batchBytes: 50_000,
}

// of is how much a benchmark may differ from what it was.
func (t tolerance) of(r row) float64 {
	batch := strings.HasPrefix(r.name, t.batch)
	share, slack := t.allocs, t.slackAllocs
	if batch {
		slack = t.batchAllocs
	}
	if r.unit == unitBytes {
		share, slack = t.bytes, t.slackBytes
		if batch {
			slack = t.batchBytes
		}
	}
	return r.old*share + slack
}

// leastSamples is how many runs of each side it takes before any difference can be told from noise.
const leastSamples = 5

// verdict is what became of all benchmarks.
type verdict struct {
	compared                                int
	worse, better, missing, strange, tooFew []string
}

func judge(rows []row, t tolerance) verdict {
	var v verdict
	for _, r := range rows {
		if r.unit != unitAllocs && r.unit != unitBytes {
			continue
		}
		id := strings.TrimPrefix(r.pkg, "cloudbridge/") + " " + r.name
		switch {
		case !r.hasNew:
			v.missing = append(v.missing, id)
		case !r.hasOld:
			v.strange = append(v.strange, id)
		case r.samples < leastSamples:
			v.tooFew = append(v.tooFew, id)
		default:
			v.compared++
			switch most := t.of(r); {
			case r.differs && r.new > r.old+most:
				v.worse = append(v.worse, r.String())
			case r.differs && r.new < r.old-most:
				v.better = append(v.better, r.String())
			}
		}
	}
	return v
}

// tell prints the verdict; the error says why it is no good.
func (v verdict) tell(out io.Writer) error {
	list := func(title string, names []string) {
		if len(names) == 0 {
			return
		}
		_, _ = fmt.Fprintln(out, title)
		// A benchmark has one line for each unit, and it is missing from both.
		for _, n := range slices.Compact(slices.Sorted(slices.Values(names))) {
			_, _ = fmt.Fprintln(out, "  "+n)
		}
	}
	_, _ = fmt.Fprintln(out)
	list("allocates more than the baseline:", v.worse)
	list("in the baseline, but not measured:", v.missing)
	list("measured too seldom, at least "+strconv.Itoa(leastSamples)+" runs of each are needed (-count):", v.tooFew)
	list("allocates less than the baseline:", v.better)
	list("not in the baseline:", v.strange)
	if len(v.better)+len(v.strange) > 0 {
		_, _ = fmt.Fprintln(out, "store a new baseline: make bench-baseline")
	}
	switch {
	case len(v.worse) > 0:
		return errors.New("more is allocated than in the baseline: take it back, or say in the commit why it stays and run make bench-baseline")
	case len(v.missing) > 0:
		return errors.New("benchmarks of the baseline are missing: restore them, or run make bench-baseline")
	case len(v.tooFew) > 0:
		return errors.New("too few runs to tell a difference from noise")
	case v.compared == 0:
		return errors.New("nothing to compare: run go test with -bench and -benchmem")
	}
	_, _ = fmt.Fprintf(out, "%d comparisons: no more is allocated than in the baseline\n", v.compared)
	return nil
}
