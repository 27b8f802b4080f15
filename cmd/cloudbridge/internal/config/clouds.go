package config

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"cloudbridge/bridge"
	"cloudbridge/mappings"
	"cloudbridge/platforms"
)

// cloudTable are the keys of a [cloud.x] table that are the engine's.
type cloudTable struct {
	Platform    string  `toml:"platform"`
	Announce    string  `toml:"announce"`
	DrainRate   float64 `toml:"drain_rate"`
	Overflow    string  `toml:"overflow"`
	MonthlyData size    `toml:"monthly_data"`
}

// cloud is a cloud that rules may name.
type cloud struct {
	name  string
	table *node
	// kind is nil where the platform is not known, platform is nil where its table has faults.
	kind     *platforms.Kind
	platform platforms.Platform
}

var (
	cloudName = regexp.MustCompile(`^[a-z0-9_-]+$`)
	// userinfo may hold a password, in an address that a platform complains of.
	userinfo = regexp.MustCompile(`://[^/@\s"]*@`)
)

func mappingsScope(bridge string) mappings.Scope { return mappings.Scope{Bridge: bridge} }

// joinPath makes a path of the file's absolute.
func joinPath(src *source, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(src.dir, path)
}

// readClouds opens every cloud, in the order of the file.
func (l *loader) readClouds() {
	clouds, ok := l.root.child["cloud"]
	if !ok || clouds.kind == broken {
		return
	}
	if !clouds.table() {
		l.fault(clouds.src, clouds.key, "cloud", "a cloud needs a name of yours", "write [cloud.weather], with one bracket")
		l.damaged = true
		return
	}
	for _, name := range clouds.names {
		n := clouds.child[name]
		c := &cloud{name: name, table: n}
		l.clouds[name] = c
		switch {
		case n.kind == broken:
			continue
		case !n.table():
			l.fault(n.src, n.key, name, fmt.Sprintf("%q stands where the name of a cloud belongs", name), "a cloud is a table with a name of yours: write [cloud.weather] and put its keys below")
			l.damaged = true
			return
		case !cloudName.MatchString(name):
			l.fault(n.src, n.key, name, fmt.Sprintf("%q cannot be the name of a cloud: it has other signs than a-z, 0-9, _ and -", name), cloudNameHint(name))
		}
		l.readCloud(c)
	}
}

func cloudNameHint(name string) string {
	plain := strings.Trim(regexp.MustCompile(`[^a-z0-9_-]+`).ReplaceAllString(strings.ToLower(name), "-"), "-")
	if plain == "" {
		plain = "home"
	}
	return "write [cloud." + plain + "]"
}

// readCloud fills and opens one cloud.
func (l *loader) readCloud(c *cloud) {
	n := c.table
	common := defaultCloud()
	c.kind = l.platformOf(n, c.name)
	if c.kind == nil {
		// Without the platform nobody knows its keys; ours can be read all the same.
		l.fill(n, []any{&common}, func(key string, _ *node, _ []string) { delete(l.blamed[n], key) })
		return
	}
	own := c.kind.NewCloud()
	l.fill(n, []any{&common, own}, l.unknownInCloud(c))
	l.choice(n, "overflow", common.Overflow, "oldest", "newest")
	if d, ok := n.child["drain_rate"]; ok && !l.blamed[n]["drain_rate"] && !(common.DrainRate >= 0 && common.DrainRate <= 1e6) {
		l.wrong(n, "drain_rate", d, "must be a number of messages a second", "write drain_rate = 50; 0 is no limit")
	}
	platform, err := c.kind.Open(own)
	l.blameAll(n, fmt.Sprintf("[cloud.%s] ", c.name), err)
	l.checkFiles(n)
	for _, f := range fieldsOf(own) {
		if f.key == "insecure_skip_verify" && f.value.Kind() == reflect.Bool {
			l.warnInsecure(n, f.value.Bool())
		}
	}
	if err != nil {
		return
	}
	c.platform = platform
	l.file.Bridge.Clouds = append(l.file.Bridge.Clouds, bridge.Cloud{
		Name: c.name, Kind: c.kind, Platform: platform, Announce: l.announce(c, common.Announce),
		DrainRate: common.DrainRate, Overflow: common.Overflow, MonthlyData: int64(common.MonthlyData),
	})
}

// checkFiles looks for the half of a certificate where a platform does not.
func (l *loader) checkFiles(n *node) {
	for _, pair := range [][2]string{{"client_cert_file", "client_key_file"}, {"client_key_file", "client_cert_file"}} {
		has, ok := n.child[pair[0]]
		if ok && n.child[pair[1]] == nil && !l.blamed[n][pair[0]] && !l.blamed[n][pair[1]] {
			l.wrong(n, pair[0], has, "needs "+pair[1]+" beside it", "give both, or neither")
		}
	}
}

