// Package leakcheck looks for secrets in what a client received, in about
// twenty encodings, and runs the masking kit's leak and oracle cases against
// a real server.
//
// It must never be made to overlook an encoding so that a case passes.
package leakcheck
