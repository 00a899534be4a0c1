package kubernetes

import (
	"slices"
	"strings"
)

// The types of bodies.
const (
	typeJSON      = "application/json"
	typeJSONPatch = "application/json-patch+json"
	typeMerge     = "application/merge-patch+json"
	typeStrategic = "application/strategic-merge-patch+json"
	typeApply     = "application/apply-patch+yaml"
)

var patchTypes = set([]string{typeJSONPatch, typeMerge, typeStrategic, typeApply})

// checkBody reads the body, and holds it to what this kind of request has. It
// gives nil where there is none.
func (r *Request) checkBody(a *Attributes, res *resource, parts []string) (*node, error) {
	if len(r.Body) > MaxBody {
		return nil, refuse(statusTooLarge, "", "the body has %d bytes; the most is %d", len(r.Body), MaxBody)
	}
	if r.Body != nil && len(r.Body) == 0 {
		return nil, bad("the body is there and empty")
	}
	if len(r.Body) == 0 {
		switch {
		case r.ContentType != "":
			return nil, bad("there is a content type and no body")
		case (r.Method == "POST" || r.Method == "PUT" || r.Method == "PATCH") && !a.proxied() && a.stream() == "":
			return nil, bad("a %s needs a body", r.Method)
		}
		return nil, nil
	}
	switch {
	case r.Method == "GET" || r.Method == "HEAD" || !a.IsResource || a.stream() != "":
		return nil, bad("a %s of %s has no body", r.Method, clip(r.Path)).WithHint("leave it out")
	case r.Method == "PATCH" && !a.proxied() && !patchTypes[r.ContentType]:
		return nil, refuse(statusMedia, "known are "+strings.Join(sortedNames(patchTypes), ", "), "%.80q is not a type of patch", r.ContentType)
	case (r.Method != "PATCH" || a.proxied()) && r.ContentType != typeJSON:
		return nil, refuse(statusMedia, "send "+typeJSON, "the body's type %.80q is not let through", r.ContentType)
	}
	tree, err := readJSON(r.Body)
	if err != nil {
		return nil, err
	}
	if a.proxied() {
		return tree, nil
	}
	if r.ContentType == typeJSONPatch {
		return tree, checkOperations(tree, a.Group == "" && a.Resource == "secrets")
	}
	if tree.kind != objectNode {
		return nil, bad("the body is not an object")
	}
	if r.Method == "DELETE" {
		return tree, r.checkDelete(tree)
	}
	return tree, checkObject(tree, a, res, named(parts), r.ContentType)
}

// deleteFields are the fields of DeleteOptions (meta/v1).
var deleteFields = set(strings.Fields("kind apiVersion gracePeriodSeconds preconditions orphanDependents propagationPolicy dryRun ignoreStoreReadErrorWithClusterBreakingPotential"))

// checkDelete holds the body of a delete to what it can be. An API server that
// gets one does not look at the query.
func (r *Request) checkDelete(tree *node) error {
	if err := checkDeleteOptions(tree); err != nil {
		return err
	}
	for name := range deleting {
		if r.Query.Has(name) {
			return bad("the delete has a body, so the parameter %q would not count", name).WithHint("write it in the body")
		}
	}
	return nil
}

func checkDeleteOptions(tree *node) error {
	if !tree.is(objectNode) {
		return bad("the delete options are not an object")
	}
	for _, key := range tree.keys {
		if !deleteFields[key] {
			return bad("%.60q is not a field of DeleteOptions", key).WithHint("known are " + strings.Join(sortedNames(deleteFields), ", "))
		}
	}
	if k := tree.get("kind"); k != nil && (k.kind != stringNode || k.text != "DeleteOptions") {
		return bad("the body of a delete is not of the kind DeleteOptions")
	}
	if v := tree.get("apiVersion"); v != nil && v.kind != stringNode {
		return bad("apiVersion is not text")
	}
	p := tree.get("preconditions")
	if p == nil || p.kind == nullNode {
		return nil
	}
	if p.kind != objectNode {
		return bad("preconditions is not an object")
	}
	for i, key := range p.keys {
		if key != "uid" && key != "resourceVersion" || p.list[i].kind != stringNode {
			return bad("%.60q in preconditions is not uid or resourceVersion, as text", key)
		}
	}
	return nil
}

