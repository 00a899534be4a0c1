// Package cli is the command line of doorward: one struct a command, parsed by
// kong, each with a Run method that takes an [Env]. Commands talk to a running
// gate only through its HTTP API, and work offline on files where that makes
// sense (tapes, ledger, configuration).
//
// It must never import gate, adapter or upstream, never print a secret except
// where a command exists to hand one out, and never send text that others
// wrote (statements, comments, names) to a terminal without taking the control
// characters out of it.
package cli
