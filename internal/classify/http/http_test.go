package http

import (
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

func refusal(t testing.TB, err error) *Refusal {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) || !errors.Is(err, ErrRequest) {
		t.Fatalf("%v is not a refusal", err)
	}
	if r.Reason == "" || r.Status < 400 || r.Status > 431 || strings.ContainsAny(r.Error(), "\n\x00") {
		t.Errorf("%+v", r)
	}
	return r
}

func fields(pairs ...string) []Field {
	var out []Field
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, Field{pairs[i], pairs[i+1]})
	}
	return out
}

func get(target string, pairs ...string) Incoming {
	return Incoming{Method: "GET", Target: target, Fields: fields(pairs...)}
}

func post(kind, body string) Incoming {
	return Incoming{Method: "POST", Target: "/v1/orders", Fields: fields("Content-Type", kind), Body: []byte(body)}
}

// roundTrip reads a request that is let through, and wants its text and its
// target to be read as the same.
func roundTrip(t testing.TB, in Incoming, env *Env) *Request {
	t.Helper()
	r, err := FromHTTP(in, env)
	if err != nil {
		t.Fatalf("%s %q: %v", in.Method, in.Target, err)
	}
	stays(t, r, env)
	return r
}

func stays(t testing.TB, r *Request, env *Env) {
	t.Helper()
	text, err := r.Text()
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	again, err := Parse(text)
	if err != nil || !reflect.DeepEqual(r, again) {
		t.Fatalf("%q: %+v, %v, want %+v", text, again, err, r)
	}
	if again, err := again.Text(); err != nil || again != text {
		t.Fatalf("%q is written as %q, %v", text, again, err)
	}
	back, err := FromHTTP(Incoming{r.Method, r.Target(), r.Fields, r.Body}, env)
	if err != nil || !reflect.DeepEqual(r, back) || back.Target() != r.Target() {
		t.Fatalf("%q: sent and read again: %+v, %v, want %+v", text, back, err, r)
	}
	reading, err := Read(text, env)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if h := reading.Effect.HTTP; h.Path != r.Path || h.Method != r.Method || h.Size != int64(len(r.Body)) || reading.Effect.Objects[0].Name != r.Method+" "+r.Path {
		t.Fatalf("%q: read as %+v", text, h)
	}
}

func TestMethods(t *testing.T) {
	for _, m := range []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"} {
		roundTrip(t, Incoming{Method: m, Target: "/v1/orders"}, nil)
	}
	for _, m := range []string{"", "get", "delete", "Delete", "TRACE", "CONNECT", "PURGE", "GET ", " GET", "PROPFIND", "GETX", "GET\x00", "G\u00cbT"} {
		_, err := FromHTTP(Incoming{Method: m, Target: "/v1/orders"}, nil)
		if r := refusal(t, err); r.Status != 405 {
			t.Errorf("%q: %+v", m, r)
		}
	}
}

