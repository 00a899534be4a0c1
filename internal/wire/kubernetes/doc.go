// Package kubernetes turns the protobuf form that a Kubernetes API server and
// its clients may speak into JSON and back: whole messages ([ToJSON],
// [FromJSON]), events of a watch ([EventToJSON], [EventFromJSON]) and the
// frames that events come in ([NextFrame], [AppendFrame]).
//
// JSON is what doorward judges, masks and records; so a message that does not
// say the same in both forms must never be turned: a field that this version of
// the Kubernetes libraries does not know, a kind that they do not have, a value
// that JSON cannot hold. Each of these is an error, and never a silent loss.
//
// The package must know nothing of what a message is for, and must never read
// or write anything but the bytes that it is given.
package kubernetes
