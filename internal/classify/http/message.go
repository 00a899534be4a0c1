package http

import "strings"

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
	const form = "write METHOD TARGET, as in GET /api/v1/orders, and for a write its headers, an empty line and the body"
	line, rest, _ := strings.Cut(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	words := strings.Fields(line)
	if len(words) != 2 {
		return Incoming{}, bad("the first line %.80q is not a method and a target", line).hint(form)
	}
	in := Incoming{Method: words[0], Target: words[1]}
	if begins := strings.TrimLeft(rest, " \t\n"); strings.HasPrefix(begins, "{") || strings.HasPrefix(begins, "[") {
		in.Fields = []Field{{"Content-Type", "application/json"}}
		in.Body = []byte(strings.TrimSpace(rest))
		return in, nil
	}
	for rest != "" {
		line, rest, _ = strings.Cut(rest, "\n")
		if strings.TrimSpace(line) == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); !ok || name == "" || strings.ContainsAny(name, " \t") {
			return Incoming{}, bad("the line %.80q is not a header", line).hint(form)
		}
		in.Fields = append(in.Fields, Field{name, strings.TrimSpace(value)})
	}
	if body := strings.TrimSuffix(rest, "\n"); strings.TrimSpace(body) != "" {
		in.Body = []byte(body) // a text in YAML ends with a line's end that nobody means
	}
	return in, nil
}
