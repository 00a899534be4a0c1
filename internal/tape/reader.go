package tape

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/doorward/doorward"
)

// Reader reads a tape, frame by frame, and checks its chain. It holds one
// block at a time.
type Reader struct {
	src    *bufio.Reader
	dec    *zstd.Decoder
	closer io.Closer
	header doorward.Header
	at     int64 // bytes read

	chain  [32]byte
	packed []byte
	raw    []byte
	rest   []byte // frames not yet given out
	left   uint32 // how many those must be
	frames uint64

	sealed bool
	seal   doorward.Seal
	err    error
}

// OpenFile opens a tape file and reads its header.
func OpenFile(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening a tape: %w", err)
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("opening a tape: %s is not a regular file", path)
	}
	r, err := NewReader(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r.closer = f
	return r, nil
}

// NewReader reads a tape's header from src.
func NewReader(src io.Reader) (*Reader, error) {
	r := &Reader{src: bufio.NewReaderSize(src, 64<<10)}
	head := make([]byte, len(magic)+4)
	if _, err := io.ReadFull(r.src, head); err != nil {
		return nil, damaged(0, "the file is too short to be a tape")
	}
	if string(head[:len(magic)]) != magic {
		return nil, damaged(0, "this is not a tape of version 1")
	}
	n := binary.LittleEndian.Uint32(head[len(magic):])
	if n > maxHeader {
		return nil, damaged(int64(len(magic)), "the header says %d bytes, more than %d", n, maxHeader)
	}
	body, err := r.read(nil, int(n))
	if err != nil {
		return nil, damaged(int64(len(head)), "the header is cut short")
	}
	if err := json.Unmarshal(body, &r.header); err != nil {
		return nil, damaged(int64(len(head)), "the header is not the JSON of a session: %v", err)
	}
	r.chain = sha256.Sum256(append(head, body...))
	r.at = int64(len(head)) + int64(n)
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxRaw), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	r.dec = dec
	return r, nil
}

// read reads n bytes into buf, and grows it only as the bytes come: a length
// that lies costs no memory.
func (r *Reader) read(buf []byte, n int) ([]byte, error) {
	buf = buf[:0]
	for len(buf) < n {
		step := min(n-len(buf), 1<<20)
		if cap(buf)-len(buf) < step {
			buf = append(make([]byte, 0, min(n, max(2*cap(buf), len(buf)+step))), buf...)
		}
		m, err := io.ReadFull(r.src, buf[len(buf):len(buf)+step])
		buf = buf[:len(buf)+m]
		if err != nil {
			return buf, io.ErrUnexpectedEOF
		}
	}
	return buf, nil
}

// Header is the tape's header.
func (r *Reader) Header() doorward.Header { return r.header }

// Sealed reports whether the tape was closed in order. It is known once Next
// has returned io.EOF.
func (r *Reader) Sealed() bool { return r.sealed }

// Seal is the tape's seal, when Sealed.
func (r *Reader) Seal() doorward.Seal { return r.seal }

// Frames is how many frames were read.
func (r *Reader) Frames() uint64 { return r.frames }

// Next gives the next frame; its Data is good until the next call. It returns
// io.EOF at the end, of a tape that was closed and of one that was not (see
// Sealed), and an error that wraps ErrDamaged otherwise.
func (r *Reader) Next() (doorward.Frame, error) {
	if r.err != nil {
		return doorward.Frame{}, r.err
	}
	for len(r.rest) == 0 {
		if r.left != 0 {
			return r.stop(damaged(r.at, "a block has %d frames fewer than it says", r.left))
		}
		if err := r.block(); err != nil {
			return r.stop(err)
		}
	}
	f, n, err := parseFrame(r.rest, r.header.Started)
	if err == nil && r.left == 0 {
		err = errors.New("a block has more frames than it says")
	}
	if err != nil {
		return r.stop(damaged(r.at, "%v", err))
	}
	r.rest = r.rest[n:]
	r.left--
	r.frames++
	return f, nil
}

func (r *Reader) stop(err error) (doorward.Frame, error) {
	r.err = err
	return doorward.Frame{}, err
}

// block reads the next block. At the end it returns io.EOF.
func (r *Reader) block() error {
	at := r.at
	mark, err := r.src.ReadByte()
	if err == io.EOF {
		return io.EOF
	}
	if err != nil {
		return fmt.Errorf("reading a tape: %w", err)
	}
	switch mark {
	case blockMark:
		return r.readBlock(at)
	case endMark:
		return r.readEnd(at)
	}
	return damaged(at, "neither a block nor the end starts here")
}

