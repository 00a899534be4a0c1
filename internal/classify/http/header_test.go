package http

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestFieldsSentOn(t *testing.T) {
	env := &Env{Headers: []string{"x-team", "cookie", "authorization", "x_under", "X-Upper", "host"}}
	r := roundTrip(t, get("/x",
		"User-Agent", " curl/8 ", "Accept", "application/json", "accept", "text/*;q=0.1", "ACCEPT", "application/json", "If-None-Match", `"a"`, "if-none-match", `"b"`, "X-Team", "payments", "x-team", "payments", "Cookie", "a=b",
		"Range", "bytes=0-99", "If-Range", `"e"`, "TraceParent", "00-a-b-01", "X-Request-ID", "7", "Idempotency-Key", "k", "Last-Event-ID", "3", "Cache-Control", "no-cache", "Accept-Language", "",
		// None of these is sent on.
		"Host", "orders", "Content-Length", "0", "Content-Type", "application/json", "Accept-Encoding", "gzip", "Authorization", "Bearer t", "Proxy-Authorization", "x", "Connection", "close, X-Team, Authorization", "Keep-Alive", "x", "TE", "trailers",
		"Transfer-Encoding", "chunked", "Expect", "100-Continue", "Content-Encoding", "identity", "X-Forwarded-For", "1.1.1.1", "X-Forwarded-User", "admin", "Forwarded", "for=x", "X-Real-IP", "x", "Remote-User", "admin", "X-Auth-Request-Email", "a@b", "X-Gate-User", "admin",
		"X_Team", "admin", "x-team_", "admin", "User_Agent", "x", "X_Under", "x", "X-Upper", "x", "X-Original-URL", "/admin", "X-Rewrite-URL", "/admin", "X-Upstream", "http://127.0.0.1", "Proxy", "http://evil", "Sec-WebSocket-Key", "x", "Upgrade-Insecure-Requests", "1", "X-Sendfile-Type", "X-Accel-Redirect",
	), env)
	want := fields("accept", "application/json, text/*;q=0.1, application/json", "cache-control", "no-cache", "cookie", "a=b", "idempotency-key", "k", "if-none-match", `"a", "b"`, "if-range", `"e"`, "last-event-id", "3",
		"range", "bytes=0-99", "traceparent", "00-a-b-01", "user-agent", "curl/8", "x-request-id", "7", "x-team", "payments")
	if !reflect.DeepEqual(r.Fields, want) {
		t.Errorf("sent on: %q\nwant %q", r.Fields, want)
	}
	// Without the target's own list, and without a GET.
	r = roundTrip(t, Incoming{Method: "HEAD", Target: "/x", Fields: fields("X-Team", "a", "Cookie", "b", "Range", "bytes=0-1", "If-Range", "x", "Accept", "*/*")}, nil)
	if !reflect.DeepEqual(r.Fields, fields("accept", "*/*")) {
		t.Errorf("sent on: %q", r.Fields)
	}
}

func TestFieldsRefused(t *testing.T) {
	env := &Env{Headers: []string{"x-team"}}
	for _, c := range []struct {
		status int
		fields []Field
	}{
		{400, fields("X-HTTP-Method", "PUT")}, {400, fields("x-http-method-override", "PUT")}, {400, fields("X_HTTP_Method_Override", "PUT")}, {400, fields("X-Method-Override", "PUT")}, {400, fields("x_method-override", "")}, {400, fields("x.http.method.override", "PUT")}, {400, fields("_method", "PUT")},
		{400, fields("Upgrade", "websocket")}, {400, fields("Upgrade", "h2c")}, {400, fields("Connection", "Upgrade")}, {400, fields("Connection", "close ,\tuPgrade")}, {400, fields("HTTP2-Settings", "AAMA")},
		{400, fields("Trailer", "X-A")}, {417, fields("Expect", "200-ok")}, {417, fields("Expect", "100-continue, x")}, {415, fields("Content-Encoding", "gzip")}, {415, fields("Content-Encoding", "identity, gzip")},
		{400, fields("X-Team", "a", "x-team", "b")}, {400, fields("User-Agent", "a", "user-agent", "b")}, {400, fields("Idempotency-Key", "a", "Idempotency-Key", "b")}, {400, fields("Range", "bytes=0-1", "Range", "bytes=2-3")}, {415, fields("Content-Type", "text/plain", "Content-Type", "text/plain")},
		{400, fields("User-Agent", "a\r\nX: y")}, {400, fields("User-Agent", "a\x00")}, {400, fields("X-Dropped", "a\nb")}, {400, fields("User-Agent", "a\x7f")}, {400, fields("User-Agent", "caf\u00e9")}, {400, fields("User-Agent", "a\xff")},
		{431, fields("User-Agent", strings.Repeat("a", maxValue+1))}, {400, fields("", "x")}, {400, fields("a b", "x")}, {400, fields("a:", "x")}, {400, fields("a\u00e9", "x")}, {400, fields("Prefer", `a="x`)},
	} {
		_, err := FromHTTP(Incoming{Method: "GET", Target: "/x", Fields: c.fields}, env)
		if err == nil {
			t.Errorf("%.100q is let through", c.fields)
			continue
		}
		if r := refusal(t, err); r.Status != c.status {
			t.Errorf("%.100q: %+v, want %d", c.fields, r, c.status)
		}
	}
	many := make([]Field, maxFields+1)
	for i := range many {
		many[i] = Field{fmt.Sprintf("x-%d", i), "v"}
	}
	if _, err := FromHTTP(Incoming{Method: "GET", Target: "/x", Fields: many}, nil); refusal(t, err).Status != 431 {
		t.Error(err)
	}
	big := &Env{}
	for i := range many[:10] {
		big.Headers = append(big.Headers, many[i].Name)
		many[i].Value = strings.Repeat("v", maxValue)
	}
	if _, err := FromHTTP(Incoming{Method: "GET", Target: "/x", Fields: many[:10]}, big); refusal(t, err).Status != 431 {
		t.Error(err)
	}
}

