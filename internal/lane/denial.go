package lane

import (
	"errors"
	"net/http"

	"github.com/doorward/doorward"
)

// Status is the status of HTTP that a denial is told with; want 0 leaves it to
// the denial.
func Status(d *doorward.Denial, want int) int {
	switch {
	case want != 0:
		return want
	case d.Code == "28000":
		return http.StatusUnauthorized
	case d.Code == "53300" || d.Code == "53400":
		return http.StatusTooManyRequests
	case d.Decision == "error":
		return http.StatusServiceUnavailable
	}
	return http.StatusForbidden
}

// Denial gives an error the shape of a denial, without what clients should not
// see.
func Denial(err error) *doorward.Denial {
	var d *doorward.Denial
	switch {
	case errors.As(err, &d):
		return d
	case errors.Is(err, ErrTooMany):
		return &doorward.Denial{Decision: "error", Reason: err.Error(), Hint: "Ask for fewer things at once.", Retry: true, Code: "53300"}
	}
	return &doorward.Denial{Decision: "error", Reason: "doorward cannot do this now", Retry: true}
}
