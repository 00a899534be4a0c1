package kubernetes

import (
	"bytes"
	"strings"
)

// HTTP is a request as it came in.
type HTTP struct {
	Method string
	Target string              // in origin form, as in /api/v1/pods?limit=5; the target's own prefix taken off, nothing decoded
	Header map[string][]string // names in any case
	Body   []byte              // whole; JSON, or YAML of an apply patch
}

// FromHTTP reads a request as it came in, and keeps of it only what is in a
// [Request]: every other header is dropped. What could be read in two ways, or
// would change who asks, is a [*Refusal].
func FromHTTP(h HTTP) (*Request, error) {
	r := &Request{Method: h.Method}
	if !strings.HasPrefix(h.Target, "/") {
		return nil, bad("the target %.80q is not a path", h.Target).WithHint("only the path and the query stand there, as in /api/v1/namespaces/dev/pods")
	}
	path, query, _ := strings.Cut(h.Target, "?")
	r.Path = path
	if err := checkPath(path); err != nil {
		return nil, err
	}
	values, err := parseQuery(query)
	if err != nil {
		return nil, err
	}
	r.Query = values
	a, _, err := resolve(r.Method, r.Path, nil)
	if err != nil {
		return nil, err
	}
	r.Stream = a.stream()
	headers, err := readHeaders(h.Header)
	if err != nil {
		return nil, err
	}
	if err := headers.check(r.Stream); err != nil {
		return nil, err
	}
	if r.Accept, err = headers.accept(); err != nil {
		return nil, err
	}
	if len(h.Body) > MaxBody {
		return nil, refuse(statusTooLarge, "", "the body has %d bytes; the most is %d", len(h.Body), MaxBody)
	}
	if len(h.Body) > 0 {
		if r.ContentType, err = headers.contentType(r.Method); err != nil {
			return nil, err
		}
		r.Body = h.Body
		if r.ContentType == typeApply {
			if r.Body, err = applyBody(h.Body); err != nil {
				return nil, err
			}
		}
	}
	if _, err := r.inspect(); err != nil {
		return nil, err
	}
	return r, nil
}

// applyBody gives the JSON of an apply patch, which is YAML for the API server,
// written so that JSON and YAML are the same.
func applyBody(body []byte) ([]byte, error) {
	n, err := readJSON(body)
	if err != nil {
		if first := bytes.TrimLeft(body, " \t\r\n"); len(first) > 0 && first[0] == '{' {
			return nil, err // it is meant for JSON
		}
		if n, err = readYAML(body); err != nil {
			return nil, err
		}
	}
	var b strings.Builder
	writeJSON(&b, n)
	return []byte(b.String()), nil
}
