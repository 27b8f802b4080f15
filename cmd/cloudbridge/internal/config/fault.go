package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong in a configuration. None of its texts ever holds a secret.
type Fault struct {
	// File is the file as it was named, or the name of an environment variable.
	File string
	// Line and Column count from 1, columns in characters; Line is 0 where there is no file.
	Line, Column int
	// Text is the offending text as it stands in the file; empty where showing it could show a secret.
	Text    string
	Message string
	// Hint says what to write instead; may be empty.
	Hint string
}

// Error gives the fault as "file:line:column: message".
func (f Fault) Error() string { return place(f.File, f.Line, f.Column) + f.Message }

// Warning is something that works, but hardly as its writer thinks.
type Warning struct {
	File         string
	Line, Column int
	Message      string
	Hint         string
}

// String gives the warning as "file:line:column: message".
func (w Warning) String() string { return place(w.File, w.Line, w.Column) + w.Message }

func place(file string, line, column int) string {
	if line == 0 {
		return file + ": "
	}
	return fmt.Sprintf("%s:%d:%d: ", file, line, column)
}

// Errors is every fault of a configuration, in the order of its files and lines.
type Errors struct{ Faults []Fault }

// Error gives one line for each fault, and one below it for its hint.
func (e *Errors) Error() string {
	var b strings.Builder
	for i, f := range e.Faults {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(f.Error())
		if f.Hint != "" {
			b.WriteString("\n\thint: " + f.Hint)
		}
	}
	return b.String()
}

// Unwrap gives the faults one by one.
func (e *Errors) Unwrap() []error {
	errs := make([]error, len(e.Faults))
	for i, f := range e.Faults {
		errs[i] = f
	}
	return errs
}

// report collects what a load finds, with the order of files in which they were read.
type report struct {
	order    map[string]int
	faults   []Fault
	warnings []Warning
}

func (r *report) rank(file string) int {
	if n, ok := r.order[file]; ok {
		return n
	}
	// Environment variables come after the files.
	return len(r.order)
}

func (r *report) saw(file string) {
	if _, ok := r.order[file]; !ok {
		r.order[file] = len(r.order)
	}
}

// err gives all faults, sorted, without repetitions; nil where there are none.
func (r *report) err() error {
	if len(r.faults) == 0 {
		return nil
	}
	slices.SortStableFunc(r.faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(r.rank(a.File), r.rank(b.File)), cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &Errors{Faults: slices.Compact(r.faults)}
}

func (r *report) sortedWarnings() []Warning {
	slices.SortStableFunc(r.warnings, func(a, b Warning) int {
		return cmp.Or(cmp.Compare(r.rank(a.File), r.rank(b.File)), cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(r.warnings)
}

// nearest finds the name that a misspelt one most likely stands for.
func nearest(word string, names []string) (string, bool) {
	for _, n := range names {
		// A word that goes on where a name ends, as warning for warn, is further off than it looks.
		if len(word) > 2 && len(n) > 2 && (strings.HasPrefix(word, n) || strings.HasPrefix(n, word)) && word != n {
			return n, true
		}
	}
	best, at := "", max(1, len([]rune(word))/3)+1
	for _, n := range names {
		if d := distance(strings.ToLower(word), strings.ToLower(n)); d < at || d == at && best != "" && n < best {
			best, at = n, d
		}
	}
	return best, best != ""
}

// distance counts insertions, deletions, substitutions and swaps of neighbours that turn a into b.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			change := 1
			if x[i-1] == y[j-1] {
				change = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(x)][len(y)]
}

// listed writes names as people list them: a, b or c.
func listed(names []string) string {
	switch len(names) {
	case 0:
		return "none"
	case 1:
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}
