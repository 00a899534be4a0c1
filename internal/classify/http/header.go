package http

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Bounds of headers.
const (
	maxFields = 256      // that come
	maxValue  = 8 << 10  // bytes of a value that is sent on
	maxSent   = 64 << 10 // bytes of all values that are sent on
)

// sent are the headers that are sent on to every service. None of them says who
// asks, where from, or how the message is framed.
var sent = set(strings.Fields(`accept accept-language cache-control content-language content-type idempotency-key if-match
	if-modified-since if-none-match if-range if-unmodified-since last-event-id prefer range traceparent tracestate
	user-agent x-correlation-id x-request-id`))

// lists are the headers that may come several times, since they are lists.
var lists = set(strings.Fields("accept accept-language cache-control if-match if-none-match prefer tracestate"))

// Headers that the gate or the connection alone may set, and the beginnings of
// such.
var (
	reserved = set(strings.Fields(`accept-encoding authorization connection content-encoding content-length content-transfer-encoding expect
		forwarded host http2-settings keep-alive max-forwards proxy remote-user te trailer transfer-encoding true-client-ip upgrade via
		x-accel-mapping x-client-ip x-cluster-client-ip x-host x-real-ip x-rewrite-url x-sendfile-type`))
	reservedBefore = []string{"proxy-", "sec-", "x-doorward-", "x-forwarded-", "x-gate-", "x-original-", "x-remote-"}
)

func set(names []string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// CheckHeader says why a header of this name can never be sent on, or nil. Names
// are written in lower case. A name with an underscore is none: many servers
// read it as one with a dash.
func CheckHeader(name string) error {
	switch {
	case !token(name) || strings.ToLower(name) != name:
		return fmt.Errorf("%.60q is not the name of a header in lower case", name)
	case strings.Contains(name, "_"):
		return fmt.Errorf("the header %.60q holds an underscore, which many servers take for a dash", name)
	case len(name) > 128:
		return fmt.Errorf("the header %.60q has a name of more than 128 bytes", name)
	case override(name):
		return fmt.Errorf("the header %.60q changes the method", name)
	case reserved[name] || slices.ContainsFunc(reservedBefore, func(p string) bool { return strings.HasPrefix(name, p) }):
		return fmt.Errorf("the header %.60q is not the client's to send: it says who asks, where from, or how the message is sent", name)
	}
	return nil
}

// Always reports whether a client's header of this name, in lower case, is sent
// on to every service. Doorward's own headers need other names.
func Always(name string) bool { return sent[name] }

// token reports whether s is a token of RFC 9110, 5.6.2.
func token(s string) bool {
	for i := range len(s) {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// readFields keeps the headers that are sent on, and refuses those that would
// make the request another one.
func (r *Request) readFields(in []Field, env *Env) error {
	if len(in) > maxFields {
		return refuse(statusHeaders, "", "the request has %d headers; the most is %d", len(in), maxFields)
	}
	types := 0
	for _, f := range in {
		name, value := strings.ToLower(f.Name), strings.Trim(f.Value, " \t")
		if !token(name) {
			return bad("%.60q is not the name of a header", f.Name)
		}
		if i := strings.IndexFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }); i >= 0 {
			return bad("the header %.60q holds a control character", f.Name)
		}
		if err := checkChange(name, value); err != nil {
			return err
		}
		if name == "content-type" {
			if types++; types > 1 {
				return refuse(statusMedia, "send one", "several headers Content-Type")
			}
			if len(r.Body) == 0 {
				continue
			}
		}
		if value == "" || !env.sends(name) || (name == "range" || name == "if-range") && r.Method != "GET" {
			continue
		}
		if err := r.addField(name, value); err != nil {
			return err
		}
	}
	if err := r.finishFields(); err != nil {
		return err
	}
	slices.SortFunc(r.Fields, func(a, b Field) int { return cmp.Compare(a.Name, b.Name) })
	return r.checkFields()
}

// checkChange refuses what would change the method, the protocol or the body.
func checkChange(name, value string) error {
	const change = "a change of protocol is not let through here"
	switch name {
	case "upgrade", "http2-settings":
		return bad(change).WithHint("leave the header " + name + " out")
	case "connection":
		for t := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.Trim(t, " \t"), "upgrade") {
				return bad(change).WithHint("leave Connection: upgrade out")
			}
		}
	case "trailer":
		return bad("trailers are not let through").WithHint("send what they say as headers")
	case "expect":
		if !strings.EqualFold(value, "100-continue") {
			return refuse(statusExpect, "it may say 100-continue", "the header Expect says %.60q", value)
		}
	case "content-encoding":
		if value != "" && !strings.EqualFold(value, "identity") {
			return refuse(statusMedia, "send the body plain: it is judged", "the header Content-Encoding says %.60q", value)
		}
	}
	if override(name) {
		return bad("the header %.60q would change the method", name).WithHint("send the method that is meant")
	}
	return nil
}

