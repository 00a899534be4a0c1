package httpcases

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// What the service is told: how it is called, and who asks.
const (
	serviceHost = "orders.internal"
	userHeader  = "X-Gate-User"
	userName    = "agent"
)

// arrived is a request as it came to the service.
type arrived struct {
	line
	headers Headers
	body    []byte
}

var requestLine = regexp.MustCompile(`^([A-Z]+) (/[!-~]*) HTTP/1\.1$`)

// exact reads bytes as requests that nobody could read in another way: one
// spelling of each thing, and nothing between and behind them.
func exact(b []byte) (out []arrived, err error) {
	for len(b) > 0 {
		head, rest, ok := bytes.Cut(b, []byte("\r\n\r\n"))
		if !ok {
			return out, fmt.Errorf("what came is no whole request: %.300q", b)
		}
		lines := strings.Split(string(head), "\r\n")
		words := requestLine.FindStringSubmatch(lines[0])
		if words == nil {
			return out, fmt.Errorf("what came is no request line: %.300q", lines[0])
		}
		a := arrived{line: line{words[1], words[2]}}
		for _, l := range lines[1:] {
			name, value, ok := strings.Cut(l, ": ")
			if !ok || !fieldName.MatchString(name) || !fieldValue.MatchString(value) {
				return out, fmt.Errorf("what came is no header: %.300q", l)
			}
			a.headers = append(a.headers, [2]string{name, value})
		}
		if a.headers.has("Transfer-Encoding") {
			return out, errors.New("a request came in chunks")
		}
		length := 0
		if l := a.headers.get("Content-Length"); l != nil {
			if length, err = strconv.Atoi(*l); err != nil || length < 0 || strconv.Itoa(length) != *l || length > len(rest) {
				return out, fmt.Errorf("the Content-Length %q came with %d bytes", *l, len(rest))
			}
		} else if a.method != "GET" && a.method != "HEAD" && a.method != "OPTIONS" && a.method != "DELETE" {
			return out, fmt.Errorf("%s came without a length", a.method)
		}
		a.body, b = rest[:length], rest[length:]
		out = append(out, a)
	}
	return out, nil
}

var (
	fieldName  = regexp.MustCompile(`^[A-Za-z0-9-]+$`) // no underscore: some read it as a dash
	fieldValue = regexp.MustCompile(`^[!-~]([\t -~]*[!-~])?$`)
)

// known are the headers that a service may get, beside doorward's own. None of
// them says who asks, where from, how, or to do something else.
var known = strings.Fields(`host content-length accept-encoding accept accept-language cache-control content-language content-type idempotency-key
	if-match if-modified-since if-none-match if-range if-unmodified-since last-event-id prefer range traceparent tracestate
	user-agent x-correlation-id x-request-id`)

// wrong says what is wrong with the headers of a request that came.
func (a *arrived) wrong(token string) (out []string) {
	seen := map[string]bool{}
	for i, h := range a.headers {
		name := strings.ToLower(h[0])
		switch {
		case seen[name]:
			out = append(out, fmt.Sprintf("%s came twice", h[0]))
		case name == strings.ToLower(userHeader):
			// Only the length, which is the connection's and no header of the
			// request's own, may stand behind it.
			if h[1] != userName || slices.ContainsFunc(a.headers[i+1:], func(x [2]string) bool { return !strings.EqualFold(x[0], "Content-Length") }) {
				out = append(out, fmt.Sprintf("%s: %s is not doorward's last word", h[0], h[1]))
			}
		case !slices.Contains(known, name):
			out = append(out, fmt.Sprintf("the header %s: %s came", h[0], h[1]))
		}
		seen[name] = true
		if token != "" && strings.Contains(h[1], token) {
			out = append(out, "the service got the client's credential")
		}
	}
	if !seen[strings.ToLower(userHeader)] {
		out = append(out, "the service is not told who asks")
	}
	if host := a.headers.get("Host"); host == nil || *host != serviceHost {
		out = append(out, fmt.Sprintf("the host is %v", a.headers.get("Host")))
	}
	return out
}

// free are the requests of P7 that need nobody, and those that need a yes. They
// are written down here a second time, so that no reading of doorward's own
// policy stands between.
var (
	free     = regexp.MustCompile(`^(GET|HEAD) /api/v1/(status|orders(/.*)?)$`)
	reviewed = regexp.MustCompile(`^POST /api/v1/orders$`)
	odd      = regexp.MustCompile(`(?i)//|/\.{1,2}(/|$)|[;\\]|%(2e|2f|5c|00|0a|0d|3b|3f|23|25[0-9a-f]{2})`) // of a path as it is sent
)

// outside says why a request should not have come under P7, "" for that it may.
func (a *arrived) outside() string {
	path, _, _ := strings.Cut(a.target, "?")
	u, err := url.ParseRequestURI(a.target)
	switch {
	case err != nil:
		return err.Error()
	case odd.MatchString(path):
		return "readers differ about the path"
	case strings.ContainsFunc(u.Path, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return "the path holds control characters"
	case reviewed.MatchString(a.method + " " + u.Path):
		return ""
	case !free.MatchString(a.method + " " + u.Path):
		return "P7 does not open it"
	case len(a.body) > 0:
		return "it has a body"
	}
	return ""
}
