package kubernetes

import (
	"errors"
	"strconv"
	"strings"
	"testing"
)

func refusal(t *testing.T, err error) *Refusal {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) || !errors.Is(err, ErrRequest) {
		t.Fatalf("%v is not a refusal", err)
	}
	if r.Reason == "" || r.Status < 400 || r.Status > 415 || strings.ContainsAny(r.Error(), "\n\x00") {
		t.Errorf("%+v", r)
	}
	return r
}

// Every way of writing a path that is not the plain one is refused.
func TestPaths(t *testing.T) {
	for _, target := range []string{
		"", "*", "api/v1/pods", "http://x/api/v1/pods", "//x/api/v1/pods", "//api/v1/pods", "/api//v1/pods", "/api/v1/pods//", "/api/v1/namespaces//pods",
		dev + "/secrets/", dev + "/./secrets", dev + "/../kube-system/secrets", dev + "/..", dev + "/.", "/api/v1/..", "/..", "/.", "/../api",
		dev + "/%73ecrets", dev + "/%2e%2e/x", dev + "/%2E./x", dev + "/.%2e/x", dev + "/%252e%252e/x", dev + "/pods/p1%2Fexec", dev + "/pods/p1%2fexec", dev + "%2Fpods", "/api/v1/namespaces/dev%00/pods", dev + "/pods%", dev + "/pods%zz",
		dev + "/pods;x=y", dev + "/pods;/../secrets", dev + "\\pods", dev + "/pods\\..\\secrets", dev + "/pods#x", dev + "/pods p1", dev + "/pods\tx", dev + "/pods\x00", dev + "/pods\x7f", dev + "/p\u043eds", dev + "/pods\xff",
		dev + "/pods/*", dev + "/pods/a*b", dev + "/pods/?x=y", dev + "/pods/p1/", dev + "/pods/[x]", dev + "/pods/p1,p2", dev + "/pods/a|b", dev + "/pods/{x}", dev + "/pods/a'b", dev + "/pods/\"", dev + "/pods/a&b", dev + "/pods/a=b", dev + "/pods/$x", dev + "/pods/!x",
		"/api/v1/namespaces/DEV/pods", "/api/v1/namespaces/de_v/pods", "/api/v1/namespaces/-dev/pods", "/api/v1/namespaces/dev./pods", "/api/v1/namespaces/" + strings.Repeat("a", 64) + "/pods", dev + "/Pods", dev + "/PODS", dev + "/pods/p1/Log", dev + "/pods/p1/EXEC",
		"/apis/Apps/v1/deployments", "/apis/.apps/v1/deployments", "/apis/apps/V1/deployments", "/apis/a_b/v1/x", "/apis/" + strings.Repeat("a.", 200) + "b/v1/x",
		"/api/v1/watch/pods", "/api/v1/watch/namespaces/dev/secrets", "/api/v1/watch", "/apis/apps/v1/watch/deployments", "/apis/apps/v1/watch/namespaces/dev/deployments/web", "/api/v1/proxy/nodes/n1", "/api/v1/proxy/namespaces/dev/services/db", "/api/v1/proxy", "/api/v1/proxy/nodes/n1/",
		dev + "/pods/p1/exec/x?command=ls", dev + "/pods/p1/log/x", dev + "/pods/p1/nothing", dev + "/configmaps/c/exec", dev + "/configmaps/c/proxy", dev + "/nodes", dev + "/nodes/n1", "/api/v1/pods/p1", "/apis/apps/v1/namespaces/proxy/", "/apis/apps/v1/deployments/web", dev + "/configmaps/proxy/",
		"/api/v1/nodes/n1/proxy//exec", "/api/v1/nodes/n1/proxy/../exec", dev + "/pods/p1/proxy/%2e%2e", "/" + strings.Repeat("a", maxPath), dev + "/pods/" + strings.Repeat("a", 254), "/api/v1/namespaces/dev/finalize/x",
	} {
		r, err := FromHTTP(HTTP{Method: "GET", Target: target})
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

// One byte of a good path, put in place of each other, never makes a path that
// is read as another resource.
func TestPathMutations(t *testing.T) {
	const good = "/api/v1/namespaces/dev/pods/p1/log"
	want, _, err := resolve("GET", good, nil)
	if err != nil {
		t.Fatal(err)
	}
	for at := range good {
		for c := range 256 {
			target := good[:at] + string([]byte{byte(c)}) + good[at+1:]
			r, err := FromHTTP(HTTP{Method: "GET", Target: target})
			if err != nil {
				continue
			}
			a, err := r.Attributes()
			if err != nil {
				t.Fatal(err)
			}
			if r.Path == good && a != want || r.Path != good && a == want || r.Path != target && r.Path+"?" != target[:len(r.Path)+1] {
				t.Errorf("%q is %+v", target, a)
			}
		}
	}
}

func TestQueries(t *testing.T) {
	for _, target := range []string{
		"/pods?watch=false&watch=true", "/pods?watch=T", "/pods?watch=", "/pods?watch", "/pods?watch=yes", "/pods?%77atch=true", "/pods?limit=5;watch=true", "/pods?limit=-1", "/pods?limit=5x", "/pods?limit=99999999999999999999", "/pods?=x", "/pods?&", "/pods?limit=5&", "/pods?&limit=5",
		"/pods?namespace=kube-system", "/pods?as=admin", "/pods?command=ls", "/pods?labelSelector=a%00b", "/pods?labelSelector=a%0ab", "/pods?labelSelector=%ff", "/pods?labelSelector=((", "/pods?fieldSelector=metadata.name", "/pods?limit=%zz", "/pods?limit=%5", "/pods?continue=\x01", "/pods?continue=é", "/pods?x=#",
		"/pods?resourceVersionMatch=Any", "/pods?fieldSelector=a%3D%E2%80%AEb", "/pods/p1?watch=true", "/pods/p1?labelSelector=a", "/pods/p1/log?namespace=x", "/pods/p1/log?container=../x", "/pods/p1/log?container=A", "/pods/p1/log?sinceTime=now", "/pods/p1/log?stream=Both", "/pods/p1/log?tailLines=-5", "/pods/p1/log?follow=2",
		"/pods/p1/exec", "/pods/p1/exec?stdin=true", "/pods/p1/exec?command=", "/pods/p1/exec?command=a%00", "/pods/p1/exec?command=a%1b", "/pods/p1/exec?command=ls&tty=x", "/pods/p1/exec?command=ls&stdin=true&stdin=false", "/pods/p1/exec?command=ls&as=root", "/pods/p1/portforward?ports=0", "/pods/p1/portforward?ports=65536", "/pods/p1/portforward?ports=080", "/pods/p1/portforward?ports=x", "/pods/p1/portforward?ports=+5",
		"/pods/p1/proxy?path=/x", "/pods/p1/proxy?a=b&a=c", "/pods/p1/proxy?a=%00", "/pods/p1/attach?command=ls",
	} {
		if r, err := FromHTTP(HTTP{Method: "GET", Target: dev + target}); err == nil {
			text, err := r.Text()
			if err != nil {
				continue
			}
			if reading, err := Read(text, nil); err == nil {
				t.Errorf("%q is let through: %s", target, brief(&reading.Effect))
			}
		} else {
			refusal(t, err)
		}
	}
	for target, want := range map[string]string{
		"/pods?":                         "/pods",
		"/pods?limit=5&continue=a%2Bb":   "/pods?continue=a%2Bb&limit=5",
		"/pods?labelSelector=a+in+(b,c)": "/pods?labelSelector=a+in+%28b%2Cc%29",
		"/pods?labelSelector=":           "/pods?labelSelector=",
		"/pods?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true": "/pods?allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&watch=1",
		"/pods/p1/exec?command=b&command=a%20%26&container=c":                                             "/pods/p1/exec?command=b&command=a+%26&container=c",
		"/pods/p1/log?sinceTime=2026-01-31T09:30:00Z":                                                     "/pods/p1/log?sinceTime=2026-01-31T09%3A30%3A00Z",
	} {
		r, err := FromHTTP(HTTP{Method: "GET", Target: dev + target})
		if err != nil {
			t.Errorf("%q: %v", target, err)
			continue
		}
		if r.target() != dev+want {
			t.Errorf("%q becomes %q, want %q", target, r.target(), want)
		}
	}
	many := dev + "/pods/p1/exec?command=ls" + strings.Repeat("&command=a", 1000)
	if _, err := FromHTTP(HTTP{Method: "GET", Target: many}); err == nil {
		t.Error("a command has any number of words")
	}
	if _, err := FromHTTP(HTTP{Method: "GET", Target: dev + "/pods?continue=" + strings.Repeat("a", maxQuery)}); refusal(t, err).Status != 413 {
		t.Error("a query has any length")
	}
}

func TestMethods(t *testing.T) {
	for _, m := range []string{"OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "Get", "", "GETX", "GET ", "PURGE", "HEAD", "LIST", "WATCH"} {
		_, err := FromHTTP(HTTP{Method: m, Target: dev + "/pods"})
		if refusal(t, err).Status != 405 {
			t.Errorf("%q: %v", m, err)
		}
	}
	for _, m := range []string{
		"POST /version\n{}", "DELETE /api", "PUT /metrics\n{}", "POST " + dev + "/pods/p1\n{}", "PUT " + dev + "/pods\n{}", "PATCH " + dev + "/pods" + merge + "{}", "DELETE /api/v1/pods", "POST /api/v1/pods\n{}", "HEAD " + dev + "/pods/p1/exec?command=ls", "HEAD /version",
		"GET " + dev + "/pods\n{}", "POST " + dev + "/pods/p1/exec?command=ls\n{}", "POST " + dev + "/pods/p1/eviction", "POST " + dev + "/configmaps", "PUT " + dev + "/configmaps/c", "PATCH " + dev + "/configmaps/c" + "\nContent-Type: application/merge-patch+json\n\n",
	} {
		if r, err := send(m); err == nil {
			t.Errorf("%q is let through as %+v", m, r)
		} else {
			refusal(t, err)
		}
	}
}

func TestHeaders(t *testing.T) {
	type h = map[string]string
	stream := dev + "/pods/p1/exec?command=ls"
	for _, c := range []struct {
		target string
		header h
	}{
		{"", h{"Impersonate-User": "x"}}, {"", h{"impersonate-group": ""}}, {"", h{"Impersonate-Extra-Scopes": "x"}}, {"", h{"Impersonate_User": "x"}}, {"", h{"IMPERSONATE-UID": "1"}},
		{"", h{"X-Remote-User": "x"}}, {"", h{"X-Remote-Group": "x"}}, {"", h{"x_remote_user": "x"}}, {"", h{"X-Remote-Extra-a": "x"}},
		{"", h{"X-Forwarded-For": "1.2.3.4"}}, {"", h{"X-Forwarded-User": "x"}}, {"", h{"X-Forwarded-Client-Cert": "x"}}, {"", h{"Forwarded": "for=x"}}, {"", h{"X-Real-Ip": "x"}}, {"", h{"X-Original-Url": "/x"}}, {"", h{"X-Rewrite-Url": "/x"}}, {"", h{"X-Ssl-Client-Dn": "x"}},
		{"", h{"X-HTTP-Method-Override": "DELETE"}}, {"", h{"X-Method-Override": "DELETE"}}, {"", h{"X-Http-Method": "DELETE"}},
		{"", h{"Connection": "close, Authorization"}}, {"", h{"Connection": "Impersonate-User"}}, {"", h{"Connection": "Upgrade"}}, {"", h{"Connection": "keep-alive, X-Forwarded-For"}}, {stream, h{"Connection": "Upgrade, Authorization"}},
		{"", h{"Upgrade": "websocket"}}, {"", h{"Upgrade": "h2c"}}, {"", h{"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AA"}}, {"", h{"HTTP2-Settings": "AA"}}, {stream, h{"Upgrade": "h2c"}}, {stream, h{"Upgrade": "TLS/1.0"}}, {stream, h{"Upgrade": "websocket, SPDY/3.1"}}, {stream, h{"Upgrade": "SPDY/3.2"}},
		{dev + "/pods/p1/log", h{"Upgrade": "websocket"}}, {dev + "/pods?watch=true", h{"Upgrade": "websocket", "Connection": "Upgrade"}}, {"/api/v1/nodes/n1/proxy/x", h{"Upgrade": "websocket"}}, {dev + "/pods/p1/proxy/x", h{"Upgrade": "websocket"}}, {dev + "/configmaps/exec", h{"Upgrade": "websocket"}},
		{stream, h{"Sec-WebSocket-Protocol": "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.AAAA"}}, {stream, h{"Sec-WebSocket-Protocol": "Base64Url.Bearer.authorization.k8s.io.AAAA"}},
		{"", h{"Trailer": "X"}}, {"", h{"TE": "gzip"}}, {"", h{"Expect": "200-ok"}}, {"", h{"Content-Encoding": "gzip"}}, {"", h{"Transfer-Encoding": "gzip, chunked"}}, {"", h{"Transfer-Encoding": "identity"}}, {"", h{"Content-Length": "1", "Transfer-Encoding": "chunked"}}, {"", h{"Content-Length": "-1"}}, {"", h{"Content-Length": "+1"}}, {"", h{"Content-Length": "1, 1"}}, {"", h{"Content-Length": ""}},
		{"", h{"Accept": "text/\x01html"}}, {"", h{"Accept": strings.Repeat("a/b,", 100)}}, {"", h{"Accept": strings.Repeat("a", 4000)}}, {"", h{"Accept": "a/\"b"}}, {"", h{"X-A": "a\r\nImpersonate-User: x"}}, {"", h{"Accept": "é"}},
	} {
		target := c.target
		if target == "" {
			target = dev + "/pods"
		}
		in := HTTP{Method: "GET", Target: target, Header: map[string][]string{}}
		for k, v := range c.header {
			in.Header[k] = []string{v}
		}
		if r, err := FromHTTP(in); err == nil {
			t.Errorf("%q with %v is let through as %+v", target, c.header, r)
		} else {
			refusal(t, err)
		}
	}
	// Two names that are one.
	if _, err := FromHTTP(HTTP{Method: "POST", Target: dev + "/configmaps", Header: map[string][]string{"content-type": {"application/json"}, "Content-Type": {"application/yaml"}}, Body: []byte("{}")}); err == nil {
		t.Error("two content types are let through")
	}
	for _, c := range []h{
		{"Authorization": "Bearer x", "User-Agent": "kubectl", "Accept-Encoding": "gzip", "Audit-Id": "a", "Kubectl-Command": "get", "Cookie": "a=b", "Host": "h"},
		{"Connection": "keep-alive", "TE": "trailers", "Expect": "100-continue", "Content-Encoding": "identity", "Content-Length": "0"},
		{"Connection": "close"},
	} {
		in := HTTP{Method: "GET", Target: dev + "/pods", Header: map[string][]string{}}
		for k, v := range c {
			in.Header[k] = []string{v}
		}
		r, err := FromHTTP(in)
		if err != nil {
			t.Errorf("%v: %v", c, err)
			continue
		}
		if text, err := r.Text(); err != nil || text != `GET "/api/v1/namespaces/dev/pods"` {
			t.Errorf("%v: %q, %v", c, text, err)
		}
	}
	for _, up := range []string{"websocket", "SPDY/3.1", "WebSocket"} {
		r, err := FromHTTP(HTTP{Method: "GET", Target: stream, Header: map[string][]string{"Connection": {"Upgrade"}, "Upgrade": {up}, "Sec-WebSocket-Protocol": {"v5.channel.k8s.io", "v4.channel.k8s.io"}}})
		if err != nil || r.Stream != StreamExec {
			t.Errorf("%s: %+v, %v", up, r, err)
		}
	}
}

func TestBodies(t *testing.T) {
	deep := strings.Repeat("[", maxDepth+2) + strings.Repeat("]", maxDepth+2)
	for _, m := range []string{
		// JSON
		"POST {}{}", "POST {} x", "POST {", "POST {\"a\":1,}", "POST {\"a\":1,\"a\":2}", "POST {\"a\":1,\"\\u0061\":2}", "POST {\"x\":{\"a\":[{\"b\":1,\"b\":1}]}}", "POST {a:1}", "POST {'a':1}", "POST []", "POST [{}]", "POST {\"a\":01}", "POST {\"a\":+1}", "POST {\"a\":.5}", "POST {\"a\":1.}", "POST {\"a\":NaN}", "POST {\"a\":\"\x01\"}", "POST {\"a\":\"\xff\"}", "POST {\"a\":\"\\ud800\"}", "POST {\"a\":\"\\ud800\\u0041\"}", "POST {\"a\":\"\\x\"}", "POST {\"a\":\"\\u+123\"}", "POST {\"a\":" + deep + "}", "POST {\"a\":tru}", "POST {\"a\":1e}", "POST {\"a\":" + strings.Repeat("1", 100) + "}", "POST {/**/}", "POST {\"a\" 1}", "POST {\"a\":1 \"b\":2}", "POST {\"a\":[1 2]}",
		// what it is about
		"POST {\"kind\":\"Secret\"}", "POST {\"apiVersion\":\"v2\"}", "POST {\"apiVersion\":\"apps/v1\"}", "POST {\"kind\":1}", "POST {\"metadata\":null}", "POST {\"metadata\":[]}", "POST {\"metadata\":{\"namespace\":\"prod\"}}", "POST {\"metadata\":{\"name\":1}}", "POST {\"metadata\":{\"name\":\"a/b\"}}", "POST {\"metadata\":{\"name\":\"*\"}}", "POST {\"metadata\":{\"name\":\"..\"}}", "POST {\"metadata\":{\"generateName\":\"*\"}}", "POST {\"metadata\":{\"namespace\":null}}",
		"PUT {\"metadata\":{\"name\":\"other\"}}", "PUT {\"kind\":\"Secret\",\"metadata\":{\"name\":\"c\"}}", "PUT {\"metadata\":{\"namespace\":\"prod\"}}",
		"merge {\"metadata\":{\"name\":\"other\"}}", "merge {\"metadata\":null}", "merge {\"kind\":\"Secret\"}", "merge {\"kind\":null}", "merge [1]",
		"strategic {\"$patch\":\"replace\",\"metadata\":{}}", "strategic {\"metadata\":{\"$patch\":\"replace\"}}", "strategic {\"metadata\":{\"$retainKeys\":[]}}",
		// JSON patch
		"json {}", "json [1]", "json [{}]", "json [{\"op\":\"add\"}]", "json [{\"op\":\"ADD\",\"path\":\"/a\",\"value\":1}]", "json [{\"op\":\"add\",\"path\":\"/a\"}]", "json [{\"op\":\"add\",\"path\":\"a\",\"value\":1}]", "json [{\"op\":\"add\",\"path\":\"x/metadata/name\",\"value\":1}]", "json [{\"op\":\"add\",\"path\":\"/a~2\",\"value\":1}]", "json [{\"op\":\"add\",\"path\":\"/a~\",\"value\":1}]", "json [{\"op\":\"add\",\"path\":\"/a~1b~x\",\"value\":1}]", "json [{\"op\":\"copy\",\"path\":\"/a\"}]", "json [{\"op\":\"add\",\"path\":\"/a\",\"value\":1,\"x\":1}]", "json [{\"op\":\"add\",\"Path\":\"/a\",\"path\":\"/b\",\"value\":1}]",
		"json [{\"op\":\"replace\",\"path\":\"/metadata/name\",\"value\":\"x\"}]", "json [{\"op\":\"replace\",\"path\":\"/metadata/namespace\",\"value\":\"x\"}]", "json [{\"op\":\"replace\",\"path\":\"/metadata\",\"value\":{}}]", "json [{\"op\":\"replace\",\"path\":\"\",\"value\":{}}]", "json [{\"op\":\"remove\",\"path\":\"/kind\"}]", "json [{\"op\":\"move\",\"from\":\"/metadata/name\",\"path\":\"/a\"}]", "json [{\"op\":\"add\",\"path\":\"/metadata/uid\",\"value\":\"x\"}]", "json [" + strings.TrimSuffix(strings.Repeat("{\"op\":\"remove\",\"path\":\"/a\"},", maxOperations+1), ",") + "]",
		// YAML
		"apply a: 1\n---\nb: 2\n", "apply ---\na: 1\n...\n---\n", "apply a: &x 1\nb: *x\n", "apply a: &x 1\n", "apply a: {<<: {b: 1}}\n", "apply a: !!str 1\n", "apply a: !x 1\n", "apply a: yes\n", "apply a: On\n", "apply a: n\n", "apply a: 010\n", "apply a: 0x10\n", "apply a: 1_000\n", "apply a: .inf\n", "apply a: 2026-01-31\n", "apply a: 1\na: 2\n", "apply 1: a\n", "apply ? [a]\n: b\n", "apply - a\n", "apply a\n", "apply # nothing\n", "apply {\"a\":1,\"a\":2}", "apply {a: 1}", "apply a: [\n", "apply %YAML 1.1\n---\n%x\n", "apply kind: Secret\n", "apply metadata: {name: other}\n", "apply \"\\x61\": 1\na: 2\n",
		// deletes
		"DELETE {\"kind\":\"Pod\"}", "DELETE {\"x\":1}", "DELETE []", "DELETE {\"preconditions\":{\"x\":\"y\"}}", "DELETE {\"preconditions\":1}", "DELETE {\"preconditions\":{\"uid\":1}}", "DELETE {\"Preconditions\":{}}",
	} {
		how, body, _ := strings.Cut(m, " ")
		h := HTTP{Method: how, Target: dev + "/configmaps", Header: map[string][]string{}, Body: []byte(body)}
		if how != "POST" {
			h.Target += "/c"
		}
		if ct := map[string]string{"merge": typeMerge, "strategic": typeStrategic, "json": typeJSONPatch, "apply": typeApply}[how]; ct != "" {
			h.Method, h.Header["Content-Type"] = "PATCH", []string{ct}
		}
		if r, err := FromHTTP(h); err == nil {
			t.Errorf("%.100q is let through as %s", m, r.Body)
		} else {
			refusal(t, err)
		}
	}
	for _, ct := range []string{"application/yaml", "application/vnd.kubernetes.protobuf", "application/cbor", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "application/json;q=1", "application/json, text/plain", "application/apply-patch+cbor", "multipart/form-data", "application/json-patch"} {
		for _, method := range []string{"POST", "PATCH"} {
			target := dev + "/configmaps"
			if method == "PATCH" {
				target += "/c"
			}
			_, err := FromHTTP(HTTP{Method: method, Target: target, Header: map[string][]string{"Content-Type": {ct}}, Body: []byte("{}")})
			if refusal(t, err).Status != 415 {
				t.Errorf("%s %s: %v", method, ct, err)
			}
		}
	}
	if _, err := FromHTTP(HTTP{Method: "POST", Target: dev + "/configmaps", Body: make([]byte, MaxBody+1)}); refusal(t, err).Status != 413 {
		t.Error(err)
	}
	if _, err := FromHTTP(HTTP{Method: "POST", Target: dev + "/configmaps", Body: []byte("{\"a\":[1" + strings.Repeat(",1", maxValues) + "]}")}); err == nil {
		t.Error("a body has any number of values")
	}
	for m, want := range map[string]string{
		"POST {\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"c\",\"namespace\":\"dev\"}} \n": "{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"c\",\"namespace\":\"dev\"}} \n",
		"POST {\"a\":\"\\ud83d\\ude00\\/\"}":                                                                                         "{\"a\":\"\\ud83d\\ude00\\/\"}",
		"apply {\"b\": 1e3, \"a\":\"\\ud83d\\ude00\\u0085\\u2028\\u007f<>&\"}\n":                                                     "{\"b\":1e3,\"a\":\"😀\\u0085\\u2028\\u007f<>&\"}",
		"apply # c\nkind: ConfigMap\ndata:\n  a: |\n    x\n    y\n  b: \"1\"\n  c: 'no'\nx: [1, 2.5, true, ~, text, 10.0.0.1, -3]\n": "{\"kind\":\"ConfigMap\",\"data\":{\"a\":\"x\\ny\\n\",\"b\":\"1\",\"c\":\"no\"},\"x\":[1,2.5,true,null,\"text\",\"10.0.0.1\",-3]}",
		"apply --- \na: 1\n": "{\"a\":1}",
		"json [{\"op\":\"add\",\"path\":\"/metadata/labels/a~1b\",\"value\":null}]":                        "[{\"op\":\"add\",\"path\":\"/metadata/labels/a~1b\",\"value\":null}]",
		"strategic {\"metadata\":{\"$setElementOrder/finalizers\":[]}}":                                    "{\"metadata\":{\"$setElementOrder/finalizers\":[]}}",
		"DELETE {\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"propagationPolicy\":\"Background\"}\n": "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"propagationPolicy\":\"Background\"}\n",
	} {
		how, body, _ := strings.Cut(m, " ")
		h := HTTP{Method: how, Target: dev + "/configmaps", Header: map[string][]string{}, Body: []byte(body)}
		if how != "POST" {
			h.Target += "/c"
		}
		if ct := map[string]string{"strategic": typeStrategic, "json": typeJSONPatch, "apply": typeApply}[how]; ct != "" {
			h.Method, h.Header["Content-Type"] = "PATCH", []string{ct + "; charset=UTF-8"}
		}
		r, err := FromHTTP(h)
		if err != nil {
			t.Errorf("%q: %v", m, err)
		} else if string(r.Body) != want {
			t.Errorf("%q is\n %s, want\n %s", m, r.Body, want)
		}
	}
}
