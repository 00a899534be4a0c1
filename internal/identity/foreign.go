package identity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/doorward/doorward"
)

// foreign checks a token of an identity provider.
func (s *Service) foreign(ctx context.Context, token string) (doorward.Identity, time.Time, error) {
	var none doorward.Identity
	_, unchecked, err := split(token)
	if err != nil {
		return none, time.Time{}, err
	}
	iss, err := unchecked.text("iss")
	if err != nil {
		return none, time.Time{}, err
	}
	aud, err := unchecked.audience()
	if err != nil {
		return none, time.Time{}, err
	}
	// The unchecked issuer and audience say only which provider to ask; that
	// one checks both again, in what was signed.
	for _, p := range s.current() {
		if p.issuer == nil || p.issuer.url != iss || !p.issuer.takes(aud) {
			continue
		}
		v, err := p.issuer.verify(ctx, token)
		if err != nil {
			return none, time.Time{}, fmt.Errorf("provider %s: %w", p.Name, err)
		}
		id, err := p.identity(v)
		if err != nil {
			return none, time.Time{}, fmt.Errorf("provider %s: %w", p.Name, err)
		}
		id.Credential, id.Expires = v.credential(), v.expires
		if err := s.revoked.use(id.Credential, id.Subject, v.expires, s.now()); err != nil {
			return none, time.Time{}, err
		}
		// In this order: whoever ends the subject's access from here on finds the token.
		if at, ok := s.revoked.subject(id.Subject); ok && !v.issued.After(at) {
			return none, time.Time{}, fmt.Errorf("the access of %s was ended at %s, and the token is from before", id.Subject, at.Format(time.RFC3339))
		}
		return id, v.expires, nil
	}
	return none, time.Time{}, fmt.Errorf("no identity provider is configured for issuer %q and audience %q", printable(iss), printable(strings.Join(aud, " ")))
}

// credential names a token, so that it can be revoked: by issuer and token ID
// where it has one, else by what was signed. (Not by the token's own text: a
// signature can have several forms.)
func (v *verified) credential() string {
	h := sha256.New()
	if jti, err := v.claims.text("jti"); err == nil {
		fmt.Fprintf(h, "jti\x00%s\x00%s\x00%s", v.id.Issuer, v.subject, jti)
	} else {
		fmt.Fprintf(h, "claims\x00%s", v.raw)
	}
	return "jwt_" + hex.EncodeToString(h.Sum(nil)[:16])
}

// identity makes an identity of a checked token.
func (p *provider) identity(v *verified) (doorward.Identity, error) {
	if p.OIDC != nil {
		return p.person(v)
	}
	return p.workload(v)
}

func (p *provider) person(v *verified) (doorward.Identity, error) {
	id := doorward.Identity{Subject: p.Name + ":" + v.subject, Provider: p.Name}
	if azp, there := v.claims["azp"]; there && azp != any(p.OIDC.ClientID) {
		if s, ok := azp.(string); !ok || !slices.Contains(p.OIDC.Audiences, s) {
			return id, errors.New("the token was issued to another client (claim \"azp\")")
		}
	}
	claim := p.OIDC.NameClaim
	if claim == "" {
		if claim = "email"; v.claims["email"] == nil {
			claim = "sub"
		}
	}
	name, ok := v.claims.path(claim)
	if id.Name, _ = name.(string); !ok || id.Name == "" {
		return id, fmt.Errorf("the token has no claim %q, which is the person's name here", claim)
	}
	if err := checkName("name in claim "+claim, id.Name); err != nil {
		return id, err
	}
	if ok, there := v.claims["email_verified"]; claim == "email" && there && ok != any(true) && ok != any("true") {
		return id, errors.New("the identity provider says that the e-mail address was not verified")
	}
	groups := p.OIDC.GroupsClaim
	if groups == "" {
		groups = "groups"
	}
	var err error
	id.Groups, err = v.claims.groups(groups)
	return id, err
}

func (p *provider) workload(v *verified) (doorward.Identity, error) {
	id := doorward.Identity{Provider: p.Name, Workload: true, Groups: slices.Clone(p.Workload.Groups)}
	claim := strings.TrimPrefix(p.Workload.Subject, "claims.")
	if claim == "" {
		claim = "sub"
	}
	name, ok := v.claims.path(claim)
	if id.Name, _ = name.(string); !ok || id.Name == "" {
		return id, fmt.Errorf("the token has no claim %q, which names the workload here", claim)
	}
	if err := checkName("workload's name in claim "+claim, id.Name); err != nil {
		return id, err
	}
	for path, want := range p.Workload.Require {
		if got, ok := v.claims.path(strings.TrimPrefix(path, "claims.")); !ok || fmt.Sprint(got) != want {
			return id, fmt.Errorf("the token's claim %q is not what the configuration requires", path)
		}
	}
	id.Subject = p.Name + ":" + id.Name
	return id, nil
}
