package http

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Param is a parameter of an operation, in the path or in the query.
type Param struct {
	Name     string
	Query    bool   // in the query; else in the path
	Type     string // string, integer, number or boolean
	List     bool   // it may come several times
	Required bool
}

// Operation is one thing that a service does, as its OpenAPI document says.
type Operation struct {
	ID     string // operationId
	Method string
	Path   string // template, from the service's root: /v1/orders/{id}
	Params []Param
}

// Operations are all that a service does. It is immutable.
type Operations struct{ byMethod map[string][]route }

type route struct {
	*Operation
	segments []string // of the template; a parameter with its braces
}

// Bounds of a document.
const (
	maxOperations = 5000
	maxParams     = 200
)

// NewOperations checks operations and makes them ready to be looked up. Every
// one has a name of its own, and a parameter in a path is a whole segment.
func NewOperations(list []Operation) (*Operations, error) {
	if len(list) > maxOperations {
		return nil, fmt.Errorf("%d operations; the most is %d", len(list), maxOperations)
	}
	o := &Operations{byMethod: map[string][]route{}}
	ids := map[string]bool{}
	for i := range list {
		op := &list[i]
		where := op.Method + " " + op.Path
		switch {
		case op.ID == "":
			return nil, fmt.Errorf("%s has no operationId", where)
		case ids[op.ID]:
			return nil, fmt.Errorf("%s: the operationId %s stands twice", where, op.ID)
		case len(op.Params) > maxParams:
			return nil, fmt.Errorf("%s: %d parameters; the most is %d", where, len(op.Params), maxParams)
		}
		ids[op.ID] = true
		segs, err := template(op)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		o.byMethod[op.Method] = append(o.byMethod[op.Method], route{op, segs})
	}
	for _, routes := range o.byMethod {
		// What is concrete is found before what is a parameter.
		slices.SortStableFunc(routes, func(a, b route) int {
			for i := range min(len(a.segments), len(b.segments)) {
				if x, y := isParam(a.segments[i]), isParam(b.segments[i]); x != y {
					if x {
						return 1
					}
					return -1
				}
			}
			return 0
		})
	}
	return o, nil
}

func isParam(segment string) bool { return strings.HasPrefix(segment, "{") }

func template(op *Operation) ([]string, error) {
	if !strings.HasPrefix(op.Path, "/") {
		return nil, errors.New("the path does not begin with a slash")
	}
	segs := strings.Split(op.Path[1:], "/")
	for _, s := range segs {
		if !strings.ContainsAny(s, "{}") {
			continue
		}
		name, ok := strings.CutPrefix(s, "{")
		name, ok2 := strings.CutSuffix(name, "}")
		if !ok || !ok2 || strings.ContainsAny(name, "{}") {
			return nil, fmt.Errorf("the segment %q is a parameter only in part, which is not supported", s)
		}
		if !slices.ContainsFunc(op.Params, func(p Param) bool { return !p.Query && p.Name == name }) {
			return nil, fmt.Errorf("the parameter {%s} is not described", name)
		}
	}
	return segs, nil
}

// find gives the operation of a request and its arguments. doubt says why there
// is none, or why a service may read the arguments differently.
func (o *Operations) find(r *Request) (id string, args map[string]any, doubt string) {
	routes := o.byMethod[r.Method]
	if r.Method == "HEAD" && len(routes) == 0 {
		routes = o.byMethod["GET"]
	}
	segs := strings.Split(r.Path[1:], "/")
	for _, t := range routes {
		raw, ok := t.match(segs)
		if !ok {
			continue
		}
		args, doubt = t.arguments(raw, r.Query)
		return t.ID, args, doubt
	}
	return "", nil, "the service's OpenAPI document has no operation for " + clip(r.Object())
}

func (t *route) match(segs []string) (map[string]string, bool) {
	if len(segs) != len(t.segments) {
		return nil, false
	}
	var raw map[string]string
	for i, want := range t.segments {
		switch {
		case !isParam(want):
			if want != segs[i] {
				return nil, false
			}
		case segs[i] == "":
			return nil, false
		default:
			if raw == nil {
				raw = map[string]string{}
			}
			raw[want[1:len(want)-1]] = segs[i]
		}
	}
	return raw, true
}

// arguments gives what the parameters of an operation are in a request, by
// their types.
func (t *route) arguments(path map[string]string, query []Pair) (args map[string]any, doubt string) {
	args = map[string]any{}
	came := map[string][]string{}
	for _, p := range query {
		came[p.Key] = append(came[p.Key], p.Value)
	}
	for i := range t.Params {
		p := &t.Params[i]
		values := came[p.Name]
		if !p.Query {
			values = []string{path[p.Name]}
		} else {
			delete(came, p.Name)
		}
		switch {
		case len(values) == 0 && p.Required:
			return args, "the operation " + t.ID + " needs the parameter " + clip(p.Name)
		case len(values) == 0:
			continue
		case len(values) > 1 && !p.List:
			return args, "the parameter " + clip(p.Name) + " comes more than once"
		}
		var list []any
		for _, v := range values {
			x, ok := p.value(v)
			if !ok {
				return args, "the parameter " + clip(p.Name) + " is not of the type " + p.Type
			}
			list = append(list, x)
		}
		if p.List {
			args[p.Name] = list
		} else {
			args[p.Name] = list[0]
		}
	}
	for _, q := range query {
		if _, left := came[q.Key]; left {
			return args, "the operation " + t.ID + " has no parameter " + clip(q.Key)
		}
	}
	return args, ""
}

// value reads one value, in the one way in which its type is written: +7, 007
// and 1e1 are numbers for some servers and not for others.
func (p *Param) value(s string) (any, bool) {
	switch p.Type {
	case "string":
		return s, true
	case "boolean":
		return s == "true", s == "true" || s == "false"
	case "integer":
		n, err := strconv.ParseInt(s, 10, 64)
		return n, err == nil && strconv.FormatInt(n, 10) == s
	case "number":
		v, doubt, err := readJSON([]byte(s))
		if err != nil || doubt != "" {
			return nil, false
		}
		switch n := v.(type) {
		case int64:
			return float64(n), strconv.FormatInt(n, 10) == s && n < 1<<53 && n > -1<<53
		case float64:
			return n, true
		}
	}
	return nil, false
}
