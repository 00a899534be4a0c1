// Package e2e proves the product from outside: the real binary, real
// PostgreSQL servers, real clients, and attacks.
//
// A test here fails when a server or client that it needs is missing; it
// never skips. scripts/setup.sh installs what is needed.
package e2e
