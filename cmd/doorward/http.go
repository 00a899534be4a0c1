package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/doorward/doorward"
	adapter "github.com/doorward/doorward/internal/adapter/http"
	classify "github.com/doorward/doorward/internal/classify/http"
	"github.com/doorward/doorward/internal/config"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/upstream"
	wire "github.com/doorward/doorward/internal/wire/http"
)

// secretEvery is how long a credential that was read from a file is used before
// the file is read again.
const secretEvery = 10 * time.Second

// tokenRetry is how long an issuer that gave no token is not asked again.
const tokenRetry = 2 * time.Second

// httpDialect reads the requests to one service. Requests that only read come
// again and again, so their readings are kept for a while.
type httpDialect struct {
	env  classify.Env
	mu   sync.Mutex
	kept map[string]*doorward.Reading
	size int
}

// Bounds of the readings that one service keeps.
const (
	maxKeptText  = 4 << 10
	maxKeptBytes = 4 << 20
)

// Read implements gate.Dialect.
func (d *httpDialect) Read(text string, _ *gate.State) (*doorward.Reading, error) {
	d.mu.Lock()
	r := d.kept[text]
	d.mu.Unlock()
	if r != nil {
		return r, nil
	}
	r, err := classify.Read(text, &d.env)
	if err != nil || len(text) > maxKeptText || !r.Effect.ReadOnly() {
		return r, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.size += len(text); d.kept == nil || d.size > maxKeptBytes {
		d.kept, d.size = map[string]*doorward.Reading{}, len(text)
	}
	d.kept[text] = r
	return r, nil
}

// Origin implements gate.Dialect: there are no columns.
func (*httpDialect) Origin(uint32, int16) (string, bool) { return "", true }

// Refresh implements gate.Dialect: there is no catalog.
func (*httpDialect) Refresh(context.Context) error { return nil }

func httpTarget(name string, conf config.Target) (*target, error) {
	p := conf.HTTP
	at, err := url.Parse(p.Address)
	if err != nil || at.Host == "" {
		return nil, fmt.Errorf("target %s: the address is not one of a service", name)
	}
	at.Host = strings.ToLower(at.Host)
	operations, err := p.Operations()
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", name, err)
	}
	env := classify.Env{Headers: lower(p.Headers), Operations: operations}
	opt := upstream.HTTPOptions{Name: name, Address: at, Host: p.Host, Resolver: p.Resolver, Encodings: strings.Join(p.Encodings, ", ")}
	for _, n := range p.Networks {
		prefix, err := netip.ParsePrefix(n)
		if err != nil {
			return nil, fmt.Errorf("target %s: %w", name, err)
		}
		opt.Networks = append(opt.Networks, prefix.Masked())
	}
	if at.Scheme == "https" {
		if opt.TLS, err = httpTLS(p, at.Hostname()); err != nil {
			return nil, fmt.Errorf("target %s: %w", name, err)
		}
	}
	if opt.Sign, opt.Refused, err = signer(p); err != nil {
		return nil, fmt.Errorf("target %s: %w", name, err)
	}
	if p.UserHeader != "" || p.AgentHeader != "" {
		opt.Who = func(s *gate.Session) []wire.Field { return whoFields(p, &s.Identity) }
	}
	service, err := upstream.NewHTTP(opt)
	if err != nil {
		return nil, err
	}
	return &target{
		gate: &gate.Target{Target: doorward.Target{Name: name, Protocol: "http"}, Dialect: &httpDialect{env: env}},
		conf: conf, service: service, slots: make(chan struct{}, max(p.MaxRequests, 1)),
		http: adapter.Service{Headers: env.Headers, AnswerHeaders: lower(p.AnswerHeaders), Encodings: p.Encodings, Binary: p.Binary, Origins: []string{at.Scheme + "://" + at.Host, at.Scheme + "://" + p.Host}},
	}, nil
}

func lower(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToLower(n)
	}
	return out
}

