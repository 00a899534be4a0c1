// Package store keeps the state of doorward that must outlive a process:
// reviews and their votes, the index of sessions, credentials that doorward
// issued, revocations, and its own signing keys.
//
// The interfaces ([Reviews], [Sessions], [Credentials], [Keys], together
// [Data]) say what a store must do; [Store] does it with an embedded SQLite
// database (write-ahead log, every commit synchronous). The suite in
// storetest holds any store to the same contract. State moves by
// compare-and-set on rows, so a store of another kind can take its place.
//
// What it must never do: decide anything (who may vote, what is allowed),
// keep a secret in clear (tokens come as SHA-256, signing keys are sealed with
// a key file that lies beside the database), or report a write as done before
// it is on disk.
package store
