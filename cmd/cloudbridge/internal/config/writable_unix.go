//go:build unix

package config

import "syscall"

// writable says whether this process may write into a folder, without trying.
func writable(dir string) bool {
	const write = 2
	return syscall.Access(dir, write) == nil
}
