package tape

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/doorward/doorward"
)

// Keys of Event.Fields in an event of kind session.close: the tape's seal.
// The one who closes the session writes them, the ledger's Verify reads them.
const (
	FieldTape   = "tape"        // file name relative to the recordings' folder, with slashes
	FieldHash   = "tape_hash"   // Seal.Hash
	FieldFrames = "tape_frames" // Seal.Frames, decimal
	FieldBytes  = "tape_bytes"  // Seal.Bytes, decimal
)

// A tape file. Numbers are little-endian.
//
//	magic "doorward tape 1\n"
//	u32 length, JSON of doorward.Header
//	blocks:  'B', u32 compressed length, u32 raw length, u32 frames, 32 bytes link, zstd data
//	trailer: 'E', u64 frames in all, 32 bytes link
//
// The first link is SHA-256 of all that is before the first block. Each next
// one is SHA-256 of the link before it, the 13 bytes in front of the block's
// own link (9 for the trailer), and the zstd data. The raw data of a block is
// its frames: kind, at (uvarint of nanoseconds since Header.Started), request
// (uvarint), length (uvarint), data.
const (
	magic          = "doorward tape 1\n"
	blockMark      = 'B'
	endMark        = 'E'
	blockHeadSize  = 1 + 4 + 4 + 4
	endHeadSize    = 1 + 8
	maxHeader      = 1 << 20
	maxRaw         = 80 << 20
	maxCompressed  = maxRaw + maxRaw>>8 + 64
	maxBlockFrames = 1 << 24
)

// MaxFrame is the most bytes of data that one frame may hold.
const MaxFrame = 64 << 20

// ErrDamaged is wrapped by every error that says a tape is not as it was
// written.
var ErrDamaged = errors.New("the tape is damaged")

func damaged(at int64, format string, args ...any) error {
	return fmt.Errorf("%w at byte %d: %s", ErrDamaged, at, fmt.Sprintf(format, args...))
}

// Name is the file name of a session's tape, relative to the recordings'
// folder.
func Name(session string, started time.Time) string {
	return path.Join(started.UTC().Format("2006/01/02"), session+".tape")
}

// ValidSession reports whether the id may become a file name.
func ValidSession(id string) bool {
	if len(id) < 1 || len(id) > 64 {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

func link(prev [32]byte, head, data []byte) (out [32]byte) {
	h := sha256.New()
	h.Write(prev[:])
	h.Write(head)
	h.Write(data)
	h.Sum(out[:0])
	return out
}

func appendFrame(b []byte, f *doorward.Frame, at int64) []byte {
	b = append(b, byte(f.Kind))
	b = binary.AppendUvarint(b, uint64(max(at, 0)))
	b = binary.AppendUvarint(b, f.Request)
	b = binary.AppendUvarint(b, uint64(len(f.Data)))
	return append(b, f.Data...)
}
