package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"
)

const (
	askTimeout  = 10 * time.Second
	askAgain    = 3 * time.Second  // after an identity provider did not answer
	keysFresh   = 10 * time.Minute // then they are asked for again
	keysStale   = time.Hour        // the longest that old keys serve when asking fails
	keyAskBurst = 5                // questions because of unknown keys, at once
	keyAskEvery = 10 * time.Second // and one more after each of this
	maxAnswer   = 1 << 20          // bytes of an identity provider's answer
)

// newClient reaches identity providers: bounded in time and size, and over
// https only, redirects included.
func newClient(base *http.Client) *http.Client {
	var rt http.RoundTripper
	if base != nil {
		rt = base.Transport
	}
	if rt == nil {
		rt = http.DefaultTransport
	}
	return &http.Client{
		Transport: bounded{rt},
		Timeout:   askTimeout,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > 3 {
				return errors.New("more than three redirects")
			}
			return checkAddress(r.URL)
		},
	}
}

// bounded checks addresses and bounds answers.
type bounded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := checkAddress(r.URL); err != nil {
		return nil, err
	}
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = &boundedBody{resp.Body, maxAnswer}
	}
	return resp, err
}

type boundedBody struct {
	io.ReadCloser
	left int
}

// Read implements io.Reader; an answer that is too long is an error, not a
// shorter answer.
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// issuer is an OIDC issuer that is found when it is first needed.
type issuer struct {
	name, url  string
	audiences  []string // one of them is enough
	algorithms []string
	client     *http.Client
	log        *slog.Logger
	now        func() time.Time

	mu     sync.Mutex
	found  *found
	asking chan struct{} // closed when the question under way is answered
	asked  time.Time
	err    error
}

// found is what an issuer says about itself.
type found struct {
	verifier *oidc.IDTokenVerifier
	endpoint oauth2.Endpoint
}

func newIssuer(name, url string, audiences, algs []string, ca []byte, s *Service) *issuer {
	if len(algs) == 0 {
		algs = []string{"RS256", "ES256"}
	}
	return &issuer{name: name, url: url, audiences: audiences, algorithms: slices.Clone(algs), client: trusting(s.client, ca), log: s.log, now: s.now}
}

// trusting gives a client that trusts this CA and no other; without one, base.
func trusting(base *http.Client, ca []byte) *http.Client {
	if len(ca) == 0 {
		return base
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca) // was checked
	c := *base
	rt := http.DefaultTransport
	if b, ok := base.Transport.(bounded); ok {
		rt = b.next
	}
	if t, ok := rt.(*http.Transport); ok {
		t = t.Clone()
		if t.TLSClientConfig == nil {
			t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		t.TLSClientConfig.RootCAs = pool
		t.IdleConnTimeout = askTimeout
		c.Transport = bounded{t}
	}
	return &c
}

// takes says whether a token for these audiences is for us.
func (i *issuer) takes(aud []string) bool {
	return slices.ContainsFunc(aud, func(a string) bool { return slices.Contains(i.audiences, a) })
}

// ready gives what is known of the issuer, and asks it if that is nothing.
// All who wait share one question; it goes on if they give up.
func (i *issuer) ready(ctx context.Context) (*found, error) {
	for {
		i.mu.Lock()
		if i.found != nil || (i.err != nil && time.Since(i.asked) < askAgain) {
			defer i.mu.Unlock()
			return i.found, i.err
		}
		if i.asking == nil {
			i.asking = make(chan struct{})
			go i.ask()
		}
		done := i.asking
		i.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return nil, &Unavailable{i.name, context.Cause(ctx)}
		}
	}
}

func (i *issuer) ask() {
	f, err := i.discover()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.found, i.err, i.asked = f, nil, time.Now(); err != nil {
		i.err = &Unavailable{i.name, err}
	}
	close(i.asking)
	i.asking = nil
}

