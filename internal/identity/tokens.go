package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/store"
)

// The first letters of the tokens that doorward issues, so that scanners for
// leaked secrets and people know them.
const (
	prefixPerson = "dw_p_"
	prefixAgent  = "dw_a_"
	prefixWeb    = "dw_s_"
	tokenBytes   = 32
)

// Bounds of what one subject holds at a time.
const (
	maxPersonTokens = 64
	maxRuns         = 256
	maxWebSessions  = 64
	maxTask         = 4 << 10
	maxTargets      = 256
)

// Run is one run of an agent for a person.
type Run struct {
	ID         string    `json:"id"`
	Agent      string    `json:"agent"`
	Task       string    `json:"task,omitempty"`
	Name       string    `json:"name"`    // of the person
	Subject    string    `json:"subject"` // of the person
	Targets    []string  `json:"targets,omitempty"`
	Credential string    `json:"credential"`
	Created    time.Time `json:"created"`
	Expires    time.Time `json:"expires"`
	Ended      time.Time `json:"ended,omitzero"`
	Reason     string    `json:"reason,omitempty"` // why it ended
	Live       bool      `json:"live"`
}

// RunRequest asks for a run.
type RunRequest struct {
	Agent   string        // a-z, 0-9, dot, dash, underscore, at most 64
	Task    string        // what for, for people
	Targets []string      // what it may reach; empty: what the person may
	TTL     time.Duration // 0: the longest there is
}

func newToken(prefix string) string {
	b := make([]byte, tokenBytes)
	rand.Read(b) // never fails: it ends the process instead
	return prefix + base64.RawURLEncoding.EncodeToString(b)
}

// tokenHash gives the hash that the store knows a token by, or an error if it
// cannot be one of ours.
func tokenHash(token, prefix string) (string, error) {
	rest, ok := strings.CutPrefix(token, prefix)
	if !ok || len(rest) != base64.RawURLEncoding.EncodedLen(tokenBytes) {
		return "", errors.New("a doorward token of the wrong form")
	}
	// The decoder skips line breaks, so its result can be shorter.
	if b, err := base64.RawURLEncoding.Strict().DecodeString(rest); err != nil || len(b) != tokenBytes {
		return "", errors.New("a doorward token of the wrong form")
	}
	h := sha256.Sum256([]byte(token))
	return hex.EncodeToString(h[:]), nil
}

// own checks a token that doorward issued.
func (s *Service) own(ctx context.Context, token string) (doorward.Identity, time.Time, error) {
	prefix, kind := prefixPerson, store.PersonCredential
	if strings.HasPrefix(token, prefixAgent) {
		prefix, kind = prefixAgent, store.AgentCredential
	}
	c, err := s.lookup(ctx, token, prefix, kind)
	if err != nil {
		return doorward.Identity{}, time.Time{}, err
	}
	s.touch(&c)
	return c.Identity, c.Expires, nil
}

// lookup finds a credential by its token and checks that it is still good.
func (s *Service) lookup(ctx context.Context, token, prefix string, kind store.CredentialKind) (store.Credential, error) {
	hash, err := tokenHash(token, prefix)
	if err != nil {
		return store.Credential{}, err
	}
	c, err := s.store.CredentialByHash(ctx, hash)
	return s.good(c, err, kind)
}

// byID finds a credential of a person or an agent by its id, for a caller that
// has proved by a certificate of doorward's own that it may use it.
func (s *Service) byID(ctx context.Context, id string) (doorward.Identity, error) {
	c, err := s.store.Credential(ctx, id)
	kind := c.Kind
	if kind != store.AgentCredential {
		kind = store.PersonCredential
	}
	if c, err = s.good(c, err, kind); err != nil {
		return doorward.Identity{}, err
	}
	if s.Revoked(c.Identity.Credential) {
		return doorward.Identity{}, errors.New("the credential was revoked")
	}
	s.touch(&c)
	return clone(c.Identity), nil
}

// good checks that a credential that was found, if it was, may still be used.
func (s *Service) good(c store.Credential, err error, kind store.CredentialKind) (store.Credential, error) {
	var none store.Credential
	switch {
	case errors.Is(err, store.ErrNotFound):
		return none, errors.New("no doorward token with this secret")
	case err != nil:
		return none, fmt.Errorf("the store does not answer: %w", err)
	case c.Kind != kind || (c.Identity.Agent != "") != (kind == store.AgentCredential):
		return none, fmt.Errorf("credential %s is of another kind", c.ID)
	case !c.Ended.IsZero():
		return none, fmt.Errorf("credential %s was ended: %s", c.ID, c.Reason)
	case !s.now().Before(c.Expires):
		return none, fmt.Errorf("credential %s expired at %s", c.ID, c.Expires.Format(time.RFC3339))
	}
	if at, ok := s.revoked.subject(c.Identity.Subject); ok && !c.Created.After(at) {
		return none, fmt.Errorf("the access of %s was ended", c.Identity.Subject)
	}
	return c, s.refresh(&c.Identity)
}

