package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Provider is one identity provider. Exactly one of OIDC, Workload and Local
// is set.
type Provider struct {
	Name     string
	OIDC     *OIDC
	Workload *Workload
	Local    *Local
}

// OIDC is an issuer of tokens for people.
type OIDC struct {
	Issuer       string // exactly as in the tokens
	ClientID     string // the audience that tokens must have
	ClientSecret string // for the code flow; "" for a public client
	GroupsClaim  string // claim or path with the groups, "groups" when ""; e.g. "realm_access.roles"
	NameClaim    string // claim or path with the name that policies use; e-mail, or else sub, when ""
	Algorithms   []string
	Audiences    []string // further audiences that bearer tokens may have instead
	Scopes       []string // for the code flow, besides openid; email, profile when nil
	CA           []byte   // PEM of what is trusted for the issuer; nil: what the system trusts
}

// Workload is an issuer of tokens for CI jobs and pods.
type Workload struct {
	Issuer     string
	Audience   string
	Subject    string            // claim or path that names the workload, "sub" when ""
	Groups     []string          // given to all of its workloads
	Require    map[string]string // claims (or paths) that must have exactly this value
	Algorithms []string
	CA         []byte // PEM of what is trusted for the issuer; nil: what the system trusts
}

// Local is the built-in provider, for development and demonstrations.
type Local struct{ Users []User }

// User is a person of the local provider.
type User struct {
	Name     string
	Password string // in clear, or as "$argon2id$…" (see HashPassword)
	Groups   []string
}

// ProviderInfo is what a sign-in page needs to know of a provider.
type ProviderInfo struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // "oidc", "workload" or "local"
}

func (p *Provider) kind() string {
	switch {
	case p.OIDC != nil:
		return "oidc"
	case p.Workload != nil:
		return "workload"
	}
	return "local"
}

var (
	nameForm  = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	agentForm = regexp.MustCompile(`^[a-z0-9._-]{1,64}$`)
)

// algorithms that may be allowed: signatures with a private key only.
var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// check says what is wrong with a provider's configuration.
func (p *Provider) check() error {
	n := 0
	for _, set := range []bool{p.OIDC != nil, p.Workload != nil, p.Local != nil} {
		if set {
			n++
		}
	}
	switch {
	case !nameForm.MatchString(p.Name):
		return fmt.Errorf("identity provider name %q: use a-z, 0-9, dot, dash and underscore, at most 64", p.Name)
	case n != 1:
		return fmt.Errorf("identity provider %s: give exactly one of oidc, workload and local", p.Name)
	case p.OIDC != nil:
		return p.wrap(errors.Join(checkIssuer(p.OIDC.Issuer), need("client_id", p.OIDC.ClientID), checkAlgorithms(p.OIDC.Algorithms), checkCA(p.OIDC.CA)))
	case p.Workload != nil:
		return p.wrap(errors.Join(checkIssuer(p.Workload.Issuer), need("audience", p.Workload.Audience), checkAlgorithms(p.Workload.Algorithms), checkCA(p.Workload.CA)))
	}
	return p.wrap(p.Local.check())
}

func (p *Provider) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("identity provider %s: %w", p.Name, err)
}

func need(what, v string) error {
	if v == "" {
		return fmt.Errorf("%s is missing", what)
	}
	return nil
}

func checkCA(pem []byte) error {
	if len(pem) > 0 && !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return errors.New("the CA holds no PEM certificate")
	}
	return nil
}

func checkIssuer(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("issuer %q: want an address such as https://idp.example", s)
	}
	return checkAddress(u)
}

// checkAddress lets only https through, and http on this very machine.
func checkAddress(u *url.URL) error {
	if u.Scheme == "https" || (u.Scheme == "http" && loopback(u.Hostname())) {
		return nil
	}
	return fmt.Errorf("address %s://%s: identity providers are reached over https only (http only on 127.0.0.1, ::1 and localhost)", u.Scheme, u.Host)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

func checkAlgorithms(names []string) error {
	for _, a := range names {
		if !slices.Contains(algorithms, a) {
			return fmt.Errorf("algorithm %q cannot be allowed: use of %s", a, strings.Join(algorithms, ", "))
		}
	}
	return nil
}
