// Package scale runs the program as it ships with much of everything, and with next to nothing: it measures what ten
// thousand rules, a school district's clouds, large payloads and a long queue cost, and what the program takes of a
// Raspberry Pi while nothing happens.
//
// There is nothing here but tests. "go test" runs the short ones, with margins that a busy machine keeps; "make scale",
// which sets CLOUDBRIDGE_SCALE=full, runs everything and prints the tables of docs/performance.md. "make arm" runs the
// programs for arm64 and arm v6 under qemu-user, which shows that they are right and nothing about their speed.
package scale
