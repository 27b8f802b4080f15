//go:build !(linux || darwin || freebsd)

package queue

import "math"

// SyncDir has no portable form; Windows cannot sync a folder and does not need it.
func (osDisk) SyncDir(string) error { return nil }

// Free is not asked of other systems: there the disk is full when a write says so.
func (osDisk) Free(string) (int64, error) { return math.MaxInt64, nil }
