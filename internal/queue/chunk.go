package queue

import "bytes"

// chunkBytes is the memory that is taken at once for many small records; a longer record than a quarter of it has its own.
const chunkBytes = 8 << 10

// chunk keeps copies of small records side by side, so that each does not cost the collector something of its own. Nothing
// is used twice: a record stays as it is for as long as anybody holds it, and its chunk goes when the last one goes.
type chunk struct{ free []byte }

// keep copies a record.
func (c *chunk) keep(rec []byte) []byte {
	n := len(rec)
	if n > chunkBytes/4 {
		return bytes.Clone(rec)
	}
	if n > len(c.free) {
		c.free = make([]byte, chunkBytes)
	}
	kept := c.free[:n:n]
	copy(kept, rec)
	c.free = c.free[n:]
	return kept
}
