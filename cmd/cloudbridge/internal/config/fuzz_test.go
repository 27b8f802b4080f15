package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzParse wants no panic, and of each fault a place inside the text.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*.toml", "testdata/faults/*.toml", "../../../../config.example.toml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	dir := f.TempDir()
	all := kinds()
	f.Fuzz(func(t *testing.T, data []byte) {
		name := filepath.Join(dir, "c.toml")
		file, err := Parse(name, data, nobody(), all)
		if err == nil {
			if file == nil {
				t.Fatal("neither a file nor an error")
			}
			return
		}
		var faults *Errors
		if !errors.As(err, &faults) || len(faults.Faults) == 0 {
			t.Fatalf("an error without faults: %v", err)
		}
		for _, one := range faults.Faults {
			if one.Message == "" || one.File == name && (one.Line < 1 || one.Column < 1) {
				t.Errorf("a fault without a place or a word: %+v", one)
			}
		}
	})
}
