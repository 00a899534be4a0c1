// Package postgres is the codec of the PostgreSQL frontend/backend protocol,
// versions 3.0 and 3.2: frames in, frames out, bytes only. It knows how a
// message is laid out and nothing of what it means for anyone's data; it must
// never open a connection, never decide, and never allocate by a declared
// length before the bytes arrived.
//
// Source: https://www.postgresql.org/docs/current/protocol.html
package postgres
