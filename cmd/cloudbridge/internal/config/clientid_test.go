package config

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

func TestClientID(t *testing.T) {
	pi := Hardware{Serial: "10000000c0ffee42", MAC: "dc:a6:32:01:02:03"}
	dir := filepath.Join(t.TempDir(), "queue")
	for _, step := range []struct {
		why, name string
		hw        Hardware
		want      string
	}{
		{"made of the serial", "lab1", pi, "lab1-ee42"},
		{"kept under another name", "lab2", pi, "lab1-ee42"},
		{"kept without a serial", "lab1", Hardware{MAC: "02:00:00:00:00:01"}, "lab1-ee42"},
		{"made anew on another board", "lab1", Hardware{Serial: "10000000deadbeef"}, "lab1-beef"},
		{"and kept there", "lab1", Hardware{Serial: "10000000deadbeef"}, "lab1-beef"},
	} {
		got, err := ClientID(dir, step.name, step.hw)
		if err != nil || got != step.want {
			t.Errorf("%s: %q, %v; want %q", step.why, got, err, step.want)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestClientIDWithoutSerial(t *testing.T) {
	dir := t.TempDir()
	first, err := ClientID(dir, "c", Hardware{MAC: "02:42:ac:11:00:02"})
	if err != nil || first != "c-0002" {
		t.Fatalf("%q, %v", first, err)
	}
	if got, _ := ClientID(dir, "c", Hardware{MAC: "02:42:ac:11:00:99"}); got != first {
		t.Errorf("a container's new address changed the id to %q", got)
	}
	// A serial that becomes visible later is written down and changes nothing; another one then does.
	if got, _ := ClientID(dir, "c", Hardware{Serial: "aaaa1111"}); got != first {
		t.Errorf("a serial that became visible changed the id to %q", got)
	}
	if got, _ := ClientID(dir, "c", Hardware{Serial: "aaaa2222"}); got != "c-2222" {
		t.Errorf("another board got %q", got)
	}
	drawn, err := ClientID(t.TempDir(), "c", Hardware{})
	if err != nil || !regexp.MustCompile(`^c-[0-9a-f]{4}$`).MatchString(drawn) {
		t.Errorf("drawn: %q, %v", drawn, err)
	}
}

func TestClientIDTornFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, idFile), []byte(`{"client_id":"la`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ClientID(dir, "lab1", Hardware{Serial: "0001"}); err != nil || got != "lab1-0001" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestClientIDNoPlace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "queue")} {
		got, err := ClientID(dir, "lab1", Hardware{MAC: "02:42:ac:11:00:02"})
		if err == nil {
			t.Error("an id was kept below a file")
		}
		if got != "lab1-0002" {
			t.Errorf("without a place to keep it the id is %q, want that of the board", got)
		}
	}
}

func TestSerialOf(t *testing.T) {
	const pi = "processor\t: 0\nHardware\t: BCM2835\nRevision\t: a02082\nSerial\t\t: 00000000abcd1234\n"
	for text, want := range map[string]string{pi: "00000000abcd1234", "Serial : 0000000000000000\n": "", "model name : x86\n": ""} {
		if got := serialOf(text); got != want {
			t.Errorf("serialOf(%q) = %q, want %q", text, got, want)
		}
	}
}
