package http

import (
	"errors"
	"fmt"
)

// ErrRequest says that a request cannot be, or that a text is not one. Every
// [Refusal] is one.
var ErrRequest = errors.New("not a request to an HTTP service")

// Refusal is a request that is not let through whatever the policy says.
type Refusal struct {
	Status int    // of HTTP: 400, 405, 413, 414, 415, 417 or 431
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
	statusBad      = 400
	statusMethod   = 405
	statusTooLarge = 413
	statusTooLong  = 414
	statusMedia    = 415
	statusExpect   = 417
	statusHeaders  = 431
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
