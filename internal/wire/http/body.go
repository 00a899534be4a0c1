package http

import (
	"io"
	"slices"
)

const (
	step      = 32 << 10 // a body grows by at most this much before more of it came
	maxDigits = 8        // of a chunk size
	maxExt    = 256      // bytes of the extensions of one chunk of an answer
	maxExtra  = 8 << 10  // bytes of all extensions of an answer that its data does not outweigh
	maxTrail  = 8 << 10  // bytes of the trailer part of an answer
)

// stage is what of a body comes next.
type stage uint8

const (
	none    stage = iota // no body, or it was read to its end
	counted              // left bytes, and then the end
	toEnd                // all until the connection ends
	size                 // the size of a chunk
	data                 // left bytes of a chunk
	gap                  // the CRLF behind the data of a chunk
	trail                // the trailer part, behind the last chunk
)

// begin starts a body of this length, as Request and Answer give it.
func (r *Reader) begin(length int64) {
	r.left, r.extra, r.at = 0, 0, none
	switch {
	case length == -1:
		r.at = size
	case length == -2:
		r.at = toEnd
	case length > 0:
		r.at, r.left = counted, length
	}
}

// Body reads the whole body of the request that was read last, and appends it
// to dst. A body of more than limit bytes is a [*Fault] of status 413, found as
// soon as it is declared. Any error ends the reader, and dst is given back
// without what came of the body. The result grows only as the bytes arrive.
func (r *Reader) Body(dst []byte, limit int64) ([]byte, error) {
	if r.bad != nil {
		return dst, r.bad
	}
	r.room = max(limit, 0)
	if r.at == counted && r.left > r.room {
		return dst, r.tooLarge()
	}
	all := dst
	for {
		if err := r.advance(); err == io.EOF {
			return all, nil
		} else if err != nil {
			r.bad = err
			return dst, err
		}
		if len(all) == cap(all) {
			all = slices.Grow(all, int(min(r.left, step)))
		}
		n, err := r.take(all[len(all):cap(all)])
		all = all[:len(all)+n]
		if err != nil {
			r.bad = err
			return dst, err
		}
	}
}

func (r *Reader) tooLarge() error {
	return r.refuse(413, "the body is larger than the limit", "send less at once")
}

// Read reads from the body of the answer that was read last. It gives what came
// already rather than wait for more; io.EOF at the end of the body,
// io.ErrUnexpectedEOF when the connection ended before, a [*Fault] when chunks
// are malformed.
func (r *Reader) Read(p []byte) (int, error) {
	if r.bad != nil {
		return 0, r.bad
	}
	if err := r.advance(); err != nil || len(p) == 0 {
		return 0, err
	}
	return r.take(p)
}

// Done reports whether the answer was read to its end, so that the connection
// can be used again. It is false for one that closes the connection.
func (r *Reader) Done() bool { return r.at == none && r.bad == nil && !r.ended }

// advance reads what stands between the data, until data is due. At the end of
// the body it gives io.EOF.
func (r *Reader) advance() error {
	for {
		var err error
		switch r.at {
		case none:
			return io.EOF
		case counted, data, toEnd:
			return nil
		case size:
			err = r.chunkSize()
		case gap:
			err = r.chunkGap()
		case trail:
			err = r.trailer()
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
}

// take gives data of the body that came, or reads once. At most len(p) bytes.
func (r *Reader) take(p []byte) (int, error) {
	if r.at != toEnd && int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n := copy(p, r.buf[r.r:r.w])
	r.r += n
	if n == 0 {
		var err error
		if r.at == data && len(p) < startBuf {
			// What follows the chunk is likely to come along with it.
			if err = r.fill(); err == nil {
				n = copy(p, r.buf[r.r:r.w])
				r.r += n
			}
		} else {
			n, err = r.pull(p)
		}
		if err == io.EOF {
			if r.at == toEnd {
				r.at = none
				return 0, io.EOF
			}
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
	}
	if r.at == toEnd {
		return n, nil
	}
	if r.left -= int64(n); r.left == 0 {
		if r.at == counted {
			r.at = none
		} else {
			r.at = gap
		}
	}
	return n, nil
}

// chunkSize reads the line before the data of a chunk (RFC 9112, 7.1): 1 to 8
// hexadecimal digits, and in answers extensions, which are dropped. In requests
// they are refused: they carry nothing that anyone uses, and parsers differ on
// where they end.
func (r *Reader) chunkSize() error {
	most := maxDigits
	if r.answer {
		most += maxExt
	}
	end, err := r.line(0, most+2)
	if err != nil {
		return r.lineFault(err, 400, "the line of a chunk size", "it", "send the size as 1 to 8 hexadecimal digits")
	}
	line := r.buf[r.r : r.r+end-2]
	n, digits := int64(0), 0
	for digits < len(line) && digits < maxDigits {
		d, ok := hex(line[digits])
		if !ok {
			break
		}
		n = n<<4 | d
		digits++
	}
	ext := line[digits:]
	if digits == 0 || len(ext) > 0 && (!r.answer || ext[0] != ';' || !isText(ext)) {
		return r.refuse(400, "a chunk size is not 1 to 8 hexadecimal digits and a line end", "send chunks without extensions")
	}
	// Many small chunks with long extensions cost more than they bring; the sum
	// is kept as the Go standard library does.
	r.extra = max(0, r.extra+int64(end)-16-2*n)
	if r.extra > maxExtra {
		return r.refuse(400, "chunk extensions are longer than the data", "")
	}
	if n > r.room {
		return r.tooLarge()
	}
	r.room -= n
	r.r += end
	r.left, r.at = n, data
	if n == 0 {
		r.left, r.at = maxTrail, trail
	}
	return nil
}

// chunkGap takes the CRLF behind the data of a chunk.
func (r *Reader) chunkGap() error {
	for r.w-r.r < 2 {
		if err := r.fill(); err != nil {
			return err
		}
	}
	if r.buf[r.r] != '\r' || r.buf[r.r+1] != '\n' {
		return r.refuse(400, "the data of a chunk does not end with CR LF", "send as many bytes as the chunk size says, and CR LF")
	}
	r.r += 2
	r.at = size
	return nil
}

// trailer reads one line of the trailer part (RFC 9112, 7.1.2). In requests it
// must be empty; the fields that an answer has there are dropped.
func (r *Reader) trailer() error {
	end, err := r.line(0, int(r.left))
	if err != nil {
		return r.lineFault(err, 400, "the trailer part", "it", "send all fields before the body")
	}
	if line := r.buf[r.r : r.r+end-2]; len(line) > 0 {
		if _, wrong := field(line); wrong != "" || !r.answer {
			return r.refuse(400, "there are fields behind the last chunk", "send all fields before the body")
		}
		r.left -= int64(end)
	} else {
		r.at = none
	}
	r.r += end
	return nil
}
