// Package sshtest starts private SSH servers for tests: OpenSSH's own sshd on
// a loopback port, which keeps what it was really asked to run, and a server
// that misbehaves on purpose.
//
// It knows nothing of the product and must never import a package of it.
package sshtest
