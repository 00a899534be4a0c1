package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// Names of the files in a ledger's folder.
const (
	lockName       = "LOCK"
	keyName        = "key"         // signer key, mode 0600
	publicName     = "key.pub"     // verifier key, for everyone
	hashesName     = "hashes"      // the tree: 32 bytes a hash, by tlog.StoredHashIndex
	checkpointName = "checkpoint"  // newest signed checkpoint
	historyName    = "checkpoints" // older ones, one after the other
	segmentSuffix  = ".events"
)

// A segment file is a header and then batches. A batch is what was written in
// one piece: a header, its events, and at times a signed checkpoint of the tree
// that includes them. The segment that is being written goes on with zeros,
// which are cut off when it ends. All numbers are little-endian.
//
//	segment header (104 bytes)
//	  0  magic "doorward ledger 2\n", zero padded to 24
//	 24  index of the first event
//	 32  index of the first event of the segment before (0 if none)
//	 40  size in bytes of the segment before (0 if none)
//	 48  root of the tree before the first event
//	 80  zero (20)
//	100  CRC-32C of bytes 0 to 99
//	batch header (40 bytes)
//	  0  magic "DWB2"
//	  4  count of events (at least 1)
//	  8  index of the first one
//	 16  number of events that were on the disk before this was written
//	 24  bytes of events
//	 28  bytes of the checkpoint (0: none)
//	 32  CRC-32C of events and checkpoint
//	 36  CRC-32C of bytes 0 to 35
//	event
//	  0  length of what follows
//	  4  0x00 (the RFC 6962 prefix of a leaf), then the event's JSON
const (
	segmentMagic      = "doorward ledger 2\n"
	segmentHeaderSize = 104
	batchMagic        = "DWB2"
	batchHeaderSize   = 40
)

// Bounds of the format: a reader never holds more than one batch.
const (
	// MaxEvent is the most bytes that one event may take, as JSON.
	MaxEvent = 32 << 20
	// maxBatch is when a batch takes no more events.
	maxBatch = 4 << 20
	// maxBatchBytes is the largest batch there can be: one huge event at the
	// end of an almost full one.
	maxBatchBytes   = maxBatch + MaxEvent + 64
	maxBatchEvents  = 1 << 15
	maxCheckpoint   = 1 << 12
	defaultSegment  = 64 << 20
	maxHistoryBytes = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type segmentHeader struct {
	first, prevFirst, prevSize uint64
	root                       tlog.Hash
}

func (h segmentHeader) encode() []byte {
	b := make([]byte, segmentHeaderSize)
	copy(b, segmentMagic)
	binary.LittleEndian.PutUint64(b[24:], h.first)
	binary.LittleEndian.PutUint64(b[32:], h.prevFirst)
	binary.LittleEndian.PutUint64(b[40:], h.prevSize)
	copy(b[48:], h.root[:])
	binary.LittleEndian.PutUint32(b[100:], crc32.Checksum(b[:100], castagnoli))
	return b
}

func parseSegmentHeader(b []byte) (h segmentHeader, err error) {
	if len(b) < segmentHeaderSize {
		return h, errors.New("the segment's header is cut short")
	}
	if string(b[:len(segmentMagic)]) != segmentMagic {
		return h, errors.New("not a ledger segment of version 2")
	}
	if crc32.Checksum(b[:100], castagnoli) != binary.LittleEndian.Uint32(b[100:]) {
		return h, errors.New("the segment's header is damaged (checksum)")
	}
	h.first = binary.LittleEndian.Uint64(b[24:])
	h.prevFirst = binary.LittleEndian.Uint64(b[32:])
	h.prevSize = binary.LittleEndian.Uint64(b[40:])
	copy(h.root[:], b[48:80])
	return h, nil
}

type batchHeader struct {
	count          uint32
	first, durable uint64
	events, signed uint32 // bytes
	body           uint32
}

// putBatchHeader fills in the header at the start of b, whose body is ready.
func putBatchHeader(b []byte, h batchHeader) {
	body := b[batchHeaderSize:]
	copy(b, batchMagic)
	binary.LittleEndian.PutUint32(b[4:], h.count)
	binary.LittleEndian.PutUint64(b[8:], h.first)
	binary.LittleEndian.PutUint64(b[16:], h.durable)
	binary.LittleEndian.PutUint32(b[24:], uint32(len(body))-h.signed)
	binary.LittleEndian.PutUint32(b[28:], h.signed)
	binary.LittleEndian.PutUint32(b[32:], crc32.Checksum(body, castagnoli))
	binary.LittleEndian.PutUint32(b[36:], crc32.Checksum(b[:36], castagnoli))
}

// errUnwritten says that there are zeros where a batch would start.
var errUnwritten = errors.New("nothing is written here")

func parseBatchHeader(b []byte) (h batchHeader, err error) {
	if allZero(b) {
		return h, errUnwritten
	}
	if len(b) < batchHeaderSize {
		return h, errors.New("a batch header is cut short")
	}
	if string(b[:4]) != batchMagic {
		return h, errors.New("no batch starts here")
	}
	if crc32.Checksum(b[:36], castagnoli) != binary.LittleEndian.Uint32(b[36:]) {
		return h, errors.New("a batch header is damaged (checksum)")
	}
	h.count = binary.LittleEndian.Uint32(b[4:])
	h.first = binary.LittleEndian.Uint64(b[8:])
	h.durable = binary.LittleEndian.Uint64(b[16:])
	h.events = binary.LittleEndian.Uint32(b[24:])
	h.signed = binary.LittleEndian.Uint32(b[28:])
	h.body = binary.LittleEndian.Uint32(b[32:])
	if h.count == 0 || h.count > maxBatchEvents || h.events > maxBatchBytes || h.signed > maxCheckpoint || h.durable > h.first {
		return h, errors.New("a batch header has impossible sizes")
	}
	return h, nil
}

func allZero(b []byte) bool {
	for len(b) > len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}

// errChecksum says that a batch is not as it was written: torn, or changed.
var errChecksum = errors.New("a batch is damaged (checksum)")

// splitEvents calls fn with each event of a batch body: the leaf (with its
// 0x00 in front).
func splitEvents(body []byte, h batchHeader, fn func(index uint64, leaf []byte) error) error {
	if crc32.Checksum(body, castagnoli) != h.body {
		return errChecksum
	}
	rest := body[:h.events]
	for i := range uint64(h.count) {
		if len(rest) < 5 {
			return errors.New("a batch ends before its last event")
		}
		n := binary.LittleEndian.Uint32(rest)
		if n < 1 || uint64(n) > uint64(len(rest)-4) || rest[4] != 0 {
			return errors.New("an event in a batch has an impossible length")
		}
		if err := fn(h.first+i, rest[4:4+n]); err != nil {
			return err
		}
		rest = rest[4+n:]
	}
	if len(rest) != 0 {
		return errors.New("a batch has bytes after its last event")
	}
	return nil
}

func segmentName(first uint64) string { return fmt.Sprintf("%016d%s", first, segmentSuffix) }

// segmentNames lists the segments of dir, in order.
func segmentNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted; names have a fixed width
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if digits, ok := strings.CutSuffix(e.Name(), segmentSuffix); ok && len(digits) == 16 {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
