package api_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/api"
	"github.com/doorward/doorward/internal/api/apitest"
)

// ask sends a request and reads its answer.
func ask(t *testing.T, c *http.Client, method, url string, head map[string]string, body any) (*http.Response, string) {
	t.Helper()
	var r io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, r)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range head {
		if k == "Host" {
			req.Host = v
			continue
		}
		req.Header.Set(k, v)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(raw)
}

func bearer(token string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + token}
}

// want asks with a token, and wants this status.
func want(t *testing.T, h *apitest.House, status int, method, path, token string, body any) string {
	t.Helper()
	resp, text := ask(t, h.Server.Client(), method, h.URL+path, bearer(token), body)
	if resp.StatusCode != status {
		t.Fatalf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	if status >= 400 {
		var p api.Problem
		if resp.Header.Get("Content-Type") != "application/problem+json" || json.Unmarshal([]byte(text), &p) != nil || p.Status != status {
			t.Errorf("%s %s: not a problem document: %s", method, path, text)
		}
	}
	return text
}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// routes are all calls of the API, from its own description.
func routes(t *testing.T, h *apitest.House) [][2]string {
	t.Helper()
	_, text := ask(t, h.Server.Client(), "GET", h.URL+"/api/v1/openapi.json", nil, nil)
	doc := decode[struct {
		OpenAPI string                    `json:"openapi"`
		Paths   map[string]map[string]any `json:"paths"`
	}](t, text)
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("OpenAPI %s", doc.OpenAPI)
	}
	var out [][2]string
	for path, methods := range doc.Paths {
		for m := range methods {
			path := strings.NewReplacer("{id}", "1", "{name}", "orders-db").Replace(path)
			out = append(out, [2]string{strings.ToUpper(m), path})
		}
	}
	if len(out) < 20 {
		t.Fatalf("only %d calls: %v", len(out), out)
	}
	return out
}

func TestEveryCallNeedsACredential(t *testing.T) {
	h := apitest.Start(t, nil)
	_, agent := h.Agent(t, "ada")
	open := map[string]bool{"/api/v1/providers": true, "/api/v1/signin": true, "/api/v1/token": true}
	for _, r := range routes(t, h) {
		resp, _ := ask(t, h.Server.Client(), r[0], h.URL+r[1], nil, nil)
		if got := resp.StatusCode == http.StatusUnauthorized; got == open[r[1]] {
			t.Errorf("%s %s without a credential: %s", r[0], r[1], resp.Status)
		}
		resp, _ = ask(t, h.Server.Client(), r[0], h.URL+r[1], bearer("dw_p_wrong"), nil)
		if got := resp.StatusCode == http.StatusUnauthorized; got == open[r[1]] {
			t.Errorf("%s %s with a wrong credential: %s", r[0], r[1], resp.Status)
		}
		resp, text := ask(t, h.Server.Client(), r[0], h.URL+r[1], bearer(agent), nil)
		switch {
		case r[1] == "/api/v1/me" && resp.StatusCode != http.StatusOK:
			t.Errorf("an agent at /me: %s", resp.Status)
		case r[1] != "/api/v1/me" && !open[r[1]] && resp.StatusCode != http.StatusForbidden:
			t.Errorf("an agent at %s %s: %s %s", r[0], r[1], resp.Status, text)
		}
	}
	for _, path := range []string{"/api", "/api/", "/api/v1", "/api/v1/nothing", "/api/v2/me", "/api/v1/me/", "/api/v1//me"} {
		resp, _ := ask(t, h.Server.Client(), "GET", h.URL+path, nil, nil)
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without a credential: %s", path, resp.Status)
		}
	}
	for _, head := range []map[string]string{
		{"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}, {"Authorization": "Bearer " + strings.Repeat("x", 20000)},
	} {
		if resp, _ := ask(t, h.Server.Client(), "GET", h.URL+"/api/v1/me", head, nil); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%.40v: %s", head, resp.Status)
		}
	}
	_, token := h.Person(t, "ada")
	if resp, _ := ask(t, h.Server.Client(), "GET", h.URL+"/api/v1/me?access_token="+token, nil, nil); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a token in the address: %s", resp.Status)
	}
	if strings.Contains(h.Log.String(), agent) || strings.Contains(h.Log.String(), token) {
		t.Error("a token is in the log")
	}
}