// refresh checks that an identity's provider and, for the local provider, its
// user are still configured, and takes the user's groups as they are now.
func (s *Service) refresh(id *doorward.Identity) error {
	p := s.provider(id.Provider)
	if p == nil {
		return fmt.Errorf("its identity provider %q is not configured any more", id.Provider)
	}
	if p.Local == nil {
		return nil
	}
	u, ok := p.users[id.Name]
	if !ok {
		return fmt.Errorf("user %q of the local provider is not configured any more", id.Name)
	}
	id.Groups = slices.Clone(u.groups)
	return nil
}

// touch notes the use of a credential, a little later and not too often.
func (s *Service) touch(c *store.Credential) {
	now := s.now()
	if now.Sub(c.Seen) < time.Minute {
		return
	}
	select {
	case s.touched <- touch{c.ID, now}:
	default: // it is only a note
	}
}

func denied(reason, hint string) error {
	return &doorward.Denial{Decision: "deny", Reason: reason, Hint: hint}
}

// Issue makes a token for a person who signed in. It lasts ttl (0: the
// longest), never longer than what the person signed in with.
func (s *Service) Issue(ctx context.Context, id doorward.Identity, ttl time.Duration) (token string, exp time.Time, err error) {
	if id.Agent != "" || id.Run != "" || id.Workload {
		return "", time.Time{}, denied("only a person gets a token of their own", "An agent uses the credential that \"doorward run\" gave it; a workload uses its identity provider's token.")
	}
	c, token, err := s.issue(ctx, store.PersonCredential, prefixPerson, id, ttl, s.personTTL, "")
	return token, c.Expires, err
}

// StartRun makes the credential of an agent's run for a person. Subject and
// name stay the person's; agent and run are added. The run ends with the
// person's credential.
func (s *Service) StartRun(ctx context.Context, person doorward.Identity, req RunRequest) (Run, string, error) {
	if person.Agent != "" || person.Run != "" || len(person.Chain) > 0 {
		return Run{}, "", denied("an agent cannot start a run", "The person starts it, with \"doorward run\".")
	}
	if !agentForm.MatchString(req.Agent) {
		return Run{}, "", denied(fmt.Sprintf("the agent name %q is not a name", printable(req.Agent)), "Use a-z, 0-9, dot, dash and underscore, at most 64.")
	}
	if len(req.Task) > maxTask {
		return Run{}, "", denied(fmt.Sprintf("the task has %d bytes, at most %d fit", len(req.Task), maxTask), "Say it shorter.")
	}
	targets, err := narrow(person.Targets, req.Targets)
	if err != nil {
		return Run{}, "", err
	}
	id := clone(person)
	id.Agent, id.Run, id.Targets = req.Agent, "run_"+random(10), targets
	c, token, err := s.issue(ctx, store.AgentCredential, prefixAgent, id, req.TTL, s.runTTL, tidy(req.Task))
	if err != nil {
		return Run{}, "", err
	}
	return s.asRun(&c), token, nil
}

// tidy removes what could mislead a reader from a text for people.
func tidy(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(strings.TrimSpace(s), "\uFFFD"))
}

// narrow gives the targets of a run: those asked for, which must be among the
// person's if those are bound.
func narrow(have, want []string) ([]string, error) {
	if len(want) == 0 {
		return slices.Clone(have), nil
	}
	if len(want) > maxTargets {
		return nil, denied(fmt.Sprintf("%d targets are too many, at most %d fit", len(want), maxTargets), "Name fewer, or none for all that you may reach.")
	}
	want = slices.Clone(want)
	slices.Sort(want)
	want = slices.Compact(want)
	for _, t := range want {
		if t == "" || len(t) > 128 || (len(have) > 0 && !slices.Contains(have, t)) {
			return nil, denied(fmt.Sprintf("the target %q is not one that you may give to an agent", printable(t)), "\"doorward targets\" lists yours.")
		}
	}
	return want, nil
}

