package queue

import "bytes"

// run is an unbroken row of sequence numbers, both ends included.
type run struct{ first, last uint64 }

// contents is what a segment's file holds.
type contents struct {
	runs  []run
	count int
	bytes int64
	end   int // where the last whole record ends
	// lost counts records that are known to have been there: the head says so, or the numbers leave them out. badBytes
	// counts bytes that are neither whole records nor empty nor left from the file's life before.
	lost     uint64
	badBytes int
	// ours says that something in the file was written by a queue, newestID under what number at most, and lastSeq is the
	// number of the last whole record.
	ours     bool
	newestID uint32
	lastSeq  uint64
}

// scan reads a whole segment. Past a damaged place it goes on at the next whole record. Numbers up to after are taken for
// read already: a file whose fsync failed and the one that replaced it may hold the same records.
func scan(b []byte, id uint32, after uint64) contents {
	h, headed := parseHead(b)
	c := contents{end: headSize, ours: headed, newestID: h.id}
	headed = headed && h.id == id // A power cut can leave an old name with a new head: then nothing new in it was safe.
	var prev, heard uint64        // the last number of a whole record, the highest one that any head names
	damaged := false
	for off := headSize; off+frameSize <= len(b); {
		f, what := parseFrame(b[off:])
		if f.size > 0 {
			c.ours = true
			c.newestID = max(c.newestID, f.id)
		}
		switch {
		case f.size == 0:
			off += 8
			continue
		case f.id != id:
			// Left over, but only if its body is, too; otherwise something newer may begin inside of it.
			if off += 8; what == whole {
				off += f.size - 8
			}
			continue
		case what != whole:
			damaged = true
			if f.seq > prev {
				heard = max(heard, f.seq)
			}
			off += 8
			continue
		}
		if f.seq <= prev {
			off += f.size
			continue
		}
		if off > c.end {
			damaged = true
			c.badBytes += off - c.end
		}
		switch {
		case prev != 0 && !f.fresh:
			c.miss(prev+1, f.seq-1, after)
		case prev == 0 && !f.fresh && headed && f.seq > h.first:
			c.miss(h.first, f.seq-1, after)
		}
		prev = f.seq
		off += f.size
		c.end = off
		if f.seq > after {
			c.add(f)
		}
	}
	if damaged && heard > prev {
		c.miss(prev+1, heard, after)
	}
	c.badBytes += tornTail(b, c.end)
	if h.version == 0 {
		c.badBytes += min(headSize, len(b))
	}
	c.end = min(c.end, len(b))
	c.lastSeq = prev
	return c
}

// miss counts the records from lo to hi as lost, but those up to after.
func (c *contents) miss(lo, hi, after uint64) {
	if lo = max(lo, after+1); lo <= hi {
		c.lost += hi - lo + 1
	}
}

func (c *contents) add(f frame) {
	if n := len(c.runs); n > 0 && c.runs[n-1].last+1 == f.seq {
		c.runs[n-1].last++
	} else {
		c.runs = append(c.runs, run{f.seq, f.seq})
	}
	c.count++
	c.bytes += int64(len(f.data())) + RecordOverhead
}

// tornTail counts the bytes past end that some write left unfinished. A writer ends with eight zeros, or with the file.
func tornTail(b []byte, end int) int {
	var zero [8]byte
	for off := end; off < len(b); off += 8 {
		if bytes.HasPrefix(zero[:], b[off:min(off+8, len(b))]) {
			return off - end
		}
		if _, what := parseFrame(b[off:]); what == whole {
			return off - end
		}
	}
	return max(0, len(b)-end)
}
