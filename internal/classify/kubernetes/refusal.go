package kubernetes

import "github.com/doorward/doorward/internal/classify/message"

// ErrRequest says that a request cannot be, or that a text is not one. Every
// [Refusal] is one.
var ErrRequest = message.ErrRequest

// Refusal is a request that is not let through whatever the policy says.
type Refusal = message.Refusal

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
	return message.Refuse(statusBad, "", format, args...)
}

func refuse(status int, hint, format string, args ...any) *Refusal {
	return message.Refuse(status, hint, format, args...)
}