func TestCheckHeader(t *testing.T) {
	for _, name := range []string{"x-team", "cookie", "x-api-version", "dpop", "content-disposition", "accept", "if-match"} {
		if err := CheckHeader(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range strings.Fields(`connection keep-alive te trailer transfer-encoding upgrade host content-length authorization proxy-authorization proxy-connection proxy-x proxy x-forwarded-for x-forwarded-user x-forwarded-x
		forwarded x-real-ip expect accept-encoding content-encoding x-http-method x-http-method-override x-method-override x_http_method_override x_forwarded_for x_team X-Team via sec-websocket-key http2-settings x-original-url x-rewrite-url
		x-doorward-user x-gate-user remote-user a:b é x-sendfile-type x-accel-mapping`) {
		if CheckHeader(name) == nil {
			t.Errorf("%s may be sent on", name)
		}
		r, err := FromHTTP(get("/x", name, "v"), &Env{Headers: []string{name}})
		if err == nil && len(r.Fields) > 0 {
			t.Errorf("%s is sent on", name)
		}
	}
	for _, name := range []string{"", "a b", "a\n", strings.Repeat("a", 129)} {
		if CheckHeader(name) == nil {
			t.Errorf("%.20q may be sent on", name)
		}
	}
	// None of those that every service gets is one of those.
	for name := range sent {
		if err := CheckHeader(name); err != nil {
			t.Error(err)
		}
	}
}

func TestPrefer(t *testing.T) {
	for value, want := range map[string]struct {
		sent string
		wait int
		ok   bool
	}{
		"wait=10":                                {"", 10, true},
		"Wait = \"7\"; x=y, respond-async":       {"", 7, true},
		"respond-async, wait=10, return=minimal": {"return=minimal", 10, true},
		"return=\"a, wait=3\", handling=lenient": {"return=\"a, wait=3\", handling=lenient", 0, false},
		"wait=10, wait=20":                       {"", 10, true},
		"wait":                                   {"", 0, false},
		"wait=":                                  {"", 0, false},
		"wait=-1":                                {"", 0, false},
		"wait=1e3":                               {"", 0, false},
		"wait=99999999999999999999":              {"", 0, false},
		"waiting=5":                              {"waiting=5", 0, false},
		"a=\"\\\"\", wait=4":                     {"a=\"\\\"\"", 4, true},
		",,":                                     {"", 0, false},
	} {
		in := get("/x", "pReFeR", value)
		r := roundTrip(t, in, nil)
		if got := r.field("prefer"); got != want.sent {
			t.Errorf("%s: sent on as %q, want %q", value, got, want.sent)
		}
		if n, ok := Wait(in.Fields); n != want.wait || ok != want.ok {
			t.Errorf("%s: wait %d %v", value, n, ok)
		}
	}
	if n, ok := Wait(fields("Accept", "wait=3", "Prefer", "a", "prefer", "wait=5")); n != 5 || !ok {
		t.Error(n, ok)
	}
	if _, ok := Wait(nil); ok {
		t.Error("waits")
	}
	for _, v := range []string{`"`, `a="x`, `a="\`} {
		if _, ok := Wait(fields("Prefer", v)); ok {
			t.Errorf("%q: waits", v)
		}
	}
}

// A header that is not on the list any more is not sent on by a text that was
// made before.
func TestHeadersOfAnotherTarget(t *testing.T) {
	env := &Env{Headers: []string{"x-team"}}
	text, err := roundTrip(t, get("/x", "X-Team", "a"), env).Text()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []*Env{nil, {}, {Headers: []string{"x-other"}}} {
		if _, err := Read(text, e); err == nil {
			t.Error("is read")
		}
	}
	if !slices.Contains(env.Headers, "x-team") {
		t.Error("changed")
	}
}
