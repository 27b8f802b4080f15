package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/kelseyhightower/envconfig"

	"cloudbridge/platforms"
)

// Environment is everything outside of the files that a configuration depends on. The zero value is an empty one.
type Environment struct {
	// Lookup finds one variable, for ${NAME} and CLOUDBRIDGE_CONFIG.
	Lookup func(string) (string, bool)
	// Process fills a struct from the variables with a prefix, as envconfig.Process does; nil leaves it as it is.
	Process func(prefix string, into any) error
	// Environ lists the variables as NAME=value, to find those that nobody knows. The values are never shown.
	Environ []string
	// Hostname is the bridge's default name.
	Hostname string
	// QueueDir is where the queue is kept if the file does not say.
	QueueDir string
}

// OS is the environment of this process.
func OS() Environment {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	return Environment{
		Lookup: os.LookupEnv, Process: envconfig.Process, Environ: os.Environ(),
		Hostname: host, QueueDir: defaultQueueDir(),
	}
}

// systemQueueDir is where a service keeps its queue.
const systemQueueDir = "/var/lib/cloudbridge"

// defaultQueueDir is the system's folder for a service, and the user's own for everybody else.
func defaultQueueDir() string {
	if runtime.GOOS != "windows" && (os.Geteuid() == 0 || writable(systemQueueDir)) {
		return systemQueueDir
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "cloudbridge")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return systemQueueDir
	}
	switch runtime.GOOS {
	case "windows":
		return filepath.Join(home, "AppData", "Local", "cloudbridge")
	case "darwin":
		return filepath.Join(home, "Library", "Application Support", "cloudbridge")
	}
	return filepath.Join(home, ".local", "state", "cloudbridge")
}

func (e Environment) lookup(name string) (string, bool) {
	if e.Lookup == nil {
		return "", false
	}
	return e.Lookup(name)
}

// get gives a variable, where an empty one counts as not set.
func (e Environment) get(name string) string {
	v, _ := e.lookup(name)
	return v
}

func (e Environment) process(prefix string, into any) error {
	if e.Process == nil {
		return nil
	}
	return e.Process(prefix, into)
}

// Find gives the configuration file to read: the flag's, CLOUDBRIDGE_CONFIG's, ./cloudbridge.toml or
// /etc/cloudbridge/cloudbridge.toml.
func Find(flag string, env Environment) (string, error) {
	return find(flag, env, []string{"cloudbridge.toml", "/etc/cloudbridge/cloudbridge.toml"})
}

func find(flag string, env Environment, usual []string) (string, error) {
	named, by := flag, "--config"
	if named == "" {
		named, by = env.get("CLOUDBRIDGE_CONFIG"), "CLOUDBRIDGE_CONFIG"
	}
	if named != "" {
		if _, err := os.Stat(named); err != nil {
			return "", fmt.Errorf("%s names %s, which cannot be read: %w", by, named, cause(err))
		}
		return named, nil
	}
	for _, name := range usual {
		if _, err := os.Stat(name); err == nil {
			return name, nil
		}
	}
	return "", fmt.Errorf("there is no configuration: neither %s exists; copy config.example.toml to cloudbridge.toml, "+
		"or name a file with --config FILE or CLOUDBRIDGE_CONFIG", strings.Join(usual, " nor "))
}

// globals are the variables for the bridge itself. The names of the fields make the names of the variables: a tag of
// envconfig's would also read a variable without our prefix.
type globals struct {
	Config        string
	Name          string
	LogLevel      string `split_words:"true"`
	LogFormat     string `split_words:"true"`
	WebListen     string `split_words:"true"`
	QueueDir      string `split_words:"true"`
	LocalURL      string `split_words:"true"`
	LocalPassword string `split_words:"true"`
}

// account are the variables of one cloud, channelKey those of one of its channels.
type account struct {
	Password string
	Key      string
	Username string
	ClientID string `split_words:"true"`
}

type channelKey struct {
	WriteKey string `split_words:"true"`
}

const prefix = "CLOUDBRIDGE"

// channelVariable finds channels that only the environment names.
var channelVariable = regexp.MustCompile(`^_CHANNEL_([A-Za-z0-9]+)_WRITE_KEY$`)

// overlay puts what the environment says over what the files say.
func (l *loader) overlay() {
	known := map[string]bool{}
	var g globals
	if err := l.env.process(prefix, &g); err != nil {
		l.variableFault(prefix, "the environment cannot be read", "")
	}
	for _, v := range []struct{ suffix, value, key string }{
		{"CONFIG", "", ""},
		{"NAME", g.Name, "bridge.name"},
		{"LOG_LEVEL", g.LogLevel, "log.level"},
		{"LOG_FORMAT", g.LogFormat, "log.format"},
		{"WEB_LISTEN", g.WebListen, "web.listen"},
		{"QUEUE_DIR", g.QueueDir, "queue.dir"},
		{"LOCAL_URL", g.LocalURL, "local.url"},
		{"LOCAL_PASSWORD", g.LocalPassword, "local.password"},
	} {
		known[prefix+"_"+v.suffix] = true
		if v.value != "" {
			l.set(l.root, v.key, prefix+"_"+v.suffix, v.value)
		}
	}
	l.overlayClouds(known)
	l.unknownVariables(known)
}

