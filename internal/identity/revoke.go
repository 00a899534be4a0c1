package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/store"
)

// ErrNotFound says that there is no such run or credential.
var ErrNotFound = errors.New("there is no such run or credential")

const (
	maxForeign = 65_536                    // tokens of identity providers that are in use at a time
	maxEnded   = 100_000                   // credentials that ended and would still be valid
	forever    = 10 * 365 * 24 * time.Hour // longer than any token lives
)

// revoked knows what ended, and which tokens of identity providers are in use.
type revoked struct {
	mu       sync.RWMutex
	subjects map[string]time.Time // access before this time is over
	ended    map[string]time.Time // credential → when it may be forgotten
	foreign  map[string]foreign   // tokens of identity providers in use
	watchers []func(string)
}

type foreign struct {
	subject string
	until   time.Time
}

func (r *revoked) load(known []store.Revocation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subjects, r.ended, r.foreign = map[string]time.Time{}, map[string]time.Time{}, map[string]foreign{}
	for _, k := range known {
		switch k.Kind {
		case store.RevokedSubject:
			r.subjects[k.What] = k.At
		case store.RevokedCredential:
			r.ended[k.What] = k.Until
		}
	}
}

func (r *revoked) subject(s string) (time.Time, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	at, ok := r.subjects[s]
	return at, ok
}

func (r *revoked) forget(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, until := range r.ended {
		if now.After(until) {
			delete(r.ended, id)
		}
	}
	r.dropForeign(now)
}

func (r *revoked) dropForeign(now time.Time) {
	for id, f := range r.foreign {
		if now.After(f.until) {
			delete(r.foreign, id)
		}
	}
}

// use notes that a provider's token is in use, so that its sessions can be
// found when its subject's access ends.
func (r *revoked) use(id, subject string, until, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.foreign[id]; !ok && len(r.foreign) >= maxForeign {
		if r.dropForeign(now); len(r.foreign) >= maxForeign {
			return fmt.Errorf("more than %d tokens of identity providers are in use", maxForeign)
		}
	}
	r.foreign[id] = foreign{subject, until}
	return nil
}

// Revoked says whether a credential was ended. Ask after [Service.Watch] has
// been called for it, so that no end falls between.
func (s *Service) Revoked(credential string) bool {
	if credential == "" {
		return false
	}
	s.revoked.mu.RLock()
	_, ok := s.revoked.ended[credential]
	full := len(s.revoked.ended) >= maxEnded
	s.revoked.mu.RUnlock()
	if ok || !full {
		return ok
	}
	ctx, cancel := context.WithTimeout(s.baseCtx, 5*time.Second)
	defer cancel()
	c, err := s.store.Credential(ctx, credential)
	if errors.Is(err, store.ErrNotFound) {
		return true // a provider's token that nobody remembers: not good enough
	}
	return err != nil || !c.Ended.IsZero()
}

// Watch calls fn with the ID of every credential that is ended from now on.
// fn must be quick, and must not call the service.
func (s *Service) Watch(fn func(credential string)) {
	s.revoked.mu.Lock()
	defer s.revoked.mu.Unlock()
	s.revoked.watchers = append(s.revoked.watchers, fn)
}

