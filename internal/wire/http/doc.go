// Package http is a strict codec of HTTP/1.1 for both sides: requests of
// clients and answers of servers in ([Reader]), requests and answers out
// ([AppendRequest], [AppendAnswer]). It knows where a message ends and nothing
// of what it asks for; it must never open a connection, never decide, never
// repair, and never allocate by a declared length before the bytes arrived.
//
// Two parsers that read one message differently are how a request is smuggled
// past a gate. So wherever the standard lets a recipient be lenient, or two
// fields could say two things about the length of a body, the message is
// refused with a [Fault]; and what is accepted reads the same to any parser.
//
// Source: RFC 9112 (HTTP/1.1), RFC 9110 (semantics), RFC 3986 (host and port).
package http
