package http

import (
	"io"
	"math"
)

// maxInterim bounds the 1xx answers before the one that counts.
const maxInterim = 8

// Answer is the head of an answer to a request.
type Answer struct {
	Status int     // 200 to 599
	Fields []Field // all, in their order
	Length int64   // of the body; 0: none, as for HEAD, 204 and 304; -1: chunked; -2: until the connection ends
	Close  bool    // the connection cannot be used again
}

// Answer reads the head of the answer to a request with this method. It skips
// at most eight answers that say that another one follows (1xx), and refuses
// 101: no other protocol was asked for. The answer and its Fields are valid
// until the next call of Answer; the texts in them stay valid.
//
// It gives io.EOF when the connection ended and nothing was read, or the answer
// before closed it; io.ErrUnexpectedEOF when it ended within a head; a [*Fault]
// of status 502 for what is refused; other errors of the connection as they are.
func (r *Reader) Answer(method string) (*Answer, error) {
	if err := r.next(true); err != nil {
		return nil, err
	}
	for skipped := 0; ; skipped++ {
		a, err := r.oneAnswer(method)
		if err != nil {
			if err == io.EOF && skipped > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		switch {
		case a.Status == 101:
			return nil, r.refuse(502, "it changes to another protocol (101) that nobody asked for", "")
		case a.Status >= 200:
			r.begin(a.Length)
			r.room = math.MaxInt64
			r.ended = a.Close
			return a, nil
		case skipped == maxInterim:
			return nil, r.refuse(502, "there are too many interim answers (1xx)", "")
		}
	}
}

func (r *Reader) oneAnswer(method string) (*Answer, error) {
	text, err := r.head((*Reader).statusLine)
	if err != nil {
		return nil, err
	}
	a := &r.ans
	*a = Answer{Status: r.status, Fields: r.cut(a.Fields, text)}
	f, err := r.framing(a.Fields)
	if err != nil {
		return nil, err
	}
	old := r.minor == 0
	a.Close = f.close || old
	switch {
	case f.chunked && old:
		return nil, r.refuse(502, "HTTP/1.0 has no Transfer-Encoding", "")
	case (a.Status < 200 || a.Status == 204) && (f.chunked || f.length > 0):
		return nil, r.refuse(502, "an answer that has no body by its status announces one", "")
	case method == "CONNECT" && a.Status >= 200 && a.Status < 300:
		return nil, r.refuse(502, "it opens a tunnel", "")
	case method == "HEAD" || a.Status < 200 || a.Status == 204 || a.Status == 304:
		a.Length = 0
	case f.chunked:
		a.Length = -1
	case f.length >= 0:
		a.Length = f.length
	default:
		a.Length, a.Close = -2, true
	}
	return a, nil
}

// statusLine takes the status line between these offsets apart (RFC 9112, 4).
// The reason phrase, and the space before it, may be missing.
func (r *Reader) statusLine(from, to int) error {
	line := r.buf[r.r+from : r.r+to]
	const form = "HTTP/1.x 200"
	if len(line) < len(form) || string(line[:7]) != "HTTP/1." || line[7] != '0' && line[7] != '1' || line[8] != ' ' {
		return r.refuse(502, "the status line is not HTTP/1.1 or HTTP/1.0, a space and a status", "")
	}
	status := length(string(line[9:12]))
	if status < 100 || status > 599 || len(line) > len(form) && line[12] != ' ' {
		return r.refuse(502, "the status is not a number of 100 to 599", "")
	}
	if !isText(line[len(form):]) {
		return r.refuse(502, "the reason phrase holds a control byte", "")
	}
	r.status, r.minor = int(status), int(line[7]-'0')
	return nil
}
