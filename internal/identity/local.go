package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/doorward/doorward"
)

// local is a user of the local provider, ready to compare passwords with.
type local struct {
	groups []string
	plain  [32]byte // SHA-256 of the password in the configuration, when hash is nil
	hash   *argonHash
}

type argonHash struct {
	time, memory uint32
	threads      uint8
	salt, sum    []byte
}

func (l *Local) check() error {
	var errs []error
	seen := map[string]bool{}
	for _, u := range l.Users {
		switch {
		case checkName("user name", u.Name) != nil:
			errs = append(errs, checkName("user name", u.Name))
		case seen[u.Name]:
			errs = append(errs, fmt.Errorf("user %s: there are two of this name", u.Name))
		case u.Password == "":
			errs = append(errs, fmt.Errorf("user %s: the password is empty", u.Name))
		case strings.HasPrefix(u.Password, "$"):
			if _, err := parseArgon(u.Password); err != nil {
				errs = append(errs, fmt.Errorf("user %s: %w", u.Name, err))
			}
		}
		seen[u.Name] = true
	}
	return errors.Join(errs...)
}

func (l *Local) byName() map[string]*local {
	out := make(map[string]*local, len(l.Users))
	for _, u := range l.Users {
		v := &local{groups: slices.Clone(u.Groups), plain: sha256.Sum256([]byte(u.Password))}
		if h, err := parseArgon(u.Password); err == nil {
			v.hash, v.plain = h, [32]byte{}
		}
		out[u.Name] = v
	}
	return out
}

// HashPassword makes the form "$argon2id$…" of a password, for configurations
// that should not hold it in clear.
func HashPassword(password string) string {
	salt := make([]byte, 16)
	rand.Read(salt) // never fails: it ends the process instead
	h := argonHash{time: 2, memory: 19 << 10, threads: 1, salt: salt}
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.time, h.threads, b64(salt), b64(h.of(password, 32)))
}

func (h *argonHash) of(password string, n int) []byte {
	return argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, uint32(n))
}

func parseArgon(s string) (*argonHash, error) {
	bad := errors.New("the password starts with $ and is not a hash of the form $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH, with at most m=262144, t=16, p=16")
	parts := strings.Split(s, "$")
	if len(s) > 512 || len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return nil, bad
	}
	var h argonHash
	var params string
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.time, &h.threads); err != nil {
		return nil, bad
	}
	if params = fmt.Sprintf("m=%d,t=%d,p=%d", h.memory, h.time, h.threads); params != parts[3] {
		return nil, bad
	}
	var err1, err2 error
	h.salt, err1 = base64.RawStdEncoding.Strict().DecodeString(parts[4])
	h.sum, err2 = base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(h.salt) < 8 || len(h.sum) < 16 || h.memory < 8 || h.memory > 256<<10 || h.time < 1 || h.time > 16 || h.threads < 1 || h.threads > 16 {
		return nil, bad
	}
	return &h, nil
}

// matches compares in constant time.
func (u *local) matches(password string) bool {
	if u.hash != nil {
		return subtle.ConstantTimeCompare(u.hash.of(password, len(u.hash.sum)), u.hash.sum) == 1
	}
	sum := sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(sum[:], u.plain[:]) == 1
}

type remoteKey struct{}

// WithRemote puts the client's address into ctx, so that SignIn can slow down
// one address that guesses.
func WithRemote(ctx context.Context, remote string) context.Context {
	if host, _, err := net.SplitHostPort(remote); err == nil {
		remote = host
	}
	return context.WithValue(ctx, remoteKey{}, remote)
}

