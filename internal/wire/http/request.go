package http

import (
	"io"
	"net/netip"
	"strings"
)

// Request is the head of a request.
type Request struct {
	Method, Target string  // Target is a path with its query, or * for OPTIONS; as it was sent
	Fields         []Field // all, in their order
	Host           string  // host or host:port, as it was sent
	Length         int64   // of the body; 0: none; -1: chunked
	Close          bool    // Connection: close; nothing more is read after this request
	Continue       bool    // Expect: 100-continue: the client may wait for 100 before it sends the body
	Upgrade        string  // not empty when the client asks for another protocol, to be refused
}

// Request reads the head of the next request. The request and its Fields are
// valid until the next call of Request; the texts in them stay valid.
//
// It gives io.EOF when the connection ended between two requests, or when the
// request before asked to close it; io.ErrUnexpectedEOF when it ended within
// one; a [*Fault] for what is refused; and other errors of the connection as
// they are. After a time-out it can be called again. The body of the request
// before must have been read.
func (r *Reader) Request() (*Request, error) {
	if err := r.next(false); err != nil {
		return nil, err
	}
	text, err := r.head((*Reader).requestLine)
	if err != nil {
		if err == io.ErrUnexpectedEOF && string(r.buf[r.r:r.w]) == "\r\n" {
			err = io.EOF // the empty line that is tolerated, with nothing behind it
		}
		return nil, err
	}
	q := &r.req
	*q = Request{
		Method: text[r.method.from:r.method.to],
		Target: text[r.target.from:r.target.to],
		Fields: r.cut(q.Fields, text),
	}
	f, err := r.framing(q.Fields)
	if err != nil {
		return nil, err
	}
	switch {
	case f.hosts != 1:
		return nil, r.refuse(400, "there is not exactly one Host", "send one Host")
	case !isHost(f.host):
		return nil, r.refuse(400, "Host is not host or host:port", "send the name or address of the service and no more")
	case f.trailer:
		return nil, r.refuse(400, "a Trailer announces fields after the body", "send all fields before the body")
	case f.expect > 1 || f.expect == 1 && !f.cont:
		return nil, r.refuse(417, "Expect is not 100-continue alone", "send Expect: 100-continue, or no Expect")
	}
	q.Host, q.Close, q.Continue, q.Upgrade = f.host, f.close, f.cont, f.upgrade
	q.Length = max(f.length, 0)
	if f.chunked {
		q.Length = -1
	}
	r.begin(q.Length)
	r.ended = f.close
	return q, nil
}

// next tells whether another message may be read.
func (r *Reader) next(answer bool) error {
	r.answer = answer
	switch {
	case r.bad != nil:
		return r.bad
	case r.at != none:
		return errUnread
	case r.ended:
		return io.EOF
	}
	return nil
}

// requestLine takes method, target and version apart (RFC 9112, 3). The line is
// between these offsets.
func (r *Reader) requestLine(from, to int) error {
	line := r.buf[r.r+from : r.r+to]
	n := 0
	for n < len(line) && (line[n] >= 'A' && line[n] <= 'Z' || line[n] == '-') {
		n++
	}
	if n == 0 || n == len(line) || line[n] != ' ' {
		return r.refuse(400, "the request line does not begin with a method", "send METHOD, one space, the path, one space and HTTP/1.1")
	}
	t := n + 1
	for t < len(line) && line[t] > ' ' && line[t] < 0x7f {
		t++
	}
	switch {
	case t == len(line):
		return r.refuse(400, "the request line has no version", "send HTTP/1.1 behind the path")
	case line[t] != ' ':
		return r.refuse(400, "the target holds a byte that is not printable ASCII", "encode it with %")
	case t == n+1:
		return r.refuse(400, "the request line has no target, or two spaces before it", "send METHOD, one space, the path, one space and HTTP/1.1")
	}
	if v := line[t+1:]; string(v) != "HTTP/1.1" {
		if len(v) != len("HTTP/1.1") || string(v[:5]) != "HTTP/" {
			return r.refuse(400, "the request line does not end with a version behind one space", "encode spaces in the path as %20, and end the line with HTTP/1.1")
		}
		return r.refuse(505, "the version is not HTTP/1.1", "send HTTP/1.1")
	}
	if wrong := target(line[:n], line[n+1:t]); wrong != "" {
		return r.refuse(400, "the target "+wrong, "send a path that begins with / and name the host in Host")
	}
	r.method, r.target = part{from, from + n}, part{from + n + 1, from + t}
	return nil
}

// target says what is wrong with a target of printable ASCII. Only a path with
// its query is taken, and * for OPTIONS: the other forms (RFC 9112, 3.2.2 and
// 3.2.3) name a second host beside Host. A fragment is never sent, and one
// parser cuts it off where another does not. A path that cannot be decoded
// means nothing certain.
func target[T string | []byte](method, t T) string {
	if t[0] != '/' {
		if string(t) == "*" && string(method) == "OPTIONS" {
			return ""
		}
		return "does not begin with /"
	}
	query := false
	for i := range len(t) {
		switch c := t[i]; {
		case c == '#':
			return "holds a fragment (#)"
		case c == '?':
			query = true
		case c == '%' && !query:
			if i+2 >= len(t) {
				return "ends within a % escape"
			}
			if _, ok := hex(t[i+1]); !ok {
				return "holds a % that no two hexadecimal digits follow"
			}
			if _, ok := hex(t[i+2]); !ok {
				return "holds a % that no two hexadecimal digits follow"
			}
		}
	}
	return ""
}

func isIPv6(s string) bool {
	if strings.IndexByte(s, '%') >= 0 {
		return false
	}
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is6()
}
