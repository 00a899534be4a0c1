package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/doorward/doorward"
	adapter "github.com/doorward/doorward/internal/adapter/http"
	"github.com/doorward/doorward/internal/certs"
	classify "github.com/doorward/doorward/internal/classify/postgres"
	"github.com/doorward/doorward/internal/config"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/identity"
	"github.com/doorward/doorward/internal/mask"
	"github.com/doorward/doorward/internal/upstream"
)

// cacheBytes bounds the readings that are remembered, for all targets together.
const cacheBytes = 64 << 20

// targets is the table of targets in force.
type targets struct {
	mu     sync.RWMutex
	byID   map[string]*target
	byHost map[string]string // of HTTP targets: the names that they are reached by
	keys   *certs.SSHKeys
}

type target struct {
	gate    *gate.Target
	conf    config.Target
	dial    *upstream.Postgres // of a Postgres target
	catalog *upstream.Catalog
	host    *upstream.SSH        // of an SSH target
	cluster *upstream.Kubernetes // of a Kubernetes target
	service *upstream.HTTP       // of an HTTP target
	http    adapter.Service
	slots   chan struct{}
}

var reader = classify.NewReader(cacheBytes)

// prepare makes the next table, and changes nothing. A target whose
// configuration did not change stays as it is, with its catalog.
func (t *targets) prepare(c *config.Config, rules func() *gate.Rules) (map[string]*target, error) {
	next := map[string]*target{}
	for name, conf := range c.Targets {
		old := t.get(name)
		if old != nil && reflect.DeepEqual(old.conf, conf) {
			next[name] = old
			continue
		}
		if conf.SSH != nil {
			host, err := t.sshTarget(name, conf)
			if err != nil {
				return nil, err
			}
			next[name] = host
			continue
		}
		if conf.Kubernetes != nil {
			cluster, err := kubernetesTarget(name, conf)
			if err != nil {
				return nil, err
			}
			next[name] = cluster
			continue
		}
		if conf.HTTP != nil {
			service, err := httpTarget(name, conf)
			if err != nil {
				return nil, err
			}
			next[name] = service
			continue
		}
		if conf.Postgres == nil {
			return nil, fmt.Errorf("target %s: no protocol that doorward speaks", name)
		}
		p := *conf.Postgres
		up, err := upstream.NewPostgres(options(name, p))
		if err != nil {
			return nil, err
		}
		cat := upstream.NewCatalog(up)
		d := &postgresDialect{target: name, reader: reader, catalog: cat, functions: slices.Clone(p.Functions), masks: func() *mask.Set { return rules().Masks }}
		next[name] = &target{
			gate: &gate.Target{Target: doorward.Target{Name: name, Protocol: "postgres", Database: p.Database}, Dialect: d},
			conf: conf, dial: up, catalog: cat, slots: make(chan struct{}, max(p.MaxConnections, 1)),
		}
	}
	return next, nil
}

// put replaces the table.
func (t *targets) put(next map[string]*target) {
	hosts := map[string]string{}
	for name, x := range next {
		if x.conf.HTTP != nil {
			for _, host := range x.conf.HTTP.Hosts {
				hosts[host] = name
			}
		}
	}
	t.mu.Lock()
	old := t.byID
	t.byID, t.byHost = next, hosts
	t.mu.Unlock()
	for name, x := range old {
		if x.service != nil && next[name] != x {
			x.service.Close()
		}
	}
}

func options(name string, p config.PostgresTarget) upstream.PostgresOptions {
	return upstream.PostgresOptions{
		Name: name, Address: p.Address, Database: p.Database, User: p.User, TLS: p.TLS, CA: p.CA, ClientCert: p.ClientCert, ClientKey: p.ClientKey,
		Password: func() (string, error) {
			if p.Password.IsZero() {
				return "", nil
			}
			return p.Password.Resolve()
		},
	}
}

func (t *targets) get(name string) *target {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID[name]
}

func (t *targets) find(name string) (*gate.Target, bool) {
	x := t.get(name)
	if x == nil {
		return nil, false
	}
	return x.gate, true
}

