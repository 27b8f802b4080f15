package soak

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"html"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

// The plot's measures, in pixels.
const (
	plotWidth           = 960
	plotLeft, plotRight = 118, 24
	panelHeight         = 104
	panelGap            = 46
	rowHeight           = 17
	plotTop             = 78
)

// style has colours that can be told apart by everybody, on a light page and on a dark one.
const style = `
text{font:12px system-ui,"Segoe UI",Helvetica,Arial,sans-serif;fill:#57606a}
.back{fill:#ffffff}.title{font-size:17px;font-weight:600;fill:#1f2328}.head{font-weight:600;fill:#1f2328}
.grid{stroke:#d8dee4;stroke-width:1}.axis{stroke:#8c959f;stroke-width:1}.band{fill:#6e7781;fill-opacity:.13}
.line{fill:none;stroke-width:1.6;stroke-linejoin:round}
.s0{stroke:#0969da}.s1{stroke:#bc4c00}.f0{fill:#8250df}.f1{fill:#cf222e}.f2{fill:#24292f}.f3{fill:#d4a72c}.f4{fill:#1a7f37}
@media (prefers-color-scheme:dark){text{fill:#9198a1}
.back{fill:#0d1117}.title,.head{fill:#f0f6fc}
.grid{stroke:#262c36}.axis{stroke:#656c76}.band{fill:#9198a1;fill-opacity:.16}
.s0{stroke:#58a6ff}.s1{stroke:#f0883e}.f0{fill:#bc8cff}.f1{fill:#ff7b72}.f2{fill:#d1d7e0}.f3{fill:#e3b341}.f4{fill:#3fb950}}
`

// series is one line of a panel.
type series struct {
	name string
	of   func(s []sample, i int) float64
}

// panel is one of the charts, which stand above each other and share the axis of time.
type panel struct {
	title  string
	series []series
}

func plain(of func(sample) float64) func([]sample, int) float64 {
	return func(s []sample, i int) float64 { return of(s[i]) }
}

// processor is the share of one core, in percent, since a few samples before.
func processor(s []sample, i int) float64 {
	first := max(0, i-5)
	if first == i {
		return 0
	}
	return 100 * float64(s[i].cpu-s[first].cpu) / float64(s[i].at-s[first].at)
}

func panels() []panel {
	return []panel{
		{"Memory (RSS), MB", []series{{"memory", plain(rss)}}},
		{"Goroutines and open files, number", []series{{"goroutines", plain(goroutines)}, {"open files", plain(files)}}},
		{"Messages waiting for a cloud, number", []series{{"waiting", plain(func(s sample) float64 { return float64(s.waiting) })}}},
		{"Queue on disk, MB", []series{{"queue", plain(queueSize)}}},
		{"Queue on disk, files", []series{{"files", plain(queueFiles)}}},
		{"Processor, % of one core", []series{{"processor", processor}}},
	}
}

// drawing is an SVG that is being written.
type drawing struct {
	bytes.Buffer
	span time.Duration // of the axis of time
}

func (d *drawing) put(format string, args ...any) { fmt.Fprintf(d, format+"\n", args...) }

func (d *drawing) text(x, y float64, class, anchor, words string) {
	d.put(`<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>`, x, y, class, anchor, html.EscapeString(words))
}

// x is where a time stands.
func (d *drawing) x(at time.Duration) float64 {
	return plotLeft + float64(plotWidth-plotLeft-plotRight)*float64(at)/float64(d.span)
}

