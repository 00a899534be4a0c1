// Package gate decides. It is the only package that can make a [Permit], and
// nothing can be written to a production connection without one.
//
// A request walks through [Session.Ask] in one straight line: still welcome →
// judged by policy → held for people where the rule says so → counted against
// its limits → its intent written down → sealed. What comes back walks through
// [Reply]: masked, recorded, and only then released to the client.
//
// The gate reaches identity, reviews, the ledger, recordings and the session
// index through the small ports in ports.go. An error of any of them means that
// nothing goes upstream and nothing is released. The gate must never open a
// connection, parse a wire format, or read a file, and there is no switch that
// makes it fail open.
package gate