// browser is a client with a cookie jar that is signed in.
func browser(t *testing.T, h *apitest.House, user string) (*http.Client, string) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := *h.Server.Client()
	c.Jar = jar
	resp, text := ask(t, &c, "POST", h.URL+"/api/v1/signin", nil, map[string]string{"provider": "local", "user": user, "password": user + "'s password"})
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("sign-in: %s %s", resp.Status, text)
	}
	k := resp.Cookies()[0]
	if k.Name != "doorward_session" || !k.HttpOnly || !k.Secure || k.SameSite != http.SameSiteStrictMode || k.Path != "/" {
		t.Errorf("cookie: %+v", k)
	}
	if strings.Contains(text, k.Value) {
		t.Error("the cookie's value is in the page")
	}
	in := decode[api.SignedIn](t, text)
	if in.Me.Name != user || in.CSRF == "" || in.Me.CSRF != in.CSRF {
		t.Errorf("signed in: %s", text)
	}
	return &c, in.CSRF
}

func TestBrowserSession(t *testing.T) {
	h := apitest.Start(t, nil)
	c, csrf := browser(t, h, "ada")
	resp, text := ask(t, c, "GET", h.URL+"/api/v1/me", nil, nil)
	if me := decode[api.Me](t, text); resp.StatusCode != 200 || me.CSRF != csrf || me.Admin {
		t.Errorf("me: %s", text)
	}
	body := map[string]any{"agent": "codex"}
	for name, head := range map[string]map[string]string{
		"no header":                     {},
		"wrong header":                  {"X-Doorward-CSRF": csrf + "x"},
		"another site (fetch metadata)": {"X-Doorward-CSRF": csrf, "Sec-Fetch-Site": "cross-site"},
		"another site (origin)":         {"X-Doorward-CSRF": csrf, "Origin": "https://evil.example"},
		"same site, other host":         {"X-Doorward-CSRF": csrf, "Sec-Fetch-Site": "same-site"},
	} {
		if resp, _ := ask(t, c, "POST", h.URL+"/api/v1/runs", head, body); resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s", name, resp.Status)
		}
	}
	other, otherCSRF := browser(t, h, "ben")
	if resp, _ := ask(t, c, "POST", h.URL+"/api/v1/runs", map[string]string{"X-Doorward-CSRF": otherCSRF}, body); resp.StatusCode != http.StatusForbidden {
		t.Errorf("another session's CSRF: %s", resp.Status)
	}
	_ = other
	if resp, text := ask(t, c, "POST", h.URL+"/api/v1/runs", map[string]string{"X-Doorward-CSRF": csrf, "Sec-Fetch-Site": "same-origin"}, body); resp.StatusCode != http.StatusCreated {
		t.Errorf("the right one: %s %s", resp.Status, text)
	}
	if resp, _ := ask(t, c, "GET", h.URL+"/api/v1/me", map[string]string{"Authorization": "Bearer dw_p_wrong"}, nil); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a bad bearer token was rescued by the cookie: %s", resp.Status)
	}
	u, _ := url.Parse(h.URL)
	stolen := c.Jar.Cookies(u)[0].Value
	if resp, _ := ask(t, h.Server.Client(), "GET", h.URL+"/api/v1/me", bearer(stolen), nil); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a cookie as bearer token: %s", resp.Status)
	}
	if resp, _ := ask(t, c, "POST", h.URL+"/api/v1/signout", map[string]string{"X-Doorward-CSRF": csrf}, nil); resp.StatusCode >= 300 {
		t.Errorf("sign-out: %s", resp.Status)
	}
	resp, _ = ask(t, h.Server.Client(), "GET", h.URL+"/api/v1/me", map[string]string{"Cookie": "doorward_session=" + stolen}, nil)
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("after signing out: %s", resp.Status)
	}
}

