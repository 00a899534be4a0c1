package mask

import (
	"bytes"
	"encoding/base64"
)

// SecretMarker takes the place of every value of a Secret: as it is in
// stringData and annotations, in base64 in data. A write that holds it would
// replace the value of the Secret by it: see [HoldsSecretMarker].
const SecretMarker = "[masked by doorward]"

// SecretMarkerBase64 is [SecretMarker] as it stands in the data of a Secret.
const SecretMarkerBase64 = "W21hc2tlZCBieSBkb29yd2FyZF0="

// HoldsSecretMarker reports whether a request's body holds what a masked
// Secret was shown with: someone read it, changed it and writes it back. Such
// a write must be refused. It looks at the bytes: JSON, YAML and protobuf.
func HoldsSecretMarker(body []byte) bool {
	return bytes.Contains(body, []byte(SecretMarker)) || bytes.Contains(body, []byte(SecretMarkerBase64)) ||
		bytes.Contains(body, []byte(markerTwice))
}

// markerTwice is the marker in the data of a Secret within base64: a Secret
// as a value of a Secret.
var markerTwice = base64.StdEncoding.EncodeToString([]byte(SecretMarkerBase64))

var (
	quotedMarker       = []byte(`"` + SecretMarker + `"`)
	quotedMarkerBase64 = []byte(`"` + SecretMarkerBase64 + `"`)
	quotedMessage      = []byte(`"the API server's message is not shown, for it may quote values of a Secret ` + SecretMarker + `"`)
)

// shownAnnotations are those of a Secret that are known not to hold any of its
// values. The values of all others are not shown: tools keep copies there, as
// JSON, compressed, or as they are (OpenShift's token-secret.value).
var shownAnnotations = map[string]bool{
	"kubernetes.io/created-by":           true,
	"kubernetes.io/description":          false, // free text
	"kubernetes.io/service-account.name": true,
	"kubernetes.io/service-account.uid":  true,
	"meta.helm.sh/release-name":          true,
	"meta.helm.sh/release-namespace":     true,
	"helm.sh/hook":                       true,
	"helm.sh/hook-weight":                true,
	"helm.sh/hook-delete-policy":         true,
	"helm.sh/resource-policy":            true,
	"argocd.argoproj.io/sync-wave":       true,
	"argocd.argoproj.io/sync-options":    true,
	"argocd.argoproj.io/tracking-id":     true,
	"cert-manager.io/alt-names":          true,
	"cert-manager.io/certificate-name":   true,
	"cert-manager.io/common-name":        true,
	"cert-manager.io/ip-sans":            true,
	"cert-manager.io/issuer-group":       true,
	"cert-manager.io/issuer-kind":        true,
	"cert-manager.io/issuer-name":        true,
	"cert-manager.io/uri-sans":           true,
	"openshift.io/token-secret.name":     true,
}

// plainMessage reports whether what the server says about a Secret is one of
// the sentences that hold nothing but names: of Secrets, users, verbs and
// namespaces. All else may quote a value: validation, admission, conversion.
func plainMessage(m []byte) bool {
	if rest, ok := bytes.CutPrefix(m, []byte("Operation cannot be fulfilled on secrets ")); ok {
		rest, ok = cutName(rest)
		return ok && string(rest) == ": the object has been modified; please apply your changes to the latest version and try again"
	}
	rest, ok := bytes.CutPrefix(m, []byte("secrets "))
	if !ok {
		return false
	}
	if after, ok := cutName(rest); ok {
		switch string(after) {
		case " not found", " already exists":
			return true
		}
		rest, ok = bytes.CutPrefix(after, []byte(" is forbidden: User "))
		return ok && plainForbidden(rest)
	}
	rest, ok = bytes.CutPrefix(rest, []byte("is forbidden: User "))
	return ok && plainForbidden(rest)
}

// plainForbidden reads what RBAC says after "User ".
func plainForbidden(m []byte) bool {
	rest, ok := cutQuoted(m, func(b byte) bool { return b > ' ' && b < 0x7f && b != '"' && b != '\\' })
	if !ok {
		return false
	}
	if rest, ok = bytes.CutPrefix(rest, []byte(" cannot ")); !ok {
		return false
	}
	verb := 0
	for verb < len(rest) && isLower(rest[verb]) {
		verb++
	}
	if rest, ok = bytes.CutPrefix(rest[verb:], []byte(` resource "secrets" in API group ""`)); !ok || verb == 0 || verb > 20 {
		return false
	}
	if string(rest) == " at the cluster scope" {
		return true
	}
	if rest, ok = bytes.CutPrefix(rest, []byte(" in the namespace ")); !ok {
		return false
	}
	rest, ok = cutName(rest)
	return ok && len(rest) == 0
}

// maxPlainName bounds a name in a message: of an object, or a user.
const maxPlainName = 253

// cutName takes the name of an object, in quotes, off the front.
func cutName(m []byte) (rest []byte, ok bool) {
	return cutQuoted(m, func(b byte) bool { return isLower(b) || isDigit(b) || b == '-' || b == '.' })
}

func cutQuoted(m []byte, of func(byte) bool) (rest []byte, ok bool) {
	if len(m) < 2 || m[0] != '"' {
		return m, false
	}
	i := 1
	for i < len(m) && of(m[i]) {
		i++
	}
	if i == 1 || i-1 > maxPlainName || i == len(m) || m[i] != '"' {
		return m, false
	}
	return m[i+1:], true
}