func (i *issuer) discover() (*found, error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(context.Background(), i.client), askTimeout)
	defer cancel()
	p, err := oidc.NewProvider(ctx, i.url)
	if err != nil {
		return nil, err
	}
	var doc struct {
		JWKS string `json:"jwks_uri"`
	}
	if err := p.Claims(&doc); err != nil {
		return nil, err
	}
	addresses := []string{doc.JWKS}
	for _, a := range []string{p.Endpoint().TokenURL, p.Endpoint().AuthURL} {
		if a != "" { // an issuer of workload tokens has only keys
			addresses = append(addresses, a)
		}
	}
	for _, a := range addresses {
		u, err := url.Parse(a)
		if err == nil {
			err = checkAddress(u)
		}
		if err != nil {
			return nil, fmt.Errorf("the issuer's discovery document: %w", err)
		}
	}
	keys := &keySet{url: doc.JWKS, algorithms: i.algorithms, client: i.client, name: i.name, log: i.log}
	if err := keys.refresh(ctx); err != nil {
		return nil, err
	}
	verifier := oidc.NewVerifier(i.url, keys, &oidc.Config{
		SkipClientIDCheck:    true, // check looks at the audience itself: it may be one of several
		SupportedSigningAlgs: i.algorithms,
		SkipExpiryCheck:      true, // verify checks exp, nbf and iat itself, with its own skew
		Now:                  i.now,
	})
	return &found{verifier, p.Endpoint()}, nil
}

// verified is what a good token says: the claims are parsed from the bytes
// that the signature was checked over.
type verified struct {
	claims  claims
	raw     []byte // what claims was parsed from
	subject string // the claim sub
	issued  time.Time
	expires time.Time // with the skew added
	id      *oidc.IDToken
}

// verify checks a token: form, algorithm, signature, issuer, audience, times,
// and that it is a person's or workload's own, not one made on their behalf.
func (i *issuer) verify(ctx context.Context, token string) (*verified, error) {
	h, _, err := split(token)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(i.algorithms, h.alg) {
		return nil, fmt.Errorf("algorithm %q is not one of %v", printable(h.alg), i.algorithms)
	}
	f, err := i.ready(ctx)
	if err != nil {
		return nil, err
	}
	id, err := f.verifier.Verify(ctx, token)
	if err != nil {
		return nil, err
	}
	var raw json.RawMessage
	if err := id.Claims(&raw); err != nil {
		return nil, err
	}
	v := &verified{id: id, raw: raw}
	if v.claims, err = parseObject(raw); err != nil {
		return nil, err
	}
	return v, v.check(i)
}

func (v *verified) check(i *issuer) error {
	c, now := v.claims, i.now()
	if iss, err := c.text("iss"); err != nil || iss != i.url {
		return errors.New("the token is of another issuer")
	}
	aud, err := c.audience()
	if err != nil {
		return err
	}
	if !i.takes(aud) {
		return fmt.Errorf("the token is for %q, not for %q", aud, i.audiences)
	}
	if v.subject, err = c.text("sub"); err != nil {
		return err
	}
	if err := checkName("subject", v.subject); err != nil {
		return err
	}
	exp, there, err := c.moment("exp")
	switch {
	case err != nil:
		return err
	case !there:
		return errors.New("the token has no expiry")
	case !now.Before(exp.Add(skew)):
		return fmt.Errorf("the token expired at %s", exp.Format(time.RFC3339))
	}
	v.expires = exp.Add(skew)
	if nbf, there, err := c.moment("nbf"); err != nil {
		return err
	} else if there && nbf.After(now.Add(skew)) {
		return fmt.Errorf("the token is not valid before %s", nbf.Format(time.RFC3339))
	}
	iat, there, err := c.moment("iat")
	if err != nil {
		return err
	}
	if there && iat.After(now.Add(skew)) {
		return fmt.Errorf("the token was issued in the future, at %s", iat.Format(time.RFC3339))
	}
	v.issued = iat
	if _, there := c["act"]; there {
		return errors.New("the token was made for somebody acting on another's behalf (claim \"act\"), which is not taken")
	}
	return nil
}

