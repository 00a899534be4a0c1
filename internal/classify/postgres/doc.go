// Package postgres reads SQL as PostgreSQL does, with PostgreSQL's own grammar
// (libpg_query), and says what a request would do: its verbs, the objects that
// it reaches after name resolution, how many rows a write can touch, and what
// becomes of masked columns.
//
// Everything is by allow-list: a statement kind, node, function, operator,
// type, setting or relation that is not known makes the effect incomplete, an
// execution or an administrative act, and none of these is read-only.
//
// The package is pure: the same text, catalog and environment give the same
// reading. It must never use the clock, the network or files, must never change
// a text, and must never give a reading for a text that does not parse.
package postgres
