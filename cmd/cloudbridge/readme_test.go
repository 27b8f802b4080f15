package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cloudbridge/cmd/cloudbridge/internal/config"
	"cloudbridge/platforms/all"

	"github.com/alecthomas/kong"
)

// readmes are the pages that people read first, relative to this folder.
var readmes = []string{"../../README.md", "../../README.zh-TW.md"}

// fragments are the tables that a block of the README needs and does not show: <!-- with: home --> above a block that holds
// rules alone puts the table of this name before it.
var fragments = map[string]string{
	"weather": "[cloud.weather]\nplatform = \"thingspeak\"\nclient_id = \"Abc\"\nusername = \"Abc\"\npassword = \"${SECRET}\"\n",
	"home":    "[cloud.home]\nplatform = \"adafruit-io\"\nusername = \"alice\"\nkey = \"${SECRET}\"\n",
	"hive": "[cloud.hive]\nplatform = \"hivemq-cloud\"\nhost = \"abc123.s1.eu.hivemq.cloud\"\nusername = \"bridge\"\n" +
		"password = \"${SECRET}\"\n",
}

// readmeEnvironment holds the secret of the fragments, and nothing of whoever runs the tests.
func readmeEnvironment() config.Environment {
	return config.Environment{
		Lookup:   func(name string) (string, bool) { return "secret-of-the-test", name == "SECRET" },
		Hostname: "lab1", QueueDir: "/var/lib/cloudbridge",
	}
}

// block is one fenced block of a page.
type block struct {
	page, language, text string
	line                 int
	// with are the fragments that the comment before it names.
	with []string
}

var withComment = regexp.MustCompile(`^<!-- with: ([a-z ]+) -->$`)

// blocks takes a page apart.
func blocks(t *testing.T, page string) (found []block) {
	t.Helper()
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var open *block
	var with []string
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		trimmed := strings.TrimSpace(line)
		fence, fenced := strings.CutPrefix(trimmed, "```")
		switch {
		case fenced && open == nil:
			open = &block{page: filepath.Base(page), language: fence, line: n, with: with}
			with = nil
		case fenced:
			found, open = append(found, *open), nil
		case open != nil:
			open.text += line
		case withComment.MatchString(trimmed):
			with = strings.Fields(withComment.FindStringSubmatch(trimmed)[1])
		}
	}
	if open != nil {
		t.Fatalf("%s:%d: this block does not end", page, open.line)
	}
	return found
}

func ofLanguage(list []block, language string) []block {
	return slices.DeleteFunc(slices.Clone(list), func(b block) bool { return b.language != language })
}

// TestReadmeConfigs reads every block of TOML as a config. A mistake there is copied by everybody.
func TestReadmeConfigs(t *testing.T) {
	for _, page := range readmes {
		list := ofLanguage(blocks(t, page), "toml")
		if len(list) < 8 {
			t.Errorf("%s has only %d blocks of TOML", page, len(list))
		}
		for _, b := range list {
			text := b.text
			for _, name := range b.with {
				table, ok := fragments[name]
				if !ok {
					t.Fatalf("%s:%d: there is no fragment %q", b.page, b.line, name)
				}
				text = table + "\n" + text
			}
			f, err := config.Parse("cloudbridge.toml", []byte(text), readmeEnvironment(), all.Kinds())
			if err != nil {
				t.Errorf("%s:%d: %v", b.page, b.line, err)
				continue
			}
			if rules := strings.Count(b.text, "[["); rules != ruleCount(&f.Bridge) {
				t.Errorf("%s:%d: %d rules were read, want %d", b.page, b.line, ruleCount(&f.Bridge), rules)
			}
			for _, w := range f.Warnings {
				if !strings.Contains(w.Message, "there is no rule") {
					t.Errorf("%s:%d: %s", b.page, b.line, w)
				}
			}
		}
	}
}

