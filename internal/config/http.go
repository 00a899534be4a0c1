package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	classify "github.com/doorward/doorward/internal/classify/http"
)

// HTTPTarget is an internal service that is reached by HTTP. Address may be
// written env:NAME: the environment variable's value is taken. At most one of
// Token, Basic, Header and OAuth says how doorward signs in there; a client
// certificate may come with any of them.
type HTTPTarget struct {
	Address    string      `yaml:"address"`               // https://orders.internal or http://…, with a port where it has one
	Hosts      []string    `yaml:"hosts,omitempty"`       // names by which clients reach it, beside /TARGET on doorward's own name
	Host       string      `yaml:"host,omitempty"`        // what the service is told that it is called; default: the address's
	CA         string      `yaml:"ca,omitempty"`          // PEM file; default: the system's
	ServerName string      `yaml:"server_name,omitempty"` // that the service's certificate has; default: the address's host
	ClientCert string      `yaml:"client_cert,omitempty"` // PEM file
	ClientKey  string      `yaml:"client_key,omitempty"`  // PEM file
	Token      Secret      `yaml:"token,omitempty"`       // sent as Authorization: Bearer
	Basic      *HTTPBasic  `yaml:"basic,omitempty"`       //
	Header     *HTTPHeader `yaml:"header,omitempty"`      // a header with a key
	OAuth      *HTTPOAuth  `yaml:"oauth,omitempty"`       // client credentials (RFC 6749, section 4.4)

	Headers       []string `yaml:"headers,omitempty"`        // request headers that are sent on beside the usual ones
	AnswerHeaders []string `yaml:"answer_headers,omitempty"` // answer headers that are sent on beside the usual ones
	OpenAPI       string   `yaml:"openapi,omitempty"`        // file that describes the service: rules can then speak of its operations, and what is none of them is denied
	UserHeader    string   `yaml:"user_header,omitempty"`    // tells the service who asks
	AgentHeader   string   `yaml:"agent_header,omitempty"`   // and which agent, where there is one

	Networks    []string `yaml:"networks,omitempty"`     // where the address may lead, as in 10.0.0.0/8; default: anywhere but this machine, link-local and multicast addresses
	Resolver    string   `yaml:"resolver,omitempty"`     // host:port of the DNS server that is asked for the address; default: the system's
	Encodings   []string `yaml:"encodings,omitempty"`    // of answers that the service is asked for: gzip (default), br, zstd, identity
	Binary      []string `yaml:"binary,omitempty"`       // types of answers that are passed on although nothing can be masked in them, as in image/*
	MaxRequests int      `yaml:"max_requests,omitempty"` // at once; default 400
}

// HTTPBasic is a user and password (RFC 7617).
type HTTPBasic struct {
	User     string `yaml:"user"`
	Password Secret `yaml:"password"`
}

// HTTPHeader is a header whose value is a credential.
type HTTPHeader struct {
	Name  string `yaml:"name"`
	Value Secret `yaml:"value"`
}

// HTTPOAuth says where doorward gets access tokens for the service.
type HTTPOAuth struct {
	TokenURL     string   `yaml:"token_url"`
	ClientID     string   `yaml:"client_id"`
	ClientSecret Secret   `yaml:"client_secret"`
	Scopes       []string `yaml:"scopes,omitempty"`
	Audience     string   `yaml:"audience,omitempty"`
	CA           string   `yaml:"ca,omitempty"` // PEM file for the token's address; default: the system's
}

// DefaultHTTP is where clients of HTTP targets connect.
const DefaultHTTP = "127.0.0.1:18443"

const maxHTTPNames = 100

// Encodings that an HTTP target may be asked for.
var httpEncodings = []string{"gzip", "br", "zstd", "identity"}

var hostName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

