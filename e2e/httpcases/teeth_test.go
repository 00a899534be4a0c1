package httpcases

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/doorward/doorward/e2e/cases"
)

// open is a policy that lets everything through and masks nothing, which is what
// the cases are there to notice.
const open = `
policy:
  rules:
    - {name: all, targets: [orders], when: "true", then: allow}
`

// TestTeeth wants the runner to fail cases where doorward does not do its work.
func TestTeeth(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "P7.yaml"), []byte(open), 0o600); err != nil {
		t.Fatal(err)
	}
	var list []*Case
	for _, c := range []struct{ id, input, accept string }{
		{"another path", `{"type":"http","method":"GET","target":"/admin/users"}`, "deny"},
		{"another path, tolerated by the case", `{"type":"http","method":"GET","target":"/admin/users"}`, "allow"},
		{"another method", `{"type":"raw_http","request":"DELETE /api/v1/orders/1 HTTP/1.1\r\nHost: orders.internal\r\n\r\n"}`, "deny"},
		{"create", `{"type":"http","method":"POST","target":"/api/v1/orders","headers":{"Content-Type":"application/json"},"body":{"item":"a"}}`, "review"},
		{"second of two", `{"type":"raw_http","request":"GET /api/v1/status HTTP/1.1\r\nHost: orders.internal\r\n\r\nGET /admin HTTP/1.1\r\nHost: orders.internal\r\n\r\n"}`, "deny"},
		{"leak", `{"type":"script","steps":[{"op":"send","method":"GET","target":"/api/v1/orders/1"},{"op":"upstream_reply","body":{"email":"alice.ames@corp.example"}}]}`, "allow"},
		{"packed leak", `{"type":"script","steps":[{"op":"send","method":"GET","target":"/api/v1/orders/1"},{"op":"upstream_reply","body_gen":"gzip:{\"email\":\"alice.ames@corp.example\"}"}]}`, "allow"},
		{"unknown step", `{"type":"script","steps":[{"op":"send","method":"GET","target":"/api/v1/status"},{"op":"fly"}]}`, "allow"},
		{"fine", `{"type":"http","method":"GET","target":"/api/v1/orders/17?expand=items"}`, "allow"},
	} {
		one := &Case{ID: c.id, Protocol: "http", Kind: "attack", Policy: []string{"P7"}, Input: json.RawMessage(c.input)}
		one.Expect.Outcome, one.Expect.Accept = c.accept, []string{c.accept}
		list = append(list, one)
	}
	_, err := Run(t.Context(), list, Options{Policies: dir, Wait: 100 * time.Millisecond, Report: func(o cases.Outcome) {
		t.Logf("%s: %s %q", o.ID, o.Outcome, o.Problems)
		if o.OK != (o.ID == "fine") {
			t.Errorf("%s passes: %v", o.ID, o.OK)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// TestExact wants what two readers could read in two ways to be noticed, since
// doorward's own writer cannot be had to write it.
func TestExact(t *testing.T) {
	const fine = "GET /api/v1/status HTTP/1.1\r\nHost: orders.internal\r\nX-Gate-User: agent\r\n\r\n"
	const post = "POST /api/v1/orders HTTP/1.1\r\nHost: orders.internal\r\nX-Gate-User: agent\r\nContent-Length: 2\r\n\r\n{}"
	if list, err := exact([]byte(fine + post)); err != nil || len(list) != 2 || string(list[1].body) != "{}" || list[0].wrong("token") != nil || list[1].wrong("token") != nil {
		t.Errorf("%+v, %v", list, err)
	}
	for _, bad := range []string{
		fine + "GET", fine + "\r\n", "get / HTTP/1.1\r\n\r\n", "GET / HTTP/1.0\r\n\r\n", "GET  / HTTP/1.1\r\n\r\n", "GET /\n HTTP/1.1\r\n\r\n", "GET http://x/ HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nA : b\r\n\r\n", "GET / HTTP/1.1\r\nA:b\r\n\r\n", "GET / HTTP/1.1\r\nA: b\n\r\n\r\n", "GET / HTTP/1.1\r\nA_b: c\r\n\r\n", "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", "GET / HTTP/1.1\r\nA: \x00\r\n\r\n",
		"POST / HTTP/1.1\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\nx", "POST / HTTP/1.1\r\nContent-Length: 01\r\n\r\nx", "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nx",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		if list, err := exact([]byte(bad)); err == nil {
			t.Errorf("%q is taken for %+v", bad, list)
		}
	}
	for _, bad := range []Headers{
		{{"Host", serviceHost}}, {{"Host", "x"}, {userHeader, userName}}, {{"Host", serviceHost}, {"Host", serviceHost}, {userHeader, userName}},
		{{"Host", serviceHost}, {userHeader, userName}, {"Accept", "*/*"}}, {{"Host", serviceHost}, {userHeader, "admin"}}, {{"Host", serviceHost}, {userHeader, userName}, {userHeader, userName}},
		{{"Host", serviceHost}, {"X-Forwarded-For", "1"}, {userHeader, userName}}, {{"Host", serviceHost}, {"Accept", "token"}, {userHeader, userName}}, {{"Host", serviceHost}, {"Connection", "close"}, {userHeader, userName}},
	} {
		if a := (&arrived{headers: bad}); a.wrong("token") == nil {
			t.Errorf("%q is fine", bad)
		}
	}
	for target, want := range map[string]bool{
		"/api/v1/status": true, "/api/v1/orders": true, "/api/v1/orders/": true, "/api/v1/orders/a%20b?x=../..": true, "/api/v1/orders/../status": false, "/api/v1/orders//": false,
		"/api/v1/orders/%2e%2e/x": false, "/api/v1/orders/a%2Fb": false, "/api/v1/orders/%252e": false, "/api/v1/orders/a;b": false, "/api/v1/ordersx": false, "/admin": false, "/api/v1/orders/%0a": false,
	} {
		if why := (&arrived{line: line{"GET", target}}).outside(); (why == "") != want {
			t.Errorf("%s: %q", target, why)
		}
	}
}
