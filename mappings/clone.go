package mappings

import (
	"bytes"
	"slices"
)

// Clone copies a point out of a Result and away from its message, for whoever keeps it. Properties are shared: nobody
// changes them.
func (p *Point) Clone() Point {
	c := *p
	c.Also = slices.Clone(p.Also)
	c.Parts = make([]Part, len(p.Parts))
	for i, part := range p.Parts {
		part.Value.Bytes = bytes.Clone(part.Value.Bytes)
		c.Parts[i] = part
	}
	return c
}