func (k *checker) httpTarget(path string, t *HTTPTarget) {
	if k.c.unset[path+".address"] == "" {
		k.httpAddress(path+".address", t.Address)
	}
	ways := 0
	for _, has := range []bool{!t.Token.IsZero(), t.Basic != nil, t.Header != nil, t.OAuth != nil} {
		if has {
			ways++
		}
	}
	if ways > 1 {
		k.bad(path, fmt.Sprintf("there are %d ways to sign in; there may be one", ways), "write one of token:, basic:, header: and oauth:")
	}
	k.secret(path+".token", t.Token, false)
	if t.Basic != nil {
		k.required(path+".basic.user", t.Basic.User)
		k.secret(path+".basic.password", t.Basic.Password, true)
	}
	if t.Header != nil {
		k.headerName(path+".header.name", t.Header.Name)
		k.secret(path+".header.value", t.Header.Value, true)
	}
	if o := t.OAuth; o != nil {
		k.issuer(path+".oauth.token_url", o.TokenURL)
		k.required(path+".oauth.client_id", o.ClientID)
		k.secret(path+".oauth.client_secret", o.ClientSecret, true)
	}
	if (t.ClientCert == "") != (t.ClientKey == "") {
		k.bad(path+".client_cert", "a certificate goes with its key", "write client_cert: and client_key:")
	}
	if strings.HasPrefix(t.Address, "http://") && (t.CA != "" || t.ClientCert != "" || t.ServerName != "") {
		k.bad(path+".address", "there is no TLS with http://", "write https://, or leave ca, server_name and client_cert out")
	}
	k.httpHeaders(path, t)
	k.httpNames(path, t)
	if t.Host != "" && !validHostPort(t.Host) {
		k.bad(path+".host", fmt.Sprintf("%q is not a host", clip(t.Host, 60)), "as in orders.internal or orders.internal:8080")
	}
	if t.MaxRequests < 1 || t.MaxRequests > 100_000 {
		k.bad(path+".max_requests", "out of range", "write a number from 1 to 100000")
	}
}

func (k *checker) httpAddress(path, address string) {
	u, err := url.Parse(address)
	switch {
	case address == "":
		k.bad(path, "this is missing", "as in https://orders.internal")
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || !validHostPort(strings.ToLower(u.Host)):
		k.bad(path, fmt.Sprintf("%q is not the address of a service", clip(address, 80)), "as in https://orders.internal or http://127.0.0.1:8080")
	case u.User != nil:
		k.bad(path, "a credential stands in the address", "write token:, basic:, header: or oauth:")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		k.bad(path, "there is more than scheme, host and port", "leave the path out; rules name the paths that may be used")
	}
}

// validHostPort reports whether s is a host, or a host and a port.
func validHostPort(s string) bool {
	u, err := url.Parse("http://" + s)
	if err != nil || u.Host != s || u.Hostname() == "" {
		return false
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return true
	}
	return len(u.Hostname()) <= 253 && hostName.MatchString(u.Hostname())
}

func (k *checker) headerName(path, name string) {
	if name == "" {
		k.bad(path, "this is missing", "as in X-Api-Key")
		return
	}
	if strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-')
	}) || len(name) > 60 {
		k.bad(path, fmt.Sprintf("%q is not the name of a header", clip(name, 60)), "letters, digits and dashes, as in X-Api-Key")
		return
	}
	// What frames a message is not a place for a value.
	switch strings.ToLower(name) {
	case "host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer", "keep-alive", "expect", "content-type", "content-encoding", "accept-encoding":
		k.bad(path, fmt.Sprintf("%s cannot be set here", name), "it belongs to the message itself")
	}
}

func (k *checker) httpHeaders(path string, t *HTTPTarget) {
	own := map[string]string{}
	for key, name := range map[string]string{"user_header": t.UserHeader, "agent_header": t.AgentHeader} {
		if name != "" {
			k.headerName(path+"."+key, name)
			own[strings.ToLower(name)] = key
		}
	}
	if t.UserHeader != "" && strings.EqualFold(t.UserHeader, t.AgentHeader) {
		k.bad(path+".agent_header", "user_header has this name already", "")
	}
	if t.Header != nil {
		own[strings.ToLower(t.Header.Name)] = "header"
	}
	if !t.Token.IsZero() || t.Basic != nil || t.OAuth != nil {
		if name, taken := own["authorization"]; taken {
			k.bad(path+"."+name, "Authorization holds doorward's credential", "take another header")
		}
		own["authorization"] = "token"
	}
	for name, key := range own {
		if classify.Always(name) {
			k.bad(path+"."+key, fmt.Sprintf("a client's own %s is sent on", name), "take another header: the service could not tell which is whose")
		}
	}
	if len(t.Headers) > maxHTTPNames || len(t.AnswerHeaders) > maxHTTPNames {
		k.bad(path+".headers", fmt.Sprintf("the most is %d", maxHTTPNames), "")
	}
	for i, name := range t.Headers {
		at := fmt.Sprintf("%s.headers[%d]", path, i)
		if err := classify.CheckHeader(strings.ToLower(name)); err != nil {
			k.bad(at, err.Error(), "")
		} else if key := own[strings.ToLower(name)]; key != "" {
			k.bad(at, fmt.Sprintf("%s is set by doorward (%s), and is never a client's", name, key), "leave it out")
		}
	}
	for i, name := range t.AnswerHeaders {
		at := fmt.Sprintf("%s.answer_headers[%d]", path, i)
		k.headerName(at, name)
		switch strings.ToLower(name) {
		case "cache-control", "content-security-policy", "x-content-type-options", "date", "set-cookie", "www-authenticate":
			k.bad(at, fmt.Sprintf("%s is not passed on from a service", name), "doorward sets its own, or keeps it from clients")
		}
	}
}

