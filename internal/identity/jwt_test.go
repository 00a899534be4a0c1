package identity

import (
	"bufio"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/doorward/doorward"
)

type jwtCase struct {
	ID, Kind, Title string
	Input           struct {
		Header   map[string]any
		Claims   map[string]any
		Raw      string `json:"raw_claims"`
		SignWith string `json:"sign_with"`
		Mutate   string
		Replay   string
		Flow     map[string]any
	}
}

var nowForm = regexp.MustCompile(`\$now([+-]\d+)?`)

// expand fills in the placeholders of a case.
func expand(v any, i *idp, nonce string) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = expand(e, i, nonce)
		}
		return out
	case []any:
		out := []any{}
		for _, e := range v {
			out = append(out, expand(e, i, nonce))
		}
		return out
	case string:
		if m := nowForm.FindStringSubmatch(v); m != nil && m[0] == v {
			n, _ := strconv.ParseInt(m[1], 10, 64)
			return time.Now().Unix() + n
		}
		switch v {
		case "$nonce":
			return nonce
		case "$attacker_jwk":
			return jose.JSONWebKey{Key: testKeys()["attacker-rsa"].Public(), KeyID: "evil", Algorithm: "RS256"}
		}
		return strings.Replace(v, "https://idp.example", i.URL, 1)
	}
	return v
}

func (c *jwtCase) token(t *testing.T, i *idp, nonce string) string {
	header, err := json.Marshal(expand(c.Input.Header, i, nonce))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(expand(c.Input.Claims, i, nonce))
	if err != nil {
		t.Fatal(err)
	}
	if c.Input.Raw != "" {
		raw := nowForm.ReplaceAllStringFunc(c.Input.Raw, func(s string) string { return fmt.Sprint(expand(s, i, nonce)) })
		payload = []byte(strings.NewReplacer("$nonce", nonce, "https://idp.example", i.URL).Replace(raw))
	}
	token := rawToken(t, header, payload, c.Input.SignWith)
	switch m := c.Input.Mutate; {
	case m == "strip_signature":
		token = token[:strings.LastIndexByte(token, '.')+1]
	case strings.HasPrefix(m, "append_repeat:"):
		p := strings.Split(m, ":")
		n, _ := strconv.Atoi(p[2])
		token += strings.Repeat(p[1], n)
	case strings.HasPrefix(m, "append:"):
		token += strings.TrimPrefix(m, "append:")
	}
	return token
}

