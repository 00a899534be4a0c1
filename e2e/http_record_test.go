package e2e

import (
	"bytes"
	"context"
	"fmt"
	"html"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/webtest"
)

// clients are one client of each version of HTTP.
func (h *services) clients() map[string]*http.Client {
	two := h.client()
	two.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	return map[string]*http.Client{"1.1": h.client(), "2": two}
}

// orders counts the orders that arrived with this body.
func (h *services) orders(body string) (n int) {
	for _, s := range h.web.Seen("/v1/orders") {
		if string(s.Body) == body {
			n++
		}
	}
	return n
}

// reviewOf waits for the review that shows the text.
func (h *services) reviewOf(text string) int64 {
	h.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		all, err := h.dora.Reviews(h.t.Context(), "waiting")
		if err != nil {
			h.t.Fatal(err)
		}
		for _, r := range all {
			if strings.Contains(r.Statement, text) {
				return r.ID
			}
		}
	}
	h.t.Fatalf("no review shows %s", text)
	return 0
}

func (h *services) vote(id int64, yes bool) {
	h.t.Helper()
	if err := h.dora.Vote(h.t.Context(), id, yes, "", 0); err != nil {
		h.t.Fatal(err)
	}
}

// held wants an answer that says that a review is waited for, and gives its
// number.
func (h *services) held(r reply) int64 {
	h.t.Helper()
	h.wants(r, 403)
	p := r.problem(h.t)
	if p.Type != "urn:doorward:held" || p.Review == 0 || r.header.Get("Doorward-Review") != number(p.Review) || r.header.Get("Retry-After") == "" {
		h.t.Errorf("held: %+v %v", p, r.header)
	}
	return p.Review
}

// within waits for an answer for no longer than that.
func within(t *testing.T, limit time.Duration, what string, c <-chan reply) reply {
	t.Helper()
	select {
	case r := <-c:
		return r
	case <-time.After(limit):
		t.Errorf("%s: no answer within %s", what, limit)
		return reply{}
	}
}

