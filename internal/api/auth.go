package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/identity"
)

// webTime is the longest that a browser keeps its cookie. The session behind
// it may end sooner.
const webTime = 12 * time.Hour

type meOutput struct{ Body Me }

func (s *server) me(ctx context.Context, _ *struct{}) (*meOutput, error) {
	c, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	return &meOutput{Body: s.meOf(c)}, nil
}

func (s *server) meOf(c *caller) Me {
	return Me{Identity: c.id, Admin: s.admin(c.id), CSRF: c.csrf}
}

type providersOutput struct{ Body []Provider }

func (s *server) providers(context.Context, *struct{}) (*providersOutput, error) {
	out := &providersOutput{Body: []Provider{}}
	for _, p := range s.Identity.Providers() {
		v := Provider{Name: p.Name, Kind: p.Kind}
		if p.Kind == "oidc" {
			v.URL = "/signin/oidc/" + p.Name
		}
		out.Body = append(out.Body, v)
	}
	return out, nil
}

// loginInput also keeps the request, for the address it came from.
type loginInput struct {
	Body Login
	from *http.Request
}

// Resolve implements huma.Resolver.
func (in *loginInput) Resolve(hc huma.Context) []error {
	in.from, _ = humago.Unwrap(hc)
	return nil
}

type signinOutput struct {
	SetCookie []http.Cookie `header:"Set-Cookie"`
	Body      SignedIn
}

// signin signs a browser in: the secret goes into a cookie that no script reads.
func (s *server) signin(ctx context.Context, in *loginInput) (*signinOutput, error) {
	id, err := s.login(ctx, in)
	if err != nil {
		return nil, err
	}
	cookie, c, err := s.webSession(ctx, id)
	if err != nil {
		return nil, err
	}
	return &signinOutput{SetCookie: []http.Cookie{sessionCookie(cookie)}, Body: SignedIn{Me: s.meOf(c), CSRF: c.csrf}}, nil
}

// webSession makes a console session. What the session says is what counts
// from now on, so that is shown.
func (s *server) webSession(ctx context.Context, id doorward.Identity) (string, *caller, error) {
	cookie, _, err := s.Identity.NewWebSession(ctx, id)
	if err != nil {
		return "", nil, s.identityFault(ctx, "the sign-in could not be completed", err)
	}
	checked, csrf, err := s.Identity.WebSession(ctx, cookie)
	if err != nil {
		return "", nil, s.identityFault(ctx, "the sign-in could not be completed", err)
	}
	return cookie, &caller{id: checked, token: cookie, cookie: true, csrf: csrf}, nil
}

type tokenOutput struct{ Body Token }

// token signs the command line in.
func (s *server) token(ctx context.Context, in *loginInput) (*tokenOutput, error) {
	id, err := s.login(ctx, in)
	if err != nil {
		return nil, err
	}
	token, expires, err := s.Identity.Issue(ctx, id, 0)
	if err != nil {
		return nil, s.identityFault(ctx, "the sign-in could not be completed", err)
	}
	checked, err := s.Identity.Identify(ctx, doorward.Credential{Protocol: "http", Secret: token, Remote: in.from.RemoteAddr, Secure: s.secure(in.from)})
	if err != nil {
		return nil, s.identityFault(ctx, "the sign-in could not be completed", err)
	}
	return &tokenOutput{Body: Token{Token: token, Expires: expires, Me: s.meOf(&caller{id: checked})}}, nil
}

// login checks a password.
func (s *server) login(ctx context.Context, in *loginInput) (doorward.Identity, error) {
	var none doorward.Identity
	if !s.secure(in.from) {
		return none, problem(http.StatusForbidden, "a password may not travel without encryption", "Use https://.")
	}
	if wait, ok := s.byHost.take(remoteHost(in.from)); !ok {
		return none, tooMany("too many sign-ins from this address", wait)
	}
	provider := in.Body.Provider
	if provider == "" {
		var err error
		if provider, err = s.onlyLocal(); err != nil {
			return none, err
		}
	}
	// The name is counted folded: whoever guesses passwords of one person is
	// slowed down from wherever they come.
	if wait, ok := s.byUser.take(strings.ToLower(provider + "\x00" + in.Body.User)); !ok {
		return none, tooMany("too many sign-ins of this user", wait)
	}
	id, err := s.Identity.SignIn(identity.WithRemote(ctx, in.from.RemoteAddr), provider, in.Body.User, string(in.Body.Password))
	if err != nil {
		return none, s.identityFault(ctx, "the sign-in could not be checked", err)
	}
	return id, nil
}

func (s *server) onlyLocal() (string, error) {
	var names []string
	for _, p := range s.Identity.Providers() {
		if p.Kind == "local" {
			names = append(names, p.Name)
		}
	}
	if len(names) != 1 {
		return "", problem(http.StatusUnprocessableEntity, "which provider?", "Give provider: GET /api/v1/providers lists them.")
	}
	return names[0], nil
}

// identityFault tells what identity refused, which the client learns as far as
// identity says it, from faults of ours.
func (s *server) identityFault(ctx context.Context, what string, err error) error {
	var denial *doorward.Denial
	if !errors.As(err, &denial) {
		return s.fault(ctx, what, err)
	}
	status := http.StatusForbidden
	switch {
	case denial.Retry:
		status = http.StatusServiceUnavailable
	case errors.Is(err, identity.ErrNotSignedIn):
		status = http.StatusUnauthorized
	}
	p := problem(status, denial.Reason, denial.Hint)
	if status == http.StatusUnauthorized && strings.HasPrefix(denial.Reason, "not signed in") {
		p.Hint = "Check the provider, the user name and the password. Whoever runs doorward finds the cause in its log under the reference."
	}
	return p
}

func sessionCookie(value string) http.Cookie {
	return http.Cookie{Name: cookieName, Value: value, Path: "/", MaxAge: int(webTime / time.Second), HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode}
}

type signoutOutput struct {
	SetCookie []http.Cookie `header:"Set-Cookie"`
}

// signout ends the credential that was presented, wherever else it is used.
func (s *server) signout(ctx context.Context, _ *struct{}) (*signoutOutput, error) {
	c, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	if c.cookie {
		err = s.Identity.EndWebSession(ctx, c.token)
	} else {
		err = s.Identity.RevokeToken(ctx, c.token, "signed out")
	}
	if err != nil {
		return nil, s.identityFault(ctx, "the sign-in could not be ended", err)
	}
	gone := sessionCookie("")
	gone.MaxAge = -1
	return &signoutOutput{SetCookie: []http.Cookie{gone}}, nil
}