// plot draws the run: what was broken above, and what was measured below, one chart under the other.
func (s *story) plot() []byte {
	d := &drawing{span: time.Second}
	if n := len(s.samples); n > 0 {
		d.span = s.samples[n-1].at
	}
	rows := []string{"local broker", "MQTT cloud", "HiveMQ Cloud", "ThingSpeak", "Adafruit IO"}
	first := plotTop + len(rows)*rowHeight + panelGap
	all := panels()
	height := first + len(all)*(panelHeight+panelGap)
	d.put(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`, plotWidth, height, plotWidth, height)
	title := fmt.Sprintf("Soak: %s of mixed load, %d faults", spoken(s.length), len(s.faults))
	d.put("<title>%s</title><style>%s</style>", title, style)
	d.put(`<rect width="100%%" height="100%%" class="back"/>`)
	d.text(24, 30, "title", "start", title)
	d.legend()
	bottom := float64(height - panelGap)
	d.bands(s, plotTop, bottom)
	d.breakages(s, rows)
	for i, p := range all {
		d.chart(s.samples, p, float64(first+i*(panelHeight+panelGap)))
	}
	d.time(bottom)
	d.put("</svg>")
	return d.Bytes()
}

// spoken is a time as people say it.
func spoken(d time.Duration) string {
	if d >= 2*time.Minute {
		return fmt.Sprintf("%.3g minutes", d.Minutes())
	}
	return fmt.Sprintf("%.3g seconds", d.Seconds())
}

// legend says which colour is which kind of fault.
func (d *drawing) legend() {
	d.text(24, 56, "head", "start", "What was broken")
	x := 126.0
	for i, k := range kinds {
		x += 26
		d.put(`<rect x="%.1f" y="46" width="12" height="12" rx="2" class="f%d"/>`, x, i)
		d.text(x+17, 56, "", "start", k)
		x += 17 + 6.4*float64(len(k))
	}
	d.put(`<rect x="%.1f" y="46" width="12" height="12" class="band"/>`, x+26)
	d.text(x+43, 56, "", "start", "something is broken")
}

// bands shade the times in which something was broken, over all charts. Faults at once are shaded once.
func (d *drawing) bands(s *story, top, bottom float64) {
	var end time.Time
	for _, f := range ordered(s.faults) {
		if f.from.Before(end) {
			f.from = end
		}
		if f.to.Before(f.from) {
			continue
		}
		end = f.to
		from, to := d.x(f.from.Sub(s.began)), d.x(f.to.Sub(s.began))
		d.put(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" class="band"/>`, from, top, max(to-from, 0.8), bottom-top)
	}
}

// breakages show which line was broken, and how.
func (d *drawing) breakages(s *story, rows []string) {
	for i, name := range rows {
		y := float64(plotTop + i*rowHeight)
		d.text(plotLeft-10, y+12, "", "end", name)
		d.put(`<path d="M%d %.1fH%d" class="grid"/>`, plotLeft, y+8.5, plotWidth-plotRight)
		for _, f := range s.faults {
			if f.line != name {
				continue
			}
			from, to := d.x(f.from.Sub(s.began)), d.x(f.to.Sub(s.began))
			kind := 0
			for k, word := range kinds {
				if f.kind == word {
					kind = k
				}
			}
			d.put(`<rect x="%.1f" y="%.1f" width="%.1f" height="11" rx="1" class="f%d"/>`, from, y+3, max(to-from, 2.5), kind)
		}
	}
}

// chart draws a panel whose upper edge is at top.
func (d *drawing) chart(samples []sample, p panel, top float64) {
	highest := 0.0
	for _, line := range p.series {
		for i := range samples {
			highest = max(highest, line.of(samples, i))
		}
	}
	step := niceStep(highest / 3.5)
	limit := step * max(1, math.Ceil(highest*1.02/step))
	y := func(v float64) float64 { return top + panelHeight*(1-v/limit) }
	d.text(plotLeft, top-9, "head", "start", p.title)
	for n := 0; float64(n)*step <= limit*1.001; n++ {
		v := float64(n) * step
		d.put(`<path d="M%d %.1fH%d" class="grid"/>`, plotLeft, y(v), plotWidth-plotRight)
		d.text(plotLeft-10, y(v)+4, "", "end", thousands(v))
	}
	d.put(`<path d="M%d %.1fV%.1f" class="axis"/>`, plotLeft, top, top+panelHeight)
	key := float64(plotWidth - plotRight)
	for i := len(p.series) - 1; i >= 0; i-- {
		line := p.series[i]
		d.polyline(samples, line.of, y, i)
		if len(p.series) > 1 { // A single line is what the title says.
			d.text(key, top-9, "", "end", line.name)
			key -= 6.4*float64(len(line.name)) + 6
			d.put(`<path d="M%.1f %.1fh18" class="line s%d"/>`, key-18, top-13, i)
			key -= 38
		}
	}
}

