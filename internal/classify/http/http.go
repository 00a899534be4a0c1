package http

import "strings"

// Field is one header.
type Field struct{ Name, Value string }

// Incoming is a request as it came in.
type Incoming struct {
	Method string
	Target string  // in origin form as sent, as in /v1/orders?limit=5; the target's own prefix taken off, nothing decoded
	Fields []Field // all that came, names in any case
	Body   []byte  // whole; empty when there is none
}

// Env is what is known of the target.
type Env struct {
	Headers []string // names of further headers that are sent on, in lower case; see [CheckHeader]
	// Operations are what the service does; nil: that is not known. Where it is,
	// what is none of them is never allowed by default.
	Operations *Operations
}

// sends reports whether a header of this name, in lower case, is sent on.
func (e *Env) sends(name string) bool {
	if sent[name] {
		return true
	}
	if e == nil {
		return false
	}
	for _, h := range e.Headers {
		if h == name {
			return CheckHeader(name) == nil
		}
	}
	return false
}

// FromHTTP reads a request as it came in, and keeps of it only what is in a
// [Request]: headers that are not on the list are dropped, among them every one
// that says who asks, where from, or how the connection is used. What could be
// read in two ways, or would make the request another one, is a [*Refusal].
//
// The request keeps the body that it was given, and does not copy it.
func FromHTTP(in Incoming, env *Env) (*Request, error) {
	if err := checkMethod(in.Method); err != nil {
		return nil, err
	}
	path, query, err := parseTarget(in.Target)
	if err != nil {
		return nil, err
	}
	r := &Request{Method: in.Method, Path: path, Query: query}
	if len(in.Body) > 0 {
		r.Body = in.Body
	}
	if err := r.readFields(in.Fields, env); err != nil {
		return nil, err
	}
	if _, err := r.readBody(); err != nil {
		return nil, err
	}
	return r, nil
}

// checkMethod wants one of the methods whose meaning is agreed (RFC 9110, RFC
// 5789). They are compared exactly: some servers take delete for DELETE.
func checkMethod(m string) *Refusal {
	switch m {
	case "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE":
		return nil
	}
	return refuse(statusMethod, "GET, HEAD, OPTIONS, POST, PUT, PATCH and DELETE are, written so", "the method %.40q is not let through", m)
}

// parseTarget reads the request target, which has to be in origin form (RFC
// 9112, 3.2.1).
func parseTarget(target string) (string, []Pair, *Refusal) {
	if !strings.HasPrefix(target, "/") {
		return "", nil, bad("the target does not begin with a slash").WithHint("only the path and the query stand there, as in /api/v1/orders?limit=5")
	}
	rawPath, rawQuery, _ := strings.Cut(target, "?")
	path, err := parsePath(rawPath)
	if err != nil {
		return "", nil, err
	}
	query, err := parseQuery(rawQuery)
	if err != nil {
		return "", nil, err
	}
	return path, query, nil
}