// What servers and routers are known to read in two ways is refused.
func TestPathsRefused(t *testing.T) {
	for _, target := range []string{
		"", "*", "v1/orders", "http://orders/v1", "orders:443", "//orders/v1", "///", "/v1//orders", "/v1/orders//", "\\v1", "?a=b",
		"/v1/.", "/v1/./x", "/v1/..", "/..", "/.", "/v1/../x", "/v1/%2e%2e/x", "/v1/%2E./x", "/v1/.%2e", "/v1/%2e", "/v1/...", "/v1/..../x", "/v1/%20", "/v1/..%20/x", "/v1/.%20./x",
		"/v1/x%20/status", "/v1/%20x", "/v1/x%C2%A0", "/admin%20/v1/orders",
		"/v1/a%2Fb", "/v1/a%2fb", "/v1%2F", "/v1/a%5Cb", "/v1/a\\b", "/v1/..%5c..", "/v1/a%00", "/v1/a%0d%0aX-A:%201", "/v1/a%09", "/v1/a%7f", "/v1/a%1b[0m", "/v1/a%C2%85",
		"/v1/%252e%252e/x", "/v1/%252fx", "/v1/%25%32%66", "/v1/a%2500", "/v1/a%25u002f", "/v1/a%25U002F", "/v1/%25%75002f",
		"/v1/orders;x=1", "/v1/..;/x", "/v1/a;", "/v1/a%3B", "/v1/a%3bx=1/..", "/v1/a%3Fadmin=1", "/v1/a%23", "/v1/a#", "/v1/orders#/../../admin", "/v1/a?b#c",
		"/v1/%c0%ae%c0%ae/x", "/v1/%c0%af", "/v1/%e0%80%af", "/v1/%ff", "/v1/%ed%a0%80", "/v1/%f4%90%80%80", "/v1/\xc3\xa9", "/v1/\xff", "/v1/caf\u00e9",
		"/v1/a%", "/v1/a%2", "/v1/a%zz", "/v1/a%u002f", "/v1/a%-1", "/v1/%+2",
		"/v1/a b", "/v1/a\tb", "/v1/a\r\nX: y", "/v1/a\x00", "/v1/a\x7f", "/v1/\"", "/v1/<x>", "/v1/a^b", "/v1/a`b", "/v1/{id}", "/v1/a|b",
		"/v1/%EF%BC%8F", "/v1/%EF%BC%8E%EF%BC%8E/x", "/v1/a%EF%BC%BC", "/v1/a%EF%BC%85", "/v1/a%EF%BC%9B", "/v1/%E2%88%95", "/v1/%E2%81%84", "/v1/%E2%80%A4%E2%80%A4", "/v1/%E2%80%A5", "/v1/%EF%B9%92", "/v1/%CD%BE", "/v1/a%EF%BC%9Fb", "/v1/a%EF%BC%83",
		"/v1/a%E2%80%AEb", "/v1/a%E2%80%8Bb", "/v1/a%EF%BB%BF", "/v1/a%C2%AD", "/v1/a%E2%81%A6", "/v1/a%E2%80%A8b", "/v1/a%EF%B8%8F", "/v1/a%F3%A0%81%81", "/v1/a%E3%85%A4",
		"/" + strings.Repeat("a", maxPath), "/" + strings.Repeat("a/", maxSegments) + "a", "/" + strings.Repeat("%C3%A9", 700),
	} {
		r, err := FromHTTP(get(target), nil)
		if err == nil {
			t.Errorf("%q is let through as %+v", target, r)
			continue
		}
		refusal(t, err)
		if _, err := Parse("GET " + strconv.Quote(target)); err == nil {
			t.Errorf("%q is the text of a request", target)
		}
	}
}

func TestPaths(t *testing.T) {
	for target, want := range map[string]struct{ path, sent string }{
		"/":                         {"/", "/"},
		"/?":                        {"/", "/"},
		"/v1/orders/":               {"/v1/orders/", "/v1/orders/"},
		"/v1/orders/%31%37":         {"/v1/orders/17", "/v1/orders/17"},
		"/v1/J%C3%BCrgen%20Klein":   {"/v1/Jürgen Klein", "/v1/J%C3%BCrgen%20Klein"},
		"/v1/j%c3%bcrgen":           {"/v1/jürgen", "/v1/j%C3%BCrgen"},
		"/v1/a+b":                   {"/v1/a+b", "/v1/a+b"},
		"/v1/a%2Bb":                 {"/v1/a+b", "/v1/a+b"},
		"/v1/a%3Ab@c!$&'()*,=~._-":  {"/v1/a:b@c!$&'()*,=~._-", "/v1/a:b@c!$&'()*,=~._-"},
		"/v1/%7Bid%7D%22":           {"/v1/{id}\"", "/v1/%7Bid%7D%22"},
		"/v1/100%25":                {"/v1/100%", "/v1/100%25"},
		"/v1/100%25/x":              {"/v1/100%/x", "/v1/100%25/x"},
		"/v1/a%25ux":                {"/v1/a%ux", "/v1/a%25ux"},
		"/.well-known/x":            {"/.well-known/x", "/.well-known/x"},
		"/v1/a..b/..c/d..":          {"/v1/a..b/..c/d..", "/v1/a..b/..c/d.."},
		"/v1/[a]":                   {"/v1/[a]", "/v1/%5Ba%5D"},
		"/v1/%E4%B8%AD%F0%9F%98%80": {"/v1/中😀", "/v1/%E4%B8%AD%F0%9F%98%80"},
	} {
		r := roundTrip(t, get(target), nil)
		if r.Path != want.path || r.Target() != want.sent {
			t.Errorf("%s: %q, sent as %q; want %q and %q", target, r.Path, r.Target(), want.path, want.sent)
		}
	}
}

