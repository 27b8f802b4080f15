// Package config is the only one that knows TOML and the environment. It reads cloudbridge.toml with what it includes, the
// secret files it names and the variables that begin with CLOUDBRIDGE_, and makes a bridge.Config of them, with every
// pattern, template and expression compiled.
//
// A fault never ends the reading: all of them are found, each with its file, line and column. What a message shows is text
// of the file that cannot be a secret; the parser's own excerpts, which could hold one, are never used.
package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"cloudbridge/bridge"
	"cloudbridge/internal/mqtt"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// File is a configuration, read and compiled.
type File struct {
	// Path is the file that was named, Files are all that were read: includes, and the files of secrets.
	Path    string
	Files   []string
	Bridge  bridge.Config
	Log     Log
	Web     Web
	Metrics Metrics
	// TrustClock says that this computer's clock is right where nothing says that it is not.
	TrustClock bool
	// Warnings are in the order of the files.
	Warnings []Warning
	// Secrets are all that were given, for tests that none of them is ever shown.
	Secrets []mqtt.Secret
}

// Load reads a file with its includes, the environment and the secret files, and compiles all of it. The error is an
// *Errors with every fault.
func Load(path string, env Environment, kinds []platforms.Kind) (*File, error) {
	data, err := readAtMost(path, largestFile)
	if err != nil {
		return nil, &Errors{Faults: []Fault{{
			File: path, Message: fmt.Sprintf("the configuration cannot be read: %v", cause(err)),
			Hint: "name another file with --config FILE or CLOUDBRIDGE_CONFIG",
		}}}
	}
	src := newSource(path, data)
	src.open = openToAll(path)
	return load(src, env, kinds)
}

// Parse does the same with the text of a file that need not exist; includes and secret files are sought as if it stood at
// the name's place.
func Parse(name string, data []byte, env Environment, kinds []platforms.Kind) (*File, error) {
	return load(newSource(name, data), env, kinds)
}

// largestFile bounds a configuration: what is larger is something else, or never ends.
const largestFile = 16 << 20

// loader makes one configuration.
type loader struct {
	*tree
	kinds []platforms.Kind
	file  *File
	// blamed are the keys, by table, that have a fault.
	blamed map[*node]map[string]bool
	// misspelt are the tables with a key that is not known: what is missing there is most likely that key.
	misspelt   map[*node]bool
	warnedOpen map[string]bool
	secrets    []mqtt.Secret
	scope      mappings.Scope
	clouds     map[string]*cloud
	// up and down are the compiled rules, with what only the forecast asks of them.
	up   []uplink
	down []downlink
}

func load(src *source, env Environment, kinds []platforms.Kind) (*File, error) {
	l := &loader{
		tree: &tree{
			report: &report{order: map[string]int{}}, env: env,
			root: &node{kind: tableKind, src: src},
		},
		kinds: kinds, file: &File{Path: src.name},
		blamed: map[*node]map[string]bool{}, misspelt: map[*node]bool{}, warnedOpen: map[string]bool{}, clouds: map[string]*cloud{},
	}
	l.readAll(src)
	l.expandAll("", l.root)
	l.overlay()
	l.readTables()
	l.readClouds()
	l.readRules()
	l.verify()
	if err := l.report.err(); err != nil {
		return nil, err
	}
	l.forecast()
	l.file.Warnings = l.report.sortedWarnings()
	l.file.Secrets = l.secrets
	return l.file, nil
}

// readAll reads a file and what it includes. A file that is reached twice is read once.
func (l *loader) readAll(src *source) {
	l.report.saw(src.name)
	l.file.Files = append(l.file.Files, src.name)
	l.read(src)
	list, ok := l.root.child["include"]
	if !ok {
		return
	}
	l.root.remove("include")
	if list.kind == broken {
		return
	}
	if list.kind != listKind || slices.ContainsFunc(list.list, func(n *node) bool { return n.kind != textKind }) {
		l.fault(list.src, list.key, "include", "include: must be a list of file names", `write include = ["conf.d/*.toml"]`)
		return
	}
	for _, n := range list.list {
		l.expandAll("include", n)
		for _, path := range l.included(n) {
			if slices.Contains(l.file.Files, path) {
				continue
			}
			data, err := readAtMost(path, largestFile)
			if err != nil {
				l.damaged = true
				l.fault(n.src, n.val, n.src.shown(n.val), fmt.Sprintf("include: %s cannot be read: %v", path, cause(err)), "")
				continue
			}
			part := newSource(path, data)
			part.open = openToAll(path)
			l.readAll(part)
		}
	}
}

// included finds the files of one entry of include, in the order of their names.
func (l *loader) included(n *node) []string {
	pattern := n.text.value
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(n.src.dir, pattern)
	}
	paths, err := filepath.Glob(pattern)
	switch {
	case err != nil:
		l.fault(n.src, n.val, n.src.shown(n.val), "include: this is not a pattern of file names", `write one like "conf.d/*.toml"`)
	case len(paths) == 0 && !strings.ContainsAny(pattern, "*?["):
		// Rules that live there would be missed silently.
		l.damaged = true
		l.fault(n.src, n.val, n.src.shown(n.val), "include: there is no such file", "a name is relative to the file that it stands in")
	}
	return paths
}

// expandAll replaces ${NAME} in every string.
func (l *loader) expandAll(key string, n *node) {
	switch n.kind {
	case textKind:
		n.text = n.text.expand(l.env.lookup, func(offset int, name, message, hint string) {
			shown := "${" + name + "}"
			if name == "" || hush(key) && name != strings.ToUpper(name) {
				// A password may hold ${ by chance: what follows is then a part of it.
				shown = ""
				if name != "" {
					message = "the environment variable that is named here is not set"
				}
			}
			at, _ := n.text.at(offset)
			l.fault(n.src, span{at, at}, shown, key+": "+message, hint)
			n.kind = broken
		})
	case listKind:
		for _, m := range n.list {
			l.expandAll(key, m)
		}
	case tableKind:
		for _, name := range n.names {
			l.expandAll(name, n.child[name])
		}
	}
}

// warn adds a warning at a key.
func (l *loader) warn(n *node, message, hint string) {
	line, column := n.src.position(n.key.from)
	l.report.warnings = append(l.report.warnings, Warning{File: n.src.name, Line: line, Column: column, Message: message, Hint: hint})
}
