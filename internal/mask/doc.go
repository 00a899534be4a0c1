// Package mask hides values on their way to a client. It has two ways to know
// what to hide: rules that name columns, and detection of well-known formats
// (e-mail addresses, card numbers, secrets, ...) inside values and free text.
//
// A masked value keeps its type: what a client asked to decode as a date is
// still a date, in the text or the binary format that was asked for. A value
// whose type this package does not know becomes NULL.
//
// Masking never reads a clock, a file or a network: the same value, rules and
// key give the same answer. It must never let a clear value through because
// something about it was unexpected: what cannot be understood is replaced.
//
// Detection is one hand-written pass over the bytes. It looks at eight bytes
// at a time for the few that can stand in something worth finding, grows a
// candidate from there, and then checks it: checksums, ranges, lengths and
// the words around it. It is the last layer and not the first: a format that
// nobody described is not found (see docs/masking.md).
package mask
