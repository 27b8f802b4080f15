package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"cloudbridge/internal/queue"
)

// rejectedFile holds the refused points of all clouds, one in a line, so that damage to one costs no other. A line is the
// checksum of what follows, a space, and JSON; the first line is the head.
const rejectedFile = "rejected"

// rejectedVersion is the layout that this program writes.
const rejectedVersion = 1

type rejectedHead struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	// Last is the number that was given last.
	Last uint64 `json:"last"`
}

// rejectedLine is one refused point.
type rejectedLine struct {
	// Account names platform and account, so that renaming a cloud keeps its list, and another account never gets it.
	Account string    `json:"account"`
	Cloud   string    `json:"cloud"`
	Lane    string    `json:"lane"`
	ID      uint64    `json:"id"`
	Time    time.Time `json:"time"`
	Address string    `json:"address"`
	Value   string    `json:"value"`
	Why     string    `json:"why"`
	Record  []byte    `json:"record,omitempty"`
	Boot    string    `json:"boot,omitempty"`
	Retry   bool      `json:"retry,omitempty"`
}

// accountKey is what the file calls a cloud's account.
func accountKey(c *Cloud) string { return queue.FolderName(c.Kind.Name, c.Platform.Account(), "") }

// load reads the file of a queue directory. What is whole is taken even where the error tells of damage.
func (l *rejectedLists) load(dir string, clouds []Cloud) error {
	data, err := os.ReadFile(filepath.Join(dir, rejectedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		// What cannot be read may be whole, so nothing is written over it.
		l.foreign = true
		return fmt.Errorf("read the list of refused points: %w", err)
	}
	text, rest, _ := bytes.Cut(data, []byte("\n"))
	var head rejectedHead
	headless := unseal(text, &head) != nil || head.Format != rejectedFormat
	if !headless && head.Version > rejectedVersion {
		l.foreign = true
		return fmt.Errorf("%s has layout %d, this program reads layout %d: a newer version wrote it, and it is left as it is",
			filepath.Join(dir, rejectedFile), head.Version, rejectedVersion)
	}
	l.last = max(l.last, head.Last)
	damaged := 0
	for text := range bytes.Lines(rest) {
		var line rejectedLine
		if unseal(bytes.TrimSuffix(text, []byte("\n")), &line) != nil {
			damaged++
			continue
		}
		l.last = max(l.last, line.ID)
		l.place(line, clouds)
	}
	if headless || damaged > 0 {
		return fmt.Errorf("%s is damaged: %d refused points in it cannot be read, what is whole is used",
			filepath.Join(dir, rejectedFile), damaged)
	}
	return nil
}

const rejectedFormat = "cloudbridge rejected"

// place puts a line on the list of the cloud that it belongs to: the one of its name, or else the first with its account.
// mu is held.
func (l *rejectedLists) place(line rejectedLine, clouds []Cloud) {
	owner := ""
	for i := range clouds {
		if accountKey(&clouds[i]) != line.Account {
			continue
		}
		if owner == "" || clouds[i].Name == line.Cloud {
			owner = clouds[i].Name
		}
	}
	if owner == "" {
		l.strangers = append(l.strangers, line)
		return
	}
	l.insert(owner, refusal{
		id: line.ID, lane: line.Lane, time: line.Time, address: line.Address, value: line.Value, why: line.Why,
		record: line.Record, boot: line.Boot, rule: -1, retry: line.Retry,
	})
}

// save replaces the file in one step. Without refused points there is no file to begin with.
func (l *rejectedLists) save(dir string, clouds []Cloud) error {
	path := filepath.Join(dir, rejectedFile)
	lines, last, foreign := l.lines(clouds)
	if foreign {
		return nil
	}
	if _, err := os.Stat(path); len(lines) == 0 && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	data := seal(nil, rejectedHead{Format: rejectedFormat, Version: rejectedVersion, Last: last})
	for i := range lines {
		data = seal(data, lines[i])
	}
	return replaceFile(path, data)
}

// lines are what the file holds, oldest first.
func (l *rejectedLists) lines(clouds []Cloud) (lines []rejectedLine, last uint64, foreign bool) {
	accounts := make(map[string]string)
	for i := range clouds {
		accounts[clouds[i].Name] = accountKey(&clouds[i])
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	lines = slices.Clone(l.strangers)
	for _, key := range slices.Collect(maps.Keys(l.lists)) {
		for _, r := range l.lists[key] {
			lines = append(lines, rejectedLine{
				Account: accounts[key.cloud], Cloud: key.cloud, Lane: r.lane, ID: r.id, Time: r.time, Address: r.address,
				Value: r.value, Why: r.why, Record: r.record, Boot: r.boot, Retry: r.retry,
			})
		}
	}
	slices.SortFunc(lines, func(a, b rejectedLine) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return lines, l.last, l.foreign
}

// replaceFile writes a file in one step: a crash leaves the old one or the new one.
func replaceFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	syncDir(filepath.Dir(path))
	return nil
}

// syncDir brings the names in a folder to disk, its own with them, for it may be new. Not every system can, and what it leaves
// undone the disk does a little later.
func syncDir(dir string) {
	for _, d := range []string{dir, filepath.Dir(dir)} {
		f, err := os.Open(d)
		if err != nil {
			continue
		}
		_ = f.Sync()
		_ = f.Close()
	}
}

// seal appends a line: the checksum of a value's JSON, and the JSON.
func seal(dst []byte, v any) []byte {
	// Structs of text, numbers and bytes always have a JSON.
	text, _ := json.Marshal(v)
	dst = fmt.Appendf(dst, "%08x ", crc32.Checksum(text, crcTable))
	return append(append(dst, text...), '\n')
}

var errSealBroken = errors.New("the checksum is wrong")

// unseal reads a line that seal wrote, without its end.
func unseal(line []byte, v any) error {
	sum, text, ok := bytes.Cut(line, []byte(" "))
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if !ok || err != nil || uint32(want) != crc32.Checksum(text, crcTable) {
		return errSealBroken
	}
	return json.Unmarshal(text, v)
}