// polyline draws a line through the samples. Where there are more of them than pixels it goes through the highest and the
// lowest of each.
func (d *drawing) polyline(samples []sample, of func([]sample, int) float64, y func(float64) float64, class int) {
	var b strings.Builder
	for i := 0; i < len(samples); {
		column := math.Floor(d.x(samples[i].at))
		low, high := math.Inf(1), math.Inf(-1)
		for ; i < len(samples) && math.Floor(d.x(samples[i].at)) == column; i++ {
			v := of(samples, i)
			low, high = min(low, v), max(high, v)
		}
		fmt.Fprintf(&b, "%.0f,%.1f ", column, y(high))
		if y(low)-y(high) >= 0.1 {
			fmt.Fprintf(&b, "%.0f,%.1f ", column, y(low))
		}
	}
	d.put(`<polyline points="%s" class="line s%d"/>`, strings.TrimSpace(b.String()), class)
}

// time draws the axis that all charts share.
func (d *drawing) time(y float64) {
	unit, name := time.Second, "Time, seconds"
	if d.span >= 3*time.Minute {
		unit, name = time.Minute, "Time, minutes"
	}
	d.put(`<path d="M%d %.1fH%d" class="axis"/>`, plotLeft, y, plotWidth-plotRight)
	step := niceStep(float64(d.span) / float64(unit) / 8)
	for v := 0.0; v*float64(unit) <= float64(d.span); v += step {
		x := d.x(time.Duration(v * float64(unit)))
		d.put(`<path d="M%.1f %.1fv5" class="axis"/>`, x, y)
		d.text(x, y+18, "", "middle", thousands(v))
	}
	d.text((plotLeft+plotWidth-plotRight)/2, y+37, "", "middle", name)
}

// niceStep is 1, 2 or 5 times a power of ten, at least as large as v.
func niceStep(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 5} {
		if f*power >= v {
			return f * power
		}
	}
	return 10 * power
}

// thousands writes a figure of an axis.
func thousands(v float64) string {
	text := fmt.Sprintf("%.6g", v)
	if v >= 1000 && len(text) > 3 {
		text = text[:len(text)-3] + "," + text[len(text)-3:]
	}
	return text
}

func TestPlot(t *testing.T) {
	began := time.Unix(1000, 0)
	s := &story{plan: newPlan(30 * time.Minute), began: began}
	for i := range 1800 {
		at := time.Duration(i) * time.Second
		s.samples = append(s.samples, sample{at: at, rss: 20 * megabyte, waiting: i % 5000, cpu: at / 20, goroutines: 40, files: 20})
		if i%60 == 0 {
			from := began.Add(at)
			s.faults = append(s.faults, fault{"ThingSpeak", kinds[i/60%len(kinds)], from, from.Add(10 * time.Second)})
		}
	}
	svg := s.plot()
	if again := s.plot(); !bytes.Equal(svg, again) {
		t.Error("the same run is drawn in two ways")
	}
	if len(svg) > 300<<10 {
		t.Errorf("the plot has %d bytes, too many for a page", len(svg))
	}
	d := xml.NewDecoder(bytes.NewReader(svg))
	count := make(map[string]int)
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the plot is no XML: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok {
			count[e.Name.Local]++
		}
	}
	if count["polyline"] != 7 || count["rect"] != 1+2*30+len(kinds)+1 {
		t.Errorf("the plot has %v, want 7 lines and each of 30 faults twice", count)
	}
	for _, want := range []string{"Memory (RSS), MB", "Time, minutes", "broker restarted", "30 minutes of mixed load, 30 faults"} {
		if !strings.Contains(string(svg), want) {
			t.Errorf("the plot does not say %q", want)
		}
	}
	if strings.Contains(string(svg), "NaN") || strings.Contains(string(svg), "Inf") {
		t.Error("the plot has figures that are none")
	}
	empty := &story{}
	if !strings.Contains(string(empty.plot()), "</svg>") {
		t.Error("a run without samples is not drawn")
	}
}

func TestNiceStep(t *testing.T) {
	for v, want := range map[float64]float64{0: 1, 0.3: 0.5, 1: 1, 1.1: 2, 7: 10, 23: 50, 1999: 2000} {
		if got := niceStep(v); math.Abs(got-want) > want/1e9 {
			t.Errorf("the step for %v is %v, want %v", v, got, want)
		}
	}
}