// platformOf finds the platform that a cloud names.
func (l *loader) platformOf(n *node, name string) *platforms.Kind {
	p, ok := n.child["platform"]
	names := make([]string, len(l.kinds))
	for i := range l.kinds {
		names[i] = l.kinds[i].Name
	}
	quoted := make([]string, len(names))
	for i, k := range names {
		quoted[i] = fmt.Sprintf("%q", k)
	}
	switch {
	case !ok:
		if !l.damaged {
			l.fault(n.src, n.key, "", fmt.Sprintf("[cloud.%s] has no platform", name), "add platform = "+listed(quoted))
		}
		return nil
	case p.kind == broken:
		return nil
	case p.kind != textKind:
		return nil // fill says so
	}
	if k := l.kindOf(n); k != nil {
		return k
	}
	hint := "known are " + listed(quoted)
	if near, ok := nearestPlatform(p.text.value, names); ok {
		hint = fmt.Sprintf("did you mean %q? %s", near, hint)
	}
	l.wrong(n, "platform", p, fmt.Sprintf("there is no platform %q", p.text.value), hint)
	return nil
}

// nearestPlatform also knows short and long forms: adafruit, hivemq, thing-speak.
func nearestPlatform(word string, names []string) (string, bool) {
	plain := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r == '-' || r == '_' || r == ' ' || r == '.' {
				return -1
			}
			return r
		}, strings.ToLower(s))
	}
	w := plain(word)
	for _, n := range names {
		if p := plain(n); p == w || len(w) > 3 && (strings.HasPrefix(p, w) || strings.HasPrefix(w, p)) {
			return n, true
		}
	}
	return nearest(word, names)
}

// announce checks a topic for this bridge's state.
func (l *loader) announce(c *cloud, topic string) string {
	n, ok := c.table.child["announce"]
	if !ok || l.blamed[c.table]["announce"] {
		return ""
	}
	if !c.kind.TakesAnyTopic || !c.platform.Limits().Will {
		l.wrong(c.table, "announce", n, title(c.kind)+" takes neither topics of one's own nor a will", "leave it out; the state also stands on the local broker, below cloudbridge/")
		return ""
	}
	t, err := l.scope.Topic(topic)
	if err != nil {
		l.syntax(c.table, "announce", n, err)
		return ""
	}
	return t.Expand(nil)
}

// blameAll reports what a platform found in a table; before names the table where the key is not there to point at.
func (l *loader) blameAll(n *node, before string, err error) {
	for _, e := range flatten(err) {
		var ke *platforms.KeyError
		if !errors.As(e, &ke) {
			if len(l.blamed[n]) == 0 && !l.damaged {
				l.fault(n.src, n.key, "", before+masked(e.Error()), "")
			}
			continue
		}
		l.blameKey(n, before, ke)
	}
}

// flatten takes errors.Join apart.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	if _, ok := err.(*platforms.KeyError); ok {
		return []error{err}
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range many.Unwrap() {
			out = append(out, flatten(e)...)
		}
		return out
	}
	return []error{err}
}

func masked(s string) string { return userinfo.ReplaceAllString(s, "://***@") }

func (l *loader) blameKey(n *node, before string, ke *platforms.KeyError) {
	parent, last := n, ke.Key
	if i := strings.LastIndexByte(ke.Key, '.'); i >= 0 {
		if p, ok := n.find(ke.Key[:i]); ok {
			parent, last = p, ke.Key[i+1:]
		}
	}
	if l.blamed[parent][last] || l.blamed[parent][last+"_file"] {
		return
	}
	l.blame(parent, last)
	c := parent.child[last]
	if c == nil {
		c = parent.child[last+"_file"]
	}
	if c == nil {
		if !l.damaged && !l.misspelt[parent] {
			l.fault(parent.src, parent.key, "", before+ke.Key+": "+masked(ke.Text), ke.Hint)
		}
		return
	}
	if c.kind == broken {
		return
	}
	var se *mappings.SyntaxError
	at, text, hint := c.val, ke.Text, ke.Hint
	if errors.As(ke.Err, &se) {
		at = c.inside(se.Offset)
		if text == se.Error() {
			text = se.Text
		}
		hint = cmp.Or(hint, se.Hint)
	}
	shown := ""
	if !hush(last) && !strings.Contains(last, "url") {
		shown = c.src.shown(c.val)
	}
	l.fault(c.src, at, shown, c.src.called(ke.Key)+masked(text), masked(hint))
}

// inside gives the place in the source of an offset in a string.
func (n *node) inside(offset int) span {
	if at, ok := n.text.at(offset); ok && n.kind == textKind {
		return span{at, at}
	}
	return n.val
}

// syntax reports what is wrong inside the string of a key.
func (l *loader) syntax(n *node, key string, c *node, err error) {
	l.blame(n, key)
	if c.kind == broken {
		return
	}
	var se *mappings.SyntaxError
	if !errors.As(err, &se) {
		l.fault(c.src, c.val, c.src.shown(c.val), key+": "+err.Error(), "")
		return
	}
	l.fault(c.src, c.inside(se.Offset), c.src.shown(c.val), key+": "+se.Text, se.Hint)
}

// could lists the clouds that a template may name, in the order of the file.
func (l *loader) could(t *mappings.Template) []*cloud {
	var out []*cloud
	clouds := l.root.child["cloud"]
	if clouds == nil {
		return nil
	}
	for _, name := range clouds.names {
		if c, ok := l.clouds[name]; ok && t.Could(name) && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}
