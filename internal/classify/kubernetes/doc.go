// Package kubernetes turns a request to a Kubernetes API server into one text,
// and says what that text would do: [FromHTTP] reads what came in, [Request]
// with Text and its strict inverse [Parse] is what is judged, recorded and
// sent, and [Read] gives the effect.
//
// A request is taken apart by the API server's own rules (RequestInfo, of
// k8s.io/apiserver), and only one way of writing it is let through: nothing is
// percent-encoded, no parameter comes twice, no header changes who asks, and
// the body says the same as the path. Exec is judged as a command on a host is;
// what cannot be named or told for certain is incomplete, which no policy
// allows by default.
//
// The package is pure: the same text gives the same reading. It must never use
// the clock, the network or files, must never decide by the method alone, and
// must never let anything of a request through that is not in its text.
package kubernetes
