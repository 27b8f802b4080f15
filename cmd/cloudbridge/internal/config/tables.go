package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloudbridge/bridge"
	"cloudbridge/internal/mqtt"
	"cloudbridge/platforms"
)

// Log says what is logged and how.
type Log struct {
	// Level is debug, info, warn or error.
	Level string `toml:"level"`
	// Format is text or json.
	Format string `toml:"format"`
}

// Web is the status page.
type Web struct {
	// Listen is a loopback address; "off" in the file is empty here.
	Listen   string      `toml:"listen"`
	Password mqtt.Secret `toml:"password"`
	// Commands allows the page to send commands, Payloads lets it show them.
	Commands bool `toml:"commands"`
	Payloads bool `toml:"payloads"`
	// Viewers is how many browsers may follow the page at once.
	Viewers int `toml:"viewers"`
}

// Metrics is the page for Prometheus.
type Metrics struct {
	// Listen is an address of its own; empty where the metrics are served with the status page.
	Listen      string      `toml:"listen"`
	BearerToken mqtt.Secret `toml:"bearer_token"`
}

// bridgeTable is [bridge].
type bridgeTable struct {
	Name string `toml:"name"`
	// Clock is auto or trusted.
	Clock string `toml:"clock"`
}

// localTable is [local]: what any connection has, but for the REST side.
type localTable struct {
	URL                string        `toml:"url"`
	Username           string        `toml:"username"`
	Password           mqtt.Secret   `toml:"password"`
	ClientID           string        `toml:"client_id"`
	KeepAlive          time.Duration `toml:"keepalive"`
	Protocol           string        `toml:"protocol"`
	Proxy              string        `toml:"proxy"`
	CAFile             string        `toml:"ca_file"`
	ClientCertFile     string        `toml:"client_cert_file"`
	ClientKeyFile      string        `toml:"client_key_file"`
	InsecureSkipVerify bool          `toml:"insecure_skip_verify"`
	Share              string        `toml:"share"`
}

// queueTable is [queue].
type queueTable struct {
	Dir        string `toml:"dir"`
	MaxSize    size   `toml:"max_size"`
	Durability string `toml:"durability"`
}

// The defaults of our own tables; config.example.toml shows them, and a test holds it to them.
func defaultLog() Log { return Log{Level: "info", Format: "text"} }

func defaultBridge() bridgeTable { return bridgeTable{Clock: "auto"} }

func defaultWeb() Web         { return Web{Listen: "127.0.0.1:8080", Payloads: true, Viewers: 20} }
func defaultMetrics() Metrics { return Metrics{} }
func defaultLocal() localTable {
	return localTable{URL: "mqtt://localhost:1883", KeepAlive: time.Minute, Protocol: "auto"}
}
func defaultQueue() queueTable { return queueTable{MaxSize: 256e6, Durability: "when-behind"} }
func defaultCloud() cloudTable { return cloudTable{DrainRate: 50, Overflow: "oldest"} }

// topLevel are the tables that a file may have.
var topLevel = []string{"include", "bridge", "local", "cloud", "uplink", "downlink", "twoway", "log", "web", "metrics", "queue"}

// single fills a table that stands once. It gives an empty one, so that defaults apply, where the file has none.
func (l *loader) single(name string, into any) *node {
	n, ok := l.root.child[name]
	if !ok || n.kind == broken {
		return &node{kind: tableKind, src: l.root.src}
	}
	if !n.table() {
		l.blame(l.root, name)
		l.fault(n.src, n.key, name, fmt.Sprintf("%s must be a table, not %s", name, n.kind), "write ["+name+"] with one bracket")
		return &node{kind: tableKind, src: n.src}
	}
	l.fill(n, []any{into}, l.unknownIn(name))
	return n
}

// readTables reads everything but clouds and rules.
func (l *loader) readTables() {
	for _, name := range l.root.names {
		if !slices.Contains(topLevel, name) {
			l.unknownTop(name, l.root.child[name])
		}
	}
	l.readBridge()
	l.readLocal()
	l.readLog()
	l.readWeb()
	l.readQueue()
}

// choice checks a key that has a few values.
func (l *loader) choice(n *node, key, value string, allowed ...string) {
	c, ok := n.child[key]
	if !ok || l.blamed[n][key] || slices.Contains(allowed, value) {
		return
	}
	quoted := make([]string, len(allowed))
	for i, a := range allowed {
		quoted[i] = strconv.Quote(a)
	}
	hint := "write " + listed(quoted)
	if near, ok := nearest(value, allowed); ok {
		hint = fmt.Sprintf("did you mean %q? known are %s", near, listed(quoted))
	}
	l.wrong(n, key, c, fmt.Sprintf("%q is not one of its values", value), hint)
}

// bridgeName is what may stand in a topic level and in a client id.
var (
	bridgeName    = regexp.MustCompile(`^[\pL\pN._-]+$`)
	notBridgeName = regexp.MustCompile(`[^\pL\pN._-]+`)
)

func (l *loader) readBridge() {
	t := defaultBridge()
	n := l.single("bridge", &t)
	l.choice(n, "clock", t.Clock, "auto", "trusted")
	l.file.TrustClock = t.Clock == "trusted"
	if c, ok := n.child["name"]; ok && !l.blamed[n]["name"] && !bridgeName.MatchString(t.Name) {
		l.wrong(n, "name", c, "a bridge's name has letters, digits, - _ and . only", "it stands in topics as {bridge}: write a short one such as \"lab1\"")
	}
	if t.Name == "" {
		t.Name = strings.Trim(notBridgeName.ReplaceAllString(l.env.Hostname, "-"), "-")
	}
	if t.Name == "" {
		t.Name = "cloudbridge"
	}
	l.file.Bridge.Name = t.Name
	l.scope = mappingsScope(t.Name)
}

