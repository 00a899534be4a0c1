package identity

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/doorward/doorward"
)

// ErrNotSignedIn is what every refused credential comes down to, for errors.Is.
var ErrNotSignedIn = errors.New("not signed in")

// refusal is what a client gets: little. The log has the rest.
type refusal struct{ denial *doorward.Denial }

// Error is the reason, with the reference.
func (r *refusal) Error() string { return r.denial.Reason }

// Unwrap makes it a *doorward.Denial and ErrNotSignedIn.
func (r *refusal) Unwrap() []error { return []error{r.denial, ErrNotSignedIn} }

// Unavailable says that an identity provider does not answer: nobody's fault
// who signs in.
type Unavailable struct {
	Provider string
	Err      error
}

// Error names the provider.
func (u *Unavailable) Error() string {
	return fmt.Sprintf("the identity provider %q does not answer", u.Provider)
}

// Unwrap gives the cause.
func (u *Unavailable) Unwrap() error { return u.Err }

// refuse writes to the log which check failed, and makes the client's error.
func (s *Service) refuse(ctx context.Context, what string, err error, attrs ...slog.Attr) error {
	ref := newReference()
	attrs = append(attrs, slog.String("reference", ref), slog.String("what", what), slog.String("check", err.Error()))
	s.log.LogAttrs(ctx, slog.LevelWarn, "sign-in refused", attrs...)
	d := &doorward.Denial{
		Decision: "error",
		Reason:   "not signed in (reference " + ref + ")",
		Hint:     "Sign in again with \"doorward login\", or start the agent again with \"doorward run\". Whoever runs doorward finds the cause in its log under the reference.",
		Code:     "28000",
	}
	var down *Unavailable
	var plain *plainError
	switch {
	case errors.As(err, &plain):
		d.Reason, d.Hint = plain.reason+" (reference "+ref+")", plain.hint
	case errors.As(err, &down):
		d.Reason = down.Error() + " (reference " + ref + ")"
		d.Hint = "Try again shortly. Other identity providers, and credentials that doorward issued, go on working."
		d.Retry = true
	case ctx.Err() != nil:
		d.Retry = true
	}
	return &refusal{d}
}

// plainError is a cause that the client may know.
type plainError struct{ reason, hint string }

// Error is the reason.
func (p *plainError) Error() string { return p.reason }

var errInsecure = &plainError{"credentials only over TLS", "Connect with TLS: with psql, set sslmode=verify-full (and sslrootcert) in the connection."}

func newReference() string { return strings.ToUpper(random(5)) }

// random gives n random bytes as lower-case letters and digits.
func random(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails: it ends the process instead
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}