// TestHTTPReviews holds requests until a person says yes: to each once, and to
// no other.
func TestHTTPReviews(t *testing.T) {
	h := openServices(t, nil)
	for version, c := range h.clients() {
		t.Run("HTTP "+version, func(t *testing.T) {
			h := h.in(t)
			body := func(what string) string { return `{"what":"` + what + "-" + version + `"}` }
			post := func(body string, headers ...string) reply {
				return h.send(t.Context(), c, h.ada.Token, "POST", "/orders/v1/orders", body, headers...)
			}
			later := func(ctx context.Context, body string, headers ...string) <-chan reply {
				out := make(chan reply, 1)
				go func() { out <- h.send(ctx, c, h.ada.Token, "POST", "/orders/v1/orders", body, headers...) }()
				return out
			}
			const second, prefer = time.Second, "Prefer"

			one := body("one")
			start := time.Now()
			id := h.held(post(one, prefer, "wait=1"))
			if took := time.Since(start); took < 900*time.Millisecond || took > 4*second {
				t.Errorf("it was held for %s, and wait=1 was asked for", took)
			}
			if again := h.held(post(one, prefer, "wait=0")); again != id {
				t.Errorf("the same request is review %d, and was %d", again, id)
			}
			h.vote(id, true)
			h.wants(post(one, prefer, "wait=1"), 200)
			if again := h.held(post(one, prefer, "wait=0")); again == id || h.orders(one) != 1 {
				t.Errorf("one yes: %d arrived; review %d after %d", h.orders(one), again, id)
			}

			waits := body("waits")
			answer := later(t.Context(), waits)
			id = h.reviewOf(waits)
			h.vote(id, true)
			r := within(t, second, "after a yes", answer)
			h.wants(r, 200)
			if r.header.Get("Doorward-Review") != number(id) || h.orders(waits) != 1 {
				t.Errorf("%d arrived, and its review is %q in place of %d", h.orders(waits), r.header.Get("Doorward-Review"), id)
			}

			twice := body("twice")
			first, other := later(t.Context(), twice, prefer, "wait=3"), later(t.Context(), twice, prefer, "wait=3")
			id = h.reviewOf(twice)
			h.vote(id, true)
			a, b := within(t, 10*second, "the first of two", first), within(t, 10*second, "the second of two", other)
			if a.status+b.status != 200+403 || h.orders(twice) != 1 {
				t.Errorf("two clients with one yes: %d and %d, and %d arrived", a.status, b.status, h.orders(twice))
			}

			four, five := body("four"), body("five")
			id = h.held(post(four, prefer, "wait=0"))
			h.vote(id, true)
			if next := h.held(post(five, prefer, "wait=0")); next == id {
				t.Errorf("another body is the same review")
			}
			r = post(five, prefer, "wait=0", "Doorward-Review", number(id))
			if r.status < 400 || r.status >= 500 || h.orders(five) != 0 {
				t.Errorf("another request for the review: %d, and %d arrived: %s", r.status, h.orders(five), r.body)
			}
			h.wants(post(four, "Doorward-Review", number(id)), 200)
			h.wants(post(four, "Doorward-Review", "none"), 400)
			if n := h.orders(four); n != 1 {
				t.Errorf("%d arrived with its review's number", n)
			}

			no := body("no")
			answer = later(t.Context(), no)
			h.vote(h.reviewOf(no), false)
			r = within(t, second, "after a no", answer)
			h.wants(r, 403)
			if p := r.problem(t); p.Type != "urn:doorward:denied" || h.orders(no) != 0 {
				t.Errorf("a no: %+v, and %d arrived", p, h.orders(no))
			}

			leaves := body("leaves")
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			answer = later(ctx, leaves)
			id = h.reviewOf(leaves)
			time.Sleep(100 * time.Millisecond) // it waits, and is watched
			leave()
			if r := within(t, second, "a client that left", answer); r.err == nil {
				t.Errorf("a client that left has the answer %d", r.status)
			}
			time.Sleep(200 * time.Millisecond) // nothing shows that doorward has noticed
			h.vote(id, true)
			time.Sleep(300 * time.Millisecond) // it must not run now
			if n := h.orders(leaves); n != 0 {
				t.Errorf("%d arrived for a client that left", n)
			}
			h.wants(post(leaves, prefer, "wait=1"), 200)
			if n := h.orders(leaves); n != 1 {
				t.Errorf("%d arrived when it came again", n)
			}
		})
	}
	auditedWhole(t, h.gate)
}

