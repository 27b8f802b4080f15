package queue

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// simDisk is a disk in memory that can be told to fail, that has an end, and that forgets at a power cut what was not
// synced: of each file any of the sectors written since, and of the folder any of the latest changes.
type simDisk struct {
	mu sync.Mutex
	// fault, if set, is asked before each operation: list, open, create, rename, remove, syncdir, read, write, sync.
	fault func(op, name string) error
	// room bounds the bytes of all files; zero is no bound. free is what Free says, less what is written.
	room, free int64

	dir    bool
	names  map[string]*inode
	synced map[string]*inode
	since  []map[string]*inode // the folder after each change since it was synced
	ops    map[string]int
	wrote  int64
}

const sector = 512

type inode struct {
	data, synced []byte
	dirty        map[int]bool
}

func newSimDisk() *simDisk {
	return &simDisk{names: map[string]*inode{}, synced: map[string]*inode{}, ops: map[string]int{}}
}

// check is called with the lock held.
func (d *simDisk) check(op, name string) error {
	d.ops[op]++
	if d.fault != nil {
		if err := d.fault(op, filepath.Base(name)); err != nil {
			return &fs.PathError{Op: op, Path: name, Err: err}
		}
	}
	return nil
}

func (d *simDisk) changed() { d.since = append(d.since, maps.Clone(d.names)) }

func (d *simDisk) used() (n int64) {
	for _, i := range d.names {
		n += int64(len(i.data))
	}
	return n
}

// powerCut gives the disk that the next start finds.
func (d *simDisk) powerCut(r *rand.Rand) *simDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := newSimDisk()
	next.dir = d.dir
	names := d.synced
	if n := r.IntN(len(d.since) + 1); n > 0 {
		names = d.since[n-1]
	}
	for name, i := range names {
		data := slices.Clone(i.synced)
		for _, s := range slices.Sorted(maps.Keys(i.dirty)) {
			from, to := s*sector, min((s+1)*sector, len(i.data))
			if r.IntN(2) == 0 || from >= len(i.data) {
				continue
			}
			if to > len(data) {
				data = append(data, make([]byte, to-len(data))...)
			}
			copy(data[from:to], i.data[from:to])
		}
		next.names[name] = &inode{data: data, synced: slices.Clone(data), dirty: map[int]bool{}}
	}
	next.synced = maps.Clone(next.names)
	return next
}

func (d *simDisk) MkdirAll(string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("mkdir", ""); err != nil {
		return err
	}
	d.dir = true
	return nil
}

func (d *simDisk) List(dir string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("list", dir); err != nil {
		return nil, err
	}
	if !d.dir {
		return nil, fs.ErrNotExist
	}
	return slices.Sorted(func(yield func(string) bool) {
		for name := range d.names {
			if !yield(filepath.Base(name)) {
				return
			}
		}
	}), nil
}

func (d *simDisk) Open(name string, write bool) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("open", name); err != nil {
		return nil, err
	}
	i := d.names[name]
	if i == nil {
		return nil, fs.ErrNotExist
	}
	return &simFile{d, i, name, write}, nil
}

func (d *simDisk) Create(name string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("create", name); err != nil {
		return nil, err
	}
	if d.names[name] != nil {
		return nil, fs.ErrExist
	}
	i := &inode{dirty: map[int]bool{}}
	d.names[name] = i
	d.changed()
	return &simFile{d, i, name, true}, nil
}

func (d *simDisk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("rename", from); err != nil {
		return err
	}
	if d.names[from] == nil {
		return fs.ErrNotExist
	}
	d.names[to] = d.names[from]
	delete(d.names, from)
	d.changed()
	return nil
}

func (d *simDisk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("remove", name); err != nil {
		return err
	}
	delete(d.names, name)
	d.changed()
	return nil
}

func (d *simDisk) SyncDir(string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("syncdir", ""); err != nil {
		return err
	}
	d.synced, d.since = maps.Clone(d.names), nil
	return nil
}

func (d *simDisk) Free(string) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.free - d.used(), nil
}

type simFile struct {
	d     *simDisk
	i     *inode
	name  string
	write bool
}

func (f *simFile) ReadAt(b []byte, at int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.check("read", f.name); err != nil {
		return 0, err
	}
	if at >= int64(len(f.i.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.i.data[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *simFile) WriteAt(b []byte, at int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if !f.write {
		return 0, errors.New("not open for writing")
	}
	if err := f.d.check("write", f.name); err != nil {
		return 0, err
	}
	end := at + int64(len(b))
	if more := end - int64(len(f.i.data)); more > 0 {
		if f.d.room > 0 && f.d.used()+more > f.d.room {
			return 0, syscall.ENOSPC
		}
		f.i.data = append(f.i.data, make([]byte, more)...)
	}
	copy(f.i.data[at:], b)
	for s := at / sector; s*sector < end; s++ {
		f.i.dirty[int(s)] = true
	}
	f.d.wrote += int64(len(b))
	return len(b), nil
}

func (f *simFile) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	err := f.d.check("sync", f.name)
	if err == nil {
		f.i.synced = slices.Clone(f.i.data)
	}
	// As Linux does it: after a failure the pages count as clean, and the next sync has nothing to say.
	clear(f.i.dirty)
	return err
}

func (f *simFile) Size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return int64(len(f.i.data)), nil
}

func (f *simFile) Close() error { return nil }
