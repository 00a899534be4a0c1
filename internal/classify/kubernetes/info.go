package kubernetes

import (
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// Attributes are what the API server makes of a request's method, path and
// query: what its own authorizer is asked about.
type Attributes struct {
	Verb        string // get, list, watch, create, update, patch, delete or deletecollection; the method in lower case where IsResource is false
	Group       string // "" is the core group
	Version     string // v1
	Resource    string // pods
	Subresource string // log; "" for the object itself
	Namespace   string // "" for all namespaces, and for what is in none; the Namespace object's own name for itself
	Name        string // "" for a collection; of a list or watch that is narrowed to one name, this name
	IsResource  bool   // false for what is no object, such as /version
	Path        string // the whole path
}

var resolver = apirequest.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}

// Attributes resolves the request by the API server's own library. It says
// nothing about whether the request is let through.
func (r *Request) Attributes() (Attributes, error) {
	if err := checkPath(r.Path); err != nil {
		return Attributes{}, err
	}
	a, _, err := resolve(r.Method, r.Path, r.Query)
	return a, err
}

// newRequest makes the argument of a function of the library. That is a
// request of net/http, of which the library looks at Method and URL; taking
// the type from the library keeps net/http out of this package.
func newRequest[F, R, I any](func(F, *R) (I, error)) *R { return new(R) }

// resolve gives the attributes, and the parts of the path from the resource on:
// resource, name, subresource and what comes behind it.
func resolve(method, path string, query url.Values) (Attributes, []string, error) {
	req := newRequest((*apirequest.RequestInfoFactory).NewRequestInfo)
	req.Method, req.URL = method, &url.URL{Path: path, RawQuery: query.Encode()}
	info, err := resolver.NewRequestInfo(req)
	if err != nil {
		return Attributes{}, nil, bad("the path %.80q is cut short", path)
	}
	return Attributes{
		Verb: info.Verb, Group: info.APIGroup, Version: info.APIVersion, Resource: info.Resource, Subresource: info.Subresource,
		Namespace: info.Namespace, Name: info.Name, IsResource: info.IsResourceRequest, Path: info.Path,
	}, info.Parts, nil
}

// gvr is the resource as kubectl writes it: pods, deployments.apps.
func (a *Attributes) gvr() string {
	if a.Group == "" {
		return a.Resource
	}
	return a.Resource + "." + a.Group
}

// kind is the resource and the subresource: pods/log, deployments.apps/scale.
func (a *Attributes) kind() string {
	if a.Subresource == "" {
		return a.gvr()
	}
	return a.gvr() + "/" + a.Subresource
}

// apiVersion is what objects at this path have under that name.
func (a *Attributes) apiVersion() string {
	if a.Group == "" {
		return a.Version
	}
	return a.Group + "/" + a.Version
}

// namespace is the namespace that the object is in: the Namespace object, of
// which the library says that it is in itself, is in none.
func (a *Attributes) namespace() string {
	if a.Resource == "namespaces" && a.Group == "" {
		return ""
	}
	return a.Namespace
}

// core reports whether this is the resource of the core group, with one of the
// subresources.
func (a *Attributes) core(resource string, subresources ...string) bool {
	if a.Group != "" || a.Resource != resource {
		return false
	}
	for _, s := range subresources {
		if s == a.Subresource {
			return true
		}
	}
	return false
}

// stream is the stream that a request for these attributes asks for, whatever
// its headers say.
func (a *Attributes) stream() string {
	if a.IsResource && a.core("pods", StreamExec, StreamAttach, StreamPortForward) {
		return a.Subresource
	}
	return ""
}

// proxied reports whether the API server passes the request on to something
// else: a pod, a service, a node's agent.
func (a *Attributes) proxied() bool {
	return a.IsResource && a.Subresource == "proxy"
}

// named reports whether the request is about one object by name in its path.
func named(parts []string) bool { return len(parts) >= 2 && parts[1] != "" }

// objectPath is the path of the object itself: of the pod for pods/eviction.
func objectPath(path string, parts []string) string {
	for range max(0, len(parts)-2) {
		path = path[:strings.LastIndexByte(path, '/')]
	}
	return path
}