// TestHTTPRecord replays what was done, and proves the record.
func TestHTTPRecord(t *testing.T) {
	h := openServices(t, func(c *harness.Config, _ *webtest.Server) { c.Masking = serviceMasks })
	h.web.Answer("/v1/people/7", 200, []byte(`{"customer":{"name":"`+secretName+`"},"mail":"`+secretMail+`","plain":"to be seen"}`), "Content-Type", "application/json", "X-Request-Id", "to-be-recorded", "Link", "<mailto:"+secretMail+">")
	h.web.Pieces("/v1/events", "text/event-stream", "data: {\"mail\":\"ann.sec", "ret@corp.example\",\"n\":\"event seen\"}\n\n")
	h.wants(h.get("/keyed/v1/people/7?full=1"), 200, "to be seen")
	h.wants(h.get("/keyed/v1/events"), 200, "event seen")
	h.wants(h.do("POST", "/keyed/v1/refunds", `{"amount":7}`), 200)
	h.wants(h.do("POST", "/keyed/v1/refunds", `{"amount":700}`), 403)
	h.wants(h.do("PATCH", "/keyed/v1/nothing", `{}`), 403)
	r := h.written("GET /keyed/v1//twice HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + h.ada.Token + "\r\n\r\n")
	h.wants(r, 400)
	r.problem(t)
	id := sessionShowing(t, h.ada, "keyed", "/v1/people/7")
	out := doorwardAs(t, h.gate, h.ada, "sessions", "replay", "--plain", id)
	contains(t, out, `GET "/v1/people/7?full=1"`, "answer: 200, application/json", "to-be-recorded", "to be seen", "allow by rule reads", "event seen", "[EMAIL]", "[redacted]", `{"amount":7}`, `{"amount":700}`, "deny", "PATCH")
	show := doorwardAs(t, h.gate, h.ada, "sessions", "show", id)
	contains(t, show, "keyed", "ada")
	for _, text := range []string{out, show} {
		hidesService(t, "the replay", text)
	}
	contains(t, doorwardAs(t, h.gate, h.ada, "sessions", "replay", "--plain", sessionShowing(t, h.ada, "keyed", "/v1//twice")), "deny")
	// What is no HTTP opens no session.
	before, err := h.ada.Sessions(t.Context(), "target=orders")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"GET /orders/v1/malformed HTTP/1.1\r\nHost: a\r\nHost: b\r\nAuthorization: Bearer " + h.ada.Token + "\r\n\r\n",
		"POST /orders/v1/malformed HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer " + h.ada.Token + "\r\n\r\n0\r\n\r\n",
		"GET /orders/v1/malformed HTTP/1.0\r\n\r\n",
	} {
		if r := h.written(text); r.status < 400 || r.status > 505 {
			t.Errorf("%d for %q", r.status, text)
		}
	}
	after, err := h.ada.Sessions(t.Context(), "target=orders")
	if err != nil || len(after) != len(before) || len(h.web.Seen("/v1/malformed")) != 0 {
		t.Errorf("what is malformed made sessions: %d, %d before (%v); %d arrived", len(after), len(before), err, len(h.web.Seen("/v1/malformed")))
	}
	auditedWhole(t, h.gate)
	// Nothing that is kept holds what was masked.
	files := 0
	err = filepath.Walk(h.gate.State, func(path string, info os.FileInfo, err error) error {
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		hidesService(t, path, string(b))
		return err
	})
	if err != nil || files < 3 {
		t.Errorf("%d files are kept: %v", files, err)
	}
}

