package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"cloudbridge/internal/mqtt"
)

// field is one key of a struct.
type field struct {
	key   string
	value reflect.Value
}

// secret says whether the field may also be given as key_file.
func (f field) secret() bool { return f.value.Type() == secretType }

var (
	secretType   = reflect.TypeFor[mqtt.Secret]()
	durationType = reflect.TypeFor[time.Duration]()
)

// word is a type of ours that reads itself from text, and says what to write where it cannot.
type word interface {
	read(text string) (message, hint string)
}

// fieldsOf lists the keys of a struct by its toml tags, those of embedded structs included.
func fieldsOf(into ...any) []field {
	var out []field
	for _, p := range into {
		out = appendFields(out, reflect.ValueOf(p).Elem())
	}
	return out
}

func appendFields(out []field, v reflect.Value) []field {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		switch {
		case f.Anonymous && key == "" && f.Type.Kind() == reflect.Struct:
			out = appendFields(out, v.Field(i))
		case key != "" && key != "-" && f.IsExported():
			out = append(out, field{key: key, value: v.Field(i)})
		}
	}
	return out
}

// keysOf lists the keys that a struct takes, with the _file form of its secrets.
func keysOf(into ...any) []string {
	var keys []string
	for _, f := range fieldsOf(into...) {
		keys = append(keys, f.key)
		if f.secret() {
			keys = append(keys, f.key+"_file")
		}
	}
	return keys
}

// fill puts the keys of a table into structs. A key that none of them has goes to unknown.
func (l *loader) fill(n *node, into []any, unknown func(key string, c *node, keys []string)) {
	fields := fieldsOf(into...)
	keys := keysOf(into...)
	for _, name := range slices.Clone(n.names) {
		c := n.child[name]
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == name })
		if i >= 0 {
			l.fillValue(n, name, c, fields[i].value)
			continue
		}
		if base, ok := strings.CutSuffix(name, "_file"); ok {
			i = slices.IndexFunc(fields, func(f field) bool { return f.key == base && f.secret() })
			if i >= 0 {
				l.bothGiven(n, base)
				l.fillSecretFile(n, name, c, fields[i].value)
				continue
			}
		}
		l.blame(n, name)
		l.misspelt[n] = true
		unknown(name, c, keys)
	}
}

// bothGiven complains of a secret that a file gives twice.
func (l *loader) bothGiven(n *node, key string) {
	a, b := n.child[key], n.child[key+"_file"]
	if a == nil || b == nil || a.src.variable || b.src.variable || l.blamed[n][key+"_file"] {
		return
	}
	l.blame(n, key+"_file")
	l.fault(b.src, b.key, key+"_file", fmt.Sprintf("%s and %s_file are both given", key, key), "keep one of them, better "+key+"_file")
}

// blame notes that a key has a fault, so that it gets no second one for the same reason.
func (l *loader) blame(n *node, key string) {
	if l.blamed[n] == nil {
		l.blamed[n] = map[string]bool{}
	}
	l.blamed[n][key] = true
}

// wrong reports the value of a key.
func (l *loader) wrong(n *node, key string, c *node, message, hint string) {
	l.blame(n, key)
	if c.kind == broken {
		return
	}
	shown := ""
	switch {
	case c.kind == tableKind || c.kind == listKind:
		shown = key
	case !hush(key):
		shown = c.src.shown(c.val)
	}
	l.fault(c.src, c.val, shown, c.src.called(key)+message, hint)
}

// hush says whether the value of a key may be a secret, put at the wrong place as it may be. The address of a proxy may hold
// a password: there is no other key for it.
func hush(key string) bool {
	for _, s := range []string{"pass", "key", "secret", "token", "credential", "pw", "proxy"} {
		if strings.Contains(strings.ToLower(key), s) {
			return true
		}
	}
	return false
}

