package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
)

// HeaderLen is the type byte and the length of a frame.
const HeaderLen = 5

// ErrTooLong says that a declared frame length is over the limit or below four.
var ErrTooLong = errors.New("message length is out of bounds")

// smallBuf is what an idle connection keeps; bigBuf comes from a pool while
// bytes flow.
const (
	smallBuf = 512
	bigBuf   = 64 << 10
)

var pool = sync.Pool{New: func() any { b := make([]byte, bigBuf); return &b }}

// Reader slides over the frames of one direction of a connection. It owns one
// buffer: small while idle, pooled while bytes flow, grown only by bytes that
// really arrived.
type Reader struct {
	src    io.Reader
	max    int
	due    string // the types that frames may have; "": any
	small  [smallBuf]byte
	pooled *[]byte
	buf    []byte
	r, w   int
	full   bool // the last read filled the buffer: more is likely to come
}

// NewReader reads frames of at most limit bytes (header included) from src.
func NewReader(src io.Reader, limit int) *Reader {
	rd := &Reader{src: src, max: limit}
	rd.buf = rd.small[:]
	return rd
}

// ErrType says that a frame has a type that is not taken.
var ErrType = errors.New("message type is unknown or not due")

// Expect makes the reader take only frames of these types. A frame of another
// type is refused at its first byte, before its length is believed.
func (rd *Reader) Expect(types string) { rd.due = types }

// Buffered is how many bytes were read and not yet consumed.
func (rd *Reader) Buffered() int { return rd.w - rd.r }

// Idle gives the large buffer back when nothing is buffered.
func (rd *Reader) Idle() {
	if rd.r != rd.w {
		return
	}
	rd.r, rd.w, rd.full = 0, 0, false
	if rd.pooled != nil {
		pool.Put(rd.pooled)
		rd.pooled = nil
	}
	rd.buf = rd.small[:]
}

// Peek gives the next whole frame without consuming it, or nil when it is not
// wholly buffered. It never reads. An error means that the length is bad.
func (rd *Reader) Peek() ([]byte, error) {
	have := rd.buf[rd.r:rd.w]
	if len(have) > 0 && rd.due != "" && strings.IndexByte(rd.due, have[0]) < 0 {
		return nil, fmt.Errorf("%w: %q", ErrType, have[0])
	}
	if len(have) < HeaderLen {
		return nil, nil
	}
	n := binary.BigEndian.Uint32(have[1:5])
	if n < 4 || uint64(n)+1 > uint64(rd.max) {
		return nil, fmt.Errorf("%w: message %q declares %d bytes, limit %d", ErrTooLong, have[0], n, rd.max)
	}
	if len(have) < int(n)+1 {
		return nil, nil
	}
	return have[: n+1 : n+1], nil
}

// Skip consumes n bytes that Peek showed.
func (rd *Reader) Skip(n int) { rd.r += n }

// Fill reads once, at least one byte. It moves what is buffered to the front
// first, so slices that Peek gave are no longer valid.
func (rd *Reader) Fill() error {
	if rd.r > 0 {
		copy(rd.buf, rd.buf[rd.r:rd.w])
		rd.w -= rd.r
		rd.r = 0
	}
	if rd.w == len(rd.buf) || (rd.full && len(rd.buf) < bigBuf) {
		rd.grow()
	}
	n, err := rd.src.Read(rd.buf[rd.w:])
	rd.w += n
	rd.full = rd.w == len(rd.buf)
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

func (rd *Reader) grow() {
	var next []byte
	var pooled *[]byte
	if len(rd.buf) < bigBuf {
		pooled = pool.Get().(*[]byte)
		next = *pooled
	} else {
		size := min(len(rd.buf)*2, rd.max+HeaderLen)
		size = max(size, len(rd.buf)+1)
		next = make([]byte, size)
	}
	n := copy(next, rd.buf[rd.r:rd.w])
	if rd.pooled != nil {
		pool.Put(rd.pooled)
	}
	rd.pooled, rd.buf, rd.r, rd.w = pooled, next, 0, n
}

// Next gives the next whole frame, reading as needed, and consumes it. The
// slice is valid until the next call that reads.
func (rd *Reader) Next() ([]byte, error) {
	for {
		f, err := rd.Peek()
		if err != nil {
			return nil, err
		}
		if f != nil {
			rd.r += len(f)
			return f, nil
		}
		if err := rd.Fill(); err != nil {
			if err == io.EOF && rd.w > rd.r {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// Body is the frame without its header.
func Body(frame []byte) []byte { return frame[HeaderLen:] }

// begin appends a frame header whose length end fills in.
func begin(dst []byte, typ byte) ([]byte, int) {
	dst = append(dst, typ, 0, 0, 0, 0)
	return dst, len(dst) - 4
}

func end(dst []byte, at int) []byte {
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at))
	return dst
}

// AppendFrame appends a frame with this body.
func AppendFrame(dst []byte, typ byte, body []byte) []byte {
	dst, at := begin(dst, typ)
	dst = append(dst, body...)
	return end(dst, at)
}

// cstr takes a zero-terminated string off b.
func cstr(b []byte) (string, []byte, bool) {
	for i, c := range b {
		if c == 0 {
			return string(b[:i]), b[i+1:], true
		}
	}
	return "", nil, false
}
