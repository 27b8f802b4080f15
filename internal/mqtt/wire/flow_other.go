//go:build !linux

package wire

const canTry = false

// On other systems a goroutine of the connection writes, and reading is the network library's.
func tryWrite(uintptr, []byte) (int, error) { return 0, errNotNow }
func tryRead(uintptr, []byte) (int, error)  { return 0, errNotNow }