func (k *checker) httpNames(path string, t *HTTPTarget) {
	if len(t.Hosts) > maxHTTPNames || len(t.Networks) > maxHTTPNames || len(t.Binary) > maxHTTPNames {
		k.bad(path, fmt.Sprintf("the most of hosts, networks and binary is %d each", maxHTTPNames), "")
	}
	for i, h := range t.Hosts {
		if len(h) > 253 || !hostName.MatchString(h) {
			k.bad(fmt.Sprintf("%s.hosts[%d]", path, i), fmt.Sprintf("%q is not a host name", clip(h, 60)), "in lower case and without a port, as in orders.internal")
		}
	}
	for i, n := range t.Networks {
		if _, err := netip.ParsePrefix(n); err != nil {
			k.bad(fmt.Sprintf("%s.networks[%d]", path, i), fmt.Sprintf("%q is not a network", clip(n, 60)), "as in 10.0.0.0/8 or fd00::/8")
		}
	}
	for i, e := range t.Encodings {
		if !slices.Contains(httpEncodings, e) {
			k.bad(fmt.Sprintf("%s.encodings[%d]", path, i), fmt.Sprintf("%q is not an encoding that doorward reads", clip(e, 40)), "known are "+strings.Join(httpEncodings, ", "))
		}
	}
	for i, b := range t.Binary {
		if kind, sub, ok := strings.Cut(b, "/"); !ok || kind == "" || sub == "" || b != strings.ToLower(b) || strings.ContainsAny(b, " ;,") {
			k.bad(fmt.Sprintf("%s.binary[%d]", path, i), fmt.Sprintf("%q is not a type", clip(b, 60)), "in lower case, as in image/* or application/pdf")
		}
	}
	if t.Resolver != "" {
		k.address(path+".resolver", t.Resolver)
	}
}

// hostsOnce wants each name to lead to one target.
func (k *checker) hostsOnce(names []string) {
	taken := map[string]string{}
	for _, name := range names {
		t := k.c.Targets[name].HTTP
		if t == nil {
			continue
		}
		for i, h := range t.Hosts {
			if other := taken[h]; other != "" {
				k.bad(fmt.Sprintf("targets.%s.http.hosts[%d]", name, i), fmt.Sprintf("%q leads to target %s already", h, other), "give each target names of its own")
			}
			taken[h] = name
		}
	}
}

func (c *Config) fillHTTP(name string, t *HTTPTarget) *HTTPTarget {
	p := *t
	or(&p.MaxRequests, DefaultMaxRequests)
	if len(p.Encodings) == 0 {
		p.Encodings = []string{"gzip"}
	}
	var missing string
	if p.Address, missing = fromEnv(p.Address); missing != "" {
		c.unset["targets."+name+".http.address"] = missing
	}
	return &p
}

// readable says what is wrong with the files and secrets that the target names,
// by key.
func (t *HTTPTarget) readable() map[string]error {
	out := map[string]error{}
	pool := func(key, file string) {
		if file == "" {
			return
		}
		pem, err := os.ReadFile(file)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
			err = errors.New("there is no certificate in " + file)
		}
		out[key] = err
	}
	pool("ca", t.CA)
	if t.ClientCert != "" && t.ClientKey != "" {
		_, err := tls.LoadX509KeyPair(t.ClientCert, t.ClientKey)
		out["client_cert"] = err
	}
	secret := func(key string, s Secret) {
		_, err := s.Resolve()
		out[key] = err
	}
	_, out["openapi"] = t.Operations()
	secret("token", t.Token)
	if t.Basic != nil {
		secret("basic.password", t.Basic.Password)
	}
	if t.Header != nil {
		secret("header.value", t.Header.Value)
	}
	if t.OAuth != nil {
		secret("oauth.client_secret", t.OAuth.ClientSecret)
		pool("oauth.ca", t.OAuth.CA)
	}
	return out
}

// inFile reports whether a credential stands in the configuration itself.
func (t *HTTPTarget) inFile() bool {
	return t.Token.Value != "" || t.Basic != nil && t.Basic.Password.Value != "" || t.Header != nil && t.Header.Value.Value != "" || t.OAuth != nil && t.OAuth.ClientSecret.Value != ""
}
