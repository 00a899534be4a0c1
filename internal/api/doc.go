// Package api is the HTTP side of doorward: the JSON API under /api/v1 that
// the console and the command line use, sign-in for browsers, the stream of
// live events, health and metrics, and the files of the console itself.
//
// It reaches the rest of the house only through the small interfaces in
// [Deps]. It must never import gate, adapter or upstream, never take an
// identity from anything but a checked credential, never let an agent's
// credential past /api/v1/me, and never show a recording before the event that
// says so is durable.
package api
