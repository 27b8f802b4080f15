package config

import (
	"bytes"
	"path/filepath"
	"sort"
	"unicode/utf8"
)

// source is the text of one file, or of one environment variable.
type source struct {
	// name is how the file is called in messages, dir where its relative paths start.
	name string
	dir  string
	// data has no byte order mark. Lines that are not TOML are mended here, so that the rest can be read.
	data []byte
	// starts are the offsets at which lines begin.
	starts []int
	// variable is true for an environment variable, which has no lines.
	variable bool
	// open is true where everybody on the machine can read the file.
	open bool
}

func newSource(name string, data []byte) *source {
	s := &source{name: name, dir: filepath.Dir(name)}
	s.replace(data)
	return s
}

func (s *source) replace(data []byte) {
	s.data, s.starts = data, []int{0}
	for i, c := range data {
		if c == '\n' {
			s.starts = append(s.starts, i+1)
		}
	}
}

// line gives the number of the line, from 0, that holds an offset.
func (s *source) line(offset int) int {
	return sort.SearchInts(s.starts, offset+1) - 1
}

// bounds gives where a line begins and ends, without its end of line.
func (s *source) bounds(line int) (from, to int) {
	from, to = s.starts[line], len(s.data)
	if line+1 < len(s.starts) {
		to = s.starts[line+1] - 1
	}
	if to > from && s.data[to-1] == '\r' {
		to--
	}
	return from, to
}

// position gives line and column of an offset, both from 1.
func (s *source) position(offset int) (line, column int) {
	if s.variable {
		return 0, 0
	}
	offset = min(max(offset, 0), len(s.data))
	n := s.line(offset)
	return n + 1, utf8.RuneCount(s.data[s.starts[n]:offset]) + 1
}

// shown gives a stretch of the file for a message: its first line, and not too long.
func (s *source) shown(at span) string {
	if s.variable || at.to > len(s.data) || at.from > at.to {
		return ""
	}
	text := s.data[at.from:at.to]
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		text = append(bytes.TrimRight(bytes.Clone(text[:i]), "\r "), "…"...)
	}
	const most = 80
	if runes := []rune(string(text)); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return string(text)
}

// called begins a message on a key; a variable's name stands before the message already.
func (s *source) called(key string) string {
	if s.variable {
		return ""
	}
	return key + ": "
}

// span is a stretch of a source.
type span struct{ from, to int }