// TestCases runs the cases of testdata/jwt.jsonl, each token twice: as a
// bearer token, and as what the provider's token endpoint answers.
func TestCases(t *testing.T) {
	f, err := os.Open("testdata/jwt.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	n := 0
	for in.Scan() {
		var c jwtCase
		if err := json.Unmarshal(in.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		n++
		t.Run(c.ID+" "+c.Title, func(t *testing.T) { runCase(t, &c) })
	}
	if n < 25 {
		t.Fatalf("only %d cases", n)
	}
}

func runCase(t *testing.T, c *jwtCase) {
	i := startIDP(t)
	w := start(t, i)
	if strings.Contains(c.Title, "rotation") {
		w.good(i.sign(t, i.claimsOf("before"))) // the old keys are known
		i.publish("idp-rsa-2", "idp-ec-1")
	}
	bearer, berr := w.identify(c.token(t, i, "n"))
	flow, ferr := codeFlow(t, w, c)
	if c.Kind == "benign" {
		if berr != nil || ferr != nil {
			t.Fatalf("bearer: %v, flow: %v\n%s", berr, ferr, w.log)
		}
		want := doorward.Identity{Subject: "corp:u-alice", Name: "alice@corp.example", Provider: "corp", Groups: []string{"eng"}}
		if d := cmp.Diff(want, flow); d != "" {
			t.Error(d)
		}
		if bearer.Credential == "" || time.Until(bearer.Expires) > 361*time.Second || time.Until(bearer.Expires) < 300*time.Second {
			t.Errorf("bearer: %+v", bearer)
		}
		bearer.Credential, bearer.Expires = "", time.Time{}
		if d := cmp.Diff(want, bearer); d != "" {
			t.Error(d)
		}
		return
	}
	switch {
	case strings.HasPrefix(c.Title, "Group name"): // the token is good; its groups are just what they are
		for _, id := range []doorward.Identity{bearer, flow} {
			if !slices.Equal(id.Groups, []string{"eng,admins", "Admins"}) {
				t.Errorf("groups %q", id.Groups)
			}
		}
	case strings.HasPrefix(c.Title, "Nonce"): // a bearer token has no sign-in to belong to
		w.checkRefusal(flow, ferr, "nonce")
	case c.Input.Replay != "" || c.Input.Flow != nil: // the token is good, the way there is not: codeFlow went it
		w.checkRefusal(flow, ferr, "check=")
	default:
		w.checkRefusal(bearer, berr, "check=")
		w.checkRefusal(flow, ferr, "check=")
	}
}

// codeFlow signs in with the code flow, in the way that the case says.
func codeFlow(t *testing.T, w *world, c *jwtCase) (doorward.Identity, error) {
	const redirect = "https://gate.example/callback"
	authURL, state, err := w.StartSignIn(t.Context(), "corp", redirect)
	if err != nil {
		t.Fatal(err)
	}
	nonce := ""
	code := w.idp.approve(t, authURL, func(n string) string { nonce = n; return c.token(t, w.idp, n) })
	switch {
	case c.Input.Replay == "code-twice":
		if _, err := w.FinishSignIn(t.Context(), state, code); err != nil {
			t.Fatal(err)
		}
		again := Flow{Provider: "corp", Redirect: redirect, State: state, Verifier: strings.Repeat("v", 43), Nonce: nonce}
		if id, err := w.Exchange(t.Context(), again, code); err == nil {
			t.Fatalf("the code was taken twice: %+v", id)
		}
		return w.FinishSignIn(t.Context(), state, code)
	case c.Input.Flow["callback_without_state"] != nil:
		return w.FinishSignIn(t.Context(), "", code)
	case c.Input.Flow["code_challenge_method"] != nil: // the verifier is not the one of this flow
		return w.Exchange(t.Context(), Flow{Provider: "corp", Redirect: redirect, State: state, Verifier: strings.Repeat("v", 43), Nonce: nonce}, code)
	case c.Input.Flow["device_code_for"] != nil: // a code of another client's sign-in
		return w.FinishSignIn(t.Context(), state, "someone-elses-"+code)
	}
	return w.FinishSignIn(t.Context(), state, code)
}

// TestMoreTokens: what the cases leave out.
func TestMoreTokens(t *testing.T) {
	i := startIDP(t)
	now := time.Now().Unix()
	type m = map[string]any
	for check, claims := range map[string]m{
		"for another":                 nil,
		"issued to another client":    {"azp": "other"},
		"claim \\\"azp\\\"":           {"azp": 1},
		"no claim \\\"sub\\\"":        {"sub": nil},
		"field idToken.sub":           {"sub": 7},
		"is empty, too long":          {"sub": strings.Repeat("x", 600)},
		"cannot be seen":              {"sub": "a\u202eb"},
		"name in claim email has":     {"email": "a\nb"},
		"expired at":                  {"exp": now - 80},
		"trying to unmarshal":         {"exp": "tomorrow"},
		"not valid before":            {"nbf": now + 300},
		"field idToken.nbf":           {"nbf": []int{1}},
		"in the future":               {"iat": now + 300},
		"not a list of texts":         {"groups": m{"a": 1}},
		"not a short text":            {"groups": []any{"a", 1}},
		"groups, at most":             {"groups": make([]string, 1001)},
		"source does not exist":       {"_claim_names": m{"groups": "src"}},
		"elsewhere (too many":         {"_claim_names": m{"groups": "src"}, "_claim_sources": m{"src": m{"endpoint": "https://x.example"}}},
		"idToken._claim_names":        {"_claim_names": "odd"},
		"on another's behalf":         {"act": m{"sub": "bot"}},
		"was not verified":            {"email_verified": "false"},
		"no audience":                 {"aud": nil},
		"audience is not a list":      {"aud": []any{"gate", 1}},
		"nested more than":            {"x": deep(20)},
		"email\\\", which is the per": {"email": 7},
	} {
		t.Run(check, func(t *testing.T) {
			w := start(t, i)
			if claims == nil {
				check, claims = "no identity provider is configured", m{"aud": "gate-2"}
			}
			w.refused(i.sign(t, i.claimsOf("ada", claims)), check)
		})
	}
	w := start(t, i)
	for name, claims := range map[string]m{
		"at the edges of the skew": {"exp": now - 50, "nbf": now + 50, "iat": now + 50},
		"several audiences":        {"aud": []string{"x", "gate"}},
		"authorised party":         {"azp": "gate", "aud": []string{"x", "gate"}},
		"fractions":                {"exp": float64(now) + 99.5},
		"no groups":                {"groups": nil},
		"one group as a text":      {"groups": "eng"},
		"distributed, but others":  {"_claim_names": m{"photos": "src"}, "_claim_sources": m{"src": m{"endpoint": "https://x.example"}}},
		"verified":                 {"email_verified": true},
		"no e-mail":                {"email": nil},
	} {
		if _, err := w.identify(i.sign(t, i.claimsOf("ada", claims))); err != nil {
			t.Errorf("%s: %v\n%s", name, err, w.log)
		}
	}
	if id := w.good(i.sign(t, i.claimsOf("eve", m{"email": nil}))); id.Name != "eve" || id.Subject != "corp:eve" {
		t.Errorf("without an e-mail: %+v", id)
	}
	good := i.sign(t, i.claimsOf("ada"))
	for _, bad := range []string{good + "=", good + ".", "." + good, " " + good, good + "\n", strings.Replace(good, ".", "..", 1), good[:len(good)-1], strings.ToLower(good), good + "A"} {
		w.refused(bad, "check=")
	}
	for _, payload := range []string{`{"iss":"%s","aud":"gate","sub":"ada","sub":"root","exp":9999999999}`, `{"iss":"%s","iss":"%[1]s","aud":"gate","sub":"ada","exp":9999999999}`,
		`{"iss":"%s","aud":"gate","sub":"ada","exp":9999999999} {}`, `[{"iss":"%s"}]`, `{"ISS":"%s","aud":"gate","sub":"ada","exp":9999999999}`, `{"iss":"%s","aud":"gate","SUB":"ada","exp":9999999999}`,
		`{"iss":"%s","aud":"gate","sub":"ada","exp":1e400}`, `{"iss":"%s","aud":"gate","sub":"ada","exp":-1}`, `{"iss":"%s","aud":"gate","sub":"ada","exp":null}`, `{"iss":"%s","aud":"gate","sub":"\ud800","exp":9999999999,}`} {
		w.refused(rawToken(t, []byte(`{"alg":"RS256","kid":"rsa-1"}`), fmt.Appendf(nil, payload, i.URL), "idp-rsa-1"), "check=")
	}
	payload, _ := json.Marshal(i.claimsOf("ada"))
	for _, header := range []string{`{"alg":"RS256","kid":"rsa-1","alg":"none"}`, `{"alg":"RS256","kid":["rsa-1"]}`, `{"alg":"RS256","kid":""}`, `{"alg":"RS256","kid":"ec-1"}`, `{"alg":"ES256","kid":"rsa-1"}`, `{"alg":"PS256","kid":"rsa-1"}`,
		`{"alg":"RS256","kid":"rsa-1","jku":"https://evil.example"}`, `{"alg":"RS256","kid":"rsa-1","x5u":"https://evil.example"}`, `{"alg":"RS256","kid":"rsa-1","b64":false,"crit":["b64"]}`, `{"kid":"rsa-1"}`, `{"alg":"RS256","kid":"rsa-1","typ":"logout+jwt"}`, `{"alg":"rs256","kid":"rsa-1"}`} {
		w.refused(rawToken(t, []byte(header), payload, "idp-rsa-1"), "check=")
	}
	w.good(rawToken(t, []byte(`{"alg":"RS256"}`), payload, "idp-rsa-1")) // one RSA key only: no doubt which
	i.publish("idp-rsa-1", "idp-rsa-2")
	w2 := start(t, i)
	w2.refused(rawToken(t, []byte(`{"alg":"RS256"}`), payload, "idp-rsa-1"), "has no key")
}

func deep(n int) any {
	if n == 0 {
		return 1
	}
	return []any{deep(n - 1)}
}

func TestNestedGroupsAndNames(t *testing.T) {
	i := startIDP(t)
	w := start(t, i)
	if err := w.SetProviders([]Provider{{Name: "kc", OIDC: &OIDC{Issuer: i.URL, ClientID: "gate", GroupsClaim: "realm_access.roles", NameClaim: "preferred_username"}}}); err != nil {
		t.Fatal(err)
	}
	id := w.good(i.sign(t, i.claimsOf("1", map[string]any{"preferred_username": "ada", "realm_access": map[string]any{"roles": []string{"dba", "eng", "dba"}}})))
	if id.Name != "ada" || !slices.Equal(id.Groups, []string{"dba", "eng"}) {
		t.Errorf("%+v", id)
	}
	id = w.good(i.sign(t, i.claimsOf("1", map[string]any{"preferred_username": "ada", "realm_access.roles": []string{"flat"}})))
	if !slices.Equal(id.Groups, []string{"flat"}) {
		t.Errorf("%+v", id)
	}
	w.refused(i.sign(t, i.claimsOf("1")), "no claim")
	w.refused(i.sign(t, i.claimsOf("1", map[string]any{"preferred_username": "ada", "_claim_names": map[string]any{"realm_access": "x"}, "_claim_sources": map[string]any{"x": map[string]any{}}})), "elsewhere")
}

func TestWorkload(t *testing.T) {
	i := startIDP(t)
	w := start(t, i)
	claims := i.claimsOf("repo:corp/shop:main", map[string]any{"aud": "gate-ci", "repo": map[string]any{"owner": "corp"}, "groups": []string{"admins"}, "azp": "whoever"})
	id := w.good(i.sign(t, claims))
	if !id.Workload || id.Subject != "ci:repo:corp/shop:main" || id.Name != "repo:corp/shop:main" || !slices.Equal(id.Groups, []string{"ci"}) {
		t.Fatalf("%+v", id)
	}
	if _, _, err := w.Issue(t.Context(), id, 0); err == nil {
		t.Error("a workload got a person's token")
	}
	if _, _, err := w.NewWebSession(t.Context(), id); err == nil {
		t.Error("a workload got into the console")
	}
	claims["repo"] = map[string]any{"owner": "mallory"}
	w.refused(i.sign(t, claims), "repo.owner")
}

func TestFurtherAudiences(t *testing.T) {
	i := startIDP(t)
	w := start(t, i)
	ps := w.providers()
	ps[1].OIDC.Audiences = []string{"gate-cli"}
	if err := w.SetProviders(ps); err != nil {
		t.Fatal(err)
	}
	w.good(i.sign(t, i.claimsOf("ada", map[string]any{"aud": "gate"})))
	w.good(i.sign(t, i.claimsOf("ada", map[string]any{"aud": "gate-cli", "azp": "gate-cli"})))
	w.refused(i.sign(t, i.claimsOf("ada", map[string]any{"aud": "other"})), "no identity provider is configured")
	w.refused(i.sign(t, i.claimsOf("ada", map[string]any{"aud": "gate-cli", "azp": "other"})), "another client")
}

// An issuer with a certificate of its own CA is trusted with that CA alone.
func TestIssuersOwnCA(t *testing.T) {
	i := startIDP(t)
	w := start(t, i)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw})
	plain := newClient(nil)
	with := trusting(plain, ca)
	t.Cleanup(with.CloseIdleConnections)
	for _, c := range []struct {
		client *http.Client
		ok     bool
	}{{plain, false}, {with, true}, {trusting(plain, nil), false}} {
		resp, err := c.client.Get(i.URL + "/.well-known/openid-configuration")
		if (err == nil) != c.ok {
			t.Errorf("reached: %v, want %v (%v)", err == nil, c.ok, err)
		}
		if err == nil {
			resp.Body.Close()
		}
	}
	if _, err := with.Get("http://idp.example/"); err == nil || !strings.Contains(err.Error(), "https") {
		t.Errorf("http to another machine: %v", err)
	}
	ps := w.providers()
	ps[1].OIDC.CA = []byte("no PEM")
	if err := w.SetProviders(ps); err == nil || !strings.Contains(err.Error(), "CA") {
		t.Errorf("a CA that is none: %v", err)
	}
}