// SignIn checks the password of a user of a local provider. Put the client's
// address in ctx with [WithRemote].
func (s *Service) SignIn(ctx context.Context, provider, user, password string) (doorward.Identity, error) {
	remote, _ := ctx.Value(remoteKey{}).(string)
	attrs := []slog.Attr{slog.String("provider", printable(provider)), slog.String("user", printable(user)), slog.String("remote", remote)}
	id, err := s.signIn(ctx, provider, user, password, remote)
	if err == nil {
		return id, nil
	}
	var slow *plainError
	if !errors.As(err, &slow) { // those turned away unheard would only fill the ledger
		ev := doorward.Event{Time: s.now().UTC(), Kind: doorward.EventSignInFailed, Name: printable(user), Protocol: "password", Reason: err.Error(), Fields: map[string]string{"provider": printable(provider), "remote": remote}}
		if rerr := s.record(ctx, ev); rerr != nil {
			s.log.Error("a failed sign-in could not be recorded", "error", rerr)
		}
	}
	return doorward.Identity{}, s.refuse(ctx, "password", err, attrs...)
}

func (s *Service) signIn(ctx context.Context, provider, user, password, remote string) (doorward.Identity, error) {
	var none doorward.Identity
	p := s.provider(provider)
	if p == nil || p.Local == nil {
		return none, errors.New("no local provider of this name")
	}
	if password == "" || len(password) > 1024 || len(user) > 256 {
		return none, errors.New("an empty or overlong user name or password")
	}
	keys := []string{"user " + provider + " " + user, "remote " + remote}
	if remote == "" {
		keys = keys[:1]
	}
	if wait := s.limiter.start(s.now(), keys...); wait > 0 {
		return none, &plainError{"too many wrong passwords", fmt.Sprintf("Wait %s, then try again.", wait.Round(time.Second))}
	}
	u, known := p.users[user]
	if !known {
		u = p.standIn() // takes as long as for a user that there is
	}
	if u.hash != nil {
		select {
		case s.argonRun <- struct{}{}:
			defer func() { <-s.argonRun }()
		case <-ctx.Done():
			return none, context.Cause(ctx)
		}
	}
	if !u.matches(password) || !known {
		return none, errors.New("wrong user name or password")
	}
	s.limiter.succeed(keys...)
	return doorward.Identity{Subject: provider + ":" + user, Name: user, Provider: provider, Groups: slices.Clone(u.groups)}, nil
}

// standIn is a user whose password nobody has, as costly to check as a real one.
func (p *provider) standIn() *local {
	for _, u := range p.users {
		if u.hash != nil {
			return &local{hash: &argonHash{time: u.hash.time, memory: u.hash.memory, threads: u.hash.threads, salt: u.hash.salt, sum: make([]byte, 32)}}
		}
	}
	return &local{}
}

// limiter slows down guessing. Its size is fixed: keys that share a place
// share its delay.
type limiter struct {
	seed  maphash.Seed
	mu    sync.Mutex
	place [8192]attempts
}

type attempts struct {
	failed int
	last   time.Time
	until  time.Time
}

const (
	freeAttempts = 5
	longestDelay = 5 * time.Minute
	forgetAfter  = 15 * time.Minute
)

func newLimiter() *limiter { return &limiter{seed: maphash.MakeSeed()} }

func (l *limiter) at(key string) *attempts {
	return &l.place[maphash.String(l.seed, key)%uint64(len(l.place))]
}

// start counts an attempt as failed, so that attempts at once do not slip
// through, or says how long to wait.
func (l *limiter) start(now time.Time, keys ...string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		if wait := l.at(k).until.Sub(now); wait > 0 {
			return wait
		}
	}
	for _, k := range keys {
		a := l.at(k)
		if now.Sub(a.last) > forgetAfter {
			*a = attempts{}
		}
		a.failed++
		a.last = now
		if over := a.failed - freeAttempts; over >= 0 {
			a.until = now.Add(min(time.Second<<min(over, 20), longestDelay))
		}
	}
	return 0
}

// succeed forgets the wrong passwords of the user (the first key). Of the
// address it takes back this attempt alone: many people share one, and whoever
// has one good password must not guess others the faster for it.
func (l *limiter) succeed(keys ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, k := range keys {
		a := l.at(k)
		if i == 0 || a.failed <= 1 {
			*a = attempts{}
			continue
		}
		if a.failed--; a.failed < freeAttempts {
			a.until = time.Time{}
		}
	}
}
