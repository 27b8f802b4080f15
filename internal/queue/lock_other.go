//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package queue

import (
	"errors"
	"io/fs"
	"os"
)

// openLocked removes the file and makes it anew. Windows refuses to remove what another process has open, so there this
// is a lock that ends with its process; elsewhere it keeps out only who comes at the same moment.
func openLocked(name string) (*os.File, error) {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, ErrLocked
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	if errors.Is(err, fs.ErrExist) {
		return nil, ErrLocked
	}
	return f, err
}
