package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"cloudbridge/platforms/all"
)

// version is set by the linker in releases; elsewhere what Go knows of the build stands in.
var version string

type versionCommand struct{}

// Run says which cloudbridge this is, how it was built, and which clouds it knows.
func (versionCommand) Run(c *console) error {
	fmt.Fprintln(c.out, versionLine())
	fmt.Fprintf(c.out, "built with %s for %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	fmt.Fprintf(c.out, "platforms: %s\n", strings.Join(kindNames(), ", "))
	return nil
}

// versionLine is the program's name and version, with the commit where it is known.
func versionLine() string {
	v, commit := version, ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if v == "" {
			v = info.Main.Version
		}
		commit = revision(info.Settings)
	}
	if v == "" {
		v = "(devel)"
	}
	return strings.TrimSpace("cloudbridge " + v + " " + commit)
}

// revision writes the commit of a build in short, and whether it was changed.
func revision(settings []debug.BuildSetting) string {
	var id, date string
	changed := false
	for _, s := range settings {
		switch s.Key {
		case "vcs.revision":
			id = s.Value[:min(len(s.Value), 12)]
		case "vcs.time":
			date, _, _ = strings.Cut(s.Value, "T")
		case "vcs.modified":
			changed = s.Value == "true"
		}
	}
	if id == "" {
		return ""
	}
	text := "commit " + id + " of " + date
	if changed {
		text += ", changed since"
	}
	return "(" + text + ")"
}

func kindNames() []string {
	var names []string
	for _, k := range all.Kinds() {
		names = append(names, k.Name)
	}
	return names
}
