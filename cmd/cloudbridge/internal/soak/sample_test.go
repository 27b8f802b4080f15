package soak

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"cloudbridge/bridge"
)

// sample is the bridge at one moment.
type sample struct {
	at time.Duration // since the load began
	// quiet: nothing is broken, all links are up, next to nothing waits.
	quiet bool
	// rss is in bytes, cpu all the processor time that was used so far.
	rss               int64
	cpu               time.Duration
	goroutines, files int
	// queueFiles and queueBytes are what lies in the queue's folder.
	queueFiles int
	queueBytes int64
	// waiting is what the bridge says that waits for clouds.
	waiting int
	// acked are messages that Mosquitto has acknowledged, of the two flows whose every message is counted. Missing are those
	// of them that have not arrived yet, twice the arrivals that had come before.
	acked, missing, twice int
}

// atRest is how many messages may wait in a quiet moment: some are always on their way.
const atRest = 60

// sampler takes a sample every so often until it is stopped.
type sampler struct {
	w     *world
	l     *load
	began time.Time
	http  http.Client

	mu      sync.Mutex
	broken  bool
	samples []sample
	fault   error

	stop, ended chan struct{}
}

func newSampler(w *world, l *load) *sampler {
	return &sampler{
		w: w, l: l, http: http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}},
		stop: make(chan struct{}), ended: make(chan struct{}),
	}
}

// start begins the sampling; the load has begun just now.
func (s *sampler) start(every time.Duration) {
	s.began = time.Now()
	go func() {
		defer close(s.ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-s.stop:
				s.http.CloseIdleConnections()
				return
			}
			s.keep(s.take())
		}
	}()
}

// up says whether the bridge and all its links are there.
func (s *sampler) up() bool {
	status, err := s.status()
	if err != nil || status.Local.State != "online" {
		return false
	}
	for _, c := range status.Clouds {
		if c.State != "online" {
			return false
		}
	}
	return true
}

func (s *sampler) keep(one sample, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.fault = err
		return
	}
	one.quiet = one.quiet && !s.broken
	s.samples = append(s.samples, one)
}

// end stops the sampling and gives all samples.
func (s *sampler) end() ([]sample, error) {
	close(s.stop)
	<-s.ended
	return s.samples, s.fault
}

// breaking says whether something is broken from now on.
func (s *sampler) breaking(broken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = broken
}

// rested waits until so much quiet time has been sampled since it was called, without a break, and gives its samples.
func (s *sampler) rested(d, patience time.Duration) ([]sample, error) {
	s.mu.Lock()
	first := len(s.samples)
	s.mu.Unlock()
	for deadline := time.Now().Add(patience); ; {
		s.mu.Lock()
		for i := first; i < len(s.samples); i++ {
			if !s.samples[i].quiet {
				first = i + 1
			}
		}
		calm, err := s.samples[first:len(s.samples):len(s.samples)], s.fault
		s.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if len(calm) > 1 && calm[len(calm)-1].at-calm[0].at >= d {
			return calm, nil
		}
		if time.Now().After(deadline) {
			status, _ := s.status()
			return nil, fmt.Errorf("not at rest after %v: %s", patience, links(status))
		}
		<-time.After(20 * time.Millisecond)
	}
}

// take takes one sample.
func (s *sampler) take() (sample, error) {
	one := sample{at: time.Since(s.began)}
	status, err := s.status()
	if err != nil {
		return one, fmt.Errorf("ask the bridge how it is: %w", err)
	}
	one.goroutines = status.Process.Goroutines
	one.quiet = status.Local.State == "online"
	for _, c := range status.Clouds {
		one.waiting += int(c.Counts.Waiting)
		one.quiet = one.quiet && c.State == "online"
	}
	one.quiet = one.quiet && one.waiting <= atRest
	for _, f := range []flow{s.l.plant, s.l.phone} {
		different, again := f.Count()
		acked := f.Acked()
		one.acked += acked
		one.missing += max(0, acked-different)
		one.twice += again
	}
	return one, errors.Join(s.fromSystem(&one), s.fromDisk(&one))
}

func (s *sampler) status() (bridge.Status, error) {
	var status bridge.Status
	answer, err := s.http.Get("http://" + s.w.status + "/api/status")
	if err != nil {
		return status, err
	}
	defer func() { _ = answer.Body.Close() }()
	return status, json.NewDecoder(answer.Body).Decode(&status)
}

// links says how each link is, for people.
func links(s bridge.Status) string {
	words := []string{fmt.Sprintf("local %s %s", s.Local.State, s.Local.Why)}
	for _, c := range s.Clouds {
		words = append(words, fmt.Sprintf("%s %s %s (%d waiting)", c.Name, c.State, c.Why, c.Counts.Waiting))
	}
	return strings.Join(words, ", ")
}

// clockTick is Linux's unit of processor time in /proc, on every machine that Go runs on.
const clockTick = 10 * time.Millisecond

// fromSystem fills in what Linux knows of the process.
func (s *sampler) fromSystem(one *sample) error {
	dir := filepath.Join("/proc", strconv.Itoa(s.w.bridge.ID()))
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return err
	}
	_, rest, _ := bytes.Cut(status, []byte("\nVmRSS:"))
	var kilobytes int64
	if _, err := fmt.Sscanf(string(rest), "%d kB", &kilobytes); err != nil {
		return fmt.Errorf("read VmRSS: %w", err)
	}
	one.rss = kilobytes << 10
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return err
	}
	// Behind the name, which stands in brackets, the 12th and 13th are the time in the program and that in the kernel.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	for _, f := range fields[11:13] {
		ticks, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return err
		}
		one.cpu += time.Duration(ticks) * clockTick
	}
	open, err := os.ReadDir(filepath.Join(dir, "fd"))
	one.files = len(open)
	return err
}

// fromDisk fills in what lies in the queue's folder.
func (s *sampler) fromDisk(one *sample) error {
	return filepath.WalkDir(s.w.queue, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // The bridge deletes what it has sent.
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			one.queueFiles++
			one.queueBytes += info.Size()
		}
		return err
	})
}

// table is the samples as CSV.
func table(samples []sample) []byte {
	var b bytes.Buffer
	b.WriteString("seconds,quiet,rss_bytes,cpu_seconds,goroutines,open_files,queue_files,queue_bytes,waiting,acknowledged,missing,twice\n")
	for _, s := range samples {
		quiet := 0
		if s.quiet {
			quiet = 1
		}
		fmt.Fprintf(&b, "%.2f,%d,%d,%.2f,%d,%d,%d,%d,%d,%d,%d,%d\n", s.at.Seconds(), quiet, s.rss, s.cpu.Seconds(), s.goroutines,
			s.files, s.queueFiles, s.queueBytes, s.waiting, s.acked, s.missing, s.twice)
	}
	return b.Bytes()
}