// whoFields tell the service who asks. What cannot stand in a header is
// escaped, so that no name can pass for another.
func whoFields(p *config.HTTPTarget, id *doorward.Identity) []wire.Field {
	var out []wire.Field
	if p.UserHeader != "" {
		out = append(out, wire.Field{Name: p.UserHeader, Value: gate.Printable(strings.TrimSpace(id.Name))})
	}
	if p.AgentHeader != "" && id.Agent != "" {
		out = append(out, wire.Field{Name: p.AgentHeader, Value: gate.Printable(strings.TrimSpace(id.Agent))})
	}
	return out
}

func httpTLS(p *config.HTTPTarget, host string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: p.ServerName, NextProtos: []string{"http/1.1"}, ClientSessionCache: tls.NewLRUClientSessionCache(64)}
	if conf.ServerName == "" {
		conf.ServerName = host
	}
	if p.CA != "" {
		pem, err := os.ReadFile(p.CA)
		if err != nil {
			return nil, err
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("there is no certificate in %s", p.CA)
		}
	}
	if p.ClientCert != "" {
		if _, err := tls.LoadX509KeyPair(p.ClientCert, p.ClientKey); err != nil {
			return nil, err
		}
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			c, err := tls.LoadX509KeyPair(p.ClientCert, p.ClientKey) // renewed without a restart
			return &c, err
		}
	}
	return conf, nil
}

// signer puts doorward's credential into requests. refused is told when the
// service does not take it.
func signer(p *config.HTTPTarget) (sign func(context.Context, *upstream.Outgoing) error, refused func(), err error) {
	switch {
	case !p.Token.IsZero():
		v := &rotating{secret: p.Token}
		return header("Authorization", func() (string, error) { return prefixed("Bearer ", v) }), v.forget, nil
	case p.Basic != nil:
		v := &rotating{secret: p.Basic.Password}
		return header("Authorization", func() (string, error) {
			password, err := v.get()
			return "Basic " + base64.StdEncoding.EncodeToString([]byte(p.Basic.User+":"+password)), err
		}), v.forget, nil
	case p.Header != nil:
		v := &rotating{secret: p.Header.Value}
		return header(p.Header.Name, v.get), v.forget, nil
	case p.OAuth != nil:
		return oauth(p.OAuth)
	}
	return nil, nil, nil
}

func prefixed(prefix string, v *rotating) (string, error) {
	s, err := v.get()
	return prefix + s, err
}

// header signs by a header. Its value never appears in an error.
func header(name string, value func() (string, error)) func(context.Context, *upstream.Outgoing) error {
	return func(_ context.Context, out *upstream.Outgoing) error {
		v, err := value()
		if err != nil {
			return err
		}
		if !wire.IsField(name, v) {
			return errors.New("the credential cannot stand in a header")
		}
		out.Fields = append(out.Fields, wire.Field{Name: name, Value: v})
		return nil
	}
}

// rotating is a secret that may change where it is kept.
type rotating struct {
	secret config.Secret
	mu     sync.Mutex
	value  string
	at     time.Time
}

func (r *rotating) get() (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.value != "" && time.Since(r.at) < secretEvery {
		return r.value, nil
	}
	v, err := r.secret.Resolve()
	if err == nil {
		r.value, r.at = v, time.Now()
	}
	return v, err
}

func (r *rotating) forget() {
	r.mu.Lock()
	r.value = ""
	r.mu.Unlock()
}