// checkObject wants the body to be about what the path is about.
func checkObject(tree *node, a *Attributes, res *resource, named bool, mediaType string) error {
	if err := checkForm(tree, a, res); err != nil {
		return err
	}
	meta := tree.get("metadata")
	if meta == nil {
		return nil
	}
	if meta.kind != objectNode {
		return bad("metadata is not an object")
	}
	if mediaType == typeStrategic {
		for _, key := range slices.Concat(tree.keys, meta.keys) {
			if drops[key] {
				return bad("a patch may not replace the whole object or its metadata (%s)", clip(key)).WithHint("patch the fields that are meant")
			}
		}
	}
	for _, key := range []string{"name", "generateName", "namespace"} {
		v := meta.get(key)
		if v == nil {
			continue
		}
		if v.kind != stringNode {
			return bad("metadata.%s is not text", key)
		}
		want := ""
		switch {
		case v.text == "":
			continue
		case key == "namespace":
			want = a.namespace()
		case key == "generateName":
			if !objectName(v.text) {
				return bad("metadata.generateName %.80q cannot begin a name", v.text)
			}
			continue
		case named:
			want = a.Name
		case !objectName(v.text):
			return bad("metadata.name %.80q is not a name", v.text)
		default:
			continue
		}
		if v.text != want {
			return bad("metadata.%s is %.80q in the body, and %.80q in the path", key, v.text, want).WithHint("write the same in both")
		}
	}
	return nil
}

// drops are directives of a strategic merge patch that drop what the patch does
// not write.
var drops = set([]string{"$patch", "$retainKeys"})

// checkForm wants apiVersion and kind, where they are written, to be those of
// the path.
func checkForm(tree *node, a *Attributes, res *resource) error {
	for _, key := range []string{"apiVersion", "kind"} {
		if v := tree.get(key); v != nil && v.kind != stringNode {
			return bad("%s is not text", key)
		}
	}
	version, kind := tree.get("apiVersion"), tree.get("kind")
	list := forms(a, res)
	if list == nil {
		// A resource that is not in the table: its kind is not known.
		if version != nil && version.text != "" && version.text != a.apiVersion() {
			return bad("apiVersion is %.80q in the body, and %.80q in the path", version.text, a.apiVersion()).WithHint("write the same in both")
		}
		return nil
	}
	for _, f := range list {
		if (version == nil || version.text == "" || version.text == f.apiVersion) && (kind == nil || kind.text == "" || kind.text == f.kind) {
			return nil
		}
	}
	got := func(n *node) string {
		if n == nil {
			return "no value"
		}
		return clip(n.text)
	}
	return bad("the body is of apiVersion %s and kind %s, and the path is about %s %s", got(version), got(kind), list[0].apiVersion, list[0].kind).WithHint("write the same in both")
}

// maxOperations bounds a JSON patch: the API server's own bound.
const maxOperations = 10_000

// operation is one step of a JSON patch (RFC 6902), its paths taken apart.
type operation struct {
	op         string
	path, from []string
	value      *node // nil where there is none
}

// operationFields are the members of an operation.
var operationFields = set(strings.Fields("op path from value"))

// operations reads a JSON patch.
func operations(tree *node) ([]operation, error) {
	if !tree.is(arrayNode) {
		return nil, bad("a JSON patch is an array of operations")
	}
	if len(tree.list) > maxOperations {
		return nil, refuse(statusTooLarge, "", "the patch has %d operations; the most is %d", len(tree.list), maxOperations)
	}
	var out []operation
	for i, n := range tree.list {
		o, err := readOperation(n)
		if err != nil {
			return nil, bad("operation %d of the patch: %s", i, err.Reason)
		}
		out = append(out, o)
	}
	return out, nil
}

func readOperation(n *node) (operation, *Refusal) {
	var o operation
	if n.kind != objectNode {
		return o, bad("it is not an object")
	}
	for _, key := range n.keys {
		if !operationFields[key] {
			return o, bad("%.60q is not a member of an operation", key)
		}
	}
	op := n.get("op")
	if !op.is(stringNode) {
		return o, bad("it has no op")
	}
	o.op, o.value = op.text, n.get("value")
	var err *Refusal
	if o.path, err = pointer(n.get("path"), "path"); err != nil {
		return o, err
	}
	switch o.op {
	case "add", "replace", "test":
		if o.value == nil {
			return o, bad("it has no value")
		}
	case "remove":
	case "move", "copy":
		if o.from, err = pointer(n.get("from"), "from"); err != nil {
			return o, err
		}
	default:
		return o, bad("there is no op %.20q", o.op)
	}
	return o, nil
}