func TestSignInFails(t *testing.T) {
	h := apitest.Start(t, nil)
	text := want(t, h, http.StatusUnauthorized, "POST", "/api/v1/token", "", map[string]string{"provider": "local", "user": "ada", "password": "not hers"})
	if strings.Contains(text, "not hers") || strings.Contains(h.Log.String(), "not hers") {
		t.Error("the password came out")
	}
	nobody := want(t, h, http.StatusUnauthorized, "POST", "/api/v1/token", "", map[string]string{"provider": "local", "user": "nobody", "password": "not hers"})
	a, b := decode[api.Problem](t, text), decode[api.Problem](t, nobody)
	if a.Title != b.Title || a.Hint != b.Hint || len(a.Detail) != len(b.Detail) {
		t.Errorf("whether a user exists shows: %s %s", text, nobody)
	}
	if got := len(h.Events(t, doorward.EventSignInFailed)); got != 2 {
		t.Errorf("%d failures are recorded", got)
	}
	if text := want(t, h, http.StatusUnprocessableEntity, "POST", "/api/v1/token", "", map[string]any{"provider": "local", "user": "ada", "password": []string{"hunter2"}}); strings.Contains(text, "hunter2") {
		t.Errorf("a password is echoed: %s", text)
	}
	limited := false
	for range 40 {
		resp, _ := ask(t, h.Server.Client(), "POST", h.URL+"/api/v1/token", nil, map[string]string{"provider": "local", "user": "ada", "password": "guess"})
		if resp.StatusCode == http.StatusTooManyRequests {
			limited = resp.Header.Get("Retry-After") != ""
			break
		}
	}
	if !limited {
		t.Error("guessing is not slowed down")
	}
}

func TestHostAndHeaders(t *testing.T) {
	h := apitest.Start(t, nil)
	for host, status := range map[string]int{
		"": 200, "localhost:1": 200, "127.0.0.1": 200, "[::1]:8443": 200, "doorward.example": 200, "DOORWARD.example.:8443": 200, "10.1.2.3:8443": 200,
		"evil.example": 421, "doorward.example.evil.test": 421, "localhost.evil.test": 421, "127.0.0.1.evil.test": 421, "evil.test:8443": 421,
	} {
		head := map[string]string{}
		if host != "" {
			head["Host"] = host
		}
		resp, _ := ask(t, h.Server.Client(), "GET", h.URL+"/", head, nil)
		if resp.StatusCode != status {
			t.Errorf("host %q: %s, want %d", host, resp.Status, status)
		}
		csp := resp.Header.Get("Content-Security-Policy")
		if strings.Contains(csp, "unsafe") || !strings.Contains(csp, "frame-ancestors 'none'") || !strings.Contains(csp, "default-src 'none'") {
			t.Errorf("CSP: %s", csp)
		}
		for k, v := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"} {
			if resp.Header.Get(k) != v {
				t.Errorf("%s: %q", k, resp.Header.Get(k))
			}
		}
	}
	if _, token := h.Person(t, "ada"); true {
		big := map[string]string{"agent": "codex", "task": strings.Repeat("x", 2<<20)}
		resp, _ := ask(t, h.Server.Client(), "POST", h.URL+"/api/v1/runs", bearer(token), big)
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("a body of 2 MiB: %s", resp.Status)
		}
	}
}

