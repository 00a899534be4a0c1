package kubernetes

import (
	"cmp"
	"slices"
	"strings"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/classify/shell"
)

// Kinds of effects that stand beside a request's own kind ("create pods/exec"),
// or instead of it.
const (
	KindDiscovery = "discovery" // a path that says what the cluster is and serves
	KindPTY       = "pty"       // exec or attach with a terminal
	KindStdin     = "stdin"     // exec or attach with standard input
)

// Env is what is known of the target.
type Env struct {
	Groups []string // API groups of custom resources that may be used
}

// knows reports whether a group that is not built in may be used.
func (e *Env) knows(group string) bool { return e != nil && slices.Contains(e.Groups, group) }

// Read says what a request's text would do. The error is an [ErrRequest]: the
// text is not a request, or one that is never let through.
//
// The kind is the verb and the resource as kubectl writes them: "list pods",
// "patch deployments.apps/scale". For exec the command's kind comes beside it,
// and the command is read by the package shell. Objects are resources with
// their subresource, and names as namespace/name; a star stands for all of a
// namespace, or for all namespaces.
//
// An API group that is neither built in nor in env makes the effect incomplete.
func Read(text string, env *Env) (*doorward.Reading, error) {
	r, f, err := parse(text)
	if err != nil {
		return nil, err
	}
	e := doorward.Effect{Complete: true, Bound: -1}
	if !f.IsResource {
		f.readPath(&e)
	} else if err := r.readResource(f, env, &e); err != nil {
		return nil, err
	}
	slices.SortFunc(e.Objects, func(a, b doorward.Object) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	for _, o := range e.Objects {
		e.Verbs |= o.Verb
	}
	return &doorward.Reading{Effect: e, Statements: []doorward.Statement{{Kind: e.Kinds[0], Text: text, Effect: e}}}, nil
}

// openPaths are the paths that say what the cluster is and serves, and the
// beginnings of such. None of them says anything about an object.
var (
	openPaths = set(strings.Fields("/api /apis /version /openapi/v2 /openapi/v3 /healthz /livez /readyz"))
	openBelow = []string{"/openapi/v3/api/", "/openapi/v3/apis/", "/healthz/", "/livez/", "/readyz/"}
)

// issuerPaths say how tokens of service accounts are checked. They are public,
// and not what a client asks for that wants to know what there is.
var issuerPaths = set(strings.Fields("/openid/v1/jwks /.well-known/openid-configuration"))

// readPath gives the effect of a path that is no object.
func (f *facts) readPath(e *doorward.Effect) {
	verb := doorward.VerbRead
	e.Kinds = []string{KindDiscovery}
	switch {
	case f.discovery():
	case issuerPaths[f.Path]:
		e.Kinds = []string{f.Verb + " path"}
	default:
		// Logs of the server, its profiles, its metrics: who may see them can
		// see requests of others.
		e.Kinds = []string{f.Verb + " path"}
		verb |= doorward.VerbAdmin
		e.Hint = "Of the paths that are no objects, those that say what the cluster serves may be open: /api, /apis, /openapi, /version, /healthz, /livez, /readyz."
	}
	e.Objects = []doorward.Object{{Kind: "path", Name: f.Path, Verb: verb}}
}

func (f *facts) discovery() bool {
	if openPaths[f.Path] || slices.ContainsFunc(openBelow, func(p string) bool { return strings.HasPrefix(f.Path, p) }) {
		return true
	}
	segments := strings.Split(f.Path[1:], "/")
	switch {
	case segments[0] == "api":
		return len(segments) == 2 && dnsLabel(segments[1])
	case segments[0] == "apis":
		return len(segments) <= 3 && dnsSubdomain(segments[1]) && (len(segments) == 2 || dnsLabel(segments[2]))
	}
	return false
}

// bounded are verbs that an API server does to one object at a time, unless it
// is asked for all that a selector matches.
const bounded = doorward.VerbWrites | doorward.VerbAdmin

// readResource gives the effect of a request about objects.
func (r *Request) readResource(f *facts, env *Env, e *doorward.Effect) error {
	name := f.Verb
	if f.stream() != "" {
		name = "create" // by whichever method: what the API server itself asks for
	}
	e.Kinds = []string{name + " " + f.kind()}
	verb, traits := f.judge(r)
	e.Traits = traits
	e.Objects = []doorward.Object{{Kind: f.kind(), Name: f.objectName(), Verb: verb}}
	if verb.Has(bounded) && f.stream() == "" && !f.proxied() && !traits.Has(doorward.TraitUnbounded) {
		e.Bound = 1
	}
	f.complete(env, e)
	if f.stream() == "" {
		return nil
	}
	if isTrue(r.Query, "stdin") {
		e.Kinds = append(e.Kinds, KindStdin)
	}
	if isTrue(r.Query, "tty") {
		e.Kinds = append(e.Kinds, KindPTY)
	}
	if f.Subresource != StreamExec {
		return nil
	}
	c, err := shell.Args(r.Query["command"])
	if err != nil {
		return bad("%v", err)
	}
	e.Kinds = slices.Insert(e.Kinds, 1, c.Kind)
	e.Commands = c.Commands
	e.Traits |= c.Traits
	e.Complete = e.Complete && c.Complete
	e.Objects = append(e.Objects, c.Objects...)
	return nil
}

// objectName names what the request is about, as policies compare it.
func (f *facts) objectName() string {
	name := f.Name
	switch {
	case named(f.parts):
	case f.Verb == "create":
		// The name is in the body; without one, the server makes it up.
		name = ""
		if n := f.body.at("metadata", "name"); n.is(stringNode) {
			name = n.text
		}
	case f.res == nil || f.Verb == "deletecollection":
		// Not every server looks at metadata.name in a selector.
		name = ""
	}
	if name == "" {
		name = "*"
	}
	switch {
	case f.namespace() != "":
		return f.namespace() + "/" + name
	case f.res != nil && f.res.namespaced || f.res == nil && name == "*" && f.Verb != "create":
		return "*/*"
	}
	return name
}

// complete says whether everything about the request is known.
func (f *facts) complete(env *Env, e *doorward.Effect) {
	g := groups[f.Group]
	custom := env.knows(f.Group)
	switch {
	case g == nil && !custom:
		e.Complete = false
		e.Hint = "The API group " + f.Group + " is not built in. Whoever keeps the configuration can list it under groups: of the target."
	case custom && f.res == nil:
		if f.Subresource != "" && f.Subresource != "status" && f.Subresource != "scale" {
			e.Complete = false
			e.Hint = "What the subresource " + f.Subresource + " of a custom resource does is not known; status and scale are."
		}
	case f.res == nil:
		e.Complete = false
		e.Hint = "The resource " + f.gvr() + " is not one that doorward knows. Names are in the plural, as in pods."
	case !g.versions[f.Version] && !custom:
		e.Complete = false
		e.Hint = "The version " + f.apiVersion() + " is not one that doorward knows."
	}
	if !e.Complete && f.res == nil && f.Subresource != "" {
		// It may do anything, with any method.
		e.Objects[0].Verb |= doorward.VerbUnknown
	}
}
