package platformtest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudbridge/mappings"
	"cloudbridge/platforms"
	"cloudbridge/platforms/emulator"
)

// backfill holds a platform's history to the contract, and sends History to the emulator: what is kept there afterwards is
// History, point for point and time for time.
func (c *Case) backfill(t *testing.T) {
	p := c.platform(t)
	if len(c.History) == 0 {
		if _, ok := p.(platforms.Backfiller); ok {
			t.Error("a Backfiller without History to try")
		}
		return
	}
	if c.Emulator.Start == nil || c.Stored == nil {
		t.Fatal("history needs an emulator, and Stored to read it")
	}
	c.encodeHistory(t, p)
	t.Run("emulator", c.fillIn)
}

// history asks for the limits of the lane of History.
func (c *Case) history(t *testing.T, p platforms.Platform) (platforms.Backfiller, platforms.HistoryLimits) {
	t.Helper()
	b, ok := p.(platforms.Backfiller)
	if !ok {
		t.Fatal("there is History, and the platform is no Backfiller")
	}
	first := c.History[0]
	lane, err := p.Lane(mappings.Address{Name: first.Name, Part: first.Parts[0].Name})
	if err != nil {
		t.Fatal(err)
	}
	h, ok := b.History(lane)
	if !ok {
		t.Fatalf("lane %s has no history", lane)
	}
	if h.MostPoints < 1 || h.Interval < 0 || h.CostPerPoint && p.Limits().PerMinute == 0 {
		t.Errorf("history is limited to %+v", h)
	}
	if _, ok := b.History("no such lane of anybody's"); ok {
		t.Error("a lane that is none has history")
	}
	return b, h
}

func (c *Case) encodeHistory(t *testing.T, p platforms.Platform) {
	b, h := c.history(t, p)
	if d, err := b.EncodeHistory(nil); err == nil {
		t.Errorf("no points make %+v", d)
	}
	before := fmt.Sprintf("%#v", c.History)
	d, err := b.EncodeHistory(c.History)
	if err != nil {
		t.Fatal(err)
	}
	c.checkHistory(t, d, len(c.History), h)
	if after := fmt.Sprintf("%#v", c.History); after != before {
		t.Errorf("EncodeHistory changed the points from %s to %s", before, after)
	}
	if again, err := b.EncodeHistory(c.History); err != nil || !reflect.DeepEqual(d, again) {
		t.Errorf("the same batch makes another request: %v\n%s\n%s", err, d.Request.Body, again.Request.Body)
	}
	bad := mappings.Point{Name: c.Bad[0].Name, Time: c.History[0].Time, Parts: c.History[0].Parts}
	if d, err := b.EncodeHistory([]mappings.Point{bad}); err == nil {
		t.Errorf("a place that the cloud does not have makes %+v", d)
	}
	valueless := c.History[0]
	valueless.Parts = nil
	if d, err := b.EncodeHistory([]mappings.Point{valueless}); err == nil {
		t.Errorf("a point without a value makes %+v", d)
	}
	// What cannot go is told of, and does not keep the points beside it back.
	mixed := []mappings.Point{c.History[0], valueless, c.History[1]}
	if d, err := b.EncodeHistory(mixed); err != nil {
		t.Error(err)
	} else if whole := slices.ContainsFunc(d.Omitted, func(o platforms.Omission) bool { return o.Point == 1 && o.Whole && o.Why != "" }); d.Points > 1 && !whole {
		t.Errorf("a point without a value goes unseen: %+v", d)
	}
	many := make([]mappings.Point, 0, 2*h.MostPoints+1)
	for i := range 2*h.MostPoints + 1 {
		pt := c.History[0]
		pt.Time = pt.Time.Add(time.Duration(i) * time.Minute)
		many = append(many, pt)
	}
	for len(many) > 0 {
		d, err := b.EncodeHistory(many)
		if err != nil {
			t.Fatal(err)
		}
		c.checkHistory(t, d, len(many), h)
		if d.Points < 1 {
			return
		}
		many = many[min(d.Points, len(many)):]
	}
}

// checkHistory holds a delivery of history to its limits.
func (c *Case) checkHistory(t *testing.T, d platforms.Delivery, given int, h platforms.HistoryLimits) {
	t.Helper()
	switch {
	case d.Request == nil || d.Message != nil:
		t.Fatalf("history is no request: %+v", d)
	case d.Points < 1 || d.Points > min(given, h.MostPoints):
		t.Errorf("a request carries %d of %d points, and at most %d", d.Points, given, h.MostPoints)
	case h.CostPerPoint && d.Cost < d.Points && d.Cost != 0:
		t.Errorf("%d points cost %d", d.Points, d.Cost)
	case len(d.Left) > 0:
		t.Errorf("what history leaves out belongs into Omitted: %q", d.Left)
	}
	for _, o := range d.Omitted {
		if o.Point < 0 || o.Point >= d.Points || o.Why == "" {
			t.Errorf("omitted %+v of %d points", o, d.Points)
		}
	}
	for _, secret := range c.Secrets {
		if strings.Contains(d.Request.URL, secret) {
			t.Error("a secret is in the address, which proxies write down")
		}
	}
}

// fillIn sends all of History to a new emulator, in as few requests as it takes.
func (c *Case) fillIn(t *testing.T) {
	o := c.Options
	if c.HistoryOptions.Set != nil {
		o = c.HistoryOptions
	}
	e, err := c.Emulator.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	p := At(t, c.Kind, e)
	b, h := c.history(t, p)
	var want []string
	for rest, last := c.History, (time.Time{}); len(rest) > 0; {
		d, err := b.EncodeHistory(rest)
		if err != nil {
			t.Fatal(err)
		}
		await(t, last.Add(h.Interval))
		last = time.Now()
		historyRequest(t, p, d.Request)
		for _, pt := range rest[:d.Points] {
			want = append(want, pointLine(pt))
		}
		rest = rest[d.Points:]
	}
	slices.Sort(want)
	var got []string
	for deadline := time.Now().Add(patience); len(got) < len(want) && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		got = c.stored(e)
	}
	if !slices.Equal(got, want) {
		t.Errorf("kept\n%s\nwant\n%s\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"), Events(e))
	}
	for _, event := range e.Events() {
		if !event.Accepted {
			t.Errorf("the emulator refused: %+v", event)
		}
	}
}

// stored reads back what the emulator keeps for the addresses of History.
func (c *Case) stored(e emulator.Emulator) (lines []string) {
	seen := map[string]bool{}
	for _, pt := range c.History {
		if !seen[pt.Name] {
			seen[pt.Name] = true
			for _, kept := range c.Stored(e, pt.Name) {
				lines = append(lines, pointLine(kept))
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// pointLine writes a point so that equal ones are equal, by whichever way they come.
func pointLine(p mappings.Point) string {
	var parts []string
	for _, part := range p.Parts {
		parts = append(parts, fmt.Sprintf("%s=%q", part.Name, part.Value.String()))
	}
	slices.Sort(parts)
	return p.Time.UTC().Format(time.RFC3339Nano) + " " + p.Name + " " + strings.Join(parts, " ")
}

// await waits until a time that is not far.
func await(t *testing.T, until time.Time) {
	t.Helper()
	wait := time.NewTimer(time.Until(until))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-t.Context().Done():
	}
}
