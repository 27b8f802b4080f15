package queue

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
)

// What the files look like. All numbers are little endian, and every record starts at a multiple of 8.
//
//	segment   head (64 bytes), then records, each padded to a multiple of 8
//	head      magic (8), version (4), segment id (4), first sequence number (8), zeros, CRC32C of the 60 bytes before (4)
//	record    CRC32C of the 28 bytes that follow (4), length of the body and flags (4), sequence number (8),
//	          wall time (8), segment id (4), CRC32C of the body (4), body
//	body      boot id, data
//
// The record's head has a checksum of its own so that a search for the next whole record, after a damaged one, trusts no
// length that it has not checked. It names its segment so that what a reused file still holds from its life before is
// never taken for new.
const (
	formatVersion = 1
	segmentMagic  = "cbqueue\n"
	headSize      = 64
	frameSize     = 32
	maxBody       = 1<<28 - 1

	// Flags beside the length.
	bootUUID = 1 << 28 // the body begins with the 16 bytes of a UUID
	bootText = 1 << 29 // the body begins with a length of one byte and a text
	freshRun = 1 << 30 // the sequence number does not follow on the record before
)

// maxData is the longest record: a body less the longest boot id.
const maxData = maxBody - 256

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// bootMark is a boot id as it stands in a record.
type bootMark struct {
	flag uint32
	raw  []byte
}

// markBoot packs a boot id: Linux gives a UUID of 36 characters, which every record would carry, so that takes 16 bytes.
func markBoot(boot string) bootMark {
	if boot == "" {
		return bootMark{}
	}
	if raw, ok := parseUUID(boot); ok {
		return bootMark{bootUUID, raw}
	}
	if len(boot) > 255 {
		boot = boot[:255]
	}
	return bootMark{bootText, append([]byte{byte(len(boot))}, boot...)}
}

func parseUUID(s string) ([]byte, bool) {
	if len(s) != 36 {
		return nil, false
	}
	raw, err := hex.DecodeString(s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:])
	// Only what comes back as it was is packed.
	return raw, err == nil && formatUUID(raw) == s
}

func formatUUID(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// frameLen is what a record of n bytes takes in a segment.
func frameLen(boot bootMark, n int) int { return align(frameSize + len(boot.raw) + n) }

func align(n int) int { return (n + 7) &^ 7 }

// frame is one record as it stands in a segment.
type frame struct {
	id    uint32
	seq   uint64
	wall  int64
	fresh bool
	flags uint32
	body  []byte
	size  int
}

func appendFrame(b []byte, id uint32, seq uint64, wall int64, boot bootMark, data []byte, fresh bool) []byte {
	length := uint32(len(boot.raw)+len(data)) | boot.flag
	if fresh {
		length |= freshRun
	}
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, length)
	b = binary.LittleEndian.AppendUint64(b, seq)
	b = binary.LittleEndian.AppendUint64(b, uint64(wall))
	b = binary.LittleEndian.AppendUint32(b, id)
	sum := crc32.Update(crc32.Checksum(boot.raw, castagnoli), castagnoli, data)
	b = binary.LittleEndian.AppendUint32(b, sum)
	binary.LittleEndian.PutUint32(b[start:], crc32.Checksum(b[start+4:], castagnoli))
	b = append(b, boot.raw...)
	b = append(b, data...)
	return append(b, make([]byte, align(len(b)-start)-(len(b)-start))...)
}

// What parseFrame finds.
type found int

const (
	broken  found = iota // no record begins here
	partial              // one may begin here, but the bytes end before it does
	torn                 // the head of one is whole and its body is not
	whole
)

// parseFrame reads what stands at the start of b. Of a partial or torn record it gives what the head says, and of one
// without a whole head, size 0.
func parseFrame(b []byte) (frame, found) {
	if len(b) < frameSize {
		return frame{}, partial
	}
	if crc32.Checksum(b[4:frameSize], castagnoli) != binary.LittleEndian.Uint32(b) {
		return frame{}, broken
	}
	length := binary.LittleEndian.Uint32(b[4:])
	n := int(length & maxBody)
	f := frame{
		seq:   binary.LittleEndian.Uint64(b[8:]),
		wall:  int64(binary.LittleEndian.Uint64(b[16:])),
		id:    binary.LittleEndian.Uint32(b[24:]),
		fresh: length&freshRun != 0,
		flags: length &^ maxBody,
		size:  align(frameSize + n),
	}
	if f.size > len(b) {
		return f, partial
	}
	f.body = b[frameSize : frameSize+n : frameSize+n]
	if crc32.Checksum(f.body, castagnoli) != binary.LittleEndian.Uint32(b[28:]) || f.bootLen() > n {
		return f, torn
	}
	return f, whole
}

func (f *frame) bootLen() int {
	switch {
	case f.flags&bootUUID != 0:
		return 16
	case f.flags&bootText != 0 && len(f.body) > 0:
		return 1 + int(f.body[0])
	case f.flags&bootText != 0:
		return 1
	}
	return 0
}

func (f *frame) data() []byte { return f.body[f.bootLen():] }

// boot gives the packed boot id; two records of one boot have equal ones.
func (f *frame) boot() []byte { return f.body[:f.bootLen()] }

func (f *frame) bootString() string {
	switch raw := f.boot(); {
	case len(raw) == 0:
		return ""
	case f.flags&bootUUID != 0:
		return formatUUID(raw)
	default:
		return string(raw[1:])
	}
}

// head is the start of a segment.
type head struct {
	version uint32
	id      uint32
	first   uint64
}

func (h head) encode() []byte {
	b := make([]byte, 0, headSize)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint32(b, h.version)
	b = binary.LittleEndian.AppendUint32(b, h.id)
	b = binary.LittleEndian.AppendUint64(b, h.first)
	b = append(b, make([]byte, headSize-4-len(b))...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func parseHead(b []byte) (head, bool) {
	if len(b) < headSize || string(b[:8]) != segmentMagic || crc32.Checksum(b[:60], castagnoli) != binary.LittleEndian.Uint32(b[60:]) {
		return head{}, false
	}
	return head{binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:]), binary.LittleEndian.Uint64(b[16:])}, true
}
