//go:build !race

package mappings

const raceDetector = false
