package httpcases

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
)

func TestRequestAt(t *testing.T) {
	text := func(s string) *string { return &s }
	here := endpoint{token: "abc"}
	const auth = "Authorization: Bearer abc\r\n"
	for name, c := range map[string]struct {
		in    Request
		want  string
		lines int
		vague bool
	}{
		"parts":           {Request{Method: "GET", Target: "/api?x=1", Headers: Headers{{"A", "b"}}}, "GET /api?x=1 HTTP/1.1\r\n" + auth + "Host: orders.internal\r\nA: b\r\n\r\n", 1, false},
		"body":            {Request{Method: "POST", Target: "/api", Headers: Headers{{"host", "h"}}, Body: json.RawMessage(`"x\n"`)}, "POST /api HTTP/1.1\r\n" + auth + "host: h\r\nContent-Length: 2\r\n\r\nx\n", 1, false},
		"own length":      {Request{Method: "POST", Target: "/api", Headers: Headers{{"host", "h"}, {"content-length", "9"}}, Body: json.RawMessage(`"x"`)}, "POST /api HTTP/1.1\r\n" + auth + "host: h\r\ncontent-length: 9\r\n\r\nx", 1, true},
		"raw":             {Request{Raw: text("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")}, "GET /a HTTP/1.1\r\n" + auth + "Host: h\r\n\r\n", 1, false},
		"raw, bare LF":    {Request{Raw: text("GET /a HTTP/1.1\nHost: h\n\n")}, "GET /a HTTP/1.1\nAuthorization: Bearer abc\nHost: h\n\n", 1, false},
		"two":             {Request{Raw: text("POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nxyGET /b HTTP/1.1\r\n\r\n")}, "POST /a HTTP/1.1\r\n" + auth + "Content-Length: 2\r\n\r\nxyGET /b HTTP/1.1\r\n" + auth + "\r\n", 2, false},
		"chunks":          {Request{Raw: text("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\n\r\nGET /b HTTP/1.1\r\n\r\n")}, "POST /a HTTP/1.1\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\n\r\nGET /b HTTP/1.1\r\n" + auth + "\r\n", 2, false},
		"no plain length": {Request{Raw: text("POST /a HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\n\r\n")}, "POST /a HTTP/1.1\r\n" + auth + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\n\r\n", 1, true},
		"no version":      {Request{Raw: text("GET /a\r\n")}, "GET /a\r\n", 1, true},
		"no end":          {Request{Raw: text("GET /a")}, "GET /a", 0, true},
		"hexadecimal":     {Request{RawHex: text(hex.EncodeToString([]byte("GET /\xff HTTP/1.1\r\n\r\n")))}, "GET /\xff HTTP/1.1\r\n" + auth + "\r\n", 1, false},
	} {
		m, err := c.in.at(here)
		if err != nil || string(m.bytes) != c.want || len(m.lines) != c.lines || m.vague != c.vague {
			t.Errorf("%s: %q with %d requests, vague %v, %v; want %q", name, m.bytes, len(m.lines), m.vague, err, c.want)
		}
	}
}

func TestPlan(t *testing.T) {
	for _, bad := range []string{
		`{"type":"other"}`, `{"type":"http","method":"GET","target":"/","more":1}`, `{"type":"http","request":"GET /"}`, `{"type":"raw_http","method":"GET"}`,
		`{"type":"script","steps":[]}`, `{"type":"script","steps":[{"op":"fly"}]}`, `{"type":"script","steps":[{"op":"send","status":200}]}`, `{"type":"script","steps":[{"op":"dns","name":"x"}]}`,
		`{"type":"http","method":"GET","target":"/","headers":{"a":{}}}`,
	} {
		c := &Case{Policy: []string{"P7"}, Input: json.RawMessage(bad)}
		if _, err := c.plan(); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	c := &Case{Policy: []string{"P7"}, Input: json.RawMessage(`{"type":"http","method":"GET","target":"/","headers":{"B":"1","A":["2","3"],"B":"4"}}`), Check: json.RawMessage(`{"leak":["","x"]}`)}
	p, err := c.plan()
	if err != nil || len(p.steps[0].Headers) != 4 || p.steps[0].Headers[3] != [2]string{"B", "4"} || len(p.check.Leak) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	c.Check = json.RawMessage(`{"new_key":1}`)
	if _, err := c.plan(); err == nil {
		t.Error("a check that is not known is taken")
	}
	if c.Policy = nil; true {
		if _, err := c.plan(); err == nil {
			t.Error("a case without a policy is taken")
		}
	}
}

func TestGenerate(t *testing.T) {
	for _, name := range encodings {
		e, b, err := generate(json.RawMessage(fmt.Sprintf("%q", name+":hello")))
		if err != nil || e != name || string(decode(name, b)) != "hello" {
			t.Errorf("%s: %s %q, %v", name, e, b, err)
		}
	}
	if _, b, err := generate(json.RawMessage(`{"prefix":"a","unit":"bc","count":2,"suffix":"d"}`)); err != nil || string(b) != "abcbcd" {
		t.Errorf("%q, %v", b, err)
	}
	e, b, err := generate(json.RawMessage(`"gzip:bomb:8MiB"`))
	if err != nil || e != "gzip" || len(b) > 64<<10 || len(b) == 0 {
		t.Errorf("%s of %d bytes, %v", e, len(b), err)
	}
	for _, bad := range []string{`"plain"`, `"lz4:x"`, `"gzip:bomb:xMiB"`, `{"unit":"abc","count":999999999}`, `1`} {
		if _, _, err := generate(json.RawMessage(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestNames(t *testing.T) {
	n, err := startNames()
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	n.say(map[string][][]string{"a.test": {{"10.0.0.5", "::1"}, {"127.0.0.1"}}, "b.test": {{"a.test"}}, "c.test": {{"::ffff:127.0.0.1"}}})
	for _, network := range []string{"udp", "tcp"} {
		r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, n.addr)
		}}
		got := func(name string) string {
			list, err := r.LookupNetIP(t.Context(), "ip", name)
			return strings.ReplaceAll(strings.Trim(fmt.Sprint(list), "[]"), " ", ",") + map[bool]string{true: "!", false: ""}[err != nil]
		}
		n.say(n.says)
		for _, c := range [][2]string{{"a.test", "10.0.0.5,::1"}, {"a.test", "127.0.0.1"}, {"b.test", "127.0.0.1"}, {"c.test", "::ffff:127.0.0.1"}, {"d.test", "!"}} {
			if s := got(c[0]); s != c[1] && s != strings.Join([]string{"::1", "10.0.0.5"}, ",") {
				t.Errorf("%s: %s is %s, want %s", network, c[0], s, c[1])
			}
		}
	}
	if n.questions() == 0 {
		t.Error("nothing was asked")
	}
}

// TestService wants every byte to be written down, however it is cut, and each
// request to be answered.
func TestService(t *testing.T) {
	s, err := startService()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	const sent = "GET /a HTTP/1.1\r\nHost: h\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 2\r\n\r\nxyGET /c HTTP/1.1\nA: b\n\nPOST /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nz\r\n0\r\n\r\nrest"
	for _, split := range []string{whole, bytew, cut} {
		s.do([]reply{{status: 201, body: []byte("one")}, harmless})
		text := sent
		got, err := run(t.Context(), []Step{{Op: "send", Request: Request{Raw: &text}}}, endpoint{addr: s.addr}, nil, split)
		if err != nil {
			t.Fatal(err)
		}
		came := s.saw()
		if len(got.answers) != 5 || got.answers[0].status != 201 || string(got.answers[0].body) != "one" || !got.answers[4].extra {
			t.Errorf("%s: %s", split, got.describe())
		}
		if len(came.conns) != 1 || !bytes.Equal(came.conns[0], []byte(sent)) {
			t.Errorf("%s: %q", split, came.conns)
		}
	}
}