func (l *loader) readLocal() {
	t := defaultLocal()
	n := l.single("local", &t)
	connection := platforms.Connection{
		URL: t.URL, CAFile: t.CAFile, ClientCertFile: t.ClientCertFile, ClientKeyFile: t.ClientKeyFile, ClientID: t.ClientID,
		KeepAlive: t.KeepAlive, Protocol: t.Protocol, Proxy: t.Proxy, InsecureSkipVerify: t.InsecureSkipVerify,
	}
	session, faults := connection.Session("mqtt")
	l.blameAll(n, "[local] ", errors.Join(faults...))
	l.warnInsecure(n, t.InsecureSkipVerify)
	if c, ok := n.child["share"]; ok && !l.blamed[n]["share"] {
		switch {
		case t.Share == "" || strings.ContainsAny(t.Share, "/+#"):
			l.wrong(n, "share", c, "the name of a shared subscription has no / + or #", "write share = \"cloudbridge\"")
		case t.Protocol == "3.1.1":
			l.wrong(n, "share", c, "MQTT 3.1.1 has no shared subscriptions", "leave protocol out, or write protocol = \"5\"")
		}
	}
	if c, ok := n.child["username"]; !ok && t.Password != "" && len(l.blamed[n]) == 0 {
		l.fault(n.src, n.key, "", "[local] username: missing: a password needs one beside it", "add username = \"...\" to [local]")
	} else if ok && t.Username == "" && c.kind == textKind && !l.blamed[n]["username"] {
		l.wrong(n, "username", c, "is empty", "leave it out where the broker asks for none")
	}
	session.Username, session.Password = t.Username, t.Password
	l.file.Bridge.Local = bridge.Local{Share: t.Share, Session: session}
}

// warnInsecure is said at each start.
func (l *loader) warnInsecure(n *node, insecure bool) {
	if c, ok := n.child["insecure_skip_verify"]; ok && insecure {
		l.warn(c, "insecure_skip_verify: anybody on the way can read and change everything, passwords too",
			"name the broker's own CA with ca_file instead")
	}
}

func (l *loader) readLog() {
	l.file.Log = defaultLog()
	n := l.single("log", &l.file.Log)
	l.choice(n, "level", l.file.Log.Level, "debug", "info", "warn", "error")
	l.choice(n, "format", l.file.Log.Format, "text", "json")
}

func (l *loader) readWeb() {
	l.file.Web = defaultWeb()
	n := l.single("web", &l.file.Web)
	l.checkListen(n, l.file.Web.Listen)
	if l.file.Web.Listen == "off" {
		l.file.Web.Listen = ""
	}
	if c, ok := n.child["viewers"]; ok && !l.blamed[n]["viewers"] && (l.file.Web.Viewers < 1 || l.file.Web.Viewers > 10000) {
		l.wrong(n, "viewers", c, "must be between 1 and 10000", "it is how many browsers may follow the page at once")
	}
	l.file.Metrics = defaultMetrics()
	n = l.single("metrics", &l.file.Metrics)
	l.checkListen(n, l.file.Metrics.Listen)
	if l.file.Metrics.Listen == "off" {
		l.file.Metrics.Listen = ""
	}
}

// checkListen allows addresses that only this machine reaches.
func (l *loader) checkListen(n *node, value string) {
	c, ok := n.child["listen"]
	if !ok || l.blamed[n]["listen"] || value == "off" {
		return
	}
	const example = `write listen = "127.0.0.1:8080", or "off"`
	host, port, err := net.SplitHostPort(value)
	if p, perr := strconv.Atoi(port); err != nil || perr != nil || p < 0 || p > 65535 {
		l.wrong(n, "listen", c, "this is not an address with a port", example)
		return
	}
	if host == "localhost" {
		return
	}
	if a, err := netip.ParseAddr(host); err == nil && a.IsLoopback() {
		return
	}
	l.wrong(n, "listen", c, "only this machine's own addresses are served for now: 127.0.0.1, ::1 or localhost",
		example+"; to reach it from outside use ssh -L 8080:127.0.0.1:8080 or a reverse proxy with a password")
}

func (l *loader) readQueue() {
	t := defaultQueue()
	t.Dir = l.env.QueueDir
	n := l.single("queue", &t)
	if t.Dir == "" {
		t.Dir = systemQueueDir
	}
	if c, ok := n.child["dir"]; ok && c.kind == textKind && !strings.HasPrefix(t.Dir, "/") {
		t.Dir = joinPath(c.src, t.Dir)
	}
	l.choice(n, "durability", t.Durability, "when-behind", "always")
	if c, ok := n.child["max_size"]; ok && !l.blamed[n]["max_size"] && t.MaxSize < 1e6 {
		l.wrong(n, "max_size", c, "is too small to be of use", "write at least \"1MB\"; the default is \"256MB\"")
	}
	l.file.Bridge.Queue = bridge.Queue{Dir: t.Dir, MaxSize: int64(t.MaxSize), Durability: t.Durability}
}