func TestHolds(t *testing.T) {
	i := startIDP(t)
	w := start(t, i)
	ada, corp := w.ada(), w.good(i.sign(t, i.claimsOf("ada")))
	agent := ada
	agent.Agent, agent.Run = "codex", "run_1"
	ci := doorward.Identity{Provider: "ci", Workload: true, Name: "x"}
	check := func(what string, want ...bool) {
		t.Helper()
		for n, id := range []doorward.Identity{ada, agent, corp, ci} {
			if w.Holds(&id) != want[n] {
				t.Errorf("%s: %s holds: %v", what, id.String(), !want[n])
			}
		}
	}
	check("as it was", true, true, true, true)
	ps := w.providers()
	ps[0].Local.Users[0].Groups = []string{"dba", "eng", "more"}
	if err := w.SetProviders(ps); err != nil {
		t.Fatal(err)
	}
	check("more groups", true, true, true, true)
	ps = w.providers()
	ps[0].Local.Users[0].Groups = []string{"eng"}
	if err := w.SetProviders(ps[:2]); err != nil {
		t.Fatal(err)
	}
	check("fewer groups, no ci", false, false, true, false)
	ps = w.providers()
	ps[0].Local.Users = ps[0].Local.Users[1:]
	ps[2].Name, ps[1].Name = "corp", "ci"
	if err := w.SetProviders(ps); err != nil {
		t.Fatal(err)
	}
	check("no ada, kinds exchanged", false, false, false, false)
}

