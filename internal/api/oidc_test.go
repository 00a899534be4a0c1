package api_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/doorward/doorward/internal/api"
	"github.com/doorward/doorward/internal/api/apitest"
	"github.com/doorward/doorward/internal/identity"
)

// idp is an OIDC provider that signs everybody in as eve, at once.
func idp(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	asked := map[string]url.Values{}
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	reply := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"issuer": srv.URL, "authorization_endpoint": srv.URL + "/auth", "token_endpoint": srv.URL + "/token", "jwks_uri": srv.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"ES256"}, "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"}})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("/auth", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		q := r.URL.Query()
		code := rand.Text()
		asked[code] = q
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {q.Get("state")}}.Encode(), http.StatusFound)
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		q := asked[r.PostFormValue("code")]
		delete(asked, r.PostFormValue("code"))
		sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		if q == nil || q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) {
			w.WriteHeader(http.StatusBadRequest)
			reply(w, map[string]string{"error": "invalid_grant"})
			return
		}
		now := time.Now()
		token, err := jwt.Signed(signer).Claims(map[string]any{"iss": srv.URL, "aud": "doorward", "sub": "u1", "email": "eve@corp.example", "email_verified": true, "groups": []string{"dba"},
			"nonce": q.Get("nonce"), "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}).Serialize()
		if err != nil {
			t.Error(err)
		}
		reply(w, map[string]any{"access_token": "at", "token_type": "Bearer", "id_token": token, "expires_in": 3600})
	})
	return srv.URL
}

func TestSignInByOIDC(t *testing.T) {
	h := apitest.Start(t, nil)
	if err := h.Identity.SetProviders([]identity.Provider{{Name: "corp", OIDC: &identity.OIDC{Issuer: idp(t), ClientID: "doorward", ClientSecret: "s"}}}); err != nil {
		t.Fatal(err)
	}
	_, text := ask(t, h.Server.Client(), "GET", h.URL+"/api/v1/providers", nil, nil)
	if p := decode[[]api.Provider](t, text); len(p) != 1 || p[0].Kind != "oidc" || p[0].URL != "/signin/oidc/corp" {
		t.Errorf("providers: %s", text)
	}
	fresh := func() *http.Client {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		c := *h.Server.Client()
		c.Jar = jar
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		return &c
	}
	// begin gives the address that the provider sends the browser back to.
	begin := func(c *http.Client) string {
		t.Helper()
		resp, text := ask(t, c, "GET", h.URL+"/signin/oidc/corp?next=/reviews/1", nil, nil)
		if resp.StatusCode != http.StatusSeeOther {
			t.Fatalf("%s %s", resp.Status, text)
		}
		k := resp.Cookies()[0]
		if !k.HttpOnly || !k.Secure || k.SameSite != http.SameSiteLaxMode || !strings.HasPrefix(k.Name, "__Host-") {
			t.Errorf("state cookie: %+v", k)
		}
		resp, _ = ask(t, http.DefaultClient, "HEAD", resp.Header.Get("Location"), nil, nil)
		return resp.Header.Get("Location")
	}
	follow := http.DefaultClient.CheckRedirect
	http.DefaultClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(func() { http.DefaultClient.CheckRedirect = follow })

	c := fresh()
	back := begin(c)
	if !strings.HasPrefix(back, h.URL+"/signin/oidc/callback?") {
		t.Fatalf("back to %s", back)
	}
	if resp, _ := ask(t, fresh(), "GET", back, nil, nil); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("another browser: %s", resp.Status)
	}
	resp, text := ask(t, c, "GET", back, map[string]string{"Sec-Fetch-Site": "cross-site"}, nil)
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/reviews/1" {
		t.Fatalf("%s %s", resp.Status, text)
	}
	_, text = ask(t, c, "GET", h.URL+"/api/v1/me", nil, nil)
	if me := decode[api.Me](t, text); me.Name != "eve@corp.example" || me.CSRF == "" || len(me.Groups) != 1 || me.Provider != "corp" {
		t.Errorf("me: %s", text)
	}
	if resp, _ := ask(t, c, "GET", back, nil, nil); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("the same code again: %s", resp.Status)
	}

	c = fresh()
	back = begin(c)
	if resp, text := ask(t, c, "GET", back+"&error=access_denied", nil, nil); resp.StatusCode != http.StatusForbidden || !strings.Contains(text, "access_denied") {
		t.Errorf("%s %s", resp.Status, text)
	}
	if resp, text := ask(t, c, "GET", h.URL+"/signin/oidc/callback?error=<script>", nil, nil); resp.StatusCode != http.StatusForbidden || strings.Contains(text, "script") {
		t.Errorf("%s %s", resp.Status, text)
	}
	c = fresh()
	u, err := url.Parse(begin(c))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("code", "guessed")
	u.RawQuery = q.Encode()
	if resp, _ := ask(t, c, "GET", u.String(), nil, nil); resp.StatusCode < 400 {
		t.Errorf("a guessed code: %s", resp.Status)
	}
	for _, path := range []string{"/signin/oidc/corp?next=//evil.example", "/signin/oidc/corp?next=https://evil.example", "/signin/oidc/nothing", "/signin/oidc/local"} {
		if resp, _ := ask(t, fresh(), "GET", h.URL+path, nil, nil); resp.StatusCode < 400 {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}

// The stream of events outlives the time that a request may take to arrive,
// on HTTP/1.1 too.
func TestEventsOutliveReadTimeout(t *testing.T) {
	h := apitest.Start(t, nil)
	_, ada := h.Person(t, "ada")
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = &http.Server{Handler: h.Server.Config.Handler, ReadTimeout: 300 * time.Millisecond}
	srv.StartTLS()
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	req, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/api/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+ada)
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.ProtoMajor != 1 {
		t.Fatalf("%s", resp.Proto)
	}
	time.Sleep(time.Second)
	agent, _ := h.Agent(t, "ada")
	h.Review(t, agent, "delete from orders where id = 1")
	got := make(chan string, 1)
	go func() {
		defer resp.Body.Close()
		text := ""
		buf := make([]byte, 4096)
		for !strings.Contains(text, "event: review") {
			n, err := resp.Body.Read(buf)
			if text += string(buf[:n]); err != nil {
				break
			}
		}
		got <- text
	}()
	select {
	case text := <-got:
		if !strings.Contains(text, "event: review") {
			t.Errorf("the stream ended: %q", text)
		}
	case <-time.After(5 * time.Second):
		t.Error("nothing came")
	}
}
