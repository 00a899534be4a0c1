// Package kubecases runs adversarial Kubernetes cases against a real API server
// through doorward, as bytes on a connection, and judges what they did by what
// the API server's own audit log, its objects and its node say.
//
// It decides nothing itself: what a case accepts stands in the case. A case
// with a field or a step that this package does not know fails; it never passes
// silently.
package kubecases
