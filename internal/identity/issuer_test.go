package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// testKeys are made once: RSA keys take their time.
var testKeys = sync.OnceValue(func() map[string]crypto.Signer {
	keys := map[string]crypto.Signer{}
	for _, name := range []string{"idp-rsa-1", "idp-rsa-2", "attacker-rsa"} {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[name] = k
	}
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	keys["idp-ec-1"] = k
	return keys
})

// idp is an OIDC identity provider on this machine: discovery, keys, and the
// token endpoint of the code flow with PKCE.
type idp struct {
	*httptest.Server
	down     atomic.Bool
	keyAsked atomic.Int64

	mu        sync.Mutex
	published []string // names of testKeys
	codes     map[string]code
}

type code struct{ challenge, redirect, idToken string }

const clientSecret = "test-client-secret"

func startIDP(t *testing.T) *idp {
	i := &idp{published: []string{"idp-rsa-1", "idp-ec-1"}, codes: map[string]code{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token",
			"id_token_signing_alg_values_supported": []string{"RS256", "ES256", "HS256", "none"}})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, r *http.Request) {
		i.keyAsked.Add(1)
		i.mu.Lock()
		defer i.mu.Unlock()
		var set jose.JSONWebKeySet
		for _, name := range i.published {
			set.Keys = append(set.Keys, publicJWK(name))
		}
		writeJSON(w, set)
	})
	mux.HandleFunc("POST /token", i.token)
	i.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i.down.Load() {
			http.Error(w, "down for maintenance", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(i.Close)
	return i
}

func publicJWK(name string) jose.JSONWebKey {
	kid := name[len("idp-"):]
	alg := "RS256"
	if kid == "ec-1" {
		alg = "ES256"
	}
	return jose.JSONWebKey{Key: testKeys()[name].Public(), KeyID: kid, Algorithm: alg, Use: "sig"}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// token is the token endpoint: each code once, with its verifier.
func (i *idp) token(w http.ResponseWriter, r *http.Request) {
	refuse := func(what string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error": %q}`, what)
	}
	user, pass, ok := r.BasicAuth()
	if !ok || user != "gate" || pass != clientSecret {
		refuse("invalid_client")
		return
	}
	i.mu.Lock()
	c, ok := i.codes[r.FormValue("code")]
	delete(i.codes, r.FormValue("code"))
	i.mu.Unlock()
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	if !ok || c.redirect != r.FormValue("redirect_uri") || base64.RawURLEncoding.EncodeToString(sum[:]) != c.challenge {
		refuse("invalid_grant")
		return
	}
	writeJSON(w, map[string]any{"access_token": "at", "token_type": "Bearer", "expires_in": 300, "id_token": c.idToken})
}

// approve is what the browser and the person do at the provider: it gives the
// code that comes back. token makes the ID token, given the nonce.
func (i *idp) approve(t *testing.T, authURL string, token func(nonce string) string) string {
	t.Helper()
	u, err := url.Parse(authURL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "" || q.Get("state") == "" || q.Get("nonce") == "" || q.Get("response_type") != "code" || q.Get("client_id") != "gate" {
		t.Fatalf("the address is %s", authURL)
	}
	name := random(10)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.codes[name] = code{q.Get("code_challenge"), q.Get("redirect_uri"), token(q.Get("nonce"))}
	return name
}

func (i *idp) publish(names ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.published = names
}

// claimsOf makes the claims of a good token.
func (i *idp) claimsOf(sub string, more ...map[string]any) map[string]any {
	now := time.Now().Unix()
	c := map[string]any{"iss": i.URL, "aud": "gate", "sub": sub, "email": sub + "@corp.example", "groups": []string{"eng"}, "iat": now, "exp": now + 300, "jti": random(8)}
	for _, m := range more {
		for k, v := range m {
			if c[k] = v; v == nil {
				delete(c, k)
			}
		}
	}
	return c
}

// sign makes a token with one of the published RSA keys.
func (i *idp) sign(t testing.TB, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: testKeys()["idp-rsa-1"], KeyID: "rsa-1"}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// rawToken makes a token of any header and payload, however wrong.
func rawToken(t testing.TB, header, payload []byte, signWith string) string {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	input := b64(header) + "." + b64(payload)
	digest := sha256.Sum256([]byte(input))
	var sig []byte
	var err error
	switch signWith {
	case "none":
	case "hmac:empty", "hmac:client-secret", "hmac:idp-rsa-1.pub.pem":
		var key []byte
		switch signWith {
		case "hmac:client-secret":
			key = []byte(clientSecret)
		case "hmac:idp-rsa-1.pub.pem":
			der, err := x509.MarshalPKIXPublicKey(testKeys()["idp-rsa-1"].Public())
			if err != nil {
				t.Fatal(err)
			}
			key = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		}
		m := hmac.New(sha256.New, key)
		m.Write([]byte(input))
		sig = m.Sum(nil)
	case "idp-ec-1":
		r, s, err := ecdsa.Sign(rand.Reader, testKeys()[signWith].(*ecdsa.PrivateKey), digest[:])
		if err != nil {
			t.Fatal(err)
		}
		sig = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	default:
		if sig, err = rsa.SignPKCS1v15(nil, testKeys()[signWith].(*rsa.PrivateKey), crypto.SHA256, digest[:]); err != nil {
			t.Fatal(err)
		}
	}
	return input + "." + b64(sig)
}
