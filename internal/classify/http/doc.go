// Package http turns a request to an internal HTTP service into one text, and
// says what that text would do: [FromHTTP] reads what came in, [Request] with
// Text and its strict inverse [Parse] is what is judged, recorded and sent, and
// [Read] gives the effect.
//
// What a service does with a request is not known here; which service reads it,
// and with which parser, neither. So there is one way of writing a request: the
// path is decoded once and has one meaning for every router, the query is
// encoded anew, of the headers only those on a list are sent on, and the method
// is the one in the request line. What routers, frameworks and servers are known
// to read in two ways is refused, with what to write instead.
//
// The effect names one object, the method and the path: "GET /api/v1/orders/17",
// of the kind path. Policies list them with globs, in which * also stands for
// slashes: path:GET /api/v1/orders/*. Whatever else the request says is there
// for conditions, as http.query or http.body.
//
// The package is pure: the same text gives the same reading. It must never use
// the clock, the network or files, must never decode anything twice, and must
// never let anything of a request through that is not in its text.
package http
