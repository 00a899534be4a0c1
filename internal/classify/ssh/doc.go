// Package ssh turns what an SSH client asks for on a channel into one text,
// and says what that text would do: [Request] with Text and its strict inverse
// [Parse], and [Read].
//
// Commands are read by the package shell, as a login shell gets them: one is
// plain, and its words are the effect, when every usual shell makes the same
// words of it, and a script otherwise. What cannot be understood is incomplete,
// which no policy allows by default.
//
// The package is pure: the same text gives the same reading. It must never use
// the clock, the network or files, and must never change a command's bytes.
package ssh
