// Package postgres serves clients that speak the PostgreSQL protocol (3.0 and
// 3.2). It keeps both directions in a strict state machine: client messages are
// collected up to a Sync, a Flush or a Query, judged as one request by the
// gate, and sent as the bytes of its permit; the answer is followed message by
// message against what must come, masked where the plan says so, and released
// through the gate. A message that is unknown, or known but not due, closes the
// session.
//
// One goroutine serves a session, both directions: the protocol is half-duplex
// between Syncs, and a second goroutine would only cost a hand-over a message.
//
// The package must never decide, never dial, and never write to the client or
// to the target but through the gate's Session and Reply and upstream's Conn.
package postgres
