//go:build !darwin && !dragonfly && !freebsd && !linux && !netbsd && !openbsd && !windows

package main

import "errors"

// lock is not known on this system.
func lock(string) (release func(), err error) { return nil, errors.ErrUnsupported }
