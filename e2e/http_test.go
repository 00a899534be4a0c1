package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/webtest"
)

// services is an HTTP service, and a doorward before it.
type services struct {
	t    *testing.T
	web  *webtest.Server
	gate *harness.Gate
	ada  *harness.Client
	dora *harness.Client
	http *http.Client // trusts doorward, follows nothing and unpacks nothing
}

const serviceSecret = "the-gate's-own-token"

// The rules of the services: reading goes, and small refunds, and what is
// uploaded and put; orders wait for a yes.
var serviceRules = []any{
	map[string]any{"name": "reads", "targets": []string{"*"}, "when": "effect.read_only", "then": "allow", "limits": map[string]any{"rows": 1000000, "bytes": "64MiB"}},
	map[string]any{"name": "refunds", "targets": []string{"*"}, "objects": []string{"POST /v1/refunds"}, "when": "http.method == 'POST' && has(http.body.amount) && http.body.amount <= 100", "then": "allow"},
	map[string]any{"name": "uploads", "targets": []string{"*"}, "objects": []string{"POST /v1/upload", "PUT /v1/things/*", "DELETE /v1/things/*"}, "then": "allow"},
	map[string]any{"name": "held", "targets": []string{"*"}, "objects": []string{"POST /v1/orders", "DELETE /v1/orders/*"}, "then": "review", "reviewers": map[string]any{"groups": []string{"dba"}}},
}

// openServices starts a service and a doorward; change may adjust the
// configuration.
func openServices(t *testing.T, change func(*harness.Config, *webtest.Server)) *services {
	t.Helper()
	w, err := webtest.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	w.Answer("/v1/gzip", 200, packed(t, []byte(`{"packed":true}`)), "Content-Type", "application/json", "Content-Encoding", "gzip")
	w.Answer("/v1/big", 200, []byte(bigDocument()), "Content-Type", "application/json")
	secret := func(v string) map[string]any { return map[string]any{"value": v} }
	who := func(more map[string]any) map[string]any {
		more["user_header"], more["agent_header"] = "X-Gate-User", "X-Gate-Agent"
		return more
	}
	c := &harness.Config{Users: users, Rules: serviceRules, Wait: 20 * time.Second, Services: []harness.Service{
		{Name: "orders", Address: w.URL, Hosts: []string{"orders.internal"}, Fields: who(map[string]any{"token": secret(serviceSecret), "host": "orders.svc:8080", "encodings": []string{"gzip", "br", "zstd"}, "binary": []string{"image/*"}})},
		{Name: "basic", Address: w.URL, Fields: who(map[string]any{"basic": map[string]any{"user": "gate", "password": secret("basic-password")}})},
		{Name: "keyed", Address: w.URL, Fields: who(map[string]any{"header": map[string]any{"name": "X-Api-Key", "value": secret("the-api-key")}})},
		{Name: "oauth", Address: w.URL, Fields: who(map[string]any{"oauth": map[string]any{"token_url": w.URL + "/oauth/token", "client_id": webtest.ClientID, "client_secret": secret(webtest.ClientSecret)}})},
		{Name: "mutual", Address: w.TLS, Fields: who(map[string]any{"ca": w.CA, "client_cert": w.Cert, "client_key": w.Key})},
	}}
	if change != nil {
		change(c, w)
	}
	h := &services{t: t, web: w, gate: startGate(t, c)}
	if h.ada, err = h.gate.SignIn(t.Context(), "ada"); err != nil {
		t.Fatal(err)
	}
	if h.dora, err = h.gate.SignIn(t.Context(), "dora"); err != nil {
		t.Fatal(err)
	}
	h.http = h.client()
	return h
}

