package identity

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/store"
)

const (
	webIdle     = time.Hour
	webAbsolute = 12 * time.Hour
)

// NewWebSession makes a console session for a person who signed in. The
// cookie's value is a secret; csrf is what state-changing requests must carry
// in a header.
func (s *Service) NewWebSession(ctx context.Context, id doorward.Identity) (cookie, csrf string, err error) {
	cookie, _, err = s.IssueWeb(ctx, id, 0)
	if err != nil {
		return "", "", err
	}
	return cookie, csrfOf(cookie), nil
}

// IssueWeb makes a console session that lasts ttl (0: the longest) and gives
// its secret. Identify takes it over HTTP only.
func (s *Service) IssueWeb(ctx context.Context, id doorward.Identity, ttl time.Duration) (cookie string, exp time.Time, err error) {
	if id.Agent != "" || id.Run != "" || id.Workload {
		return "", time.Time{}, denied("the console is for people", "Sign in as a person.")
	}
	c, cookie, err := s.issue(ctx, store.WebCredential, prefixWeb, id, min(ttl, webAbsolute), webAbsolute, "")
	return cookie, c.Expires, err
}

// csrfOf derives the CSRF token from the cookie, which scripts cannot read.
func csrfOf(cookie string) string {
	m := hmac.New(sha256.New, []byte(cookie))
	m.Write([]byte("doorward csrf 1"))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// CheckCSRF compares what a request carries with what its session wants.
func CheckCSRF(cookie, got string) bool {
	return hmac.Equal([]byte(csrfOf(cookie)), []byte(got))
}

// WebSession gives the identity of a console session, and its CSRF token. A
// session ends an hour after its last use, and twelve hours after its start.
func (s *Service) WebSession(ctx context.Context, cookie string) (id doorward.Identity, csrf string, err error) {
	c, err := s.webSession(ctx, cookie)
	if err != nil {
		return doorward.Identity{}, "", s.refuse(ctx, "console", err)
	}
	return c.Identity, csrfOf(cookie), nil
}

func (s *Service) webSession(ctx context.Context, cookie string) (store.Credential, error) {
	c, err := s.lookup(ctx, cookie, prefixWeb, store.WebCredential)
	if err != nil {
		return c, err
	}
	used := c.Created
	if c.Seen.After(used) {
		used = c.Seen
	}
	if s.now().Sub(used) > webIdle {
		return c, errors.New("the console session was idle for too long")
	}
	s.touch(&c)
	return c, nil
}

// EndWebSession signs out of the console. What the session issued ends too.
func (s *Service) EndWebSession(ctx context.Context, cookie string) error {
	c, err := s.webSession(ctx, cookie)
	if err != nil {
		s.log.LogAttrs(ctx, slog.LevelDebug, "sign-out without a session", slog.String("check", err.Error()))
		return nil
	}
	return s.RevokeCredential(ctx, c.ID, c.Identity, "signed out")
}
