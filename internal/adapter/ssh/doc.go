// Package ssh serves SSH clients: it ends their connections, asks the gate
// about each thing that a channel wants done, and relays what the target
// answers. Every channel is a session of the gate with a tape of its own.
//
// It must never pass anything on that the gate did not judge: environment,
// terminal and command are one request, each file operation and each forwarded
// connection is one, and whatever else SSH can ask for is refused and recorded.
package ssh
