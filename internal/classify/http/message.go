package http

import (
	"strings"

	"github.com/doorward/doorward/internal/classify/message"
)

// ParseMessage reads a request as people write it, for the cases of a policy:
//
//	POST /api/v1/orders
//	Content-Type: application/json
//
//	{"item": "a", "qty": 1}
//
// The first line is the method and the target. Headers and an empty line come
// behind it, or nothing, or at once a body that begins with { or [ and is then
// JSON. It says nothing about whether the request is let through: [FromHTTP]
// does.
func ParseMessage(text string) (Incoming, error) {
	m, err := message.Parse(text, "write METHOD TARGET, as in GET /api/v1/orders, and for a write its headers, an empty line and the body")
	if err != nil {
		return Incoming{}, err
	}
	in := Incoming{Method: m.Method, Target: m.Target}
	for _, f := range m.Fields {
		in.Fields = append(in.Fields, Field(f))
	}
	if m.Direct {
		in.Fields = []Field{{"Content-Type", "application/json"}}
	}
	if body := strings.TrimSuffix(m.Body, "\n"); body != "" {
		in.Body = []byte(body) // a text in YAML ends with a line's end that nobody means
	}
	return in, nil
}