func (t *targets) names() []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []string
	for n := range t.byID {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// dial connects a session to its target, within the target's bound.
func (t *targets) dial(ctx context.Context, s *gate.Session, set upstream.Settings) (*upstream.Conn, error) {
	x, err := t.slot(ctx, s)
	if err != nil {
		return nil, err
	}
	return x.dial.Dial(ctx, s, set)
}

// slot takes one of the connections that a session's target may have, until
// the session ends.
func (t *targets) slot(ctx context.Context, s *gate.Session) (*target, error) {
	x, leave, err := t.enter(ctx, s)
	if err == nil {
		s.OnKill(leave)
	}
	return x, err
}

// fullError says that all that a target may have at once is in use.
type fullError struct {
	name string
	most int
}

func (e *fullError) Error() string {
	return fmt.Sprintf("target %s: all %d connections are in use", e.name, e.most)
}

// enter takes one of the places that a session's target has; leave gives it back.
func (t *targets) enter(ctx context.Context, s *gate.Session) (x *target, leave func(), err error) {
	x = t.get(s.Target.Name)
	if x == nil || x.gate != s.Target {
		return nil, nil, fmt.Errorf("target %s is not what it was when the session opened", s.Target.Name)
	}
	select {
	case x.slots <- struct{}{}:
	default:
		wait := time.NewTimer(5 * time.Second)
		defer wait.Stop()
		select {
		case x.slots <- struct{}{}:
		case <-wait.C:
			return nil, nil, &fullError{s.Target.Name, cap(x.slots)}
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	return x, func() { <-x.slots }, nil
}

// enterNow is enter for protocols that tell their clients of a full target by a
// status of HTTP.
func (t *targets) enterNow(ctx context.Context, s *gate.Session) (*target, func(), error) {
	x, leave, err := t.enter(ctx, s)
	var full *fullError
	if errors.As(err, &full) {
		err = upstream.ErrBusy
	}
	return x, leave, err
}

func (t *targets) close() {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, x := range t.byID {
		if x.catalog != nil {
			x.catalog.Close()
		}
		if x.cluster != nil {
			x.cluster.Close()
		}
		if x.service != nil {
			x.service.Close()
		}
	}
}

// pemOf reads the file of a CA, if there is one.
func pemOf(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err == nil && len(b) == 0 {
		err = fmt.Errorf("%s is empty", path)
	}
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	return b, nil
}

// providersOf gives the configured identity providers the shape of identity.
func providersOf(c *config.Config) ([]identity.Provider, error) {
	var out []identity.Provider
	for _, p := range c.Identity.Providers {
		q := identity.Provider{Name: p.Name}
		switch {
		case p.OIDC != nil:
			secret := ""
			if !p.OIDC.ClientSecret.IsZero() {
				var err error
				if secret, err = p.OIDC.ClientSecret.Resolve(); err != nil {
					return nil, err
				}
			}
			ca, err := pemOf(p.OIDC.CA)
			if err != nil {
				return nil, fmt.Errorf("identity provider %s: %w", p.Name, err)
			}
			q.OIDC = &identity.OIDC{Issuer: p.OIDC.Issuer, ClientID: p.OIDC.ClientID, ClientSecret: secret, GroupsClaim: p.OIDC.GroupsClaim, NameClaim: p.OIDC.NameClaim, Audiences: p.OIDC.Audiences, Scopes: p.OIDC.Scopes, CA: ca}
		case p.Workload != nil:
			ca, err := pemOf(p.Workload.CA)
			if err != nil {
				return nil, fmt.Errorf("identity provider %s: %w", p.Name, err)
			}
			q.Workload = &identity.Workload{Issuer: p.Workload.Issuer, Audience: p.Workload.Audience, Subject: p.Workload.Subject, Groups: p.Workload.Groups, Require: p.Workload.Require, CA: ca}
		case p.Local != nil:
			q.Local = &identity.Local{}
			for _, u := range p.Local.Users {
				pw, err := u.Password.Resolve()
				if err != nil {
					return nil, err
				}
				q.Local.Users = append(q.Local.Users, identity.User{Name: u.Name, Password: pw, Groups: u.Groups})
			}
		}
		out = append(out, q)
	}
	return out, nil
}
