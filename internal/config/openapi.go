package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	classify "github.com/doorward/doorward/internal/classify/http"
)

// Operations reads the service's OpenAPI document: nil where the target names
// none. References to other files and addresses are not followed.
func (t *HTTPTarget) Operations() (*classify.Operations, error) {
	if t.OpenAPI == "" {
		return nil, nil
	}
	data, err := readFile(t.OpenAPI)
	if err != nil {
		return nil, err
	}
	loader := openapi3.NewLoader()
	loader.IsExternalRefsAllowed = false
	doc, err := loader.LoadFromData(data)
	if err != nil {
		return nil, fmt.Errorf("%s is not an OpenAPI document: %w", t.OpenAPI, err)
	}
	ops, err := operationsOf(doc)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.OpenAPI, err)
	}
	return classify.NewOperations(ops)
}

func operationsOf(doc *openapi3.T) ([]classify.Operation, error) {
	if doc.Paths == nil {
		return nil, fmt.Errorf("there are no paths")
	}
	prefix, err := basePath(doc.Servers)
	if err != nil {
		return nil, err
	}
	var out []classify.Operation
	paths := doc.Paths.Map()
	for _, path := range doc.Paths.InMatchingOrder() {
		item := paths[path]
		for method, op := range item.Operations() {
			o := classify.Operation{ID: op.OperationID, Method: method, Path: prefix + path}
			// An operation's own parameters come before those of its path.
			for _, list := range []openapi3.Parameters{op.Parameters, item.Parameters} {
				for _, ref := range list {
					p, ok, err := paramOf(ref)
					if err != nil {
						return nil, fmt.Errorf("%s %s: %w", method, path, err)
					}
					if ok && !slices.ContainsFunc(o.Params, func(q classify.Param) bool { return q.Name == p.Name && q.Query == p.Query }) {
						o.Params = append(o.Params, p)
					}
				}
			}
			for i, p := range o.Params {
				if slices.ContainsFunc(o.Params[:i], func(q classify.Param) bool { return q.Name == p.Name }) {
					return nil, fmt.Errorf("%s %s: the parameter %s stands in the path and in the query", method, path, p.Name)
				}
			}
			out = append(out, o)
		}
	}
	return out, nil
}

// basePath is what the document's servers have in front of all paths.
func basePath(servers openapi3.Servers) (string, error) {
	base := ""
	for i, s := range servers {
		u, err := url.Parse(s.URL)
		if err != nil || strings.Contains(s.URL, "{") {
			return "", fmt.Errorf("the server %q cannot be read", clip(s.URL, 80))
		}
		p := strings.TrimSuffix(u.Path, "/")
		if i > 0 && p != base {
			return "", fmt.Errorf("its servers have different paths (%q and %q)", clip(base, 40), clip(p, 40))
		}
		base = p
	}
	return base, nil
}

// paramOf reads a parameter; ok is false for what is neither in the path nor in
// the query.
func paramOf(ref *openapi3.ParameterRef) (p classify.Param, ok bool, err error) {
	v := ref.Value
	if v == nil || v.In != openapi3.ParameterInPath && v.In != openapi3.ParameterInQuery {
		return p, false, nil
	}
	p = classify.Param{Name: v.Name, Query: v.In == openapi3.ParameterInQuery, Required: v.Required, Type: "string"}
	if v.Schema == nil || v.Schema.Value == nil {
		return p, true, nil
	}
	s := v.Schema.Value
	if s.Type.Is("array") && p.Query && s.Items != nil && s.Items.Value != nil {
		if v.Explode != nil && !*v.Explode || v.Style != "" && v.Style != openapi3.SerializationForm {
			return p, true, nil // one text with separators: whatever it says
		}
		p.List = true
		s = s.Items.Value
	}
	for _, known := range []string{"integer", "number", "boolean", "string"} {
		if s.Type.Is(known) {
			p.Type = known
		}
	}
	if s.Type.Is("object") {
		return p, true, fmt.Errorf("the parameter %s is an object, which is not supported", v.Name)
	}
	return p, true, nil
}