func TestConsoleFiles(t *testing.T) {
	h := apitest.Start(t, nil)
	for path, status := range map[string]int{"/": 200, "/reviews/12": 200, "/sessions/abc": 200, "/assets/app-1a2b.js": 200, "/assets/gone.js": 404, "/..%2f..%2fetc%2fpasswd": 200, "/healthz": 200, "/readyz": 200} {
		resp, text := ask(t, h.Server.Client(), "GET", h.URL+path, nil, nil)
		if resp.StatusCode != status {
			t.Errorf("%s: %s", path, resp.Status)
		}
		if strings.Contains(text, "root:") {
			t.Errorf("%s gave a file of the system", path)
		}
	}
	resp, _ := ask(t, h.Server.Client(), "GET", h.URL+"/assets/app-1a2b.js", nil, nil)
	if !strings.Contains(resp.Header.Get("Cache-Control"), "immutable") || !strings.Contains(resp.Header.Get("Content-Type"), "javascript") {
		t.Errorf("asset headers: %v", resp.Header)
	}
	if resp, _ := ask(t, h.Server.Client(), "POST", h.URL+"/reviews/1", nil, map[string]string{}); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST to a page: %s", resp.Status)
	}
}

func TestReviews(t *testing.T) {
	h := apitest.Start(t, nil)
	agent, _ := h.Agent(t, "ada")
	_, ada := h.Person(t, "ada")
	_, ben := h.Person(t, "ben")
	dora, doraToken := h.Person(t, "dora")
	_, sam := h.Person(t, "sam")
	r := h.Review(t, agent, "update orders set note = '<script>alert(1)</script>' where id = 1")
	path := fmt.Sprintf("/api/v1/reviews/%d", r.ID)

	for name, sees := range map[string]bool{ada: true, ben: false, doraToken: true, sam: true} {
		list := decode[[]api.Review](t, want(t, h, 200, "GET", "/api/v1/reviews", name, nil))
		if (len(list) == 1) != sees {
			t.Errorf("the list has %d reviews, want %v", len(list), sees)
		}
		if sees {
			want(t, h, 200, "GET", path, name, nil)
		} else {
			want(t, h, 404, "GET", path, name, nil)
		}
	}
	mine := decode[api.Review](t, want(t, h, 200, "GET", path, ada, nil))
	if !mine.Mine || mine.CanVote || mine.WhyNot == "" || mine.URL == "" {
		t.Errorf("the requester sees %+v", mine)
	}
	yes := api.Ballot{Approve: true, Comment: " fine ", MaxRows: 1}
	want(t, h, 403, "POST", path+"/votes", ada, yes)
	want(t, h, 404, "POST", path+"/votes", ben, yes)
	want(t, h, 403, "POST", path+"/votes", sam, yes) // sees all, is no dba
	want(t, h, 422, "POST", path+"/votes", doraToken, api.Ballot{MaxRows: 5})
	want(t, h, 422, "POST", path+"/votes", doraToken, map[string]any{"approve": true, "by": "ada"})
	want(t, h, 422, "POST", path+"/votes", doraToken, map[string]any{"comment": "no answer"})
	after := decode[api.Review](t, want(t, h, 200, "POST", path+"/votes", doraToken, yes))
	if after.State != doorward.ReviewApproved || len(after.Votes) != 1 || after.Votes[0].By != "dora" || after.Votes[0].Subject != dora.Subject || after.Votes[0].MaxRows != 1 || after.Votes[0].Comment != "fine" {
		t.Errorf("after the vote: %+v", after)
	}
	want(t, h, 409, "POST", path+"/votes", doraToken, yes)
	if list := decode[[]api.Review](t, want(t, h, 200, "GET", "/api/v1/reviews?state=waiting", ada, nil)); len(list) != 0 {
		t.Errorf("still waiting: %v", list)
	}
	if list := decode[[]api.Review](t, want(t, h, 200, "GET", "/api/v1/reviews?state=all", ada, nil)); len(list) != 1 {
		t.Errorf("all: %v", list)
	}
	want(t, h, 422, "GET", "/api/v1/reviews?state=odd", ada, nil)
	want(t, h, 404, "GET", "/api/v1/reviews/99", ada, nil)
}