// issue makes, records and keeps a credential.
func (s *Service) issue(ctx context.Context, kind store.CredentialKind, prefix string, id doorward.Identity, ttl, longest time.Duration, task string) (store.Credential, string, error) {
	var none store.Credential
	if id.Subject == "" || id.Name == "" || id.Provider == "" {
		return none, "", errors.New("identity: a credential needs a subject, a name and a provider")
	}
	if ttl < 0 || ttl > longest {
		return none, "", denied(fmt.Sprintf("%s is too long for this credential, it lasts at most %s", ttl, longest), "Ask for less.")
	}
	if ttl == 0 {
		ttl = longest
	}
	now := s.now().UTC()
	expires := now.Add(ttl)
	if !id.Expires.IsZero() && id.Expires.Before(expires) {
		expires = id.Expires.UTC()
	}
	if !now.Before(expires) {
		return none, "", denied("the credential that you signed in with is over", "Sign in again.")
	}
	if s.Revoked(id.Credential) {
		return none, "", denied("the credential that you signed in with was revoked", "Sign in again.")
	}
	limit := map[store.CredentialKind]int{store.PersonCredential: maxPersonTokens, store.AgentCredential: maxRuns, store.WebCredential: maxWebSessions}[kind]
	live, err := s.store.Credentials(ctx, store.CredentialQuery{Kind: kind, Subject: id.Subject, Live: now, Limit: limit})
	if err != nil {
		return none, "", fmt.Errorf("identity: count credentials: %w", err)
	}
	if len(live) >= limit {
		return none, "", denied(fmt.Sprintf("%s has %d live credentials of this kind already", id.Name, limit), "End some: \"doorward agents ls\" and \"doorward agents revoke\", or \"doorward logout\".")
	}
	token := newToken(prefix)
	hash, err := tokenHash(token, prefix)
	if err != nil {
		return none, "", err
	}
	c := store.Credential{ID: string(kind) + "_" + random(10), Hash: hash, Kind: kind, Parent: id.Credential, Task: task, Created: now, Expires: expires, Identity: clone(id)}
	c.Identity.Credential, c.Identity.Expires, c.Identity.Task = c.ID, expires, task
	ev := doorward.Event{Time: now, Kind: doorward.EventCredential, Name: id.Name, Subject: id.Subject, Agent: id.Agent, Run: id.Run, Reason: task,
		Fields: map[string]string{"credential": c.ID, "kind": string(kind), "parent": c.Parent, "provider": id.Provider, "expires": expires.Format(time.RFC3339), "targets": strings.Join(id.Targets, ",")}}
	if err := s.record(ctx, ev); err != nil {
		return none, "", err
	}
	if err := s.store.AddCredential(ctx, c); errors.Is(err, store.ErrConflict) {
		return none, "", denied("the credential that you signed in with was revoked", "Sign in again.")
	} else if err != nil {
		return none, "", fmt.Errorf("identity: keep credential: %w", err)
	}
	s.log.LogAttrs(ctx, slog.LevelInfo, "credential issued", slog.String("credential", c.ID), slog.String("for", id.String()), slog.Time("expires", expires))
	return c, token, nil
}

func (s *Service) asRun(c *store.Credential) Run {
	return Run{ID: c.Identity.Run, Agent: c.Identity.Agent, Task: c.Task, Name: c.Identity.Name, Subject: c.Identity.Subject, Targets: c.Identity.Targets,
		Credential: c.ID, Created: c.Created, Expires: c.Expires, Ended: c.Ended, Reason: c.Reason, Live: c.Ended.IsZero() && s.now().Before(c.Expires)}
}

// RunQuery says which runs to list.
type RunQuery struct {
	Subject string // of the person; "" for all
	Live    bool   // only live ones
	Limit   int    // at most 1000; 200 when 0
}

// Runs lists agents' runs, newest first.
func (s *Service) Runs(ctx context.Context, q RunQuery) ([]Run, error) {
	cq := store.CredentialQuery{Kind: store.AgentCredential, Subject: q.Subject, Limit: q.Limit}
	if q.Live {
		cq.Live = s.now()
	}
	cs, err := s.store.Credentials(ctx, cq)
	if err != nil {
		return nil, fmt.Errorf("identity: list runs: %w", err)
	}
	out := make([]Run, 0, len(cs))
	for i := range cs {
		out = append(out, s.asRun(&cs[i]))
	}
	return out, nil
}

// Run gives one run, or ErrNotFound.
func (s *Service) Run(ctx context.Context, id string) (Run, error) {
	if id == "" {
		return Run{}, ErrNotFound
	}
	cs, err := s.store.Credentials(ctx, store.CredentialQuery{Kind: store.AgentCredential, Run: id, Limit: 1})
	if err != nil {
		return Run{}, fmt.Errorf("identity: run %s: %w", printable(id), err)
	}
	if len(cs) == 0 {
		return Run{}, ErrNotFound
	}
	return s.asRun(&cs[0]), nil
}
