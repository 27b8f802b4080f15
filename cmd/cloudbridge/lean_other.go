//go:build !linux

package main

// releaseProgram does nothing where the kernel is not asked in this way.
func releaseProgram() {}