// oauth signs by an access token that doorward gets for itself.
func oauth(o *config.HTTPOAuth) (func(context.Context, *upstream.Outgoing) error, func(), error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	if o.CA != "" {
		pem, err := pemOf(o.CA)
		if err != nil {
			return nil, nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, nil, fmt.Errorf("there is no certificate in %s", o.CA)
		}
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	client := &http.Client{Transport: transport, Timeout: 15 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error {
		return errors.New("the token's address leads elsewhere, and the secret does not go there")
	}}
	var mu sync.Mutex
	var token *oauth2.Token
	var got, failed time.Time
	var why error
	get := func(ctx context.Context) (_ string, err error) {
		mu.Lock()
		defer mu.Unlock()
		if token.Valid() {
			return token.AccessToken, nil
		}
		// All who waited while the issuer did not answer would ask it, one after
		// the other.
		if why != nil && time.Since(failed) < tokenRetry {
			return "", why
		}
		defer func() { why, failed = err, time.Now() }()
		secret, err := o.ClientSecret.Resolve()
		if err != nil {
			return "", err
		}
		cc := clientcredentials.Config{ClientID: o.ClientID, ClientSecret: secret, TokenURL: o.TokenURL, Scopes: o.Scopes}
		if o.Audience != "" {
			cc.EndpointParams = url.Values{"audience": {o.Audience}}
		}
		// Others wait for this token too: one that leaves does not take it along.
		ctx = context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, client)
		t, err := cc.Token(ctx)
		if err != nil {
			var refused *oauth2.RetrieveError
			if errors.As(err, &refused) { // its text holds what the issuer said, whatever that is
				return "", fmt.Errorf("the issuer gives no token: %s %s", refused.Response.Status, gate.Printable(refused.ErrorCode))
			}
			return "", fmt.Errorf("the issuer cannot be reached: %w", err)
		}
		token, got = t, time.Now()
		return t.AccessToken, nil
	}
	sign := func(ctx context.Context, out *upstream.Outgoing) error {
		v, err := get(ctx)
		if err != nil {
			return err
		}
		return header("Authorization", func() (string, error) { return "Bearer " + v, nil })(ctx, out)
	}
	// A service may refuse what has nothing to do with the token, and a client
	// can ask for that again and again: the issuer is not asked as often.
	forget := func() {
		mu.Lock()
		if time.Since(got) > secretEvery {
			token = nil
		}
		mu.Unlock()
	}
	return sign, forget, nil
}

// serviceOf gives a session its service, within the target's bound of requests
// at once.
func (t *targets) serviceOf(ctx context.Context, s *gate.Session) (*upstream.HTTP, func(), error) {
	x, leave, err := t.enterNow(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	return x.service, leave, nil
}

// hostTarget is the target that clients reach by a host name, or "".
func (t *targets) hostTarget(host string) string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byHost[host]
}

// serviceInfo is what the adapter has to know of a target.
func (t *targets) serviceInfo(name string) (adapter.Service, bool) {
	x := t.get(name)
	if x == nil || x.service == nil {
		return adapter.Service{}, false
	}
	return x.http, true
}

// serviceHosts are the names that services are reached by: the self-made
// certificate is for them too.
func serviceHosts(c *config.Config) []string {
	var out []string
	for _, t := range c.Targets {
		if t.HTTP != nil {
			out = append(out, t.HTTP.Hosts...)
		}
	}
	slices.Sort(out)
	return out
}

// listenHTTP serves clients of HTTP services, if there is a listener for them.
func (h *house) listenHTTP(ctx context.Context) (*adapter.Server, net.Addr, error) {
	if h.cfg.Listen.HTTP == "" {
		return nil, nil, nil
	}
	l, err := net.Listen("tcp", h.cfg.Listen.HTTP)
	if err != nil {
		return nil, nil, fmt.Errorf("listen.http: %w", err)
	}
	conf := h.tls.Clone()
	conf.NextProtos = []string{"h2", "http/1.1"}
	srv := adapter.New(adapter.Options{Gate: h.gate, TLS: conf, Loopback: h.cfg.Listen.PlaintextOnLoopback, Target: h.targets.hostTarget, Service: h.targets.serviceInfo, Reach: h.targets.serviceOf, Log: h.log})
	go func() {
		defer l.Close()
		if err := srv.Serve(netutil.LimitListener(l, maxConns)); err != nil && ctx.Err() == nil {
			h.log.Error("the listener for HTTP services ended", "error", err)
		}
	}()
	return srv, l.Addr(), nil
}