func (r *Reader) readBlock(at int64) error {
	var head [blockHeadSize + 32]byte
	head[0] = blockMark
	if _, err := io.ReadFull(r.src, head[1:]); err != nil {
		return damaged(at, "the last block is cut short")
	}
	packed := binary.LittleEndian.Uint32(head[1:])
	raw := binary.LittleEndian.Uint32(head[5:])
	frames := binary.LittleEndian.Uint32(head[9:])
	if packed > maxCompressed || raw > maxRaw || frames > maxBlockFrames || raw == 0 || frames == 0 {
		return damaged(at, "a block has impossible sizes")
	}
	var err error
	if r.packed, err = r.read(r.packed, int(packed)); err != nil {
		return damaged(at, "the last block is cut short")
	}
	want := link(r.chain, head[:blockHeadSize], r.packed)
	if !bytes.Equal(want[:], head[blockHeadSize:]) {
		return damaged(at, "a block was changed, or blocks are missing before it (hash chain)")
	}
	r.chain = want
	if r.raw, err = r.dec.DecodeAll(r.packed, r.raw[:0]); err != nil {
		return damaged(at, "a block does not decompress: %v", err)
	}
	if len(r.raw) != int(raw) {
		return damaged(at, "a block has %d bytes and says %d", len(r.raw), raw)
	}
	r.rest, r.left = r.raw, frames
	r.at = at + int64(len(head)) + int64(packed)
	return nil
}

func (r *Reader) readEnd(at int64) error {
	var end [endHeadSize + 32]byte
	end[0] = endMark
	if _, err := io.ReadFull(r.src, end[1:]); err != nil {
		return damaged(at, "the end mark is cut short")
	}
	want := link(r.chain, end[:endHeadSize], nil)
	if !bytes.Equal(want[:], end[endHeadSize:]) {
		return damaged(at, "the end mark was changed, or blocks are missing before it (hash chain)")
	}
	if n := binary.LittleEndian.Uint64(end[1:]); n != r.frames {
		return damaged(at, "the tape has %d frames and its end mark says %d", r.frames, n)
	}
	if _, err := r.src.ReadByte(); err != io.EOF {
		return damaged(at, "there are bytes after the end mark")
	}
	r.chain = want
	r.at = at + int64(len(end))
	r.sealed = true
	r.seal = doorward.Seal{Hash: hex.EncodeToString(want[:]), Frames: r.frames, Bytes: r.at}
	return io.EOF
}

func parseFrame(b []byte, started time.Time) (doorward.Frame, int, error) {
	short := errors.New("a frame is cut short in its block")
	f := doorward.Frame{Kind: doorward.FrameKind(b[0])}
	if f.Kind < doorward.FrameRequest || f.Kind > doorward.FrameInput {
		return f, 0, fmt.Errorf("a frame has the unknown kind %d", b[0])
	}
	at := 1
	var v [3]uint64
	for i := range v {
		n := 0
		if v[i], n = binary.Uvarint(b[at:]); n <= 0 {
			return f, 0, short
		}
		at += n
	}
	if v[0] > 1<<62 || v[2] > uint64(len(b)-at) {
		return f, 0, short
	}
	f.At = started.Add(time.Duration(v[0]))
	f.Request = v[1]
	end := at + int(v[2])
	f.Data = b[at:end:end]
	return f, end, nil
}

// Close lets go of the file.
func (r *Reader) Close() error {
	r.dec.Close()
	if r.closer != nil {
		return r.closer.Close()
	}
	return nil
}

// Check reads a whole tape and reports what it found. The error wraps
// ErrDamaged, or fs.ErrNotExist when there is no such file.
func Check(path string) (header doorward.Header, seal doorward.Seal, sealed bool, err error) {
	r, err := OpenFile(path)
	if err != nil {
		return header, seal, false, err
	}
	defer r.Close()
	for {
		if _, err = r.Next(); err != nil {
			break
		}
	}
	if err == io.EOF {
		err = nil
	}
	return r.header, r.seal, r.sealed, err
}

// CheckSeal checks a tape against the seal that its session's last event
// carries. Fields are those of the event.
func CheckSeal(path string, fields map[string]string) error {
	_, seal, sealed, err := Check(path)
	if err != nil {
		return err
	}
	if !sealed {
		return fmt.Errorf("%w: it was closed, but its end is missing", ErrDamaged)
	}
	if seal.Hash != fields[FieldHash] {
		return fmt.Errorf("%w: it is not the tape that was sealed (hash %.16s…, sealed as %.16s…)", ErrDamaged, seal.Hash, fields[FieldHash])
	}
	if strconv.FormatUint(seal.Frames, 10) != fields[FieldFrames] || strconv.FormatInt(seal.Bytes, 10) != fields[FieldBytes] {
		return fmt.Errorf("%w: it has %d frames in %d bytes, sealed were %q in %q", ErrDamaged, seal.Frames, seal.Bytes, fields[FieldFrames], fields[FieldBytes])
	}
	return nil
}
