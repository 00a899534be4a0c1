package kubecases

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// endpoint is where requests go, and as whom.
type endpoint struct {
	addr   string // host:port
	prefix string // in front of targets in origin form: "/TARGET", or "" for an API server itself
	token  string // "": none is sent
}

// line is a request line as it was sent, with the target as it was asked for:
// without an endpoint's prefix.
type line struct{ method, target string }

// message is what the client writes in one go.
type message struct {
	bytes []byte
	lines []line // of the requests in it, as a reader that follows the first request's length sees them
}

// at puts the endpoint into the request: the prefix in front of the target
// where that is a path, and the credential. All else stays as the case has it.
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
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", r.Method, e.target(r.Target))
	if !r.Headers.has("Host") {
		fmt.Fprintf(&b, "Host: %s\r\n", e.addr)
	}
	b.WriteString(e.authorization("\r\n"))
	for _, h := range r.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	if body != nil && !r.Headers.has("Content-Length") && !r.Headers.has("Transfer-Encoding") {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	b.Write(body)
	return message{b.Bytes(), []line{{r.Method, r.Target}}}, nil
}

func (e endpoint) target(t string) string {
	if strings.HasPrefix(t, "/") {
		return e.prefix + t
	}
	return t
}

func (e endpoint) authorization(end string) string {
	if e.token == "" {
		return ""
	}
	return "Authorization: Bearer " + e.token + end
}

// raw puts the endpoint into each request that stands in bytes one after the
// other. Where the length of one is not plain the rest stays as it is.
func raw(b []byte, e endpoint) message {
	var m message
	for len(b) > 0 {
		first, rest, ended := bytes.Cut(b, []byte("\n"))
		asked := bytes.TrimRight(first, "\r")
		parts := bytes.SplitN(asked, []byte(" "), 3)
		if len(parts) < 2 || len(parts[0]) == 0 {
			break // it is no request
		}
		end := "\n"
		if bytes.HasSuffix(first, []byte("\r")) {
			end = "\r\n"
		}
		l := line{string(parts[0]), string(parts[1])}
		m.lines = append(m.lines, l)
		parts[1] = []byte(e.target(l.target))
		m.bytes = append(m.bytes, bytes.Join(parts, []byte(" "))...)
		m.bytes = append(m.bytes, first[len(asked):]...)
		if b = nil; !ended {
			break
		}
		m.bytes = append(m.bytes, '\n')
		m.bytes = append(m.bytes, e.authorization(end)...)
		head, length := headOf(rest)
		m.bytes = append(m.bytes, rest[:head]...)
		b = rest[head:]
		if length < 0 || length > len(b) {
			break
		}
		m.bytes = append(m.bytes, b[:length]...)
		b = b[length:]
	}
	m.bytes = append(m.bytes, b...)
	return m
}

// headOf measures the headers, with the empty line behind them, and says how
// long the body is; -1 where readers may differ, or there is no end.
func headOf(b []byte) (head, length int) {
	lengths, plain := []string{}, true
	for head < len(b) {
		i := bytes.IndexByte(b[head:], '\n')
		if i < 0 {
			return len(b), -1
		}
		text := strings.TrimRight(string(b[head:head+i]), "\r")
		head += i + 1
		if text == "" {
			switch {
			case !plain || len(lengths) > 1:
				return head, -1
			case len(lengths) == 0:
				return head, 0
			}
			n, err := strconv.ParseUint(lengths[0], 10, 31)
			if err != nil {
				return head, -1
			}
			return head, int(n)
		}
		name, value, _ := strings.Cut(text, ":")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "content-length":
			lengths = append(lengths, strings.TrimSpace(value))
		case "transfer-encoding":
			plain = false
		}
	}
	return head, -1
}

// url is the target as an API server reads it: nil if it cannot be read.
func (l line) url() *url.URL {
	u, err := url.ParseRequestURI(l.target)
	if err != nil {
		return nil
	}
	return u
}

// live reports whether the answer has no end: a watch, or a log that is
// followed.
func (l line) live() bool {
	u := l.url()
	if u == nil {
		return false
	}
	for _, name := range []string{"watch", "follow"} {
		if v, there := u.Query()[name]; there && v[0] != "false" && v[0] != "0" {
			return true
		}
	}
	return strings.Contains(u.Path, "/watch/")
}

// writes reports whether the request is meant to change something.
func (l line) writes() bool { return !slices.Contains([]string{"GET", "HEAD", "OPTIONS"}, l.method) }

// object is what a path names of a cluster.
type object struct {
	base      string // of the path, before the namespace: /api/v1 or /apis/GROUP/VERSION
	group     string
	namespace string // "" for what has none
	resource  string
	name      string
	rest      string // subresource and what is behind it
}

// objectAt takes a plain path apart, without any of the old forms.
func objectAt(path string) (object, bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	var o object
	switch {
	case len(parts) > 2 && parts[0] == "api":
		o.base, parts = "/"+strings.Join(parts[:2], "/"), parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		o.group, o.base, parts = parts[1], "/"+strings.Join(parts[:3], "/"), parts[3:]
	default:
		return o, false
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		o.namespace, parts = parts[1], parts[2:]
	}
	o.resource = parts[0]
	if len(parts) > 1 {
		o.name = parts[1]
	}
	if len(parts) > 2 {
		o.rest = strings.Join(parts[2:], "/")
	}
	return o, true
}

// path of the object itself.
func (o object) path() string {
	p := o.collection()
	if o.name != "" {
		p += "/" + o.name
	}
	return p
}

func (o object) collection() string {
	p := o.base
	if o.namespace != "" {
		p += "/namespaces/" + o.namespace
	}
	return p + "/" + o.resource
}
