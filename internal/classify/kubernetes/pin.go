package kubernetes

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Live gives the path at which the object that a write is about can be read as
// it is now. ok is false for reads, for what creates a new object, for
// collections and streams, and for what is not a request.
//
// For a scale it is the scale itself, which has the object's uid and
// resourceVersion; for other subresources the object that they are part of. An
// apply patch may be about an object that is not there yet.
func (r *Request) Live() (path string, ok bool) {
	f, err := r.inspect()
	if err != nil || !f.pinned(r) {
		return "", false
	}
	if f.Subresource == "scale" {
		return r.Path, true
	}
	return objectPath(r.Path, f.parts), true
}

// rehearsedSubresources are those whose writes the API server can try out
// without keeping anything (dryRun).
var rehearsedSubresources = set([]string{"", "status", "scale", "ephemeralcontainers", "resize", "approval"})

// Rehearsable reports whether the API server itself, where it serves the group,
// keeps nothing of the request when it is told so by dryRun. Reviews and tokens
// are not among that: they are made all the same.
func (r *Request) Rehearsable() bool {
	f, err := r.inspect()
	if err != nil || !f.IsResource || f.proxied() || f.stream() != "" || !rehearsedSubresources[f.Subresource] {
		return false
	}
	switch f.Verb {
	case "create", "update", "patch":
	default:
		return false
	}
	return f.Group != "authentication.k8s.io" && f.Group != "authorization.k8s.io" && (f.Group != "" || f.Resource != "bindings")
}

// pinned reports whether the request is a write of one object that is there.
func (f *facts) pinned(r *Request) bool {
	if !f.IsResource || !named(f.parts) || f.proxied() || f.stream() != "" {
		return false
	}
	switch f.Verb {
	case "update", "patch":
		return true
	case "delete":
		return f.Subresource == ""
	case "create":
		return f.core("pods", "eviction", "binding")
	}
	return false
}

// Pin gives the same write, made to fail unless the object still has this uid
// and this resourceVersion when it is done. A write that has no way of saying
// so, or says otherwise already, is an error.
//
// A delete and an eviction get preconditions (an eviction the uid alone), a JSON
// patch begins with tests, and everything else has both in its metadata.
func (r *Request) Pin(uid, resourceVersion string) (*Request, error) {
	f, err := r.inspect()
	if err != nil {
		return nil, err
	}
	for what, v := range map[string]string{"uid": uid, "resourceVersion": resourceVersion} {
		if v == "" || text(maxLabel*4)(v) != "" {
			return nil, bad("the object's %s %.80q cannot be what a write is held to", what, v)
		}
	}
	if !f.pinned(r) {
		return nil, bad("%s is no write of one object that is there", clip(f.Verb+" "+f.kind()))
	}
	out := *r
	out.Query = maps.Clone(r.Query)
	body := f.body
	switch {
	case f.Verb == "delete":
		if body == nil {
			body = deleteBody(out.Query)
			out.ContentType = typeJSON
		}
		err = pinUnder(body, "preconditions", uid, resourceVersion)
	case f.core("pods", "eviction"):
		options := body.get("deleteOptions")
		if !options.is(objectNode) {
			options = newObject()
			body.set("deleteOptions", options)
		}
		// The API server marks the pod before it deletes it, and others answer to
		// that: an eviction of the version that was seen would fail by chance.
		err = pinUnder(options, "preconditions", uid, "")
	case r.ContentType == typeJSONPatch:
		err = pinPatch(body, uid, resourceVersion)
	default:
		err = pinUnder(body, "metadata", uid, resourceVersion)
	}
	if err != nil {
		return nil, err
	}
	if len(out.Query) == 0 {
		out.Query = nil
	}
	var b strings.Builder
	writeJSON(&b, body)
	out.Body = []byte(b.String())
	if _, err := out.inspect(); err != nil {
		return nil, err
	}
	return &out, nil
}

// deleteBody moves the options of a delete from its query into a body: with a
// body, the query would not count any more.
func deleteBody(q url.Values) *node {
	body := newObject()
	body.set("kind", stringOf("DeleteOptions"))
	body.set("apiVersion", stringOf("v1"))
	for _, name := range sortedNames(deleting) {
		if !q.Has(name) {
			continue
		}
		v := q.Get(name)
		switch name {
		case "dryRun":
			body.set(name, &node{kind: arrayNode, list: []*node{stringOf(v)}})
		case "propagationPolicy":
			body.set(name, stringOf(v))
		case "gracePeriodSeconds":
			n, _ := strconv.ParseInt(v, 10, 64) // checkQuery wants a number
			body.set(name, &node{kind: numberNode, text: strconv.FormatInt(n, 10)})
		default:
			body.set(name, &node{kind: boolNode, text: strconv.FormatBool(isTrue(q, name))})
		}
		q.Del(name)
	}
	return body
}

// pinUnder sets uid and, unless it is "", resourceVersion in an object below
// the key.
func pinUnder(body *node, key, uid, resourceVersion string) error {
	in := body.get(key)
	if in == nil || key == "preconditions" && in.kind == nullNode {
		in = newObject()
		body.set(key, in)
	}
	if !in.is(objectNode) {
		return bad("%s is not an object", key)
	}
	for _, p := range [][2]string{{"uid", uid}, {"resourceVersion", resourceVersion}} {
		if p[1] == "" {
			continue
		}
		if err := pinField(in.get(p[0]), key+"."+p[0], p[1]); err != nil {
			return err
		}
		in.set(p[0], stringOf(p[1]))
	}
	return nil
}

// pinField wants a value that is there already to be the same.
func pinField(have *node, what, want string) error {
	if have == nil || have.is(stringNode) && (have.text == want || have.text == "") {
		return nil
	}
	return refuse(statusConflict, "read the object again, and send the write for what it is now", "%s in the request is not that of the object as it is now (%s)", what, want)
}

// pinPatch puts tests before the operations of a JSON patch.
func pinPatch(tree *node, uid, resourceVersion string) error {
	list, err := operations(tree)
	if err != nil {
		return err
	}
	var head []*node
	for _, p := range [][2]string{{"uid", uid}, {"resourceVersion", resourceVersion}} {
		if p[1] == "" {
			continue
		}
		for _, o := range list {
			if o.op == "test" && slices.Equal(o.path, []string{"metadata", p[0]}) {
				if err := pinField(o.value, "the test of /metadata/"+p[0], p[1]); err != nil {
					return err
				}
			}
		}
		t := newObject()
		t.set("op", stringOf("test"))
		t.set("path", stringOf("/metadata/"+p[0]))
		t.set("value", stringOf(p[1]))
		head = append(head, t)
	}
	if len(tree.list)+len(head) > maxOperations {
		return refuse(statusTooLarge, "", "the patch has too many operations")
	}
	tree.list = append(head, tree.list...)
	return nil
}