func TestProviderThatIsDown(t *testing.T) {
	i := startIDP(t)
	i.down.Store(true)
	w := start(t, i)
	token := i.sign(t, i.claimsOf("ada"))
	_, err := w.identify(token)
	denial(t, err, `the identity provider "corp" does not answer`)
	w.good(w.issue(w.ada())) // others go on
	i.down.Store(false)
	deadline := time.Now().Add(4 * askAgain)
	for {
		if _, err = w.identify(token); err == nil || time.Now().After(deadline) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		t.Fatalf("it answers again, and still: %v\n%s", err, w.log)
	}
	i.down.Store(true) // keys are known: no need to ask
	w.good(i.sign(t, i.claimsOf("eve")))
}

// TestUnknownKeysDoNotFlood: tokens with made-up key IDs must not turn
// doorward into a hammer on the identity provider, nor lock out rotation.
func TestUnknownKeysDoNotFlood(t *testing.T) {
	i := startIDP(t)
	w := start(t, i)
	w.good(i.sign(t, i.claimsOf("ada")))
	before := i.keyAsked.Load()
	payload, _ := json.Marshal(i.claimsOf("ada"))
	var wg sync.WaitGroup
	for n := range 100 {
		wg.Go(func() {
			if _, err := w.identify(rawToken(t, fmt.Appendf(nil, `{"alg":"RS256","kid":"made-up-%d"}`, n), payload, "attacker-rsa")); err == nil {
				t.Error("a made-up key was taken")
			}
		})
	}
	wg.Wait()
	if asked := i.keyAsked.Load() - before; asked > keyAskBurst+1 {
		t.Errorf("the provider was asked %d times", asked)
	}
	w.good(i.sign(t, i.claimsOf("eve")))
}

