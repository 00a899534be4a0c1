package httpcases

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
)

// endpoint is where requests go, and as whom.
type endpoint struct {
	addr  string // host:port
	token string // "": none is sent
}

// line is a request line as it was sent.
type line struct{ method, target string }

// message is what the client writes in one go.
type message struct {
	bytes []byte
	lines []line   // of the requests in it, as a reader that follows plain lengths sees them
	plain []*plain // the same, of those that say in one way only what they are; nil else
	vague bool     // where the last of them ends readers may differ about
	parts *plain   // the one request, where it is written as parts: as bytes it may be another one
}

// plain is a request that can be read in one way.
type plain struct {
	line
	headers Headers // all but Host
	host    string
	body    []byte
}

// at gives the bytes of the request, with the credential behind the first line.
// All else stays as the case has it.
func (r *Request) at(e endpoint) (message, error) {
	switch {
	case r.RawHex != nil:
		b, err := hex.DecodeString(*r.RawHex)
		if err != nil {
			return message{}, err
		}
		return raw(b, e), nil
	case r.Raw != nil:
		return raw([]byte(*r.Raw), e), nil
	case r.Method == "" && r.Target == "":
		return message{}, errors.New("there is neither a method nor bytes to send")
	}
	body, err := r.body()
	if err != nil {
		return message{}, err
	}
	p := &plain{line: line{r.Method, r.Target}, host: serviceHost, body: body}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n%s", r.Method, r.Target, e.authorization("\r\n"))
	if !r.Headers.has("Host") {
		fmt.Fprintf(&b, "Host: %s\r\n", serviceHost)
	}
	framed := r.Headers.has("Content-Length") || r.Headers.has("Transfer-Encoding")
	for _, h := range r.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
		if strings.EqualFold(h[0], "Host") {
			p.host = h[1]
		} else {
			p.headers = append(p.headers, h)
		}
	}
	if body != nil && !framed {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	b.Write(body)
	if !p.clean() {
		m := raw(bytes.Replace(b.Bytes(), []byte(e.authorization("\r\n")), nil, 1), e)
		m.parts = p
		return m, nil
	}
	return message{bytes: b.Bytes(), lines: []line{p.line}, plain: []*plain{p}, vague: !p.framed(), parts: p}, nil
}

// framed reports whether the headers say of the body's length what is so, or
// nothing.
func (p *plain) framed() bool {
	n := p.headers.get("Content-Length")
	return !p.headers.has("Transfer-Encoding") && (n == nil || *n == strconv.Itoa(len(p.body)))
}

func (e endpoint) authorization(end string) string {
	if e.token == "" {
		return ""
	}
	return "Authorization: Bearer " + e.token + end
}

// raw puts the credential into each request that stands in bytes one after the
// other. Where the length of one is not plain the rest stays as it is.
func raw(b []byte, e endpoint) message {
	var m message
	for bytes.HasPrefix(b, []byte("\r\n")) { // empty lines are none of a request
		m.bytes, b = append(m.bytes, '\r', '\n'), b[2:]
	}
	led := len(m.bytes) > 0
	for len(b) > 0 {
		first, rest, ended := bytes.Cut(b, []byte("\n"))
		asked := bytes.TrimRight(first, "\r")
		words := bytes.SplitN(asked, []byte(" "), 3)
		if len(words) < 2 || len(words[0]) == 0 || !ended {
			break // it is no request
		}
		m.lines = append(m.lines, line{string(words[0]), string(words[1])})
		m.bytes = append(m.bytes, b[:len(first)+1]...)
		b = rest
		if len(words) == 3 && bytes.HasPrefix(words[2], []byte("HTTP/")) {
			m.bytes = append(m.bytes, e.authorization(string(first[len(asked):])+"\n")...)
		}
		n, p := measure(words, rest)
		if led { // which only bytes can say
			p, led = nil, false
		}
		m.plain = append(m.plain, p)
		if n < 0 {
			m.vague = true
			break
		}
		m.bytes = append(m.bytes, b[:n]...)
		b = b[n:]
	}
	m.vague = m.vague || len(b) > 0
	m.bytes = append(m.bytes, b...)
	return m
}

// measure says how long headers and body are together, -1 where readers may
// differ or there is no end, and reads what can be read in one way.
func measure(words [][]byte, b []byte) (n int, p *plain) {
	p = &plain{line: line{string(words[0]), string(words[1])}}
	sure := len(words) == 3 && string(words[2]) == "HTTP/1.1"
	hosts, lengths, codings := 0, []string{}, []string{}
	for {
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			return -1, nil
		}
		text := b[n : n+i]
		n += i + 1
		sure = sure && bytes.HasSuffix(text, []byte("\r"))
		text = bytes.TrimRight(text, "\r")
		if len(text) == 0 {
			break
		}
		name, value, ok := strings.Cut(string(text), ":")
		sure = sure && ok && name == strings.TrimSpace(name) && name != ""
		value = strings.Trim(value, " \t")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "host":
			p.host = value
			hosts++
			continue
		case "content-length":
			lengths = append(lengths, value)
		case "transfer-encoding":
			codings = append(codings, value)
		}
		p.headers = append(p.headers, [2]string{name, value})
	}
	sure = sure && hosts == 1
	length := 0
	switch {
	case len(lengths)+len(codings) > 1:
		return -1, nil
	case len(codings) == 1:
		if length, p.body = chunked(b[n:]); codings[0] != "chunked" || length < 0 {
			return -1, nil
		}
	case len(lengths) == 1:
		l, err := strconv.ParseUint(lengths[0], 10, 31)
		if err != nil || int(l) > len(b)-n {
			return -1, nil
		}
		length = int(l)
		p.body = b[n : n+length]
	}
	if !sure {
		p = nil
	}
	return n + length, p
}

// chunked measures a plain chunked body; -1 for any other.
func chunked(b []byte) (n int, body []byte) {
	for {
		size, _, ok := bytes.Cut(b[n:], []byte("\r\n"))
		l, err := strconv.ParseUint(string(size), 16, 31)
		if n += len(size) + 2; !ok || err != nil || n+int(l)+2 > len(b) {
			return -1, nil
		}
		body = append(body, b[n:n+int(l)]...)
		if n += int(l); string(b[n:n+2]) != "\r\n" {
			return -1, nil
		}
		if n += 2; l == 0 {
			return n, body
		}
	}
}

// same reports whether two request lines mean the same, however they are
// written.
func (l line) same(other line) bool {
	a, errA := url.ParseRequestURI(l.target)
	b, errB := url.ParseRequestURI(other.target)
	return l.method == other.method && errA == nil && errB == nil && a.Path == b.Path && reflect.DeepEqual(a.Query(), b.Query())
}
