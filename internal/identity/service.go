package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/store"
)

const (
	maxSecret = 16 << 10         // bytes of any credential
	skew      = 60 * time.Second // between an identity provider's clock and ours
)

// Ledger is where events become durable.
type Ledger interface {
	Append(context.Context, doorward.Event) (doorward.Receipt, error)
}

// Config of a Service.
type Config struct {
	Providers []Provider
	RunTTL    time.Duration // the longest that an agent's run lasts; 8 h when 0
	PersonTTL time.Duration // the longest that a person's token lasts; 12 h when 0
}

// Options of a Service.
type Options struct {
	Ledger Ledger       // required
	Log    *slog.Logger // slog.Default() when nil
	HTTP   *http.Client // how identity providers are reached; only its Transport is used
	Now    func() time.Time
}

// Service is the room of identities.
type Service struct {
	store  store.Credentials
	ledger Ledger
	log    *slog.Logger
	now    func() time.Time
	client *http.Client

	runTTL, personTTL time.Duration

	mu        sync.RWMutex
	providers []*provider // in the order of the configuration

	cache    cache
	revoked  revoked
	limiter  *limiter
	flows    flows
	touched  chan touch
	stop     context.CancelFunc
	working  sync.WaitGroup
	baseCtx  context.Context
	argonRun chan struct{} // at most as many at once as it has room
}

// provider is a configured provider at work.
type provider struct {
	Provider
	issuer *issuer           // for OIDC and Workload
	users  map[string]*local // for Local
}

type touch struct {
	id string
	at time.Time
}

// New makes the service. Identity providers that do not answer now are asked
// again when somebody signs in with them. Close ends it.
func New(ctx context.Context, cfg Config, st store.Credentials, opts Options) (*Service, error) {
	if st == nil || opts.Ledger == nil {
		return nil, errors.New("identity: needs a store and a ledger")
	}
	s := &Service{store: st, ledger: opts.Ledger, log: opts.Log, now: opts.Now, runTTL: cfg.RunTTL, personTTL: cfg.PersonTTL,
		limiter: newLimiter(), touched: make(chan touch, 256), argonRun: make(chan struct{}, 2)}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.runTTL <= 0 {
		s.runTTL = 8 * time.Hour
	}
	if s.personTTL <= 0 {
		s.personTTL = 12 * time.Hour
	}
	s.client = newClient(opts.HTTP)
	known, err := st.Revocations(ctx, s.now())
	if err != nil {
		return nil, fmt.Errorf("identity: read what is revoked: %w", err)
	}
	s.revoked.load(known)
	s.baseCtx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.SetProviders(cfg.Providers); err != nil {
		s.stop()
		return nil, err
	}
	s.working.Add(1)
	go s.housekeeping(s.baseCtx)
	return s, nil
}

// Close ends the service's own work.
func (s *Service) Close() error {
	s.stop()
	s.working.Wait()
	return nil
}

