package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/webtest"
)

const (
	secretName = "Ann Secret-Name"
	secretMail = "ann.secret@corp.example"
	secretCard = "4111111111111111"
)

// Values are found everywhere; on one target fields are masked, too.
var serviceMasks = []any{
	map[string]any{"detect": []string{"EMAIL", "CREDIT_CARD"}, "operator": "redact"},
	map[string]any{"targets": []string{"keyed"}, "fields": []string{"$.customer.name"}, "operator": "redact"},
}

// hidesService wants none of what is masked in a text.
func hidesService(t *testing.T, what, text string) {
	t.Helper()
	for _, never := range []string{secretName, secretMail, secretCard} {
		if i := strings.Index(text, never); i >= 0 {
			t.Errorf("%s holds %q: …%.300s", what, never, text[max(0, i-60):])
		}
	}
}

// encoded packs text as a service would.
func encoded(t *testing.T, how, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch how {
	case "":
		return []byte(text)
	case "gzip":
		return packed(t, []byte(text))
	case "br":
		w = brotli.NewWriter(&out)
	case "zstd":
		z, err := zstd.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestHTTPLimits holds answers and requests to their bounds.
func TestHTTPLimits(t *testing.T) {
	const together = 300
	rule := func(path string, limits map[string]any) any {
		return map[string]any{"name": path[1:], "targets": []string{"*"}, "objects": []string{"GET /v1" + path}, "then": "allow", "limits": limits}
	}
	h := openServices(t, func(c *harness.Config, _ *webtest.Server) {
		c.Rules = []any{rule("/bytes", map[string]any{"bytes": "1KiB"}), rule("/rows", map[string]any{"rows": 3}), rule("/time", map[string]any{"time": "1s"}), rule("/often", map[string]any{"per_minute": 3}),
			rule("/crowd", nil), map[string]any{"name": "up", "targets": []string{"*"}, "objects": []string{"POST /v1/upload"}, "then": "allow"}}
		c.Masking = serviceMasks
	})
	over := func(what string, r reply, say string) {
		t.Helper()
		if r.err != nil || r.status < 400 || !strings.Contains(r.body, say) || !strings.Contains(r.body, "urn:doorward:") {
			t.Errorf("%s: %d (%v) %.300s", what, r.status, r.err, r.body)
		}
	}
	cut := func(what string, r reply) {
		t.Helper()
		if r.err == nil && r.status == 200 {
			t.Errorf("%s: it looks whole, with %d bytes", what, len(r.body))
		}
	}
	slowHead := make(chan time.Duration, 1)
	go func() {
		c := h.dial()
		start := time.Now()
		_, _ = io.WriteString(c, "GET /orders/v1/rows HTTP/1.1\r\nHost:")
		_, _ = io.Copy(io.Discard, c)
		slowHead <- time.Since(start)
	}()

	h.web.Answer("/v1/bytes", 200, []byte(`{"a":"`+strings.Repeat("a", 900)+`"}`), "Content-Type", "application/json")
	h.wants(h.get("/orders/v1/bytes"), 200)
	h.web.Answer("/v1/bytes", 200, []byte(`{"a":"`+strings.Repeat("a", 1100)+`"}`), "Content-Type", "application/json")
	over("bytes", h.get("/orders/v1/bytes"), "more than 1024 bytes")
	h.web.Pieces("/v1/bytes", "application/x-ndjson", `{"a":"`+strings.Repeat("a", 600)+"\"}\n", `{"a":"`+strings.Repeat("a", 600)+"\"}\n")
	cut("bytes of a stream", h.get("/orders/v1/bytes"))
	h.web.Answer("/v1/rows", 200, []byte(`[1,2,3]`), "Content-Type", "application/json")
	h.wants(h.get("/orders/v1/rows"), 200, "[1,2,3]")
	h.web.Answer("/v1/rows", 200, []byte(`[1,2,3,4]`), "Content-Type", "application/json")
	over("rows", h.get("/orders/v1/rows"), "3 rows")
	h.web.Pieces("/v1/rows", "application/x-ndjson", "1\n2\n", "3\n4\n5\n")
	cut("rows of a stream", h.get("/orders/v1/rows"))
	h.web.Set("/v1/time", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	start := time.Now()
	over("time", h.get("/orders/v1/time"), "time limit of 1s")
	h.web.Endless("/v1/time")
	cut("the time of a stream", h.get("/orders/v1/time"))
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("two answers past their second took %s", took)
	}
	for range 3 {
		h.wants(h.get("/orders/v1/often"), 200)
	}
	over("often", h.get("/orders/v1/often"), "minute")

	post := "POST /orders/v1/upload HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + h.ada.Token + "\r\nContent-Type: text/plain\r\n"
	h.wants(h.do("POST", "/orders/v1/upload", strings.Repeat("a", 8<<20), "Content-Type", "text/plain"), 200, `"size":8388608`)
	over("a large body", h.written(post+"Content-Length: 8388609\r\n\r\n"), `"status":413`)
	over("a large body in chunks", h.written(post+"Transfer-Encoding: chunked\r\n\r\n800001\r\n"), `"status":413`)
	many := func(n int) string {
		return "GET /orders/v1/rows HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("X-A: b\r\n", n) + "\r\n"
	}
	over("130 header fields", h.written(many(129)), `"status":431`)
	over("long header fields", h.written("GET / HTTP/1.1\r\nHost: h\r\nX-A: "+strings.Repeat("a", 70<<10)+"\r\n\r\n"), `"status":431`)

	var crowd sync.WaitGroup
	crowd.Add(together)
	h.web.Set("/v1/crowd", func(w http.ResponseWriter, _ *http.Request) {
		crowd.Done() // all of them are here before any is answered
		crowd.Wait()
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"all":"here"}`)
	})
	answers := make(chan reply, together)
	client := h.client() // HTTP/1.1: one connection each
	for range together {
		go func() { answers <- h.send(t.Context(), client, h.ada.Token, "GET", "/orders/v1/crowd", "") }()
	}
	for range together {
		h.wants(<-answers, 200, "here")
	}
	select {
	case took := <-slowHead:
		if took < 5*time.Second {
			t.Errorf("a slow head was ended after %s", took)
		}
	case <-time.After(12 * time.Second):
		t.Error("a slow head is waited for")
	}
	auditedWhole(t, h.gate)
}

// TestHTTPKill ends what runs: a stream of events, and a wait for an answer.
func TestHTTPKill(t *testing.T) {
	h := openServices(t, nil)
	ended := make(chan string, 100)
	h.web.Endless("/v1/endless")
	h.web.Set("/v1/slow", func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		ended <- "the service saw the end"
	})
	for version := range h.clients() {
		for _, how := range []string{"kill", "revoke"} {
			t.Run(how+" over HTTP "+version, func(t *testing.T) {
				h := h.in(t)
				run, token, err := h.ada.Run(t.Context(), "codex", "look after orders", []string{"orders"}, time.Hour)
				if err != nil {
					t.Fatal(err)
				}
				client := h.clients()[version]
				events, answers := make(chan string, 10000), make(chan reply, 2)
				go func() { answers <- h.stream(client, token, "/orders/v1/endless", events) }()
				for range 3 {
					select {
					case <-events:
					case <-time.After(5 * time.Second):
						t.Fatal("no events come")
					}
				}
				slow := len(h.web.Seen("/v1/slow"))
				go func() { answers <- h.send(t.Context(), client, token, "GET", "/orders/v1/slow", "") }()
				until(t, "the slow request has arrived", func() bool { return len(h.web.Seen("/v1/slow")) > slow })
				live, err := h.ada.Sessions(t.Context(), "live=true&q=codex")
				if err != nil || len(live) != 2 {
					t.Fatalf("%d sessions are live, not one a request: %v", len(live), err)
				}
				start := time.Now()
				if how == "revoke" {
					if err := h.ada.Do(t.Context(), http.MethodDelete, "/api/v1/runs/"+run, nil, nil); err != nil {
						t.Fatal(err)
					}
				} else {
					for _, s := range live {
						if err := h.ada.Do(t.Context(), http.MethodPost, "/api/v1/sessions/"+s.ID+"/kill", map[string]any{}, nil); err != nil {
							t.Fatal(err)
						}
					}
				}
				for range 2 {
					if r := within(t, time.Second, how, answers); r.err == nil && r.status == 200 {
						t.Errorf("after %s an answer is whole: %.200s", how, r.body)
					}
				}
				if took := time.Since(start); took > time.Second {
					t.Errorf("%s took %s", how, took)
				}
				select {
				case <-ended:
				case <-time.After(time.Second):
					t.Error("the service goes on with the request")
				}
				if r := h.send(t.Context(), h.client(), token, "GET", "/orders/v1/things", ""); how == "revoke" && r.status != 401 {
					t.Errorf("a revoked credential: %d %s", r.status, r.body)
				}
			})
		}
	}
	auditedWhole(t, h.gate)
}

// stream reads an answer as it comes; each piece goes to pieces.
func (h *services) stream(c *http.Client, token, path string, pieces chan<- string) reply {
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, "https://"+h.gate.Services+path, nil)
	if err != nil {
		return reply{err: err}
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := c.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer res.Body.Close()
	b := make([]byte, 4096)
	for {
		n, err := res.Body.Read(b)
		if n > 0 {
			select {
			case pieces <- string(b[:n]):
			default:
			}
		}
		if err == io.EOF {
			return reply{res.StatusCode, res.Header, "", nil}
		}
		if err != nil {
			return reply{res.StatusCode, res.Header, "", err}
		}
	}
}

// TestHTTPFaults has services that are not there, or do not speak HTTP as they
// should: nothing is sent twice, and no half answer looks whole.
func TestHTTPFaults(t *testing.T) {
	rogue, err := webtest.StartRogue()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rogue.Stop)
	h := openServices(t, func(c *harness.Config, _ *webtest.Server) {
		c.Services = append(c.Services, harness.Service{Name: "rogue", Address: "http://" + rogue.Addr}, harness.Service{Name: "down", Address: "http://127.0.0.1:1"})
	})
	broken := func(what string, r reply) {
		t.Helper()
		if r.err == nil && r.status != 502 {
			t.Errorf("%s: %d %.300s", what, r.status, r.body)
		} else if r.err == nil {
			r.problem(t)
		}
	}
	r := h.get("/down/v1/x")
	h.wants(r, 502)
	if p := r.problem(t); p.Type != "urn:doorward:error" || !p.Retry {
		t.Errorf("a service that is down: %+v", p)
	}

	const good = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
	reading := func(what string, act func(c net.Conn, req *http.Request) bool) {
		t.Helper()
		rogue.Do(act)
		for i := range 100 {
			if r := h.get(fmt.Sprintf("/rogue/v1/%d", i)); r.err != nil || r.status != 200 || r.body != "{}" {
				t.Errorf("%s: request %d: %d (%v) %s", what, i, r.status, r.err, r.body)
				return
			}
		}
	}
	reading("it closes after each answer", func(c net.Conn, _ *http.Request) bool {
		_, _ = io.WriteString(c, good)
		return false
	})
	var mu sync.Mutex
	answered := map[net.Conn]int{}
	second := func(c net.Conn, _ *http.Request) bool { // a connection is good for one request
		mu.Lock()
		defer mu.Unlock()
		if answered[c]++; answered[c] > 1 {
			return false
		}
		_, _ = io.WriteString(c, good)
		return true
	}
	reading("it closes at the second request", second)
	once := func(what string) {
		t.Helper()
		posts := 0
		r := h.do("POST", "/rogue/v1/upload", `{"n":1}`)
		h.wants(r, 502)
		if p := r.problem(t); !strings.Contains(p.Detail, "not known") || p.Retry {
			t.Errorf("%s: %+v", what, p)
		}
		for _, a := range rogue.Arrived() {
			if strings.HasPrefix(a, "POST ") {
				posts++
			}
		}
		if posts != 1 {
			t.Errorf("%s: %d arrived: %q", what, posts, rogue.Arrived())
		}
	}
	rogue.Do(second)
	h.wants(h.get("/rogue/v1/first"), 200)
	once("on a kept connection")
	rogue.Do(func(net.Conn, *http.Request) bool { return false })
	once("without an answer")
	rogue.Say("HTTP/1.1 200 OK\r\nContent-")
	once("with half a head")

	for what, text := range map[string]string{
		"both lengths":       "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"two lengths":        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
		"101":                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" + good,
		"a flood of 1xx":     strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 2000) + good,
		"no HTTP":            "SSH-2.0-OpenSSH_9\r\n",
		"an endless header":  "HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", 4<<20),
		"endless headers":    "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: a\r\n", 100000),
		"a short body":       "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nhalf",
		"a short large body": "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("line\n", 150000),
		"half the chunks":    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf\n\r\n",
		"a bad chunk":        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf\n\r\nzz\r\n",
		"a body to the end of HTTP/1.0 with chunks": "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		for version, c := range h.clients() {
			rogue.Say(text)
			broken(what+" over HTTP "+version, h.send(t.Context(), c, h.ada.Token, "GET", "/rogue/v1/x", ""))
			if n := len(rogue.Arrived()); n > 2 {
				t.Errorf("%s: it was sent %d times", what, n)
			}
		}
	}
	// What comes behind an answer is nobody's answer.
	rogue.Do(func(c net.Conn, _ *http.Request) bool {
		_, _ = io.WriteString(c, good+"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsplit!")
		return true
	})
	for range 20 {
		if r := h.get("/rogue/v1/split"); r.status != 200 || r.body != "{}" {
			t.Errorf("an answer that was not asked for: %d (%v) %s", r.status, r.err, r.body)
		}
	}
	rogue.Do(func(c net.Conn, _ *http.Request) bool { _, _ = io.WriteString(c, good); return true })
	h.wants(h.get("/rogue/v1/after"), 200, "{}")
	auditedWhole(t, h.gate)
}
