package cloudbridge_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// floors are the storeys of the staircase, the lowest first. A package may import packages of its own floor and of those
// below, never of one above.
var floors = []string{"internal", "mappings", "platforms", "bridge", "cmd"}

// TestStaircase fails on an import that climbs.
func TestStaircase(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	packages := 0
	for {
		var p struct {
			ImportPath                         string
			Imports, TestImports, XTestImports []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		own := floorOf(p.ImportPath)
		if own < 0 {
			continue
		}
		packages++
		// Tests above the core may need emulators and real brokers, so only what ships is held to the staircase.
		for _, imp := range p.Imports {
			if floorOf(imp) > own {
				t.Errorf("%s (floor %s) imports %s (floor %s): imports point down only", p.ImportPath, floors[own], imp, floors[floorOf(imp)])
			}
		}
	}
	if packages < len(floors) {
		t.Errorf("only %d packages stand on a floor; the list of floors no longer fits the tree", packages)
	}
}

// floorOf gives the floor of a package of this module, or -1.
func floorOf(path string) int {
	rest, ours := strings.CutPrefix(path, "cloudbridge/")
	if !ours {
		return -1
	}
	top, _, _ := strings.Cut(rest, "/")
	for i, f := range floors {
		if f == top {
			return i
		}
	}
	return -1
}
