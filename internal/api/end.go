package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/doorward/doorward/internal/identity"
)

const throughoutTime = 30 * time.Second

// throughout goes on when the client leaves: what takes effect before it is
// recorded must not lose its record that way.
func throughout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), throughoutTime)
}

type endAccessInput struct{ Body AccessEnd }

// endAccess ends all that a subject and its agents have now: credentials,
// console sessions, runs, open sessions at the gate.
func (s *server) endAccess(ctx context.Context, in *endAccessInput) (*noBody, error) {
	c, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	if !s.admin(c.id) {
		return nil, problem(http.StatusForbidden, "only administrators may end somebody's access", "Administrators are people in a group of identity.admins. `doorward logout` ends your own sign-in, `doorward agents revoke` a run of your agents.")
	}
	subject, why := in.Body.Subject, strings.TrimSpace(in.Body.Reason)
	if !s.ofProvider(subject) {
		return nil, noSubject()
	}
	if why == "" {
		return nil, problem(http.StatusUnprocessableEntity, "the reason is empty", "Say why the access ends: it is kept in the record.")
	}
	if err := fits(why); err != nil {
		return nil, err
	}
	whole, done := throughout(ctx)
	defer done()
	err = s.Identity.RevokeSubject(whole, subject, c.id, why)
	switch {
	case errors.Is(err, identity.ErrNotFound):
		return nil, noSubject()
	case err != nil:
		s.log.Error("access could not be ended, or that could not be recorded", "subject", subject, "by", c.id.Name, "error", err)
		return nil, problem(http.StatusInternalServerError, "the access could not be ended, or that could not be written down", "It may have ended all the same. Ask again: twice does no harm. The server's log says more.")
	}
	return &noBody{}, nil
}

// ofProvider reports whether a provider of this gate could have such a subject.
// A bare name would end nothing, and look as if it had.
func (s *server) ofProvider(subject string) bool {
	return slices.ContainsFunc(s.Identity.Providers(), func(p identity.ProviderInfo) bool {
		who, ok := strings.CutPrefix(subject, p.Name+":")
		return ok && who != ""
	})
}

func noSubject() error {
	return problem(http.StatusUnprocessableEntity, "this is no subject of an identity provider of this gate", "Write provider:subject, as the identity in `doorward sessions show ID --json` has it.")
}
