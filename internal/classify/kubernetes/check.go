package kubernetes

import (
	"strings"
)

// facts are what is known of a request once it was held to all rules that need
// no policy.
type facts struct {
	Attributes
	parts  []string  // resource, name, subresource and what comes behind
	res    *resource // nil for what is not in the table
	body   *node     // nil when there is none
	asking string    // the kind of request, as in byRequest
}

// inspect holds a request to every rule that needs no policy.
func (r *Request) inspect() (*facts, error) {
	switch r.Method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE":
	default:
		return nil, refuse(statusMethod, "known are GET, POST, PUT, PATCH and DELETE", "the method %.20q is not let through", r.Method)
	}
	if err := checkPath(r.Path); err != nil {
		return nil, err
	}
	if err := checkAccept(r.Accept); err != nil {
		return nil, err
	}
	a, parts, err := resolve(r.Method, r.Path, nil)
	if err != nil {
		return nil, err
	}
	f := &facts{Attributes: a, parts: parts}
	if a.IsResource {
		if err := checkAttributes(&a, parts); err != nil {
			return nil, err
		}
		f.res = lookup(&a)
		if err := f.checkPlace(r.Method); err != nil {
			return nil, err
		}
	} else if r.Method != "GET" {
		return nil, refuse(statusMethod, "", "%s takes GET only", clip(r.Path))
	}
	if r.Stream != a.stream() {
		return nil, bad("the stream %.20q is not what the path asks for (%q)", r.Stream, a.stream())
	}
	f.asking = f.kindOfRequest()
	if err := checkQuery(f.asking, r.Query); err != nil {
		return nil, err
	}
	if f.asking == "exec" && len(r.Query["command"]) == 0 {
		return nil, bad("exec without a command").WithHint("say what is to run, as in ?command=ls")
	}
	// Only now: the library reports what it cannot read of a query.
	if f.Attributes, _, err = resolve(r.Method, r.Path, r.Query); err != nil {
		return nil, err
	}
	f.body, err = r.checkBody(&f.Attributes, f.res, parts)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// kindOfRequest names the list of parameters that a request may have.
func (f *facts) kindOfRequest() string {
	switch {
	case !f.IsResource:
		return "path"
	case f.proxied():
		return "proxy"
	case f.core("pods", "log", StreamExec, StreamAttach, StreamPortForward):
		return f.Subresource
	case f.Verb == "watch":
		return "list"
	}
	return f.Verb
}

// checkPlace wants the method to be one that the place in the path takes.
func (f *facts) checkPlace(method string) error {
	what := f.gvr()
	switch {
	case strings.HasSuffix(f.Path, "/") && !f.proxied():
		return bad("the path %.120q ends with a slash", f.Path).WithHint("leave it out")
	case method == "HEAD" && !f.proxied():
		return refuse(statusMethod, "use GET", "%s does not take HEAD", what)
	case f.proxied() && !f.core("pods", "proxy") && !f.core("services", "proxy") && !f.core("nodes", "proxy"):
		return refuse(statusNotFound, "pods, services and nodes have one", "%s has no proxy", what)
	case (method == "PUT" || method == "PATCH") && !named(f.parts):
		return refuse(statusMethod, "say which, by its name in the path", "%s is not written as a whole", what)
	case method == "POST" && named(f.parts) && f.Subresource == "":
		return refuse(statusMethod, "leave the name out of the path, and write it in the body", "a new object of %s has its name in the body", what)
	case f.res == nil:
		return nil
	case f.Subresource != "" && !f.res.subresources[f.Subresource]:
		return refuse(statusNotFound, "known are "+strings.Join(sortedNames(f.res.subresources), ", "), "%s has no subresource %.60q", what, f.Subresource)
	case !f.res.namespaced && f.namespace() != "":
		return refuse(statusNotFound, "leave the namespace out of the path", "%s is in no namespace", what)
	case f.res.namespaced && f.Namespace == "" && (named(f.parts) || method != "GET"):
		return refuse(statusNotFound, "as in /namespaces/dev/"+f.Resource, "%s is in a namespace, and the path names none", what)
	}
	return nil
}
