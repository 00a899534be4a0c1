package http

import (
	"strings"

	"github.com/doorward/doorward"
)

// Read says what a request's text would do. The error is an [ErrRequest]: the
// text is not a request, or one that is never let through.
//
// The kind is the method, and the one object is of the kind "path", named by the
// method and the decoded path: "GET /api/v1/orders/17". A slash at the end is
// part of the name. GET, HEAD and OPTIONS are reads, PUT creates or updates,
// PATCH updates, DELETE deletes. POST is a create, whatever the service does
// with it; it is never a read.
//
// How much a request changes is not known, so nothing bounds it: Bound is -1.
// The effect is incomplete where a service may read something else in the
// request than conditions do; the hint says where.
func Read(text string, env *Env) (*doorward.Reading, error) {
	r, c, err := parse(text)
	if err != nil {
		return nil, err
	}
	headers := make(map[string]string, len(r.Fields))
	for _, f := range r.Fields {
		if !env.sends(f.Name) {
			return nil, bad("the header %.60q is not sent on to this target any more", f.Name)
		}
		headers[f.Name] = f.Value
	}
	said := &doorward.HTTP{Method: r.Method, Path: r.Path, Query: values(r.Query), Headers: headers, Body: c.value, Size: int64(len(r.Body))}
	hint := c.hint
	if env != nil && env.Operations != nil {
		var doubt string
		if said.Operation, said.Args, doubt = env.Operations.find(r); hint == "" && doubt != "" {
			hint = upper(doubt)
		}
	}
	verb := verbOf(r.Method)
	e := doorward.Effect{
		Verbs: verb, Kinds: []string{r.Method}, Complete: hint == "", Hint: hint, Bound: -1,
		Objects: []doorward.Object{{Kind: "path", Name: r.Object(), Verb: verb}},
		HTTP:    said,
	}
	return &doorward.Reading{Effect: e, Statements: []doorward.Statement{{Kind: r.Method, Text: text, Effect: e}}}, nil
}

// Object is the name of what the request is about, as policies and masking rules
// compare it: "GET /api/v1/orders/17".
func (r *Request) Object() string { return r.Method + " " + r.Path }

func verbOf(method string) doorward.Verb {
	switch method {
	case "GET", "HEAD", "OPTIONS":
		return doorward.VerbRead
	case "POST":
		return doorward.VerbCreate
	case "PUT":
		return doorward.VerbCreate | doorward.VerbUpdate
	case "PATCH":
		return doorward.VerbUpdate
	case "DELETE":
		return doorward.VerbDelete
	}
	return doorward.VerbUnknown
}

// upper makes a sentence of a hint.
func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] + "." }
