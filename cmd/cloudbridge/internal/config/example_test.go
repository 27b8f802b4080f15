package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"cloudbridge/bridge"
	"cloudbridge/platforms"
)

// exampleFile is the commented configuration at the top of the project.
const exampleFile = "../../../../config.example.toml"

// uncommented takes away the # before keys and tables. With defaults it keeps every line; without, it empties those that
// show a default, so that line numbers stay.
func uncommented(text string, defaults bool) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		code, commented := strings.CutPrefix(line, "#")
		if !commented || code == "" || strings.HasPrefix(code, " ") || strings.HasPrefix(code, "=") || strings.HasPrefix(code, "-") {
			continue
		}
		required := strings.HasPrefix(code, "[") || strings.HasPrefix(code, "platform") || strings.HasSuffix(code, "# example")
		if lines[i] = code; !defaults && !required {
			lines[i] = ""
		}
	}
	return strings.Join(lines, "\n")
}

func readExample(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// exampleDir holds the files that the example names.
func exampleDir(t *testing.T) string {
	t.Helper()
	var files []string
	for _, name := range []string{
		"local.pw", "web.pw", "metrics.token", "ts.pw", "ts1001.key", "ts1001-read.key", "aio.key", "hive.pw", "other.pw",
		"root-ca.pem", "client.pem", "client.key",
	} {
		files = append(files, name, "SECRET"+strings.NewReplacer(".", "", "-", "").Replace(name)+"\n")
	}
	return write(t, files...)
}

func TestExampleAsItIs(t *testing.T) {
	f := parse(t, readExample(t))
	if len(f.Warnings) != 1 || !strings.Contains(f.Warnings[0].Message, "there is no rule") {
		t.Errorf("warnings %v", f.Warnings)
	}
}

// TestExampleDefaults takes the # away everywhere, with and without the lines that show defaults: both must mean the same.
func TestExampleDefaults(t *testing.T) {
	text, dir, all := readExample(t), exampleDir(t), kinds()
	load := func(defaults bool) *File {
		f, err := Parse(filepath.Join(dir, "c.toml"), []byte(uncommented(text, defaults)), nobody(), all)
		if err != nil {
			t.Fatalf("with defaults %v:\n%v", defaults, err)
		}
		return f
	}
	with, without := load(true), load(false)
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"[bridge] clock", with.TrustClock, without.TrustClock},
		{"[log]", with.Log, without.Log},
		{"[web]", with.Web, without.Web},
		{"[metrics]", with.Metrics, without.Metrics},
		{"[local]", with.Bridge.Local, without.Bridge.Local},
		{"[queue]", with.Bridge.Queue, without.Bridge.Queue},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s with the defaults written: %+v\nwithout: %+v", c.what, c.got, c.want)
		}
	}
	if len(with.Bridge.Clouds) != 4 || len(with.Bridge.Uplinks) != 7 || len(with.Bridge.Downlinks) != 4 {
		t.Fatalf("%d clouds, %d uplinks, %d downlinks", len(with.Bridge.Clouds), len(with.Bridge.Uplinks), len(with.Bridge.Downlinks))
	}
	for i, c := range with.Bridge.Clouds {
		if !reflect.DeepEqual(c, without.Bridge.Clouds[i]) {
			t.Errorf("cloud %s with the defaults written: %+v\nwithout: %+v", c.Name, c, without.Bridge.Clouds[i])
		}
	}
	for i, u := range with.Bridge.Uplinks {
		if got, want := bare(u), bare(without.Bridge.Uplinks[i]); !reflect.DeepEqual(got, want) {
			t.Errorf("uplink %s with the defaults written: %+v\nwithout: %+v", u.Label, got, want)
		}
	}
	for i, d := range with.Bridge.Downlinks {
		o := without.Bridge.Downlinks[i]
		d.Source, d.Downlink.Local, d.Value, d.When, o.Source, o.Downlink.Local, o.Value, o.When = nil, nil, nil, nil, nil, nil, nil, nil
		if !reflect.DeepEqual(d, o) {
			t.Errorf("downlink %s with the defaults written: %+v\nwithout: %+v", d.Label, d, o)
		}
	}
}

// bare leaves out what is compiled and cannot be compared.
func bare(u bridge.Uplink) bridge.Uplink {
	u.Local, u.Cloud, u.Target, u.Each, u.Value, u.When, u.Time = nil, nil, nil, nil, nil, nil, nil
	return u
}

// TestExampleNamesEveryKey holds the example to the structs: a new key must be explained there.
func TestExampleNamesEveryKey(t *testing.T) {
	text := readExample(t)
	var words []string
	for name, table := range tablesOf() {
		words = append(words, section(t, text, `\[`+name+`\]`, keysOf(table))...)
	}
	any := `\[cloud\.\w+\]`
	words = append(words, section(t, text, any, keysOf(&cloudTable{}))...)
	words = append(words, section(t, text, any, keysOf(&platforms.Connection{}))...)
	all := kinds()
	l := &loader{kinds: all}
	for i := range all {
		words = append(words, section(t, text, any, l.ownKeys(&all[i]))...)
		words = append(words, section(t, text, `\[\[(?:uplink|downlink)\]\]`, placeKeys(&all[i]))...)
		for _, key := range nested(all[i].NewCloud()) {
			words = append(words, section(t, text, `\[cloud\.\w+\.\w+\.\w+\]`, []string{key})...)
		}
	}
	words = append(words, section(t, text, `\[\[uplink\]\]`, keysOf(&uplinkTable{}))...)
	words = append(words, section(t, text, `\[\[downlink\]\]`, keysOf(&downlinkTable{}))...)
	words = append(words, section(t, text, `\[\[twoway\]\]`, keysOf(&twowayTable{}))...)
	if len(words) < 100 {
		t.Errorf("only %d keys were looked for", len(words))
	}
}

// section fails for each key that no section with such a header names.
func section(t *testing.T, text, header string, keys []string) []string {
	t.Helper()
	heads := regexp.MustCompile(`(?m)^#?(\[.*\])$`).FindAllStringSubmatchIndex(text, -1)
	var body strings.Builder
	for i, h := range heads {
		end := len(text)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		if regexp.MustCompile(`^` + header + `$`).MatchString(text[h[2]:h[3]]) {
			body.WriteString(text[h[1]:end])
		}
	}
	for _, key := range keys {
		if key == "channels" {
			continue // a table of its own, below its cloud
		}
		if !regexp.MustCompile(`(?m)(^#|[ #])` + key + `(\.\w+)* = `).MatchString(body.String()) {
			t.Errorf("config.example.toml does not explain %s in %s", key, header)
		}
	}
	return keys
}

// nested lists the keys of the structs in a cloud's maps.
func nested(cloud any) []string {
	var keys []string
	for _, f := range fieldsOf(cloud) {
		if f.value.Kind() == reflect.Map && f.value.Type().Elem().Kind() == reflect.Struct {
			keys = append(keys, keysOf(reflect.New(f.value.Type().Elem()).Interface())...)
		}
	}
	return keys
}