// SetProviders puts a new list of providers in place, for a configuration that
// was loaded again. If one is wrong, nothing changes. Credentials of providers
// and local users that are gone no longer work.
func (s *Service) SetProviders(list []Provider) error {
	var next []*provider
	var errs []error
	if len(list) > 64 {
		return fmt.Errorf("identity: %d identity providers, at most 64 can be", len(list))
	}
	for _, p := range list {
		if err := p.check(); err != nil {
			errs = append(errs, err)
			continue
		}
		if slices.ContainsFunc(next, func(o *provider) bool { return o.Name == p.Name }) {
			errs = append(errs, fmt.Errorf("identity provider %s: there are two of this name", p.Name))
			continue
		}
		n := &provider{Provider: p}
		switch {
		case p.OIDC != nil:
			n.issuer = newIssuer(p.Name, p.OIDC.Issuer, append([]string{p.OIDC.ClientID}, p.OIDC.Audiences...), p.OIDC.Algorithms, p.OIDC.CA, s)
		case p.Workload != nil:
			n.issuer = newIssuer(p.Name, p.Workload.Issuer, []string{p.Workload.Audience}, p.Workload.Algorithms, p.Workload.CA, s)
		default:
			n.users = p.Local.byName()
		}
		next = append(next, n)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.mu.Lock()
	s.providers = next
	s.mu.Unlock()
	s.cache.clear()
	for _, p := range next {
		if p.issuer == nil {
			continue
		}
		s.working.Add(1)
		go func() {
			defer s.working.Done()
			if _, err := p.issuer.ready(s.baseCtx); err != nil && s.baseCtx.Err() == nil {
				s.log.Warn("identity provider does not answer; it is asked again when somebody signs in", "provider", p.Name, "error", err)
			}
		}()
	}
	return nil
}

// Holds reports whether an identity that was good once still is, as far as the
// configuration goes: its provider is there, of the same kind, and a local user
// is there and in all of the groups. Whoever puts new providers in place ends
// the open sessions of those for whom it does not.
func (s *Service) Holds(id *doorward.Identity) bool {
	p := s.provider(id.Provider)
	switch {
	case p == nil || (p.Workload != nil) != id.Workload:
		return false
	case p.Local == nil:
		return true
	}
	u, ok := p.users[id.Name]
	return ok && !slices.ContainsFunc(id.Groups, func(g string) bool { return !slices.Contains(u.groups, g) })
}

// Providers lists the providers, in the order of the configuration.
func (s *Service) Providers() []ProviderInfo {
	var out []ProviderInfo
	for _, p := range s.current() {
		out = append(out, ProviderInfo{p.Name, p.kind()})
	}
	return out
}

func (s *Service) current() []*provider {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.providers
}

func (s *Service) provider(name string) *provider {
	for _, p := range s.current() {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Identify checks a credential: a token that doorward issued, or one of an
// OIDC identity provider. A console session's is taken over "http" only.
func (s *Service) Identify(ctx context.Context, c doorward.Credential) (doorward.Identity, error) {
	if !c.Secure {
		return doorward.Identity{}, s.refuse(ctx, c.Protocol, errInsecure, slog.String("remote", c.Remote))
	}
	if c.ByID != "" && c.Secret == "" {
		id, err := s.byID(ctx, c.ByID)
		if err != nil {
			return doorward.Identity{}, s.refuse(ctx, c.Protocol, err, slog.String("remote", c.Remote), slog.String("user", printable(c.User)))
		}
		return id, nil
	}
	if c.Secret == "" || len(c.Secret) > maxSecret {
		return doorward.Identity{}, s.refuse(ctx, c.Protocol, fmt.Errorf("the credential has %d bytes; it must have 1 to %d", len(c.Secret), maxSecret), slog.String("remote", c.Remote))
	}
	if strings.HasPrefix(c.Secret, prefixWeb) && c.Protocol != "http" {
		return doorward.Identity{}, s.refuse(ctx, c.Protocol, errors.New("a console session is good for the console only"), slog.String("remote", c.Remote))
	}
	key := sha256.Sum256([]byte(c.Secret))
	if id, ok := s.cache.get(key, s.now()); ok {
		return id, nil
	}
	gen := s.cache.generation()
	id, until, err := s.check(ctx, c.Secret)
	if err == nil && s.Revoked(id.Credential) {
		err = errors.New("the credential was revoked")
	}
	if err != nil {
		return doorward.Identity{}, s.refuse(ctx, c.Protocol, err, slog.String("remote", c.Remote), slog.String("user", printable(c.User)))
	}
	s.cache.put(gen, key, id, until, s.now())
	return clone(id), nil
}

// check does the work of Identify that no cache had done.
func (s *Service) check(ctx context.Context, secret string) (doorward.Identity, time.Time, error) {
	switch {
	case strings.HasPrefix(secret, prefixPerson), strings.HasPrefix(secret, prefixAgent):
		return s.own(ctx, secret)
	case strings.HasPrefix(secret, prefixWeb):
		c, err := s.webSession(ctx, secret)
		return c.Identity, c.Expires, err
	case strings.HasPrefix(secret, "dw_"):
		return doorward.Identity{}, time.Time{}, errors.New("a doorward token of a kind that is not a credential")
	case strings.Count(secret, ".") == 2:
		return s.foreign(ctx, secret)
	}
	return doorward.Identity{}, time.Time{}, errors.New("neither a doorward token nor a JWT")
}

// printable makes a name from the wire fit for a log line.
func printable(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

func clone(id doorward.Identity) doorward.Identity {
	id.Groups, id.Targets, id.Chain = slices.Clone(id.Groups), slices.Clone(id.Targets), slices.Clone(id.Chain)
	return id
}

// record appends an event and waits until it is durable.
func (s *Service) record(ctx context.Context, ev doorward.Event) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	rc, err := s.ledger.Append(ctx, ev)
	if err == nil {
		_, err = rc.Wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s could not be recorded: %w", ev.Kind, err)
	}
	return nil
}

// housekeeping notes when credentials were used, and forgets old ones.
func (s *Service) housekeeping(ctx context.Context) {
	defer s.working.Done()
	const keep = 90 * 24 * time.Hour // ended credentials, for listings
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	purge := func() {
		if _, err := s.store.PurgeCredentials(ctx, s.now().Add(-keep)); err != nil && ctx.Err() == nil {
			s.log.Error("old credentials could not be removed", "error", err)
		}
		s.revoked.forget(s.now())
	}
	purge()
	for {
		select {
		case t := <-s.touched:
			if err := s.store.TouchCredential(ctx, t.id, t.at); err != nil && ctx.Err() == nil {
				s.log.Warn("the last use of a credential could not be noted", "credential", t.id, "error", err)
			}
		case <-tick.C:
			purge()
		case <-ctx.Done():
			return
		}
	}
}
