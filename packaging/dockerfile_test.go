// Package packaging_test checks what ships beside the program and cannot be built everywhere.
package packaging_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = ".."

// instruction is one instruction of a Dockerfile.
type instruction struct {
	word string
	args []string
	// flags are the arguments with two dashes, without them: "from" is "build".
	flags map[string]string
	// rest is the line as it stands, without the word.
	rest string
}

// stage is what stands below one FROM.
type stage struct {
	image, name  string
	instructions []instruction
}

// readDockerfile takes the Dockerfile apart: comments go, lines that go on are joined.
func readDockerfile(t *testing.T) []stage {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if n := len(lines); n > 0 && strings.HasSuffix(lines[n-1], `\`) {
			lines[n-1] = strings.TrimSuffix(lines[n-1], `\`) + line
			continue
		}
		lines = append(lines, line)
	}
	var stages []stage
	for _, line := range lines {
		in := parseInstruction(line)
		if in.word != "FROM" {
			if len(stages) == 0 {
				t.Fatalf("%s stands above the first FROM", in.word)
			}
			last := &stages[len(stages)-1]
			last.instructions = append(last.instructions, in)
			continue
		}
		s := stage{image: in.args[0]}
		if len(in.args) == 3 && in.args[1] == "AS" {
			s.name = in.args[2]
		}
		stages = append(stages, s)
	}
	return stages
}

func parseInstruction(line string) instruction {
	word, rest, _ := strings.Cut(line, " ")
	in := instruction{word: strings.ToUpper(word), rest: strings.TrimSpace(rest), flags: map[string]string{}}
	for _, a := range strings.Fields(in.rest) {
		if flag, ok := strings.CutPrefix(a, "--"); ok && len(in.args) == 0 {
			name, value, _ := strings.Cut(flag, "=")
			in.flags[name] = value
			continue
		}
		in.args = append(in.args, a)
	}
	return in
}

// all gives the instructions of a stage with one word.
func (s *stage) all(word string) (found []instruction) {
	for _, in := range s.instructions {
		if in.word == word {
			found = append(found, in)
		}
	}
	return found
}

// one gives the only instruction of a stage with a word.
func (s *stage) one(t *testing.T, word string) instruction {
	t.Helper()
	found := s.all(word)
	if len(found) != 1 {
		t.Fatalf("%d instructions %s in stage %s, want 1", len(found), word, s.image)
	}
	return found[0]
}

func TestDockerfileStages(t *testing.T) {
	stages := readDockerfile(t)
	if len(stages) != 2 {
		t.Fatalf("%d stages, want one that builds and one that ships", len(stages))
	}
	if ship := stages[1].image; ship != "scratch" {
		t.Errorf("what ships is built on %s, want scratch", ship)
	}
	built, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	module := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(built)
	image := regexp.MustCompile(`^golang:(\d+\.\d+)`).FindStringSubmatch(stages[0].image)
	if module == nil || image == nil || string(module[1]) != image[1] {
		t.Errorf("go.mod has %s and the image is %s: they must be of one version of Go", module, stages[0].image)
	}
	var build string
	for _, in := range stages[0].all("RUN") {
		if strings.Contains(in.rest, "go build") {
			build = in.rest
		}
	}
	for _, want := range []string{"CGO_ENABLED=0", "-trimpath", "./cmd/cloudbridge"} {
		if !strings.Contains(build, want) {
			t.Errorf("the build %q lacks %s", build, want)
		}
	}
}

func TestDockerfileIsNotRoot(t *testing.T) {
	stages := readDockerfile(t)
	ship := &stages[len(stages)-1]
	user := ship.one(t, "USER").rest
	for id := range strings.SplitSeq(user, ":") {
		if n, err := strconv.Atoi(id); err != nil || n == 0 {
			t.Errorf("USER %s: want numbers other than 0, for names mean nothing in scratch", user)
		}
	}
	volume := ship.one(t, "VOLUME").rest
	owned := slices.ContainsFunc(ship.all("COPY"), func(in instruction) bool {
		return in.args[len(in.args)-1] == volume && in.flags["chown"] == user
	})
	if !owned {
		t.Errorf("user %s cannot write to the volume %s: no COPY --chown makes it", user, volume)
	}
	if len(ship.all("RUN")) > 0 {
		t.Error("scratch has no shell: RUN cannot work there")
	}
}

// TestDockerfileCommand holds the words that are run to JSON: the other form needs a shell.
func TestDockerfileCommand(t *testing.T) {
	stages := readDockerfile(t)
	ship := &stages[len(stages)-1]
	var entry, command []string
	for word, into := range map[string]*[]string{"ENTRYPOINT": &entry, "CMD": &command} {
		if err := json.Unmarshal([]byte(ship.one(t, word).rest), into); err != nil {
			t.Errorf("%s: %v", word, err)
		}
	}
	program := slices.ContainsFunc(ship.all("COPY"), func(in instruction) bool {
		return len(entry) == 1 && in.args[len(in.args)-1] == entry[0]
	})
	if !program {
		t.Errorf("nothing copies the program to %v", entry)
	}
	if want := []string{"run", "--config", "/etc/cloudbridge/cloudbridge.toml"}; !slices.Equal(command, want) {
		t.Errorf("CMD %q, want %q", command, want)
	}
}

// TestDockerfileSources holds what COPY reads to what there is: in this folder, let through by .dockerignore, or made by
// the stage before.
func TestDockerfileSources(t *testing.T) {
	ignored := readIgnored(t)
	stages := readDockerfile(t)
	copies := 0
	for i := range stages {
		for _, in := range stages[i].all("COPY") {
			copies++
			sources := in.args[:len(in.args)-1]
			if from, ok := in.flags["from"]; ok {
				if i == 0 || from != stages[i-1].name {
					t.Errorf("COPY --from=%s: no stage before has this name", from)
				}
				continue
			}
			for _, source := range sources {
				if _, err := os.Stat(filepath.Join(root, source)); err != nil {
					t.Errorf("COPY %s: %v", source, err)
				}
				if source != "." && !slices.Contains(ignored, source) {
					t.Errorf("COPY %s: .dockerignore keeps it out", source)
				}
			}
		}
	}
	if copies < 4 {
		t.Errorf("only %d COPY instructions were read", copies)
	}
}

// TestDockerignoreLetsTheProgramIn fails if a folder with code that the program is built of does not reach the builder.
func TestDockerignoreLetsTheProgramIn(t *testing.T) {
	allowed := readIgnored(t)
	for _, name := range allowed {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Errorf(".dockerignore lets in what does not exist: %v", err)
		}
	}
	found, err := filepath.Glob(filepath.Join(root, "*", "*.go"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no code: %v", err)
	}
	for _, file := range found {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		if folder := filepath.Base(filepath.Dir(file)); !slices.Contains(allowed, folder) {
			t.Errorf(".dockerignore keeps %s out of the build", folder)
		}
	}
	for _, folder := range []string{"cmd", "internal"} {
		if !slices.Contains(allowed, folder) {
			t.Errorf(".dockerignore keeps %s out of the build", folder)
		}
	}
}

// readIgnored gives what .dockerignore lets through. It must keep out everything else: a folder holds secrets sooner or later.
func readIgnored(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	var allowed []string
	everything := false
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "!"); ok {
			allowed = append(allowed, name)
		}
		everything = everything || line == "*"
	}
	if !everything {
		t.Error(".dockerignore does not begin by keeping everything out")
	}
	return allowed
}
