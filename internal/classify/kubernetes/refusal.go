package kubernetes

import (
	"errors"
	"fmt"
)

// ErrRequest says that a request cannot be, or that a text is not one. Every
// [Refusal] is one.
var ErrRequest = errors.New("not a Kubernetes request")

// Refusal is a request that is not let through whatever the policy says.
type Refusal struct {
	Status int    // of HTTP: 400, 403, 404, 405, 406, 409 (of Pin only), 413 or 415
	Reason string // what is wrong, and where
	Hint   string // what to do instead; may be empty
}

// Error is the reason, and the hint behind it.
func (r *Refusal) Error() string {
	if r.Hint == "" {
		return r.Reason
	}
	return r.Reason + "; " + r.Hint
}

// Is reports whether target is [ErrRequest].
func (r *Refusal) Is(target error) bool { return target == ErrRequest }

// Statuses of HTTP that a refusal may have.
const (
	statusBad       = 400
	statusForbidden = 403
	statusNotFound  = 404
	statusMethod    = 405
	statusAccept    = 406
	statusConflict  = 409
	statusTooLarge  = 413
	statusMedia     = 415
)

// bad is a refusal of something malformed.
func bad(format string, args ...any) *Refusal {
	return &Refusal{Status: statusBad, Reason: fmt.Sprintf(format, args...)}
}

func refuse(status int, hint, format string, args ...any) *Refusal {
	return &Refusal{Status: status, Hint: hint, Reason: fmt.Sprintf(format, args...)}
}

func (r *Refusal) hint(text string) *Refusal {
	r.Hint = text
	return r
}