func TestProvidersAreChecked(t *testing.T) {
	w := start(t, nil)
	ok := OIDC{Issuer: "https://idp.example", ClientID: "gate"}
	with := func(f func(*OIDC)) []Provider { o := ok; f(&o); return []Provider{{Name: "x", OIDC: &o}} }
	user := func(u User) []Provider { return []Provider{{Name: "x", Local: &Local{Users: []User{u}}}} }
	for name, ps := range map[string][]Provider{
		"no name":          {{OIDC: &ok}},
		"odd name":         {{Name: "a:b", OIDC: &ok}},
		"two kinds":        {{Name: "x", OIDC: &ok, Local: &Local{}}},
		"no kind":          {{Name: "x"}},
		"twice":            {{Name: "x", OIDC: &ok}, {Name: "x", OIDC: &ok}},
		"http":             with(func(o *OIDC) { o.Issuer = "http://idp.example" }),
		"no host":          with(func(o *OIDC) { o.Issuer = "https:///x" }),
		"a query":          with(func(o *OIDC) { o.Issuer += "?x" }),
		"no client":        with(func(o *OIDC) { o.ClientID = "" }),
		"none":             with(func(o *OIDC) { o.Algorithms = []string{"none"} }),
		"hmac":             with(func(o *OIDC) { o.Algorithms = []string{"RS256", "HS256"} }),
		"no audience":      {{Name: "x", Workload: &Workload{Issuer: "https://idp.example"}}},
		"empty password":   user(User{Name: "a"}),
		"empty user":       user(User{Password: "x"}),
		"bad hash":         user(User{Name: "a", Password: "$argon2id$v=19$m=99999999,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0c2FsdA"}),
		"hash of no kind":  user(User{Name: "a", Password: "$2b$10$abc"}),
		"misleading user":  user(User{Name: "a\u200bb", Password: "x"}),
		"same users twice": {{Name: "x", Local: &Local{Users: []User{{Name: "a", Password: "x"}, {Name: "a", Password: "y"}}}}},
	} {
		if err := w.SetProviders(ps); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if got := w.Providers(); len(got) != 1 || got[0] != (ProviderInfo{"local", "local"}) {
		t.Errorf("wrong lists changed something: %+v", got)
	}
	w.ada()
}
