//go:build race

package mappings

// raceDetector says that sync.Pool forgets things on purpose, so that allocations cannot be counted.
const raceDetector = true
