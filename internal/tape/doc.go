// Package tape records sessions: one file a session, made of compressed
// blocks that are chained by SHA-256, so that a missing, changed or exchanged
// block is found. What goes in is what the client got: masked bytes.
//
// The package must never record a byte that was not released through masking,
// never lose a frame in silence (a bound leaves a [doorward.FrameCut] behind,
// an error stops the session), and never overwrite a tape.
package tape
