package http

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/lane"
	wire "github.com/doorward/doorward/internal/wire/http"
)

// problemType is the media type of problem documents.
const problemType = "application/problem+json"

// problem is a problem document (RFC 9457) with the members that a denial has
// in every protocol.
type problem struct {
	Type     string `json:"type"` // urn:doorward:denied, urn:doorward:held or urn:doorward:error
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail"`
	Decision string `json:"decision"`
	Rule     string `json:"rule,omitempty"`
	Reason   string `json:"reason"`
	Hint     string `json:"hint,omitempty"`
	Review   int64  `json:"review,omitempty"`
	URL      string `json:"url,omitempty"`
	Retry    bool   `json:"retry"`
}

// titles are the problem's types by decision.
var titles = map[string][2]string{
	"deny":   {"urn:doorward:denied", "Denied"},
	"review": {"urn:doorward:held", "Held for approval"},
	"error":  {"urn:doorward:error", "Not possible now"},
}

// problemAnswer is the answer that a denial is told with.
func (x *exchange) problemAnswer(d *doorward.Denial, want int) answer {
	code := lane.Status(d, want)
	kind, ok := titles[d.Decision]
	if !ok {
		kind = titles["error"]
	}
	detail := "doorward: " + d.Error()
	if d.Hint != "" {
		detail += ". Hint: " + d.Hint
	}
	body, err := json.Marshal(problem{Type: kind[0], Title: kind[1], Status: code, Detail: detail, Decision: d.Decision, Rule: d.Rule, Reason: d.Reason, Hint: d.Hint, Review: d.Review, URL: d.URL, Retry: d.Retry})
	if err != nil {
		body = []byte(`{"type":"urn:doorward:denied","title":"Denied","status":403}`)
	}
	a := answer{status: code, kind: problemType, body: body, length: int64(len(body))}
	if d.Review != 0 {
		a.fields = append(a.fields, wire.Field{Name: "Doorward-Review", Value: strconv.FormatInt(d.Review, 10)})
	}
	if d.Decision == "review" {
		a.fields = append(a.fields, wire.Field{Name: "Retry-After", Value: "30"})
	}
	if code == http.StatusUnauthorized {
		a.fields = append(a.fields, wire.Field{Name: "WWW-Authenticate", Value: `Bearer realm="doorward"`})
	}
	if x.in.method == http.MethodHead {
		a.body, a.length = nil, noBody
	}
	return a
}

// problem answers a request that has no session: nothing of it is recorded but
// what the gate recorded when it turned it away.
func (x *exchange) problem(d *doorward.Denial, want int) bool {
	a := x.problemAnswer(d, want)
	if x.unread {
		x.client.hangUp()
	}
	if err := x.client.head(a.status, a.heads(), a.length); err != nil {
		return false
	}
	if err := x.client.write(a.body); err != nil {
		return false
	}
	return x.client.end() == nil
}

// wireProblem tells a client that does not speak HTTP as it should.
type wireProblem struct {
	status       int
	reason, hint string
}

// bare is the whole answer, after which the connection ends.
func (w *wireProblem) bare() []byte {
	x := exchange{}
	a := x.problemAnswer(&doorward.Denial{Decision: "deny", Reason: w.reason, Hint: w.hint}, w.status)
	fields := append(a.heads(), wire.Field{Name: "Content-Length", Value: fmt.Sprint(len(a.body))}, wire.Field{Name: "Connection", Value: "close"})
	return append(wire.AppendAnswer(nil, a.status, fields), a.body...)
}
