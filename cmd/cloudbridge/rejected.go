package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"cloudbridge/bridge"
	"cloudbridge/cmd/cloudbridge/internal/control"
	"cloudbridge/cmd/cloudbridge/internal/terminal"
	"cloudbridge/internal/queue"
)

type rejectedCommand struct {
	configFlag
	Cloud string   `arg:"" help:"The cloud, by its name in the config."`
	IDs   []string `arg:"" optional:"" name:"id" help:"Only these, by the number that the list shows. Without it: all."`
	Retry bool     `xor:"what" help:"Send them again: now, or at the next start where no bridge runs."`
	Drop  bool     `xor:"what" help:"Drop them."`
	JSON  bool     `name:"json" help:"Answer as JSON."`
}

// Help is the long text of "rejected --help".
func (rejectedCommand) Help() string {
	return `What a cloud refuses for good waits on a list, with the reason: the last 100 points of each channel, feed account or broker. Mend what the reason names, then send them again. It works with and without a running bridge.

Examples:
  cloudbridge rejected weather
  cloudbridge rejected weather --retry
  cloudbridge rejected weather 3 7 --drop`
}

// rejectedAnswer is what rejected says; it is also its JSON.
type rejectedAnswer struct {
	Cloud string `json:"cloud"`
	// Running is true where the bridge runs and was asked itself.
	Running bool `json:"running"`
	// Rejected is the list, where that was asked for.
	Rejected []bridge.Rejected `json:"rejected,omitzero"`
	Retried  *bridge.Handled   `json:"retried,omitempty"`
	Dropped  *bridge.Handled   `json:"dropped,omitempty"`
}

// Run asks the bridge that runs, or looks at what it left.
func (r *rejectedCommand) Run(c *console) error {
	f, err := c.load(r.Config)
	if err != nil {
		return err
	}
	if cloudNamed(&f.Bridge, r.Cloud) == nil {
		return misused(fmt.Sprintf("there is no [cloud.%s] in the config", r.Cloud), "there is "+joinOr(cloudNames(&f.Bridge)))
	}
	ids, err := numbers(r.IDs)
	if err != nil {
		return err
	}
	a := &rejectedAnswer{Cloud: r.Cloud, Running: true}
	err = r.ask(a, control.Dial(f.Bridge.Queue.Dir), ids)
	var unreachable *control.UnreachableError
	if errors.Is(err, control.ErrNotRunning) || errors.As(err, &unreachable) {
		a.Running = false
		err = r.alone(c, a, &f.Bridge, ids, unreachable)
	}
	if err != nil {
		return err
	}
	if !r.Retry && !r.Drop {
		a.Rejected = only(a.Rejected, ids)
	}
	for i := range a.Rejected {
		// A board may have published what nobody should see.
		e := &a.Rejected[i]
		e.Address, e.Value, e.Why = hide(e.Address, f.Secrets), hide(e.Value, f.Secrets), hide(e.Why, f.Secrets)
	}
	if r.JSON {
		e := json.NewEncoder(c.out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		err = e.Encode(a)
	} else {
		a.write(c.out)
	}
	if err != nil {
		return err
	}
	return r.missing(a, ids)
}

// lists is where refused points can be asked for: a bridge that runs, or its file.
type lists interface {
	Rejected(cloud string) ([]bridge.Rejected, error)
	Retry(cloud string, ids []uint64) (bridge.Handled, error)
	Drop(cloud string, ids []uint64) (bridge.Handled, error)
}

func (r *rejectedCommand) ask(a *rejectedAnswer, l lists, ids []uint64) (err error) {
	var h bridge.Handled
	switch {
	case r.Retry:
		h, err = l.Retry(r.Cloud, ids)
		a.Retried = &h
	case r.Drop:
		h, err = l.Drop(r.Cloud, ids)
		a.Dropped = &h
	default:
		a.Rejected, err = l.Rejected(r.Cloud)
	}
	return err
}

// alone works on the file, with the lock of the queue folder. A folder that is not there holds nothing.
func (r *rejectedCommand) alone(c *console, a *rejectedAnswer, cfg *bridge.Config, ids []uint64, unreachable *control.UnreachableError) error {
	dir := cfg.Queue.Dir
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return r.ask(a, noLists{}, ids)
	}
	l, err := bridge.OpenRejected(cfg)
	if err != nil {
		return closed(err, unreachable)
	}
	if l.Damage != nil {
		c.warn(l.Damage.Error())
	}
	err = r.ask(a, l, ids)
	if e := l.Close(); err == nil {
		err = e
	}
	return err
}