// addField keeps a header that is sent on. One that came already has to say the
// same, or be a list.
func (r *Request) addField(name, value string) error {
	for i := range r.Fields {
		f := &r.Fields[i]
		switch {
		case f.Name != name:
			continue
		case f.Value == value:
		case lists[name] && len(f.Value)+len(value) <= maxValue:
			f.Value += ", " + value
		default:
			return bad("the header %.60q comes twice, and says two things", name).WithHint("send it once")
		}
		return nil
	}
	r.Fields = append(r.Fields, Field{name, value})
	return nil
}

// finishFields writes those headers in one way that the gate reads itself.
func (r *Request) finishFields() error {
	kept := r.Fields[:0]
	for _, f := range r.Fields {
		switch f.Name {
		case "prefer":
			v, err := cleanPrefer(f.Value)
			if err != nil {
				return err
			}
			if v == "" {
				continue
			}
			f.Value = v
		case "content-type":
			m, err := parseMedia(f.Value)
			if err != nil {
				return err
			}
			f.Value = m.text
		}
		kept = append(kept, f)
	}
	if r.Fields = kept; len(kept) == 0 {
		r.Fields = nil
	}
	return nil
}

// checkFields holds headers to what is sent on: names in order, one each, and
// values that every server reads in one way.
func (r *Request) checkFields() error {
	size := 0
	typed := false
	for i, f := range r.Fields {
		switch {
		case i > 0 && r.Fields[i-1].Name >= f.Name:
			return bad("the headers are not in order, or one comes twice")
		case !sent[f.Name] && CheckHeader(f.Name) != nil:
			return bad("the header %.60q is not sent on", f.Name)
		case len(f.Value) > maxValue:
			return refuse(statusHeaders, "", "the header %.60q has %d bytes; the most is %d", f.Name, len(f.Value), maxValue)
		case f.Value == "" || strings.Trim(f.Value, " \t") != f.Value:
			return bad("the header %.60q is empty, or has blanks around it", f.Name)
		case strings.ContainsFunc(f.Value, func(c rune) bool { return c < ' ' && c != '\t' || c > '~' }):
			return bad("the header %.60q holds something else than visible ASCII", f.Name).WithHint("servers differ in how they read it; encode it, or leave it out")
		case (f.Name == "range" || f.Name == "if-range") && r.Method != "GET":
			return bad("the header %.60q means something for GET only", f.Name)
		case f.Name == "prefer":
			if v, err := cleanPrefer(f.Value); err != nil || v != f.Value {
				return bad("the header prefer is not as it is sent on")
			}
		}
		typed = typed || f.Name == "content-type"
		size += len(f.Value)
	}
	if size > maxSent {
		return refuse(statusHeaders, "", "the headers that are sent on have %d bytes; the most is %d", size, maxSent)
	}
	if typed != (len(r.Body) > 0) {
		if typed {
			return bad("a content type without a body")
		}
		return refuse(statusMedia, "send Content-Type, as in application/json", "the body has no content type")
	}
	return nil
}

// field gives the value of a header that is sent on, or "".
func (r *Request) field(name string) string {
	for _, f := range r.Fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}
