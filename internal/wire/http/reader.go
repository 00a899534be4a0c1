package http

import (
	"bytes"
	"io"
	"math"
)

const (
	startBuf = 8 << 10  // what a connection begins with and idles on
	keepBuf  = 16 << 10 // a larger buffer is given up once it is empty
	idleRead = 16       // reads that bring nothing, before it is an error
)

// Limits bounds a head. Zero stands for the default.
type Limits struct {
	Head   int // bytes of a whole head, 64 KiB
	Fields int // fields of a head, 128
	Line   int // bytes of a request line or status line, 16 KiB
}

// Reader reads the messages of one direction of one connection: requests on the
// client's side ([Reader.Request], [Reader.Body]), or answers on the server's
// ([Reader.Answer], [Reader.Read]). It is not for concurrent use.
//
// It owns one buffer, which grows only by bytes that really arrived. The verdict
// on a message never depends on how its bytes were split on their way. After a
// [Fault] every call gives that fault again: where a next message would begin is
// not known.
type Reader struct {
	src  io.Reader
	opt  Limits
	buf  []byte
	r, w int   // buf[r:w] came and is not consumed
	pend error // what src said together with its last bytes
	bad  error // what every later call says

	answer bool // reads answers, so that faults are the server's
	ended  bool // no message may follow on this connection

	method, target part // where they are in the head of a request
	status, minor  int  // what the status line says; HTTP/1.minor
	spans          []span
	req            Request
	ans            Answer

	// The body being read.
	at    stage
	left  int64 // bytes of the body, or of its chunk, that are to come
	room  int64 // bytes of later chunks that may still come
	extra int64 // bytes of chunk extensions, less what the data makes up for
}

// NewReader reads messages from src within these limits.
func NewReader(src io.Reader, opt Limits) *Reader {
	if opt.Head <= 0 {
		opt.Head = 64 << 10
	}
	if opt.Fields <= 0 {
		opt.Fields = 128
	}
	if opt.Line <= 0 {
		opt.Line = 16 << 10
	}
	// The lines of a head are counted in 32 bits.
	opt.Head = min(opt.Head, math.MaxInt32/2)
	opt.Line = min(opt.Line, opt.Head)
	return &Reader{src: src, opt: opt}
}

// Buffered is how many bytes came and were not read. Behind a request it is what
// the client pipelined; behind an answer that was read to its end it is what the
// server had no right to send, and the connection must not be used again.
func (r *Reader) Buffered() int { return r.w - r.r }

// fill reads once, at least one byte. Offsets from r.r stay valid.
func (r *Reader) fill() error {
	if r.pend != nil {
		return r.pend
	}
	if r.r == r.w {
		r.r, r.w = 0, 0
		if r.buf == nil || len(r.buf) > keepBuf {
			r.buf = make([]byte, startBuf)
		}
	}
	if r.w == len(r.buf) {
		into := r.buf
		if r.r == 0 {
			into = make([]byte, 2*len(r.buf))
		}
		r.w = copy(into, r.buf[r.r:r.w])
		r.r, r.buf = 0, into
	}
	n, err := r.pull(r.buf[r.w:])
	r.w += n
	return err
}

// pull reads from the connection into p, which is not empty: at least one byte,
// or an error. What came along with an error is used before the error.
func (r *Reader) pull(p []byte) (int, error) {
	if r.pend != nil {
		return 0, r.pend
	}
	for range idleRead {
		n, err := r.src.Read(p)
		if n > 0 {
			r.pend = err
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}

// line finds the end of the line that begins at this offset from r.r, reading as
// needed, and gives the offset after its CRLF. errLong: the first limit bytes
// hold no end of a line. errBare: it ends with LF only. io.EOF: the connection
// ended and nothing at all is buffered.
func (r *Reader) line(from, limit int) (int, error) {
	for seen := from; ; {
		have := r.buf[r.r:r.w]
		stop := min(len(have), from+limit)
		if i := bytes.IndexByte(have[seen:stop], '\n'); i >= 0 {
			end := seen + i + 1
			if end-from < 2 || have[end-2] != '\r' {
				return 0, errBare
			}
			return end, nil
		}
		if stop == from+limit {
			return 0, errLong
		}
		seen = stop
		if err := r.fill(); err != nil {
			if err == io.EOF && r.w > r.r {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
	}
}
