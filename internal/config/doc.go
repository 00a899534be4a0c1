// Package config reads the one configuration file: its schema, defaults,
// checks, merging of several files, and watching for changes.
//
// Reading is strict. A file with an unknown key, a wrong type, a rule that
// does not compile or a name that means nothing is refused whole, and every
// problem is told with file, line, what is wrong and what was probably meant.
// The package must never guess what was meant, never show a secret in an error,
// a log line or a marshalled value, and never replace a good configuration by a
// bad one.
package config
