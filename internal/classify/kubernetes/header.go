package kubernetes

import (
	"slices"
	"strings"
)

// headers are those of a request, by names in lower case with dashes: some
// servers take X_Remote_User for X-Remote-User.
type headers map[string][]string

func readHeaders(h map[string][]string) (headers, error) {
	out := headers{}
	for _, name := range sortedNames(h) {
		values := h[name]
		key := strings.ReplaceAll(strings.ToLower(name), "_", "-")
		for _, v := range values {
			if strings.ContainsAny(v, "\r\n\x00") {
				return nil, bad("the header %.60q holds a line's end", name)
			}
		}
		out[key] = append(out[key], values...)
	}
	return out, nil
}

// Headers that change who asks, or what is asked for, and the beginnings of
// such.
var (
	whoHeaders = []string{"impersonate-", "x-remote-", "x-forwarded-", "x-original-", "x-auth-request-", "x-client-cert", "x-ssl-", "ssl-client-"}
	whoExact   = set(strings.Fields("forwarded x-real-ip x-user x-groups x-authenticated-user x-webauth-user remote-user x-rewrite-url x-doorward-user x-gate-user"))
	override   = set(strings.Fields("x-http-method-override x-http-method x-method-override"))
)

// check refuses headers that would make the request another one.
func (h headers) check(stream string) error {
	for _, name := range sortedNames(h) {
		switch {
		case strings.HasPrefix(name, "impersonate-"):
			return refuse(statusForbidden, "doorward signs in to the cluster itself; leave --as, --as-group and --as-uid out", "the header %.60q would make the request another user's", name)
		case whoExact[name] || slices.ContainsFunc(whoHeaders, func(p string) bool { return strings.HasPrefix(name, p) }):
			return refuse(statusForbidden, "leave it out; whatever stands between the client and doorward must not add it", "the header %.60q says who asks, or where; only the credential does", name)
		case override[name]:
			return refuse(statusBad, "send the method that is meant", "the header %.60q is not let through", name)
		case name == "http2-settings":
			return refuse(statusBad, "use HTTP/2 over TLS, or HTTP/1.1", "a change of protocol to h2c is not let through")
		case name == "trailer":
			return bad("trailers are not let through")
		case strings.HasPrefix(name, "sec-websocket-protocol"):
			for _, p := range h.tokens(name) {
				if strings.HasPrefix(strings.ToLower(p), "base64url.bearer.") {
					return refuse(statusForbidden, "send the credential as Authorization: Bearer", "a credential as a WebSocket protocol is not let through")
				}
			}
		}
	}
	return h.checkTransfer(stream)
}

// checkTransfer looks at the headers that say how the request is sent.
func (h headers) checkTransfer(stream string) error {
	for _, t := range h.tokens("connection") {
		switch strings.ToLower(t) {
		case "close", "keep-alive":
		case "upgrade":
			if stream == "" {
				return bad("nothing at this path is a stream that the connection could change to").WithHint("leave Connection: Upgrade out")
			}
		default:
			return bad("the header Connection names %.60q", t).WithHint("it may say close, keep-alive or Upgrade")
		}
	}
	for _, t := range h.tokens("upgrade") {
		if stream == "" || !strings.EqualFold(t, "websocket") && !strings.EqualFold(t, "SPDY/3.1") {
			return bad("a change of protocol to %.40q is not let through here", t).WithHint("exec, attach and port-forward take websocket and SPDY/3.1")
		}
	}
	if len(h.tokens("upgrade")) > 1 {
		return bad("several protocols to change to")
	}
	for name, allowed := range map[string]string{"te": "trailers", "expect": "100-continue", "content-encoding": "identity", "transfer-encoding": "chunked"} {
		for _, t := range h.tokens(name) {
			if !strings.EqualFold(t, allowed) {
				status := statusBad
				if name == "content-encoding" {
					status = statusMedia
				}
				return refuse(status, "it may say "+allowed, "the header %s says %.60q", name, t)
			}
		}
	}
	length := h["content-length"]
	switch {
	case len(length) > 1 || len(length) == 1 && number(length[0]) != "":
		return bad("the header Content-Length is not one number")
	case len(length) > 0 && len(h["transfer-encoding"]) > 0:
		return bad("Content-Length and Transfer-Encoding together").WithHint("send one of them")
	case len(h["transfer-encoding"]) > 1 || len(h.tokens("transfer-encoding")) > 1:
		return bad("several transfer encodings")
	}
	return nil
}

// tokens are the values of a header that is a list.
func (h headers) tokens(name string) []string {
	var out []string
	for _, v := range h[name] {
		for t := range strings.SplitSeq(v, ",") {
			if t = strings.Trim(t, " \t"); t != "" {
				out = append(out, t)
			}
		}
	}
	return out
}

// contentType gives the type of the body, without its parameters.
func (h headers) contentType(method string) (string, error) {
	values := h["content-type"]
	if len(values) > 1 {
		return "", bad("several headers Content-Type")
	}
	if len(values) == 0 || strings.TrimSpace(values[0]) == "" {
		if method == "PATCH" {
			return "", refuse(statusMedia, "known are "+strings.Join(sortedNames(patchTypes), ", "), "a patch needs a content type")
		}
		return typeJSON, nil
	}
	name, params, _ := strings.Cut(values[0], ";")
	name = strings.ToLower(strings.TrimSpace(name))
	if p := strings.ToLower(strings.TrimSpace(params)); p != "" && p != "charset=utf-8" && p != `charset="utf-8"` {
		return "", refuse(statusMedia, "leave the parameters out", "the content type %.80q has parameters that are not known", values[0])
	}
	if name != typeJSON && !patchTypes[name] {
		return "", refuse(statusMedia, "send "+typeJSON, "the content type %.80q is not let through", name)
	}
	return name, nil
}

// maxRanges bounds how many formats a client takes.
const maxRanges = 32

// accept gives the formats that the client takes, in its order.
func (h headers) accept() (string, error) {
	a := strings.Join(h.tokens("accept"), ",")
	return a, checkAccept(a)
}

// checkAccept holds the formats to what can be written in a text.
func checkAccept(a string) error {
	if len(a) > maxAccept || strings.Count(a, ",") >= maxRanges {
		return refuse(statusAccept, "", "the header Accept has %d bytes; the most is %d, for %d formats", len(a), maxAccept, maxRanges)
	}
	for i := range len(a) {
		if c := a[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return refuse(statusAccept, "as in application/json", "the header Accept holds the byte %q", c)
		}
	}
	return nil
}
