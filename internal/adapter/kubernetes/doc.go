// Package kubernetes serves clients of Kubernetes API servers: kubectl, helm,
// k9s and whatever else speaks to one. It ends their HTTP connections, asks the
// gate about each request, and relays what the cluster answers, masked.
//
// A client's connection has as many sessions of the gate as requests are open on
// it at once; each is used again for the next. Streams (exec, attach) end here
// and begin anew at the cluster; every forwarded connection is a session and a
// request of its own.
//
// It must never pass anything on that is not in the text that the gate judged:
// no header, no query, no byte of a body, and no upgraded connection.
package kubernetes
