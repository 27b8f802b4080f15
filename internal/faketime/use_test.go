package faketime

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryBubble fails on a test that begins a bubble by itself: under the race detector it ends the process now and then.
func TestEveryBubble(t *testing.T) {
	begins := []byte("synctest." + "Test(")
	root := filepath.Join("..", "..")
	users := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.Contains(text, begins) {
			t.Errorf("%s begins a bubble with %s: faketime.Test does it, and keeps it on one processor", path, begins)
		}
		if bytes.Contains(text, []byte("faketime.Test(")) {
			users++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if users == 0 {
		t.Error("no test uses faketime.Test: this one looks in the wrong place")
	}
}
