// Package apitest builds, for tests, a server of the API with the real rooms
// behind it: store, ledger, reviews, identity and recordings in a temporary
// folder, served over TLS on loopback. Only what the gate would give (live
// sessions, targets) is made here.
//
// It must never be imported by anything but tests.
package apitest
