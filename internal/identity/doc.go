// Package identity turns credentials into identities: tokens of OIDC identity
// providers for people and workloads, passwords of the built-in local
// provider, and the tokens that doorward issues itself to people, console
// sessions and agents.
//
// What a reader can rely on: the claims that are used are those of the very
// bytes whose signature was checked; a credential that is not understood whole
// is refused; revocation works at once, caches included; the client learns
// only "not signed in" and a reference, the log says which check failed.
//
// What it must never do: decide what an identity may do (policy does), write a
// secret to a log, an error, the store or the ledger, take an identity from
// anything but a checked credential, or let an agent become a person.
package identity
