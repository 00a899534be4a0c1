// Package http serves the clients of internal HTTP services. A service is
// reached by a host name of its own, or as the first part of the path. Each
// request is read whole and strictly (package wire/http; HTTP/2 by net/http),
// brought into one form (package classify/http), judged as that, and written
// anew: nothing of the client's own bytes travels on. Answers are decoded,
// masked by their type, recorded and released; what cannot be masked where
// something is to be masked is not shown.
package http
