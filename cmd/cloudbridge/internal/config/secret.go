package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"

	"cloudbridge/internal/mqtt"
)

// largestSecret bounds what is read as one secret: whoever names a larger file named the wrong one.
const largestSecret = 64 << 10

// addSecret remembers a secret for those who test that none is shown.
func (l *loader) addSecret(s string) {
	if s != "" {
		l.secrets = append(l.secrets, mqtt.Secret(s))
	}
}

// literalSecret warns, once a file, of a secret in a configuration that everybody can read.
func (l *loader) literalSecret(c *node) {
	if c.src.open && !l.warnedOpen[c.src.name] {
		l.warnedOpen[c.src.name] = true
		l.warn(c, "this file holds a secret, and every user of this machine can read it", "chmod 640 "+c.src.name)
	}
}

// resolve finds a file that a key names: without a slash in the folder of systemd's credentials first, else relative to
// the file that names it.
func (l *loader) resolve(src *source, name string) (path string, credential bool) {
	if filepath.IsAbs(name) {
		return name, false
	}
	if dir := l.env.get("CREDENTIALS_DIRECTORY"); dir != "" && !strings.ContainsAny(name, `/\`) {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, true
		}
	}
	return filepath.Join(src.dir, name), false
}

// fillSecretFile reads key_file into the field of key. The name is not repeated in messages: it may be the secret itself,
// put into the wrong key.
func (l *loader) fillSecretFile(n *node, key string, c *node, v reflect.Value) {
	if c.kind == broken {
		l.blame(n, key)
		return
	}
	if c.kind != textKind {
		l.wrong(n, key, c, "must be the name of a file, in quotes", "")
		return
	}
	path, credential := l.resolve(c.src, c.text.value)
	content, err := readAtMost(path, largestSecret)
	if err != nil {
		l.wrong(n, key, c, fmt.Sprintf("no file with this name can be read in %s: %v", folder(c.src.dir), cause(err)),
			"a name is relative to the file that it stands in; to give the secret itself write "+strings.TrimSuffix(key, "_file"))
		return
	}
	secret := string(bytes.TrimRight(content, "\r\n"))
	switch {
	case secret == "":
		l.wrong(n, key, c, "the file is empty", "")
		return
	case strings.ContainsAny(secret, "\r\n"):
		l.wrong(n, key, c, "the file has more than one line", "put the secret alone into it")
		return
	}
	if !credential && openToAll(path) {
		l.warn(c, key+": every user of this machine can read the file", "chmod 640 it, and give it to the group of cloudbridge")
	}
	l.addSecret(secret)
	v.SetString(secret)
}

// fillPath checks a file that is read later, such as a certificate.
func (l *loader) fillPath(n *node, key string, c *node, v reflect.Value) {
	path, credential := l.resolve(c.src, c.text.value)
	f, err := os.Open(path)
	if err == nil {
		var info fs.FileInfo
		if info, err = f.Stat(); err == nil && info.IsDir() {
			err = errors.New("it is a folder")
		}
		_ = f.Close()
	}
	if err != nil {
		l.wrong(n, key, c, fmt.Sprintf("no file with this name can be read in %s: %v", folder(c.src.dir), cause(err)),
			"a name is relative to the file that it stands in")
		return
	}
	if strings.Contains(key, "key") && !credential && openToAll(path) {
		l.warn(c, key+": every user of this machine can read the file", "chmod 640 it, and give it to the group of cloudbridge")
	}
	v.SetString(path)
}

func folder(dir string) string {
	if dir == "." {
		return "this folder"
	}
	return dir
}

// cause takes the file's name out of an error.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// readAtMost reads a whole file, or a pipe, that is no larger than most.
func readAtMost(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, errors.New("it is a folder")
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("it is larger than %d bytes", most)
	}
	return data, err
}

// openToAll says whether a file can be read by users who are neither its owner nor of its group.
func openToAll(path string) bool {
	if runtime.GOOS == "windows" {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o004 != 0
}