// variableName of a cloud: a name may hold - where a variable may not.
func cloudPrefix(cloud string) string {
	return prefix + "_CLOUD_" + strings.ToUpper(strings.ReplaceAll(cloud, "-", "_"))
}

func (l *loader) overlayClouds(known map[string]bool) {
	clouds, ok := l.root.child["cloud"]
	if !ok || !clouds.table() {
		return
	}
	owner := map[string]string{}
	for _, name := range clouds.names {
		table, pre := clouds.child[name], cloudPrefix(name)
		if !table.table() {
			continue
		}
		if other, ok := owner[pre]; ok {
			l.fault(table.src, table.key, name,
				fmt.Sprintf("clouds %q and %q would share their environment variables %s_...", other, name, pre), "rename one of them")
			continue
		}
		owner[pre] = name
		var a account
		if err := l.env.process(pre, &a); err != nil {
			l.variableFault(pre, "the environment cannot be read", "")
		}
		for _, v := range []struct{ suffix, value, key string }{
			{"PASSWORD", a.Password, "password"},
			{"KEY", a.Key, "key"},
			{"USERNAME", a.Username, "username"},
			{"CLIENT_ID", a.ClientID, "client_id"},
		} {
			l.cloudVariable(known, table, name, pre+"_"+v.suffix, v.value, v.key)
		}
		for _, id := range l.channelIDs(table, pre) {
			var c channelKey
			if err := l.env.process(pre+"_CHANNEL_"+id, &c); err != nil {
				l.variableFault(pre, "the environment cannot be read", "")
			}
			l.cloudVariable(known, table, name, pre+"_CHANNEL_"+strings.ToUpper(id)+"_WRITE_KEY", c.WriteKey, "channels."+id+".write_key")
		}
	}
}

// cloudVariable sets one key of a cloud, if its platform has such a key.
func (l *loader) cloudVariable(known map[string]bool, table *node, cloud, name, value, key string) {
	known[name] = true
	if value == "" {
		return
	}
	kind := l.kindOf(table)
	top, _, _ := strings.Cut(key, ".")
	if kind != nil && !slices.Contains(keysOf(kind.NewCloud()), top) {
		l.variableFault(name, fmt.Sprintf("cloud %q is %s, which has no %s", cloud, kind.Name, top), "unset it")
		return
	}
	l.set(table, key, name, value)
}

// channelIDs are the channels that the file or a variable names.
func (l *loader) channelIDs(table *node, pre string) []string {
	var ids []string
	if c, ok := table.child["channels"]; ok && c.table() {
		ids = append(ids, c.names...)
	}
	for _, v := range l.env.Environ {
		name, _, _ := strings.Cut(v, "=")
		if rest, ok := strings.CutPrefix(name, pre); ok {
			if m := channelVariable.FindStringSubmatch(rest); m != nil && !slices.Contains(ids, m[1]) {
				ids = append(ids, m[1])
			}
		}
	}
	return ids
}

// set puts a value from the environment at a dotted key, making tables on the way. It wins over the file's value and
// over a file that the file names.
func (l *loader) set(n *node, dotted, variable, value string) {
	src := &source{name: variable, variable: true, dir: "."}
	steps := strings.Split(dotted, ".")
	for _, s := range steps[:len(steps)-1] {
		c, ok := n.child[s]
		if !ok {
			c = &node{kind: tableKind, src: src}
			n.put(s, c)
		}
		if !c.table() {
			return
		}
		n = c
	}
	key := steps[len(steps)-1]
	l.bothGiven(n, key)
	n.remove(key)
	n.remove(key + "_file")
	n.put(key, &node{kind: textKind, src: src, text: text{value: value, foreign: true}})
}

func (l *loader) variableFault(name, message, hint string) {
	l.report.faults = append(l.report.faults, Fault{File: name, Text: name, Message: message, Hint: hint})
}

// foreignVariables are not ours although they begin like ours: Kubernetes makes them for a service named cloudbridge, and
// the tests of this project use theirs.
var foreignVariables = regexp.MustCompile(`^CLOUDBRIDGE_(SERVICE_|PORT$|PORT_|TEST_)`)

// unknownVariables warns of variables that begin like ours and are none: most likely they are misspelt.
func (l *loader) unknownVariables(known map[string]bool) {
	names := make([]string, 0, len(known))
	for n := range known {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, v := range l.env.Environ {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, prefix+"_") || known[name] || foreignVariables.MatchString(name) {
			continue
		}
		w := Warning{File: name, Message: "this environment variable means nothing to cloudbridge"}
		if near, ok := nearest(name, names); ok {
			w.Hint = "did you mean " + near + "?"
		} else if strings.HasPrefix(name, prefix+"_CLOUD_") {
			w.Hint = "no [cloud.x] table has this name and this key"
		}
		l.report.warnings = append(l.report.warnings, w)
	}
}

// kindOf gives the platform of a cloud's table, or nil.
func (l *loader) kindOf(table *node) *platforms.Kind {
	n, ok := table.child["platform"]
	if !ok || n.kind != textKind {
		return nil
	}
	for i := range l.kinds {
		if l.kinds[i].Name == n.text.value {
			return &l.kinds[i]
		}
	}
	return nil
}