// TestHTTPMasking masks what a service answers, in every shape and however it
// is cut, and does not show what it cannot read.
func TestHTTPMasking(t *testing.T) {
	h := openServices(t, func(c *harness.Config, _ *webtest.Server) { c.Masking = serviceMasks })
	document := `{"customer":{"name":"` + secretName + `"},"mail":"` + secretMail + `","card":"` + secretCard + `","kept":"seen"}`
	lines := document + "\n" + strings.Replace(document, "seen", "twice", 1) + "\n"
	event := "id: 1\nevent: order\ndata: " + document + "\n\n"
	page := `<p>kept</p><a href="mailto:` + secretMail + `">` + secretMail + `</a> ann.secret&#64;corp.example ` + secretCard + " seen\n"
	shapes := []struct{ target, kind, body string }{
		{"keyed", "application/json", document}, {"keyed", "application/problem+json; charset=utf-8", document},
		{"keyed", "application/x-ndjson", lines}, {"keyed", "text/event-stream", event},
		{"orders", "text/html; charset=utf-8", page}, {"orders", "text/plain", page},
	}
	for i, x := range shapes {
		t.Run(x.target+" "+x.kind, func(t *testing.T) {
			h := h.in(t)
			path := fmt.Sprintf("/v1/shape/%d", i)
			shown := func(what string, r reply) {
				t.Helper()
				marks := []string{"seen", "[EMAIL]", "[CREDIT_CARD]"}
				if x.target == "keyed" {
					marks = append(marks, "[redacted]")
				}
				body := h.wants(r, 200, marks...)
				if strings.Contains(x.kind, "html") {
					body = html.UnescapeString(body) // as a browser reads it
				}
				hidesService(t, what, body)
			}
			for _, how := range []string{"", "gzip", "br", "zstd"} {
				if x.target == "keyed" && how != "" && how != "gzip" {
					continue // it is not asked for
				}
				h.web.Answer(path, 200, encoded(t, how, x.body), "Content-Type", x.kind, "Content-Encoding", how)
				shown("encoded as "+how, h.get("/"+x.target+path))
			}
			for cut := 1; cut < len(x.body); cut++ {
				h.web.Pieces(path, x.kind, x.body[:cut], x.body[cut:])
				shown(fmt.Sprintf("cut at %d", cut), h.get("/"+x.target+path))
				if t.Failed() {
					break
				}
			}
		})
	}

	t.Run("headers", func(t *testing.T) {
		h := h.in(t)
		h.web.Answer("/v1/headers", 200, []byte(`{}`), "Content-Type", "application/json", "Set-Cookie", "s=1", "Set-Cookie2", "s=1", "WWW-Authenticate", "Basic", "Proxy-Authenticate", "Basic", "Server", "secret/1", "X-Internal", "1",
			"Link", "<https://x.example/?u="+secretMail+">; rel=next", "Content-Disposition", `attachment; filename="`+secretMail+`"`, "X-Request-Id", secretCard, "ETag", `"abc"`)
		r := h.get("/orders/v1/headers")
		h.wants(r, 200)
		hidesService(t, "the headers", fmt.Sprint(r.header))
		for _, never := range []string{"Set-Cookie", "Set-Cookie2", "WWW-Authenticate", "Proxy-Authenticate", "Server", "X-Internal"} {
			if v := r.header.Values(never); v != nil {
				t.Errorf("%s arrived: %q", never, v)
			}
		}
		if r.header.Get("ETag") != `"abc"` || !strings.Contains(r.header.Get("Link"), "rel=next") {
			t.Errorf("what may be sent on: %v", r.header)
		}
		own := strings.TrimSuffix(h.web.URL, "/")
		for from, to := range map[string]string{
			own + "/v1/target?x=1": "/orders/v1/target?x=1", "/v1/target": "/orders/v1/target", own: "/orders/",
			"http://orders.svc:8080/v1/target": "/orders/v1/target", // what the service is told that it is called
			"https://elsewhere.example/a":      "https://elsewhere.example/a",
		} {
			h.web.Answer("/v1/moved", 302, nil, "Location", from)
			r := h.get("/orders/v1/moved")
			if r.status != 302 || r.header.Get("Location") != to {
				t.Errorf("moved to %s: %d, %q in place of %q", from, r.status, r.header.Get("Location"), to)
			}
		}
		h.web.Answer("/v1/moved", 302, nil, "Location", own+"/v1/target")
		r = h.written("GET /v1/moved HTTP/1.1\r\nHost: orders.internal\r\nAuthorization: Bearer " + h.ada.Token + "\r\n\r\n")
		if r.status != 302 || r.header.Get("Location") != "/v1/target" {
			t.Errorf("moved on a host name of its own: %d, %q", r.status, r.header.Get("Location"))
		}
		h.web.Answer("/v1/moved", 307, nil, "Location", "https://elsewhere.example/?u="+secretMail)
		hidesService(t, "Location", fmt.Sprint(h.get("/orders/v1/moved").header))
		if n := len(h.web.Seen("/v1/target")); n != 0 {
			t.Errorf("a redirect was followed %d times", n)
		}
	})

	t.Run("refused", func(t *testing.T) {
		h := h.in(t)
		bomb := `{"a":"` + strings.Repeat("a", 32<<20) + `"}`
		gz := packed(t, []byte(document))
		for name, x := range map[string]struct {
			target, kind, how string
			status            int
			body              []byte
		}{
			"unknown encoding":      {"orders", "application/json", "deflate", 200, []byte(document)},
			"two encodings":         {"orders", "application/json", "gzip, gzip", 200, packed(t, gz)},
			"not asked for":         {"keyed", "application/json", "br", 200, encoded(t, "br", document)},
			"binary":                {"orders", "application/octet-stream", "", 200, []byte(document)},
			"no type":               {"orders", "x", "", 200, []byte(document)},
			"text where fields":     {"keyed", "text/html", "", 200, []byte(page)},
			"image where fields":    {"keyed", "image/png", "", 200, []byte(page)},
			"a part":                {"orders", "application/json", "", 206, []byte(document)},
			"gzip bomb":             {"orders", "application/json", "gzip", 200, packed(t, []byte(bomb))},
			"br bomb":               {"orders", "application/json", "br", 200, encoded(t, "br", bomb)},
			"zstd bomb":             {"orders", "text/plain", "zstd", 200, encoded(t, "zstd", bomb)},
			"invalid JSON":          {"orders", "application/json", "", 200, []byte(`{"mail":"` + secretMail + `",}`)},
			"truncated JSON":        {"orders", "application/json", "", 200, []byte(document[:len(document)-1])},
			"two documents":         {"orders", "application/json", "", 200, []byte(document + document)},
			"truncated gzip":        {"orders", "application/json", "gzip", 200, gz[:len(gz)-9]},
			"gzip and more":         {"orders", "application/json", "gzip", 200, append(bytes.Clone(gz), secretMail...)},
			"not gzip":              {"orders", "application/json", "gzip", 200, []byte(document)},
			"UTF-16":                {"orders", "text/plain; charset=utf-16", "", 200, []byte("a\x00@\x00b\x00.\x00d\x00e\x00")},
			"UTF-16 without saying": {"orders", "text/plain", "", 200, []byte("a\x00@\x00b\x00.\x00d\x00e\x00")},
		} {
			h.web.Answer("/v1/refused", x.status, x.body, "Content-Type", x.kind, "Content-Encoding", x.how)
			r := h.get("/" + x.target + "/v1/refused")
			if strings.HasSuffix(name, "bomb") && r.err != nil {
				continue // it is large, and may be broken off
			}
			if r.status != 502 {
				t.Errorf("%s: %d (%v) %.200s", name, r.status, r.err, r.body)
				continue
			}
			if p := r.problem(t); p.Type != "urn:doorward:error" || p.Retry {
				t.Errorf("%s: %+v", name, p)
			}
			hidesService(t, name, r.body)
		}
		// An answer that is not large is refused with a reason, however its length is told.
		for name, pieces := range map[string][]string{"truncated": {document[:40], document[40:60]}, "invalid": {document[:40], "}}}"}} {
			h.web.Pieces("/v1/pieces", "application/json", pieces...)
			if r := h.get("/orders/v1/pieces"); r.status != 502 {
				t.Errorf("%s JSON in pieces: %d (%v) %s", name, r.status, r.err, r.body)
			}
		}
		h.web.Pieces("/v1/pieces", "text/plain", bomb[:1<<20], bomb[1<<20:])
		h.wants(h.get("/orders/v1/pieces"), 200)                               // it is large, and no bomb
		h.web.Set("/v1/pieces", func(w http.ResponseWriter, _ *http.Request) { // its length is not known
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(packed(t, []byte(bomb)))
		})
		if r := h.get("/orders/v1/pieces"); r.err == nil && r.status == 200 {
			t.Errorf("a bomb looks whole, with %d bytes", len(r.body))
		}
		h.web.Answer("/v1/image", 200, []byte("\x89PNG\x00\x01"), "Content-Type", "image/png")
		if r := h.get("/orders/v1/image"); r.status != 200 || r.body != "\x89PNG\x00\x01" {
			t.Errorf("an image: %+v", r)
		}
	})
	auditedWhole(t, h.gate)
}
