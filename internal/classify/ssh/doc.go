// Package ssh turns what an SSH client asks for on a channel into one text,
// and says what that text would do: [Request] with Text and its strict inverse
// [Parse], and [Read].
//
// A command is plain when every usual login shell (sh, bash, zsh, fish, csh)
// makes the same words of it; then its words are the effect. Everything else
// is a script, read with the grammar of bash, and a script is never taken for
// a plain command. What cannot be understood is incomplete, which no policy
// allows by default.
//
// The package is pure: the same text gives the same reading. It must never use
// the clock, the network or files, must never change a command's bytes, and
// must never call a command plain that a shell might read in another way.
package ssh
