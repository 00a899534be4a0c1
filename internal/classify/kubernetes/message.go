package kubernetes

import "github.com/doorward/doorward/internal/classify/message"

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
	m, err := message.Parse(text, "write METHOD TARGET, as in GET /api/v1/namespaces/dev/pods, and for a write its headers, an empty line and the body")
	if err != nil {
		return HTTP{}, err
	}
	h := HTTP{Method: m.Method, Target: m.Target, Header: map[string][]string{}}
	for _, f := range m.Fields {
		h.Header[f.Name] = append(h.Header[f.Name], f.Value)
	}
	if m.Body != "" {
		h.Body = []byte(m.Body)
	}
	return h, nil
}