// TestReadmesAgree holds both languages to the same configs. Only what stands behind # may differ.
func TestReadmesAgree(t *testing.T) {
	bare := func(page string) (texts []string) {
		for _, b := range ofLanguage(blocks(t, page), "toml") {
			var kept []string
			for line := range strings.Lines(b.text) {
				if line = strings.TrimSpace(regexp.MustCompile(`(^|\s)#.*`).ReplaceAllString(line, "")); line != "" {
					kept = append(kept, line)
				}
			}
			texts = append(texts, strings.Join(kept, "\n"))
		}
		return texts
	}
	first, second := bare(readmes[0]), bare(readmes[1])
	if !slices.Equal(first, second) {
		for i := range min(len(first), len(second)) {
			if first[i] != second[i] {
				t.Fatalf("block %d differs:\n%s\n\n%s", i+1, first[i], second[i])
			}
		}
		t.Errorf("%d and %d blocks", len(first), len(second))
	}
}

var inlineCommand = regexp.MustCompile("`(cloudbridge [^`]+|go run \\./cmd/cloudbridge [^`]+)`")

// TestReadmeCommands lets the program's own parser read every command line that is shown.
func TestReadmeCommands(t *testing.T) {
	for _, page := range readmes {
		var lines []string
		for _, b := range ofLanguage(blocks(t, page), "sh") {
			lines = append(lines, strings.Split(b.text, "\n")...)
		}
		data, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range inlineCommand.FindAllStringSubmatch(string(data), -1) {
			lines = append(lines, m[1])
		}
		seen := map[string]bool{}
		for _, line := range lines {
			args, ours := strings.CutPrefix(strings.TrimPrefix(line, "go run ./cmd/"), "cloudbridge ")
			if !ours {
				continue
			}
			seen[strings.Fields(args)[0]] = true
			if err := parses(t, words(args)); err != nil {
				t.Errorf("%s: %s: %v", page, line, err)
			}
		}
		for _, command := range []string{"run", "check", "explain", "demo", "emulate"} {
			if !seen[command] {
				t.Errorf("%s does not show cloudbridge %s", page, command)
			}
		}
	}
}

// parses says whether the program takes a command line, without running it.
func parses(t *testing.T, args []string) error {
	t.Helper()
	var line commandLine
	parser, err := kong.New(&line, kong.Name("cloudbridge"), kong.Vars{"version": "", "platforms": joinOr(emulatorNames())})
	if err != nil {
		t.Fatal(err)
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		return err
	}
	if strings.HasPrefix(ctx.Command(), "emulate") {
		_, err = emulatorNamed(line.Emulate.Platform)
	}
	return err
}

// words divides a line as a shell does, as far as the README needs it: by spaces, but for those in quotes.
func words(line string) (list []string) {
	for _, m := range regexp.MustCompile(`'([^']*)'|"([^"]*)"|(\S+)`).FindAllStringSubmatch(line, -1) {
		list = append(list, m[1]+m[2]+m[3])
	}
	return list
}

var exampleKey = regexp.MustCompile(`(?m)^#? ?([a-z_0-9]+)(?:\.[a-z.]+)? += `)

// TestReadmeNamesEveryKey holds the tables of keys to config.example.toml, which a test of its own holds to the program.
func TestReadmeNamesEveryKey(t *testing.T) {
	example, err := os.ReadFile("../../config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(readmes[0])
	if err != nil {
		t.Fatal(err)
	}
	_, tables, ok := strings.Cut(string(readme), "\n## All keys\n")
	if !ok {
		t.Fatal("the README has no tables of keys")
	}
	named := map[string]bool{}
	for _, code := range regexp.MustCompile("`[^`]*`").FindAllString(tables, -1) {
		for _, word := range regexp.MustCompile(`[a-z_0-9]+`).FindAllString(code, -1) {
			named[word] = true
		}
	}
	keys := map[string]bool{}
	for _, m := range exampleKey.FindAllStringSubmatch(string(example), -1) {
		keys[m[1]] = true
	}
	if len(keys) < 60 {
		t.Errorf("only %d keys were found in config.example.toml", len(keys))
	}
	for key := range keys {
		inRange := regexp.MustCompile(`^field[2-7]$`).MatchString(key) // "field1 ... field8"
		if !named[key] && !inRange {
			t.Errorf("the README does not name the key %s", key)
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)

// TestReadmeLinks follows the links that stay inside the project.
func TestReadmeLinks(t *testing.T) {
	pages := append([]string{"../../CONTRIBUTING.md", "../../docs/platforms.md"}, readmes...)
	followed := 0
	for _, page := range pages {
		data, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(data), -1) {
			followed++
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			}
		}
	}
	if followed < 10 {
		t.Errorf("only %d links were found", followed)
	}
}
