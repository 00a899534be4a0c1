package message

import (
	"errors"
	"fmt"
	"strings"
)

// ErrRequest says that a request cannot be, or that a text is not one. Every
// [Refusal] is one.
var ErrRequest = errors.New("not a request")

// Refusal is a request that is not let through whatever the policy says.
type Refusal struct {
	Status int    // of HTTP: 400 to 499
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

// Refuse makes a refusal.
func Refuse(status int, hint, format string, args ...any) *Refusal {
	return &Refusal{Status: status, Hint: hint, Reason: fmt.Sprintf(format, args...)}
}

// WithHint gives the refusal a hint.
func (r *Refusal) WithHint(text string) *Refusal {
	r.Hint = text
	return r
}

// Field is one header of a message.
type Field struct{ Name, Value string }

// Message is a request as people write it.
type Message struct {
	Method, Target string
	Fields         []Field
	Body           string // everything behind the empty line, or behind the first line
	Direct         bool   // the body came right behind the first line
}

// Parse reads a request as people write it, for the cases of a policy:
//
//	POST /api/v1/orders
//	Content-Type: application/json
//
//	{"item": "a", "qty": 1}
//
// The first line is the method and the target. Headers and an empty line come
// behind it, or nothing, or at once a body that begins with { or [. The hint says
// how it is written.
func Parse(text, hint string) (*Message, error) {
	line, rest, _ := strings.Cut(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	words := strings.Fields(line)
	if len(words) != 2 {
		return nil, Refuse(400, hint, "the first line %.80q is not a method and a target", line)
	}
	m := &Message{Method: words[0], Target: words[1]}
	if begins := strings.TrimLeft(rest, " \t\n"); strings.HasPrefix(begins, "{") || strings.HasPrefix(begins, "[") {
		m.Body, m.Direct = strings.TrimSpace(rest), true
		return m, nil
	}
	for rest != "" {
		line, rest, _ = strings.Cut(rest, "\n")
		if strings.TrimSpace(line) == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); !ok || name == "" || strings.ContainsAny(name, " \t") {
			return nil, Refuse(400, hint, "the line %.80q is not a header", line)
		}
		m.Fields = append(m.Fields, Field{name, strings.TrimSpace(value)})
	}
	if strings.TrimSpace(rest) != "" {
		m.Body = rest
	}
	return m, nil
}