func TestSessions(t *testing.T) {
	h := apitest.Start(t, nil)
	agent, _ := h.Agent(t, "ada")
	ben, benToken := h.Person(t, "ben")
	_, ada := h.Person(t, "ada")
	_, sam := h.Person(t, "sam")
	h.Session(t, "sess-one", agent, "select '\x1b[2J<b>' from orders", false)
	h.Session(t, "sess-two", ben, "select 2", true)

	ids := func(query, token string) string {
		t.Helper()
		var out []string
		for _, s := range decode[[]api.Session](t, want(t, h, 200, "GET", "/api/v1/sessions"+query, token, nil)) {
			out = append(out, s.ID)
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct{ query, token, want string }{
		{"", ada, "sess-one"}, {"", benToken, "sess-two"}, {"", sam, "sess-two sess-one"},
		{"?q=CODEX", sam, "sess-one"}, {"?q=ben", sam, "sess-two"}, {"?q=sess-o", sam, "sess-one"}, {"?q=%25", sam, ""},
		{"?live=true", sam, "sess-two"}, {"?target=none", sam, ""}, {"?limit=1", sam, "sess-two"},
	} {
		if got := ids(c.query, c.token); got != c.want {
			t.Errorf("%s: %q, want %q", c.query, got, c.want)
		}
	}
	want(t, h, 422, "GET", "/api/v1/sessions?limit=0", sam, nil)
	want(t, h, 422, "GET", "/api/v1/sessions?limit=501", sam, nil)
	want(t, h, 422, "GET", "/api/v1/sessions?bogus=1", sam, nil)
	want(t, h, 404, "GET", "/api/v1/sessions/sess-one", benToken, nil)
	want(t, h, 404, "GET", "/api/v1/sessions/sess-one/timeline", benToken, nil)
	want(t, h, 404, "GET", "/api/v1/sessions/sess-one/tape", benToken, nil)
	if got := h.Events(t, doorward.EventReplayed); len(got) != 0 {
		t.Errorf("a refusal was recorded as a view: %v", got)
	}
	one := decode[api.Session](t, want(t, h, 200, "GET", "/api/v1/sessions/sess-one", ada, nil))
	if one.Identity.Agent != "codex" || one.Live || one.Rows != 3 || one.Why != "closed" {
		t.Errorf("%+v", one)
	}

	tl := decode[api.Timeline](t, want(t, h, 200, "GET", "/api/v1/sessions/sess-one/timeline", sam, nil))
	if !tl.Verified.OK || len(tl.Entries) != 3 || !strings.Contains(tl.Entries[0].Statement, "orders") {
		t.Errorf("timeline: %+v", tl)
	}
	viewed := h.Events(t, doorward.EventReplayed)
	if len(viewed) != 1 || viewed[0].Name != "sam" || viewed[0].Session != "sess-one" {
		t.Errorf("views: %+v", viewed)
	}
	resp, text := ask(t, h.Server.Client(), "GET", h.URL+"/api/v1/sessions/sess-one/tape?format=asciicast", bearer(ada), nil)
	if resp.StatusCode != 200 || !strings.HasPrefix(text, `{`) || !strings.Contains(text, `"version"`) || !strings.Contains(resp.Header.Get("Content-Disposition"), "sess-one.cast") {
		t.Errorf("asciicast: %s %.100s", resp.Status, text)
	}
	if _, text := ask(t, h.Server.Client(), "GET", h.URL+"/api/v1/sessions/sess-one/tape?format=json", bearer(ada), nil); len(decode[api.Timeline](t, text).Entries) != 3 {
		t.Errorf("json: %.100s", text)
	}
	if got := len(h.Events(t, doorward.EventReplayed)); got != 3 {
		t.Errorf("%d views are recorded", got)
	}

	want(t, h, 404, "POST", "/api/v1/sessions/sess-two/kill", ada, nil)
	want(t, h, 409, "POST", "/api/v1/sessions/sess-one/kill", ada, nil)
	want(t, h, 204, "POST", "/api/v1/sessions/sess-two/kill", sam, nil)
	if len(h.Live.Killed) != 1 || h.Live.Killed[0] != "sess-two by sam" {
		t.Errorf("killed: %v", h.Live.Killed)
	}
}

// A recording is not shown when looking at it cannot be written down.
func TestNoViewWithoutRecord(t *testing.T) {
	h := apitest.Start(t, nil)
	ada, token := h.Person(t, "ada")
	h.Session(t, "sess-one", ada, "select 1", false)
	if err := h.Ledger.Close(); err != nil {
		t.Fatal(err)
	}
	text := want(t, h, 500, "GET", "/api/v1/sessions/sess-one/timeline", token, nil)
	want(t, h, 500, "GET", "/api/v1/sessions/sess-one/tape", token, nil)
	if strings.Contains(text, "select 1") {
		t.Error("it was shown")
	}
}

func TestTargetsAndRuns(t *testing.T) {
	h := apitest.Start(t, nil)
	_, ada := h.Person(t, "ada")
	_, ben := h.Person(t, "ben")
	_, sam := h.Person(t, "sam")
	if got := decode[[]api.TargetInfo](t, want(t, h, 200, "GET", "/api/v1/targets", ada, nil)); len(got) != 1 || got[0].Name != "orders-db" {
		t.Errorf("%v", got)
	}
	if got := decode[[]api.TargetInfo](t, want(t, h, 200, "GET", "/api/v1/targets", sam, nil)); len(got) != 2 {
		t.Errorf("%v", got)
	}
	conn := decode[api.Connect](t, want(t, h, 200, "GET", "/api/v1/targets/orders-db/connect", ada, nil))
	if conn.Database != "orders-db" || conn.Port != 15432 || conn.CAPEM != h.CA {
		t.Errorf("%+v", conn)
	}
	want(t, h, 404, "GET", "/api/v1/targets/secret-db/connect", ada, nil)
	want(t, h, 404, "POST", "/api/v1/runs", ada, api.RunRequest{Agent: "codex", Targets: []string{"secret-db"}})
	want(t, h, 422, "POST", "/api/v1/runs", ada, api.RunRequest{Agent: "Not A Name"})
	want(t, h, 422, "POST", "/api/v1/runs", ada, api.RunRequest{Agent: ""})

	run := decode[api.RunStarted](t, want(t, h, 201, "POST", "/api/v1/runs", ada, api.RunRequest{Agent: "codex", Task: "fix it", Targets: []string{"orders-db"}, TTL: 60}))
	if run.Token == "" || run.Run == "" || run.Postgres == nil || run.Postgres.CAPEM != h.CA || len(run.Targets) != 1 || time.Until(run.Expires) > time.Minute {
		t.Errorf("%+v", run)
	}
	me := decode[api.Me](t, want(t, h, 200, "GET", "/api/v1/me", run.Token, nil))
	if me.Agent != "codex" || me.Name != "ada" || me.Run != run.Run || me.Admin {
		t.Errorf("%+v", me)
	}
	want(t, h, 403, "POST", "/api/v1/runs", run.Token, api.RunRequest{Agent: "sub"})
	if got := decode[[]api.Run](t, want(t, h, 200, "GET", "/api/v1/runs", ada, nil)); len(got) != 1 || !got[0].Live || got[0].Task != "fix it" {
		t.Errorf("%+v", got)
	}
	if text := want(t, h, 200, "GET", "/api/v1/runs", ben, nil); decode[[]api.Run](t, text) == nil || strings.Contains(text, run.Run) {
		t.Errorf("ben sees %s", text)
	}
	want(t, h, 404, "DELETE", "/api/v1/runs/"+run.Run, ben, nil)
	want(t, h, 204, "DELETE", "/api/v1/runs/"+run.Run, ada, nil)
	want(t, h, 204, "DELETE", "/api/v1/runs/"+run.Run, ada, nil)
	want(t, h, 401, "GET", "/api/v1/me", run.Token, nil)
	want(t, h, 204, "POST", "/api/v1/signout", ada, nil)
	want(t, h, 401, "GET", "/api/v1/me", ada, nil)
	if strings.Contains(h.Log.String(), run.Token) {
		t.Error("the run's token is in the log")
	}
}

func TestAudit(t *testing.T) {
	h := apitest.Start(t, nil)
	_, ada := h.Person(t, "ada")
	a := decode[api.Audit](t, want(t, h, 200, "GET", "/api/v1/audit", ada, nil))
	if !a.OK || a.Size == 0 || a.Root == "" || a.CheckedAt.IsZero() {
		t.Errorf("%+v", a)
	}
	if b := decode[api.Audit](t, want(t, h, 200, "GET", "/api/v1/audit", ada, nil)); !b.CheckedAt.Equal(a.CheckedAt) {
		t.Error("checked again at once")
	}
}

// stream reads events until the stream ends.
func stream(t *testing.T, h *apitest.House, token string) (events <-chan string, ended <-chan struct{}) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", h.URL+"/api/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := h.Server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		t.Fatalf("%s", resp.Status)
	}
	ch, done := make(chan string, 64), make(chan struct{})
	go func() {
		defer close(done)
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		kind := ""
		for lines.Scan() {
			if k, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				kind = k
			}
			if d, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				ch <- kind + " " + d
			}
		}
	}()
	return ch, done
}