// client is a client with connections of its own.
func (h *services) client() *http.Client {
	tr := &http.Transport{TLSClientConfig: h.gate.TLS(), DisableCompression: true, MaxIdleConnsPerHost: 400}
	h.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// bigDocument is JSON of 2 MiB.
func bigDocument() string {
	row := `{"item":"` + strings.Repeat("x", 90) + `"}`
	return `{"rows":[` + strings.Repeat(row+",", 19999) + row + `]}`
}

func packed(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// reply is an answer that was read to its end, or as far as it came.
type reply struct {
	status int
	header http.Header
	body   string
	err    error // its body is not whole, or there is no answer
}

// problem reads a problem document.
func (r reply) problem(t *testing.T) (p struct {
	Type, Detail, Reason string
	Status               int
	Review               int64
	Retry                bool
}) {
	t.Helper()
	if kind := r.header.Get("Content-Type"); kind != "application/problem+json" {
		t.Errorf("%d is no problem document but %s: %.300s (%v)", r.status, kind, r.body, r.err)
		return p
	}
	if err := json.Unmarshal([]byte(r.body), &p); err != nil || p.Status != r.status || p.Type == "" || p.Detail == "" {
		t.Errorf("a problem document like %.400s: %v", r.body, err)
	}
	return p
}

// send sends a request by a client of one's own; path begins with the target,
// and headers are name, value, name, value.
func (h *services) send(ctx context.Context, c *http.Client, token, method, path, body string, headers ...string) reply {
	var from io.Reader
	if body != "" {
		from = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+h.gate.Services+path, from)
	if err != nil {
		return reply{err: err}
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, string(b), err}
}

func (h *services) do(method, path, body string, headers ...string) reply {
	h.t.Helper()
	return h.send(h.t.Context(), h.http, h.ada.Token, method, path, body, headers...)
}

func (h *services) get(path string) reply { h.t.Helper(); return h.do("GET", path, "") }

// wants checks an answer, and gives its body.
func (h *services) wants(r reply, status int, contain ...string) string {
	h.t.Helper()
	if r.err != nil || r.status != status {
		h.t.Errorf("%d in place of %d, %v: %.500s", r.status, status, r.err, r.body)
	}
	for _, c := range contain {
		if !strings.Contains(r.body, c) {
			h.t.Errorf("no %q in %.500s", c, r.body)
		}
	}
	return r.body
}

// dial opens a connection of TLS without HTTP.
func (h *services) dial() *tls.Conn {
	h.t.Helper()
	c, err := tls.Dial("tcp", h.gate.Services, h.gate.TLS())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// written sends bytes on a connection of their own and reads one answer.
func (h *services) written(text string) reply {
	h.t.Helper()
	c := h.dial()
	if _, err := io.WriteString(c, text); err != nil {
		return reply{err: err}
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return reply{err: err}
	}
	b, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, string(b), err}
}

// program runs a client; what it must print is a line each.
func (h *services) program(name string, in string, env []string, args ...string) string {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin, cmd.Env = strings.NewReader(in), append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.t.Errorf("%s %s: %v\n%.2000s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// curl runs curl and gives what it printed: the body, and the status in a line
// of its own.
func (h *services) curl(args ...string) string {
	h.t.Helper()
	_, port, _ := net.SplitHostPort(h.gate.Services)
	all := []string{"-sS", "--max-time", "20", "--cacert", h.gate.CAPath(), "-H", "Authorization: Bearer " + h.ada.Token, "-H", "Cookie: a=client-cookie", "-H", "X-Forwarded-For: 6.6.6.6", "-H", "X-Gate-User: root",
		"--resolve", "orders.internal:" + port + ":127.0.0.1", "-w", "\n%{http_code} %{http_version} %{num_connects}\n"}
	return h.program("curl", "", nil, append(all, args...)...)
}

// TestHTTPClients goes through doorward with the clients that people have.
func TestHTTPClients(t *testing.T) {
	h := openServices(t, nil)
	_, port, _ := net.SplitHostPort(h.gate.Services)
	prefix, host := "https://"+h.gate.Services+"/orders", "https://orders.internal:"+port
	h.wants(h.get("/oauth/v1/who/early"), 200) // its token is some seconds old when it is refused
	each := []string{"get", "head", "post", "denied", "put", "delete", "big", "gzip", "chunked"}
	t.Run("node", func(t *testing.T) {
		h := h.in(t)
		out := h.program("node", webtest.Fetch, []string{"BASE=" + prefix, "TOKEN=" + h.ada.Token, "NODE_EXTRA_CA_CERTS=" + h.gate.CAPath()}, "--input-type=module", "-")
		for _, what := range each {
			contains(t, out, "ok "+what+"\n")
		}
	})
	t.Run("python", func(t *testing.T) {
		h := h.in(t)
		out := h.program("python3", webtest.Urllib, []string{"BASE=" + prefix, "TOKEN=" + h.ada.Token, "CA=" + h.gate.CAPath()}, "-")
		for _, what := range append(each, "keep-alive") {
			contains(t, out, "ok "+what+"\n")
		}
	})
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, bytes.Repeat([]byte("a"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"1.1", "2"} {
		for way, base := range map[string]string{"prefix": prefix, "host": host} {
			t.Run("curl "+version+" by "+way, func(t *testing.T) {
				h := h.in(t)
				v := "--http" + version
				contains(t, h.curl(v, base+"/v1/things?a=1&b=two%20words"), `"uri":"/v1/things?a=1\u0026b=two%20words"`, "\n200 "+version+" 1\n")
				contains(t, strings.ToLower(h.curl(v, "-I", base+"/v1/things")), "200", "content-type: application/json")
				contains(t, h.curl(v, "--json", `{"amount":7}`, base+"/v1/refunds"), `"method":"POST"`, "\n200 ")
				contains(t, h.curl(v, "--json", `{"amount":700}`, base+"/v1/refunds"), "urn:doorward:denied", "\n403 ")
				contains(t, h.curl(v, "-X", "PUT", "--json", `{}`, base+"/v1/things/7"), `"method":"PUT"`, "\n200 ")
				contains(t, h.curl(v, "-X", "DELETE", base+"/v1/things/7"), `"method":"DELETE"`, "\n200 ")
				if out := h.curl(v, base+"/v1/big"); !strings.HasPrefix(out, bigDocument()) || !strings.Contains(out[len(bigDocument()):], "\n200 ") {
					t.Errorf("2 MiB came as %d bytes: …%s", len(out), out[max(0, len(out)-100):])
				}
				contains(t, h.curl(v, "-H", "Accept-Encoding: gzip", "--compressed", base+"/v1/gzip"), `{"packed":true}`, "\n200 ")
				contains(t, h.curl(v, base+"/v1/a", base+"/v1/b"), "\n200 "+version+" 1\n", "\n200 "+version+" 0\n")
				if version == "1.1" {
					contains(t, h.curl(v, "-H", "Transfer-Encoding: chunked", "-H", "Content-Type: application/octet-stream", "--data-binary", "@"+file, base+"/v1/upload"), `"size":1048576`)
				}
				out := h.curl(v, "-v", "-H", "Expect: 100-continue", "-H", "Content-Type: application/octet-stream", "--data-binary", "@"+file, base+"/v1/upload")
				contains(t, out, `"size":1048576`)
				if version == "1.1" {
					contains(t, out, "HTTP/1.1 100 Continue")
				}
			})
		}
	}
	t.Run("go", func(t *testing.T) {
		h := h.in(t)
		h.wants(h.get("/orders/v1/things?a=1"), 200, `"uri":"/v1/things?a=1"`)
		if r := h.do("HEAD", "/orders/v1/things", ""); r.status != 200 || r.body != "" {
			t.Errorf("HEAD: %+v", r)
		}
		h.wants(h.do("POST", "/orders/v1/refunds", `{"amount":100}`), 200)
		h.wants(h.do("POST", "/orders/v1/refunds", `{"amount":101}`), 403)
		h.wants(h.do("POST", "/orders/v1/refunds", `{}`), 403)
		h.wants(h.do("POST", "/orders/v1/upload", strings.Repeat("a", 1<<20), "Expect", "100-continue", "Content-Type", "text/plain"), 200, `"size":1048576`)
		h.wants(h.get("/orders/v1/gzip"), 200, `{"packed":true}`)
		if r := h.get("/orders/v1/big"); r.err != nil || r.body != bigDocument() {
			t.Errorf("2 MiB came as %d bytes: %v", len(r.body), r.err)
		}
		h.wants(h.get("/nobody/v1/things"), 403, "urn:doorward:denied")
		h.wants(h.send(t.Context(), h.http, "not-a-token", "GET", "/orders/v1/x", ""), 401, "urn:doorward:")
		if s := h.web.Seen("/v1/x"); len(s) != 0 {
			t.Errorf("without a sign-in it came: %+v", s)
		}
	})
	if n := len(h.web.Seen("/v1/refunds")); n != 7 {
		t.Errorf("%d refunds arrived, 7 were allowed", n)
	}
	t.Run("who", func(t *testing.T) { h.in(t).signsIn() })
	auditedWhole(t, h.gate)
}

func (h *services) in(t *testing.T) *services {
	c := *h
	c.t = t
	return &c
}

// signsIn wants each service to see doorward's own credential, who asks, and
// nothing of the client's.
func (h *services) signsIn() {
	t := h.t
	_, agent, err := h.ada.Run(t.Context(), "codex", "look after orders", []string{"orders", "basic", "keyed", "oauth", "mutual"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("gate:basic-password"))
	address := func(u string) string { x, _ := url.Parse(u); return x.Host }
	for _, x := range []struct{ target, host, header, value, client string }{
		{"orders", "orders.svc:8080", "Authorization", "Bearer " + serviceSecret, ""},
		{"basic", address(h.web.URL), "Authorization", basic, ""},
		{"keyed", address(h.web.URL), "X-Api-Key", "the-api-key", ""},
		{"oauth", address(h.web.URL), "Authorization", "Bearer " + webtest.TokenPrefix + "1", ""},
		{"mutual", address(h.web.TLS), "Authorization", "", "gate-client"},
	} {
		for who, token := range map[string]string{"": h.ada.Token, "codex": agent} {
			path := "/v1/who/" + x.target + who
			h.wants(h.send(t.Context(), h.http, token, "GET", "/"+x.target+path, "", "Cookie", "a=client-cookie", "X-Forwarded-For", "6.6.6.6", "X-Forwarded-Host", "evil", "Forwarded", "for=6.6.6.6", "X-Gate-User", "root", "X-Gate-Agent", "root", "X-Api-Key", "mine", "X_Gate_User", "root"), 200)
			seen := h.web.Seen(path)
			if len(seen) != 1 {
				t.Errorf("%s: %d requests came", path, len(seen))
				continue
			}
			s := seen[0]
			if s.Host != x.host || s.Client != x.client || !slices.Equal(s.Header.Values(x.header), values(x.value)) ||
				!slices.Equal(s.Header.Values("X-Gate-User"), values("ada")) || !slices.Equal(s.Header.Values("X-Gate-Agent"), values(who)) {
				t.Errorf("%s came as %+v", path, s)
			}
		}
	}
	// A token that is not taken any more is told as doorward's own trouble, and
	// doorward gets another: not at once, for a client can make this happen.
	h.web.Set("/v1/who/stale", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer "+webtest.TokenPrefix+"1" {
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	r := h.get("/oauth/v1/who/stale")
	h.wants(r, 502, "credential")
	r.problem(t)
	until(t, "there is another token", func() bool { return h.get("/oauth/v1/who/stale").status == 200 })
	for _, s := range h.web.Seen("") {
		text := fmt.Sprint(s.Header)
		for _, never := range []string{h.ada.Token, agent, "client-cookie", "6.6.6.6", "evil", "root", "Cookie", "X-Forwarded", "Forwarded", "mine"} {
			if strings.Contains(text, never) {
				t.Errorf("%s %s came with %q: %s", s.Method, s.URI, never, text)
			}
		}
	}
}

func values(v string) []string {
	if v == "" {
		return nil
	}
	return []string{v}
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
