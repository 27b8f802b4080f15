//go:build !linux

package queue

// Sync is the only one that every system has.
func (f osFile) Sync() error { return f.File.Sync() }
