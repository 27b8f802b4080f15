package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// lockFile is held in the queue folder for as long as a bridge runs.
const lockFile = "cloudbridge.lock"

var errHeld = errors.New("held by another process")

// alone takes the queue folder for this process. Two bridges in one folder have the same client id, so each throws the other
// off the local broker without end, and each spends the account's whole budget: together they would get it banned. Where
// the folder cannot be locked at all, as on a disk that cannot be written, the bridge runs without.
func alone(dir string) (release func(), err error) {
	// Whoever cannot write here has been told so by then.
	if os.MkdirAll(dir, 0o700) != nil {
		return func() {}, nil
	}
	release, err = lock(filepath.Join(dir, lockFile))
	switch {
	case errors.Is(err, errHeld):
		return nil, fail(fmt.Errorf("another cloudbridge is running with the queue folder %s", dir),
			"stop that one first; for two bridges on one computer give each its own config with another [queue] dir and [bridge] name")
	case err != nil:
		return func() {}, nil
	}
	return release, nil
}