// closed explains why neither the bridge nor its file can be asked.
func closed(err error, unreachable *control.UnreachableError) error {
	const who = "ask as the user whom the bridge runs as, or as a member of its group"
	switch locked := errors.Is(err, queue.ErrLocked); {
	case unreachable != nil && errors.Is(unreachable, fs.ErrPermission):
		return fail(unreachable, who)
	case errors.Is(err, fs.ErrPermission):
		return fail(err, who)
	case locked && unreachable != nil:
		return fail(fmt.Errorf("a bridge is running and cannot be asked: %w", unreachable), "stop the bridge, then try again")
	case locked:
		return fail(errors.New("a bridge is running and does not answer: it is just starting or stopping, or has no control socket"),
			"try again; the bridge's log says more")
	}
	return err
}

// noLists are the lists of a bridge that never ran.
type noLists struct{}

func (noLists) Rejected(string) ([]bridge.Rejected, error) { return nil, nil }

func (noLists) Retry(_ string, ids []uint64) (bridge.Handled, error) {
	return bridge.Handled{Missing: ids}, nil
}

func (noLists) Drop(_ string, ids []uint64) (bridge.Handled, error) {
	return bridge.Handled{Missing: ids}, nil
}

// numbers reads the numbers of entries; "all" is none of them, which is all.
func numbers(words []string) (ids []uint64, err error) {
	if len(words) == 1 && words[0] == "all" {
		return nil, nil
	}
	for _, w := range words {
		id, err := strconv.ParseUint(w, 10, 64)
		if err != nil {
			return nil, misused(fmt.Sprintf("%q is no number of a refused point", w), "the list shows the numbers in front; without any, all are meant")
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// only narrows a list to the entries asked for.
func only(list []bridge.Rejected, ids []uint64) []bridge.Rejected {
	out := []bridge.Rejected{}
	for _, e := range list {
		if len(ids) == 0 || slices.Contains(ids, e.ID) {
			out = append(out, e)
		}
	}
	return out
}

// missing is the error for numbers that are not on the list.
func (r *rejectedCommand) missing(a *rejectedAnswer, ids []uint64) error {
	var gone []uint64
	switch {
	case a.Retried != nil:
		gone = a.Retried.Missing
	case a.Dropped != nil:
		gone = a.Dropped.Missing
	default:
		for _, id := range ids {
			if len(only(a.Rejected, []uint64{id})) == 0 {
				gone = append(gone, id)
			}
		}
	}
	if len(gone) == 0 {
		return nil
	}
	words := make([]string, len(gone))
	for i, id := range gone {
		words[i] = strconv.FormatUint(id, 10)
	}
	return fail(fmt.Errorf("not on the list of %s: %s", a.Cloud, strings.Join(words, ", ")), "cloudbridge rejected "+a.Cloud+" shows what is")
}

func (a *rejectedAnswer) write(w terminal.Stream) {
	switch {
	case a.Dropped != nil:
		fmt.Fprintf(w, "%s dropped\n", plural(a.Dropped.Done, "refused point"))
	case a.Retried != nil:
		when := "at the next start"
		if a.Running {
			when = "now"
		}
		fmt.Fprintf(w, "%s sent again %s\n", isOrAre(a.Retried.Done, "refused point"), when)
		if n := a.Retried.Lost; n > 0 {
			fmt.Fprintf(w, "%s on the list: too large to be kept whole, or of a time that nobody knows\n", staysOrStay(n, "refused point"))
		}
	case len(a.Rejected) == 0:
		fmt.Fprintf(w, "%s has refused nothing that is still on its list\n", a.Cloud)
	default:
		a.writeList(w)
	}
}

func isOrAre(n int, noun string) string {
	if n == 1 {
		return "1 " + noun + " is"
	}
	return plural(n, noun) + " are"
}

func staysOrStay(n int, noun string) string {
	if n == 1 {
		return "1 " + noun + " stays"
	}
	return plural(n, noun) + " stay"
}

// shownWidth is how many columns a value may take in the list.
const shownWidth = 40

func (a *rejectedAnswer) writeList(w terminal.Stream) {
	rows := [][]string{{"id", "when", "address", "value", "why"}}
	again, lost := 0, 0
	for i := range a.Rejected {
		e := &a.Rejected[i]
		why := e.Why
		switch {
		case e.Retry:
			again++
			why += " (is sent again at the next start)"
		case e.Lost:
			lost++
			why += " (cannot be sent again)"
		}
		rows = append(rows, []string{
			strconv.FormatUint(e.ID, 10), e.Time.Local().Format("2006-01-02 15:04:05"),
			terminal.Cut(terminal.Printable(e.Address), shownWidth), terminal.Cut(terminal.Printable(e.Value), shownWidth), why,
		})
	}
	writeTable(w, plural(len(a.Rejected), "point")+" that "+a.Cloud+" refused", rows)
	if again+lost == len(a.Rejected) {
		return
	}
	fmt.Fprintf(w, "\nonce it is mended: cloudbridge rejected %s --retry; or --drop\n", a.Cloud)
}
