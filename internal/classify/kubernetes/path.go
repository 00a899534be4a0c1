package kubernetes

import (
	"strings"
)

// checkPath wants a path that every server and every rule reads in one way.
func checkPath(p string) error {
	const plain = "names, namespaces and resources of Kubernetes need no encoding: write them as they are"
	switch {
	case p == "" || p[0] != '/':
		return bad("the target %.80q does not begin with a slash", p).WithHint("only the path and the query stand there, as in /api/v1/namespaces/dev/pods")
	case len(p) > maxPath:
		return bad("the path has %d bytes; the most is %d", len(p), maxPath)
	case strings.Contains(p, "%"):
		return bad("the path %.120q is percent-encoded", p).WithHint(plain)
	}
	for i := range len(p) {
		if c := p[i]; !pathByte(c) && c != '/' {
			return bad("the path %.120q holds the byte %q", p, c).WithHint(plain)
		}
	}
	if p == "/" {
		return nil
	}
	segments := strings.Split(p[1:], "/")
	for i, s := range segments {
		switch {
		case s == "." || s == "..":
			return bad("the path %.120q holds %q", p, s).WithHint("write the path that is meant")
		case s == "" && i < len(segments)-1:
			return bad("the path %.120q holds two slashes in a row", p).WithHint("write one")
		case s == "" && !proxyRoot(segments[:i]):
			return bad("the path %.120q ends with a slash", p).WithHint("leave it out")
		}
	}
	return nil
}

// proxyRoot reports whether these are the segments of a path to a proxy, whose
// own paths may end with a slash.
func proxyRoot(segments []string) bool {
	for i, s := range segments {
		if s == "proxy" && i >= 4 {
			return true
		}
	}
	return false
}

func pathByte(c byte) bool {
	return letter(c) || digit(c) || strings.IndexByte("-._~:@+", c) >= 0
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

// Bounds of names (RFC 1123; apimachinery's validation).
const (
	maxLabel = 63
	maxName  = 253
)

// dnsLabel reports whether s can name a namespace or a resource.
func dnsLabel(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !(c >= 'a' && c <= 'z' || digit(c) || c == '-') {
			return false
		}
	}
	return true
}

// dnsSubdomain reports whether s can name an API group.
func dnsSubdomain(s string) bool {
	if len(s) > maxName {
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if !dnsLabel(part) {
			return false
		}
	}
	return true
}

// objectName reports whether s can be the name of an object: what can stand in
// a path, and what no pattern of a policy could take for more.
func objectName(s string) bool {
	if s == "" || len(s) > maxName || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		if !pathByte(s[i]) {
			return false
		}
	}
	return true
}

// checkAttributes holds the parts of a resource's path to what they can be.
func checkAttributes(a *Attributes, parts []string) error {
	switch a.Verb {
	case "watch", "proxy":
		// Of the method GET, watch comes from the query. As a part of the path
		// it is the old way of asking, which reads names and selectors
		// differently.
		if oldPrefix(a.Path, a.Verb) {
			return refuse(statusForbidden, map[string]string{"watch": "ask for the list with ?watch=true", "proxy": "ask for the subresource proxy of the object"}[a.Verb],
				"paths with /%s/ before the resource are not let through", a.Verb)
		}
	}
	switch {
	case a.Group != "" && !dnsSubdomain(a.Group):
		return bad("%.80q is not an API group", a.Group)
	case !dnsLabel(a.Version):
		return bad("%.80q is not an API version", a.Version)
	case a.Namespace != "" && !dnsLabel(a.Namespace):
		return bad("%.80q is not a namespace", a.Namespace).WithHint("namespaces are written in lower case, and compared exactly")
	case !dnsLabel(a.Resource):
		return bad("%.80q is not a resource", a.Resource).WithHint("resources are written in lower case and in the plural, as in pods")
	case a.Subresource != "" && !dnsLabel(a.Subresource):
		return bad("%.80q is not a subresource", a.Subresource)
	case a.Name != "" && !objectName(a.Name):
		return bad("%.80q is not a name", a.Name)
	case len(parts) > 3 && !a.proxied():
		return refuse(statusNotFound, "", "there is nothing below %s", a.kind())
	}
	return nil
}

// oldPrefix reports whether the path has the verb right behind the version.
func oldPrefix(path, verb string) bool {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	at := 2 // /api/v1/watch
	if segments[0] == "apis" {
		at = 3
	}
	return len(segments) > at && segments[at] == verb
}