// fillValue puts one value into one field.
func (l *loader) fillValue(n *node, key string, c *node, v reflect.Value) {
	if c.kind == broken {
		l.blame(n, key)
		return
	}
	if v.Type() == rawType {
		v.Set(reflect.ValueOf(rawNode{c}))
		return
	}
	if w, ok := v.Addr().Interface().(word); ok {
		l.fillWord(n, key, c, w)
		return
	}
	switch {
	case v.Type() == durationType:
		l.fillDuration(n, key, c, v)
		return
	case v.Type() == secretType:
		if c.kind != textKind {
			l.wrong(n, key, c, "must be text, not "+c.kind.String(), "put it in quotes")
			return
		}
		if !c.src.variable && !c.text.foreign {
			l.literalSecret(c)
		}
		l.addSecret(c.text.value)
		v.SetString(c.text.value)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		fresh := reflect.New(v.Type().Elem())
		l.fillValue(n, key, c, fresh.Elem())
		v.Set(fresh)
	case reflect.String:
		l.fillString(n, key, c, v)
	case reflect.Bool:
		switch {
		case c.kind == boolKind:
			v.SetBool(c.raw == "true")
		default:
			l.wrong(n, key, c, "must be true or false, not "+c.kind.String(), "write "+key+" = true or "+key+" = false, without quotes")
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		l.fillInt(n, key, c, v)
	case reflect.Float32, reflect.Float64:
		f, ok := c.float()
		if !ok {
			l.wrong(n, key, c, "must be a number, not "+c.kind.String(), numberHint(key, c, "0.5"))
			return
		}
		v.SetFloat(f)
	case reflect.Slice:
		l.fillList(n, key, c, v)
	case reflect.Map:
		l.fillMap(n, key, c, v)
	case reflect.Struct:
		if !c.table() {
			l.wrong(n, key, c, "must be a table, not "+c.kind.String(), "write "+key+" = { ... }")
			return
		}
		l.fill(c, []any{v.Addr().Interface()}, l.unknownIn(key))
	case reflect.Interface:
		v.Set(reflect.ValueOf(c.any()))
	default:
		panic("config: a struct has a field of kind " + v.Kind().String() + " for " + key)
	}
}

func (l *loader) fillString(n *node, key string, c *node, v reflect.Value) {
	if c.kind != textKind {
		hint := "put it in quotes"
		if c.kind == intKind || c.kind == floatKind || c.kind == boolKind {
			hint = fmt.Sprintf("put it in quotes: %s = \"...\"", key)
		}
		l.wrong(n, key, c, "must be text, not "+c.kind.String(), hint)
		return
	}
	if strings.HasSuffix(key, "_file") && c.text.value != "" {
		l.fillPath(n, key, c, v)
		return
	}
	v.SetString(c.text.value)
}

func (l *loader) fillWord(n *node, key string, c *node, w word) {
	var s string
	switch c.kind {
	case textKind:
		s = c.text.value
	case intKind, floatKind, boolKind:
		if _, ok := w.(*expression); !ok {
			message, hint := needsUnit(key, w, c)
			l.wrong(n, key, c, message, hint)
			return
		}
		s = c.raw
	default:
		l.wrong(n, key, c, "must be text, not "+c.kind.String(), "put it in quotes")
		return
	}
	if message, hint := w.read(s); message != "" {
		l.wrong(n, key, c, message, hint)
	}
}

func needsUnit(key string, w word, c *node) (message, hint string) {
	if _, ok := w.(*size); ok {
		return "a size needs a unit", fmt.Sprintf("write it in quotes with MB or GB: %s = \"%sMB\"", key, c.raw)
	}
	return "a time needs a unit", fmt.Sprintf("write it in quotes with s, m or h: %s = \"%ss\"", key, c.raw)
}

func (l *loader) fillDuration(n *node, key string, c *node, v reflect.Value) {
	if c.kind == intKind || c.kind == floatKind {
		l.wrong(n, key, c, "a time needs a unit", fmt.Sprintf("write it in quotes with s, m or h: %s = \"%ss\"", key, c.raw))
		return
	}
	if c.kind != textKind {
		l.wrong(n, key, c, "must be a time such as \"15s\", not "+c.kind.String(), "")
		return
	}
	d, message, hint := duration(c.text.value)
	if message != "" {
		l.wrong(n, key, c, message, hint)
		return
	}
	v.SetInt(int64(d))
}

func (l *loader) fillInt(n *node, key string, c *node, v reflect.Value) {
	i, ok := c.int()
	if !ok && c.kind == intKind {
		l.wrong(n, key, c, "this number is too small or too large", "")
		return
	}
	if !ok {
		l.wrong(n, key, c, "must be a whole number, not "+c.kind.String(), numberHint(key, c, "1"))
		return
	}
	if v.CanUint() {
		if i < 0 || v.OverflowUint(uint64(i)) {
			l.wrong(n, key, c, "this number is too small or too large", "")
			return
		}
		v.SetUint(uint64(i))
		return
	}
	if v.OverflowInt(i) {
		l.wrong(n, key, c, "this number is too small or too large", "")
		return
	}
	v.SetInt(i)
}

// numberHint repeats what was written in quotes without them, if it is a number.
func numberHint(key string, c *node, example string) string {
	if c.kind == textKind {
		s := strings.TrimSpace(c.text.value)
		if _, err := strconv.ParseFloat(s, 64); err == nil && !hush(key) {
			return fmt.Sprintf("write it without quotes: %s = %s", key, s)
		}
	}
	return fmt.Sprintf("write %s = %s", key, example)
}

func (l *loader) fillList(n *node, key string, c *node, v reflect.Value) {
	if c.kind != listKind {
		hint := "write " + key + " = [ ... ]"
		if c.kind == textKind {
			hint = "put it in brackets: " + key + " = [\"...\"]"
		}
		l.wrong(n, key, c, "must be a list, not "+c.kind.String(), hint)
		return
	}
	list := reflect.MakeSlice(v.Type(), len(c.list), len(c.list))
	for i, m := range c.list {
		l.fillValue(n, key, m, list.Index(i))
	}
	v.Set(list)
}

func (l *loader) fillMap(n *node, key string, c *node, v reflect.Value) {
	if !c.table() {
		l.wrong(n, key, c, "must be a table, not "+c.kind.String(), "write "+key+" = { ... }")
		return
	}
	m := reflect.MakeMap(v.Type())
	for _, name := range c.names {
		k := reflect.New(v.Type().Key()).Elem()
		switch {
		case k.Kind() == reflect.String:
			k.SetString(name)
		case k.CanInt():
			i, err := strconv.ParseInt(name, 10, 64)
			if err != nil || k.OverflowInt(i) {
				l.blame(c, name)
				l.fault(c.child[name].src, c.child[name].key, name, fmt.Sprintf("%s.%s: must be a whole number", key, name), "")
				continue
			}
			k.SetInt(i)
		default:
			panic("config: a map of " + key + " has keys of kind " + k.Kind().String())
		}
		value := reflect.New(v.Type().Elem()).Elem()
		l.fillValue(c, name, c.child[name], value)
		m.SetMapIndex(k, value)
	}
	v.Set(m)
}

// int reads a whole number.
func (n *node) int() (int64, bool) {
	if n.kind != intKind {
		return 0, false
	}
	var t struct{ V int64 }
	err := toml.Unmarshal([]byte("V = "+n.raw), &t)
	return t.V, err == nil
}

// float reads a number.
func (n *node) float() (float64, bool) {
	if i, ok := n.int(); ok {
		return float64(i), true
	}
	if n.kind != floatKind {
		return 0, false
	}
	var t struct{ V float64 }
	err := toml.Unmarshal([]byte("V = "+n.raw), &t)
	return t.V, err == nil
}

// any gives a value as TOML's own types, for fields that take more than one.
func (n *node) any() any {
	switch n.kind {
	case textKind:
		return n.text.value
	case intKind:
		i, _ := n.int()
		return i
	case floatKind:
		f, _ := n.float()
		return f
	case boolKind:
		return n.raw == "true"
	case listKind:
		out := make([]any, len(n.list))
		for i, m := range n.list {
			out[i] = m.any()
		}
		return out
	case tableKind:
		out := make(map[string]any, len(n.names))
		for _, k := range n.names {
			out[k] = n.child[k].any()
		}
		return out
	}
	return n.raw
}
