package queue

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// fileSystem is what a Log needs of a disk. Tests put one under it that fails, fills up, or forgets what was not synced.
type fileSystem interface {
	// MkdirAll makes a folder that is still there after a power cut.
	MkdirAll(dir string) error
	List(dir string) ([]string, error)
	Open(name string, write bool) (file, error)
	// Create makes a new file, and fails with fs.ErrExist where there is one.
	Create(name string) (file, error)
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir brings what was created, renamed and removed in dir to disk.
	SyncDir(dir string) error
	// Free is the number of bytes that this process may still write to the disk that holds dir.
	Free(dir string) (int64, error)
}

type file interface {
	io.ReaderAt
	io.WriterAt
	// Sync brings the bytes to disk, and as much about the file as it takes to read them.
	Sync() error
	Size() (int64, error)
	Close() error
}

// osDisk is the real one.
type osDisk struct{}

// MkdirAll syncs the folder above each one that it makes.
func (d osDisk) MkdirAll(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	above := filepath.Dir(dir)
	if above != dir {
		if err := d.MkdirAll(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return d.SyncDir(above)
}

func (osDisk) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (osDisk) Open(name string, write bool) (file, error) {
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	f, err := os.OpenFile(name, flag, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osDisk) Create(name string) (file, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osDisk) Rename(from, to string) error { return os.Rename(from, to) }
func (osDisk) Remove(name string) error     { return os.Remove(name) }

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, errors.New("not a regular file")
	}
	return info.Size(), nil
}