// pointer takes a JSON pointer (RFC 6901) apart. Libraries read one that does
// not begin with a slash as if its first part were not there.
func pointer(n *node, what string) ([]string, *Refusal) {
	switch {
	case !n.is(stringNode):
		return nil, bad("it has no %s", what)
	case n.text == "":
		return nil, nil
	case n.text[0] != '/':
		return nil, bad("%s %.80q does not begin with a slash", what, n.text)
	}
	parts := strings.Split(n.text[1:], "/")
	for i, p := range parts {
		for at := strings.IndexByte(p, '~'); at >= 0; {
			if at+1 == len(p) || p[at+1] != '0' && p[at+1] != '1' {
				return nil, bad("%s %.80q holds a ~ that is not ~0 or ~1", what, n.text)
			}
			next := strings.IndexByte(p[at+1:], '~')
			if next < 0 {
				break
			}
			at += 1 + next
		}
		parts[i] = strings.ReplaceAll(strings.ReplaceAll(p, "~1", "/"), "~0", "~")
	}
	return parts, nil
}

// fixed are the fields that no operation of a patch may write: they say which
// object this is.
var fixed = [][]string{{"apiVersion"}, {"kind"}, {"metadata", "name"}, {"metadata", "namespace"}, {"metadata", "uid"}, {"metadata", "generateName"}}

// checkOperations refuses a JSON patch that would write the name of the object,
// or replace what the name stands in; and one that would carry a value to where
// it is shown, or tell whether a value of a Secret is as somebody guesses.
func checkOperations(tree *node, secret bool) error {
	list, err := operations(tree)
	if err != nil {
		return err
	}
	for i, o := range list {
		switch {
		case secret && (o.op == "copy" || o.op == "move" || o.op == "test" && !versioned(o.path)):
			return refuse(statusForbidden, "use add, replace and remove", "operation %d of the patch: %s is not let through for a Secret, whose values it could show", i, o.op)
		case (o.op == "copy" || o.op == "move") && prefix(o.path, []string{"metadata"}) && !sameMap(o.path, o.from):
			return refuse(statusForbidden, "write the value with add or replace", "operation %d of the patch may not %s what stands elsewhere into /metadata", i, o.op)
		case o.op == "test":
			continue
		}
		writes := [][]string{o.path}
		if o.op == "move" {
			writes = append(writes, o.from)
		}
		for _, path := range writes {
			for _, f := range fixed {
				if prefix(path, f) || prefix(f, path) {
					return bad("operation %d of the patch may not write /%s", i, clip(strings.Join(path, "/"))).WithHint("patch the fields that are meant")
				}
			}
		}
	}
	return nil
}

// Carries reports whether the request is a JSON patch that copies or moves what
// the object has: a value could come to where it is not known for what it is.
func (r *Request) Carries() bool {
	if r.ContentType != typeJSONPatch {
		return false
	}
	tree, err := readJSON(r.Body)
	if err != nil {
		return true
	}
	list, err := operations(tree)
	if err != nil {
		return true
	}
	for _, o := range list {
		if o.op == "copy" || o.op == "move" {
			return true
		}
	}
	return false
}

// versioned reports whether a pointer is to what tells one state of an object
// from another.
func versioned(path []string) bool {
	return len(path) == 2 && path[0] == "metadata" && (path[1] == "uid" || path[1] == "resourceVersion" || path[1] == "generation")
}

// sameMap reports whether two pointers are to labels, or to annotations, both.
func sameMap(a, b []string) bool {
	return len(a) == 3 && len(b) == 3 && b[0] == "metadata" && a[1] == b[1] && (a[1] == "labels" || a[1] == "annotations")
}

// prefix reports whether path begins with all of p.
func prefix(path, p []string) bool {
	if len(p) > len(path) {
		return false
	}
	for i := range p {
		if p[i] != path[i] {
			return false
		}
	}
	return true
}