// keySet holds an issuer's public keys. It implements oidc.KeySet.
type keySet struct {
	url        string
	algorithms []string
	client     *http.Client
	name       string
	log        *slog.Logger

	mu     sync.Mutex
	keys   []jose.JSONWebKey
	got    time.Time // when the keys came
	tried  time.Time
	asking chan struct{}
	err    error
	tokens float64 // questions that unknown keys may cause now
	filled time.Time
}

// VerifySignature checks the signature with the one key that the token names.
func (k *keySet) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	algs := make([]jose.SignatureAlgorithm, len(k.algorithms))
	for i, a := range k.algorithms {
		algs[i] = jose.SignatureAlgorithm(a)
	}
	jws, err := jose.ParseSignedCompact(token, algs)
	if err != nil {
		return nil, fmt.Errorf("malformed token: %w", err)
	}
	if len(jws.Signatures) != 1 {
		return nil, errors.New("the token has not exactly one signature")
	}
	h := jws.Signatures[0].Protected
	key, err := k.key(ctx, h.KeyID, h.Algorithm)
	if err != nil {
		return nil, err
	}
	return jws.Verify(key)
}

// key finds the key with this ID. A token without one is taken only where
// there is exactly one key that could have signed it. An ID that is not known
// makes the set ask again, within its limits.
func (k *keySet) key(ctx context.Context, kid, alg string) (*jose.JSONWebKey, error) {
	k.mu.Lock()
	age := time.Since(k.got)
	key := pick(k.keys, kid, alg)
	retry := time.Since(k.tried) > askAgain
	ask := (age > keysFresh && retry) || (key == nil && k.mayAsk())
	k.mu.Unlock()
	if ask {
		err := k.refresh(ctx)
		k.mu.Lock()
		age = time.Since(k.got)
		key = pick(k.keys, kid, alg)
		k.mu.Unlock()
		if err != nil && key == nil {
			return nil, &Unavailable{k.name, err}
		}
	}
	if age > keysStale {
		return nil, &Unavailable{k.name, errors.New("its keys could not be read for too long")}
	}
	if key == nil {
		return nil, fmt.Errorf("the issuer has no key %q for %s", printable(kid), printable(alg))
	}
	return key, nil
}

// mayAsk takes one of the questions that unknown keys may cause.
func (k *keySet) mayAsk() bool {
	now := time.Now()
	k.tokens = min(keyAskBurst, k.tokens+now.Sub(k.filled).Seconds()/keyAskEvery.Seconds())
	k.filled = now
	if k.tokens < 1 {
		return false
	}
	k.tokens--
	return true
}

func pick(keys []jose.JSONWebKey, kid, alg string) *jose.JSONWebKey {
	var out *jose.JSONWebKey
	for i := range keys {
		key := &keys[i]
		if (key.Algorithm != "" && key.Algorithm != alg) || !fits(key.Key, alg) {
			continue
		}
		if kid != "" {
			if key.KeyID == kid {
				return key
			}
			continue
		}
		if out != nil {
			return nil
		}
		out = key
	}
	return out
}

// refresh asks for the keys. All who wait share one question.
func (k *keySet) refresh(ctx context.Context) error {
	k.mu.Lock()
	if k.asking == nil {
		k.asking = make(chan struct{})
		go k.fetch()
	}
	done := k.asking
	k.mu.Unlock()
	select {
	case <-done:
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (k *keySet) fetch() {
	keys, err := k.ask()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tried, k.err = time.Now(), err
	if err == nil {
		k.keys, k.got = keys, k.tried
	} else {
		k.log.Warn("the keys of an identity provider could not be read", "provider", k.name, "error", err)
	}
	close(k.asking)
	k.asking = nil
}

func (k *keySet) ask() ([]jose.JSONWebKey, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("keys: the issuer answered %s", resp.Status)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return parseKeys(body)
}