// Each byte put in place of each other one, plain and encoded: what is let
// through has the path that it says, in as many segments, and nothing else.
func TestPathMutations(t *testing.T) {
	const good = "/api/v1/orders/17"
	for at := 1; at < len(good); at++ {
		for c := range 256 {
			for _, b := range []string{string([]byte{byte(c)}), string(appendEncoded(nil, string([]byte{byte(c)}), func(byte) bool { return false }))} {
				target := good[:at] + b + good[at+1:]
				r, err := FromHTTP(get(target), nil)
				if err != nil {
					refusal(t, err)
					continue
				}
				stays(t, r, nil)
				if want := good[:at] + string(rune(c)) + good[at+1:]; c != '?' && r.Path != want {
					t.Errorf("%q: read as %q", target, r.Path)
				}
			}
		}
	}
}

func TestQuery(t *testing.T) {
	for raw, want := range map[string]string{
		"":                          "",
		"&&":                        "",
		"a=1&b=2":                   "a=1&b=2",
		"b=2&a=1&b=3":               "b=2&a=1&b=3",
		"a=1&&b=2&":                 "a=1&b=2",
		"a&b=":                      "a&b=",
		"=v":                        "=v",
		"=":                         "=",
		"a==b":                      "a=%3Db",
		"name=J%C3%BCrgen+Klein":    "name=J%C3%BCrgen%20Klein",
		"a=1%2b1":                   "a=1%2B1",
		"q=../../admin":             "q=../../admin",
		"next=%2Fadmin":             "next=/admin",
		"a=x%3By":                   "a=x%3By",
		"a=%252F":                   "a=%252F",
		"filter[a]=1&filter%5Bb%5D": "filter%5Ba%5D=1&filter%5Bb%5D",
		"a=%0A%0d%09":               "a=%0A%0D%09",
		"a=?b?":                     "a=%3Fb%3F",
		"a=b%26c%3Dd":               "a=b%26c%3Dd",
		"%61=%62":                   "a=b",
		"u=http://x:80/@!$'()*,":    "u=http://x:80/@!$'()*,",
		"a=%E2%80%AE":               "a=%E2%80%AE",
		"method=DELETE":             "method=DELETE",
		"payment_method=card":       "payment_method=card",
	} {
		r := roundTrip(t, get("/x?"+raw), nil)
		if _, sent, _ := strings.Cut(r.Target(), "?"); sent != want {
			t.Errorf("%s: sent as %s, want %s", raw, sent, want)
		}
	}
	for _, raw := range []string{
		"a=1;b=2", "a;b", "a=b#c", "a= b", "a=\u00fc", "a=%", "a=%4", "a=%gg", "a=<x>", "a=\"x\"", "a={x}", "a=a|b", "a=a\\b", "a=a^b", "a=`",
		"a=%ff", "%ff=a", "a=%c0%af", "a=%00", "a=%1b", "a=%7f", "a=%C2%9B", "a%0a=1", "%00a=1", "a%09=1",
		"_method=DELETE", "_METHOD=delete", "_Method", "%5Fmethod=DELETE", "-method=DELETE", "_httpmethod=PUT", "_HttpMethod=PUT", "x-http-method-override=PUT", "X_HTTP_Method_Override=PUT", "x-http-method=PUT",
		"a=1&_method=DELETE", ".method=DELETE", "+_method=DELETE", "_method+=DELETE", "%5Bmethod=DELETE", "_method[]=DELETE", "_method%5Bx%5D=DELETE", "x.http.method.override=PUT",
		strings.Repeat("a&", maxPairs) + "a", "a=" + strings.Repeat("a", maxQuery), "a=" + strings.Repeat("?", maxQuery/2),
	} {
		r, err := FromHTTP(get("/x?"+raw), nil)
		if err == nil {
			t.Errorf("%.80q is let through as %s", raw, r.Target())
			continue
		}
		refusal(t, err)
	}
}
