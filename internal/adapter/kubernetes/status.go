package kubernetes

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/lane"
	"github.com/doorward/doorward/internal/wire/frame"
)

// head is the body of a Head frame: the status and the headers of an answer.
type head struct {
	Status   int      `json:"status"`
	Type     string   `json:"content_type,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// status is a Status of the API (meta/v1), as kubectl shows it.
type status struct {
	Kind       string   `json:"kind"`
	APIVersion string   `json:"apiVersion"`
	Metadata   struct{} `json:"metadata"`
	Status     string   `json:"status"`
	Message    string   `json:"message,omitempty"`
	Reason     string   `json:"reason,omitempty"`
	Details    *details `json:"details,omitempty"`
	Code       int      `json:"code,omitempty"`
}

type details struct {
	Causes []cause `json:"causes,omitempty"`
}

type cause struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// reasons are the API's words for HTTP statuses.
var reasons = map[int]string{
	400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed", 406: "NotAcceptable", 408: "Timeout", 409: "Conflict",
	413: "RequestEntityTooLarge", 415: "UnsupportedMediaType", 422: "Invalid", 429: "TooManyRequests", 500: "InternalError", 502: "InternalError", 503: "ServiceUnavailable", 504: "Timeout",
}

// denied is the Status of a denial.
func denied(d *doorward.Denial, code int) []byte {
	s := status{Kind: "Status", APIVersion: "v1", Status: "Failure", Message: message(d), Reason: reasons[code], Code: code, Details: &details{}}
	add := func(reason, message string) {
		if message != "" {
			s.Details.Causes = append(s.Details.Causes, cause{reason, message})
		}
	}
	add("DoorwardDecision", d.Decision)
	add("DoorwardRule", d.Rule)
	add("DoorwardReason", d.Reason)
	add("DoorwardHint", d.Hint)
	if d.Review != 0 {
		add("DoorwardReview", strconv.FormatInt(d.Review, 10))
	}
	add("DoorwardURL", d.URL)
	add("DoorwardRetry", strconv.FormatBool(d.Retry))
	b, err := json.Marshal(s)
	if err != nil {
		return []byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"doorward refuses this","code":403}`)
	}
	return b
}

// answerFrames are the frames of an answer of doorward's own: a Status, or for
// what shows a text and no Status the same as plain text.
func answerFrames(d *doorward.Denial, code int, warnings []string, plain bool) []byte {
	kind, body := "application/json", denied(d, code)
	if plain {
		kind, body = "text/plain; charset=utf-8", []byte(message(d))
	}
	h, err := json.Marshal(head{Status: code, Type: kind, Warnings: warnings})
	if err != nil {
		h = []byte(`{"status":403}`)
	}
	return frame.Append(frame.Append(nil, frame.Head, h), frame.Output, body)
}

// message is a denial in one line.
func message(d *doorward.Denial) string {
	msg := "doorward: " + d.Error()
	if d.Hint != "" {
		msg += ". Hint: " + d.Hint
	}
	return msg
}

// reply answers a request that has no session: nothing of it is recorded but
// what the gate recorded when it turned it away.
func reply(w http.ResponseWriter, warnings []string, d *doorward.Denial, want int) {
	code := lane.Status(d, want)
	writeHead(w, head{Status: code, Type: "application/json", Warnings: warnings})
	_, _ = w.Write(denied(d, code))
}

func writeHead(w http.ResponseWriter, h head) {
	if h.Type != "" {
		w.Header().Set("Content-Type", h.Type)
	}
	for _, text := range h.Warnings {
		w.Header().Add("Warning", warning(text))
	}
	if h.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="doorward"`)
	}
	w.WriteHeader(h.Status)
}

// warning writes a text as kubectl shows it: a Warning header with code 299
// (RFC 7234, section 5.5).
func warning(text string) string {
	var b strings.Builder
	b.WriteString(`299 - "`)
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			b.WriteByte(' ')
		case r > 0x7e:
			b.WriteByte('?') // a header is ASCII
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func heldText(r doorward.Review) string {
	return fmt.Sprintf("doorward: held for approval, review %d: %s", r.ID, r.URL)
}
