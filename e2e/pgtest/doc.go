// Package pgtest starts private PostgreSQL servers for tests, benchmarks and
// the demo: on loopback, on a free port, in a folder of their own, under an
// unprivileged user, ended by process id.
//
// It must never touch a server that it did not start.
package pgtest