// revoke ends what r names: first in the store, then in memory, then the
// watchers are told, then the event is recorded. A failed record does not
// bring access back.
func (s *Service) revoke(ctx context.Context, r store.Revocation, by doorward.Identity) error {
	r.At = s.now().UTC()
	if r.Until.IsZero() {
		r.Until = r.At.Add(forever)
	}
	ended, err := s.store.Revoke(ctx, r)
	if err != nil {
		return fmt.Errorf("end access: %w", err)
	}
	if r.Kind == store.RevokedCredential {
		ended = append(ended, r.What)
	}
	rv := &s.revoked
	rv.mu.Lock()
	if r.Kind == store.RevokedSubject {
		rv.subjects[r.What] = r.At
		for id, f := range rv.foreign {
			if f.subject == r.What {
				ended = append(ended, id)
			}
		}
	}
	over := map[string]bool{}
	longest := r.At.Add(max(s.runTTL, s.personTTL, webAbsolute)) // of what doorward issued
	for _, id := range ended {
		over[id] = true
		until := longest
		if f, ok := rv.foreign[id]; ok {
			until = f.until
			delete(rv.foreign, id)
		} else if id == r.What {
			until = r.Until
		}
		if len(rv.ended) < maxEnded {
			rv.ended[id] = until
		}
	}
	watchers := rv.watchers[:len(rv.watchers):len(rv.watchers)]
	rv.mu.Unlock()
	s.cache.drop(func(id *doorward.Identity) bool {
		return over[id.Credential] || (r.Kind == store.RevokedSubject && id.Subject == r.What)
	})
	for id := range over {
		for _, fn := range watchers {
			fn(id)
		}
	}
	s.log.LogAttrs(ctx, slog.LevelInfo, "access ended", slog.String("kind", string(r.Kind)), slog.String("what", r.What), slog.Int("credentials", len(over)), slog.String("by", by.String()), slog.String("reason", r.Reason))
	return s.record(ctx, doorward.Event{Time: r.At, Kind: doorward.EventRevoked, Name: by.Name, Subject: by.Subject, Agent: by.Agent, Run: by.Run, Reason: r.Reason,
		Fields: map[string]string{"kind": string(r.Kind), "what": r.What, "credentials": fmt.Sprint(len(over))}})
}

// RevokeCredential ends one credential, one of ours or an identity provider's
// token, and all that came from it.
func (s *Service) RevokeCredential(ctx context.Context, id string, by doorward.Identity, reason string) error {
	r := store.Revocation{Kind: store.RevokedCredential, What: id, Reason: reason}
	switch c, err := s.store.Credential(ctx, id); {
	case err == nil:
		r.Until = c.Expires
	case !errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("end access: %w", err)
	default:
		s.revoked.mu.RLock()
		_, known := s.revoked.foreign[id]
		s.revoked.mu.RUnlock()
		if !known {
			return ErrNotFound
		}
	}
	return s.revoke(ctx, r, by)
}

// Revoke ends one credential by its own doing: signing out, or an agent's run
// that is over.
func (s *Service) Revoke(ctx context.Context, credential, why string) error {
	var by doorward.Identity
	c, err := s.store.Credential(ctx, credential)
	switch {
	case err == nil:
		by = c.Identity
	case !errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("end access: %w", err)
	}
	return s.RevokeCredential(ctx, credential, by, why)
}

// RevokeToken ends the credential with this secret, for signing out.
func (s *Service) RevokeToken(ctx context.Context, token string, reason string) error {
	id, err := s.Identify(ctx, doorward.Credential{Protocol: "revoke", Secret: token, Secure: true})
	if err != nil {
		return err
	}
	return s.RevokeCredential(ctx, id.Credential, id, reason)
}

// RevokeSubject ends all access that a subject, and its agents, have now. The
// subject can sign in again: to keep somebody out, take them out at the
// identity provider first.
func (s *Service) RevokeSubject(ctx context.Context, subject string, by doorward.Identity, reason string) error {
	if subject == "" || len(subject) > 1024 {
		return ErrNotFound
	}
	return s.revoke(ctx, store.Revocation{Kind: store.RevokedSubject, What: subject, Reason: reason}, by)
}

// EndRun ends an agent's run. by is the person whose run it is, the run
// itself, or one that the caller has found to be allowed to.
func (s *Service) EndRun(ctx context.Context, run string, by doorward.Identity, reason string) error {
	r, err := s.Run(ctx, run)
	if err != nil {
		return err
	}
	if !r.Live {
		return nil
	}
	return s.RevokeCredential(ctx, r.Credential, by, reason)
}
