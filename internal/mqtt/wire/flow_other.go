//go:build !unix

package wire

const canWriteNow = false

// writeNow is for systems whose sockets can be tried; the goroutine that writes serves the others.
func writeNow(uintptr, []byte) (int, error) { return 0, nil }
