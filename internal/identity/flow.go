package identity

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/doorward/doorward"
)

// Flow is one sign-in with the code flow: made before the browser leaves,
// needed when it comes back.
type Flow struct {
	Provider string
	Redirect string // the address that the browser comes back to
	State    string
	Verifier string // PKCE
	Nonce    string
}

const (
	flowTime = 10 * time.Minute
	maxFlows = 4096
)

// flows keeps sign-ins that are under way, each for one use.
type flows struct {
	mu   sync.Mutex
	open map[string]openFlow
}

type openFlow struct {
	Flow
	until time.Time
}

// StartSignIn begins the code flow with an OIDC provider. Send the browser to
// url, and keep state in a cookie (HttpOnly, SameSite=Lax): when the browser
// comes back, cookie and query must have the same state.
func (s *Service) StartSignIn(ctx context.Context, provider, redirect string) (url, state string, err error) {
	f := Flow{Provider: provider, Redirect: redirect, State: random(20), Verifier: oauth2.GenerateVerifier(), Nonce: random(20)}
	if url, err = s.AuthURL(ctx, f); err != nil {
		return "", "", err
	}
	now := s.now()
	s.flows.mu.Lock()
	defer s.flows.mu.Unlock()
	for k, o := range s.flows.open {
		if now.After(o.until) {
			delete(s.flows.open, k)
		}
	}
	if len(s.flows.open) >= maxFlows {
		return "", "", &doorward.Denial{Decision: "error", Reason: "too many sign-ins are under way", Hint: "Try again in a few minutes.", Retry: true}
	}
	if s.flows.open == nil {
		s.flows.open = map[string]openFlow{}
	}
	s.flows.open[f.State] = openFlow{f, now.Add(flowTime)}
	return url, f.State, nil
}

// FinishSignIn ends the code flow that state belongs to. It works once.
func (s *Service) FinishSignIn(ctx context.Context, state, code string) (doorward.Identity, error) {
	s.flows.mu.Lock()
	f, ok := s.flows.open[state]
	delete(s.flows.open, state)
	s.flows.mu.Unlock()
	if !ok || s.now().After(f.until) {
		return doorward.Identity{}, s.refuse(ctx, "oidc", errors.New("no sign-in with this state is under way (it was used, is too old, or is not ours)"))
	}
	return s.Exchange(ctx, f.Flow, code)
}

// AuthURL is the address at the provider where a flow begins: code flow, PKCE
// with S256, state and nonce.
func (s *Service) AuthURL(ctx context.Context, f Flow) (string, error) {
	if f.State == "" || f.Nonce == "" || len(f.Verifier) < 43 {
		return "", errors.New("identity: a flow needs state, nonce and a PKCE verifier")
	}
	cfg, _, err := s.oauth(ctx, f)
	if err != nil {
		return "", s.refuse(ctx, "oidc", err)
	}
	return cfg.AuthCodeURL(f.State, oauth2.S256ChallengeOption(f.Verifier), oidc.Nonce(f.Nonce)), nil
}

func (s *Service) oauth(ctx context.Context, f Flow) (*oauth2.Config, *provider, error) {
	p := s.provider(f.Provider)
	if p == nil || p.OIDC == nil {
		return nil, nil, fmt.Errorf("no OIDC provider %q", printable(f.Provider))
	}
	known, err := p.issuer.ready(ctx)
	if err != nil {
		return nil, nil, err
	}
	if known.endpoint.AuthURL == "" || known.endpoint.TokenURL == "" {
		return nil, nil, fmt.Errorf("provider %s has no code flow", p.Name)
	}
	scopes := p.OIDC.Scopes
	if scopes == nil {
		scopes = []string{"email", "profile"}
	}
	return &oauth2.Config{ClientID: p.OIDC.ClientID, ClientSecret: p.OIDC.ClientSecret, Endpoint: known.endpoint, RedirectURL: f.Redirect, Scopes: append([]string{oidc.ScopeOpenID}, scopes...)}, p, nil
}

// Exchange turns the code that the browser brought back into an identity. The
// identity has no expiry of its own: what is issued for it has.
func (s *Service) Exchange(ctx context.Context, f Flow, code string) (doorward.Identity, error) {
	id, err := s.exchange(ctx, f, code)
	if err != nil {
		return doorward.Identity{}, s.refuse(ctx, "oidc", err)
	}
	return id, nil
}

func (s *Service) exchange(ctx context.Context, f Flow, code string) (doorward.Identity, error) {
	var none doorward.Identity
	if code == "" || len(code) > 4096 || len(f.Verifier) < 43 || f.Nonce == "" {
		return none, errors.New("code, verifier or nonce is missing or too long")
	}
	cfg, p, err := s.oauth(ctx, f)
	if err != nil {
		return none, err
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.issuer.client), 2*askTimeout)
	defer cancel()
	tok, err := cfg.Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) { // its own text would have the answer's body
			return none, fmt.Errorf("provider %s refused the code: %q", p.Name, printable(refused.ErrorCode))
		}
		return none, &Unavailable{p.Name, err}
	}
	raw, ok := tok.Extra("id_token").(string)
	if !ok {
		return none, fmt.Errorf("provider %s sent no ID token", p.Name)
	}
	v, err := p.issuer.verify(ctx, raw)
	if err != nil {
		return none, fmt.Errorf("provider %s: %w", p.Name, err)
	}
	if aud, err := v.claims.audience(); err != nil || !slices.Contains(aud, p.OIDC.ClientID) {
		return none, fmt.Errorf("provider %s: the token of a sign-in is for another client", p.Name)
	}
	if nonce, err := v.claims.text("nonce"); err != nil || subtle.ConstantTimeCompare([]byte(nonce), []byte(f.Nonce)) != 1 {
		return none, fmt.Errorf("provider %s: the token's nonce is not this sign-in's", p.Name)
	}
	if v.id.AccessTokenHash != "" {
		if err := v.id.VerifyAccessToken(tok.AccessToken); err != nil {
			return none, fmt.Errorf("provider %s: %w", p.Name, err)
		}
	}
	id, err := p.person(v)
	if err != nil {
		return none, fmt.Errorf("provider %s: %w", p.Name, err)
	}
	if at, ok := s.revoked.subject(id.Subject); ok && !v.issued.After(at) {
		return none, fmt.Errorf("the access of %s was ended at %s, and the token is from before", id.Subject, at.Format(time.RFC3339))
	}
	return id, nil
}