func next(t *testing.T, ch <-chan string) string {
	t.Helper()
	select {
	case e := <-ch:
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("no event came")
	}
	return ""
}

func TestEvents(t *testing.T) {
	h := apitest.Start(t, nil)
	agent, _ := h.Agent(t, "ada")
	_, ada := h.Person(t, "ada")
	_, ben := h.Person(t, "ben")
	_, dora := h.Person(t, "dora")
	adaEvents, adaEnded := stream(t, h, ada)
	benEvents, _ := stream(t, h, ben)
	doraEvents, _ := stream(t, h, dora)

	r := h.Review(t, agent, "update orders\nset note = 'x' where id = 1")
	for _, ch := range []<-chan string{adaEvents, doraEvents} {
		e := next(t, ch)
		if !strings.HasPrefix(e, "review ") || decode[api.Review](t, strings.TrimPrefix(e, "review ")).ID != r.ID {
			t.Errorf("event: %s", e)
		}
	}
	h.Session(t, "sess-live", agent, "select 1", true)
	if e := next(t, adaEvents); !strings.HasPrefix(e, "session ") || !strings.Contains(e, `"opened"`) || !strings.Contains(e, "sess-live") {
		t.Errorf("event: %s", e)
	}
	if err := h.Live.Kill("sess-live", "test"); err != nil {
		t.Fatal(err)
	}
	if e := next(t, adaEvents); !strings.Contains(e, `"closed"`) {
		t.Errorf("event: %s", e)
	}
	want(t, h, 204, "POST", "/api/v1/signout", ada, nil)
	select {
	case <-adaEnded:
	case <-time.After(5 * time.Second):
		t.Error("the stream outlives the sign-in")
	}
	select {
	case e := <-benEvents:
		t.Errorf("ben got %s", e)
	default:
	}
	// A stream is one of a bounded number.
	refused := false
	for range 12 {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", h.URL+"/api/v1/events", nil)
		req.Header.Set("Authorization", "Bearer "+ben)
		resp, err := h.Server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if refused = resp.StatusCode == http.StatusTooManyRequests; refused {
			break
		}
	}
	if !refused {
		t.Error("one person can open any number of streams")
	}
}

func TestMissingDependency(t *testing.T) {
	if _, err := api.New(api.Deps{}); err == nil || !strings.Contains(err.Error(), "Identity") {
		t.Errorf("%v", err)
	}
}
