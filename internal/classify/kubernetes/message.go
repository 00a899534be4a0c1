package kubernetes

import "strings"

// ParseMessage reads a request as people write it, for the cases of a policy:
//
//	PATCH /apis/apps/v1/namespaces/dev/deployments/web
//	Content-Type: application/merge-patch+json
//
//	{"spec": {"replicas": 3}}
//
// The first line is the method and the target. Headers and an empty line come
// behind it, or nothing, or at once a body that begins with { or [. It says
// nothing about whether the request is let through: [FromHTTP] does.
func ParseMessage(text string) (HTTP, error) {
	const form = "write METHOD TARGET, as in GET /api/v1/namespaces/dev/pods, and for a write its headers, an empty line and the body"
	line, rest, _ := strings.Cut(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	words := strings.Fields(line)
	if len(words) != 2 {
		return HTTP{}, bad("the first line %.80q is not a method and a target", line).hint(form)
	}
	h := HTTP{Method: words[0], Target: words[1], Header: map[string][]string{}}
	if begins := strings.TrimLeft(rest, " \t\n"); strings.HasPrefix(begins, "{") || strings.HasPrefix(begins, "[") {
		h.Body = []byte(strings.TrimSpace(rest))
		return h, nil
	}
	for rest != "" {
		line, rest, _ = strings.Cut(rest, "\n")
		if strings.TrimSpace(line) == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); !ok || name == "" || strings.ContainsAny(name, " \t") {
			return HTTP{}, bad("the line %.80q is not a header", line).hint(form)
		}
		h.Header[name] = append(h.Header[name], strings.TrimSpace(value))
	}
	if strings.TrimSpace(rest) != "" {
		h.Body = []byte(rest)
	}
	return h, nil
}
