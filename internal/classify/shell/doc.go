// Package shell says what a command would do: a text as a login shell gets it
// ([Text]), or a list of words that no shell reads ([Args]).
//
// A text is plain when every usual login shell (sh, bash, zsh, fish, csh)
// makes the same words of it; then its words are the effect. Everything else
// is a script, read with the grammar of bash, and a script is never taken for
// a plain command. A list of words is one command as it stands, unless it
// starts a shell: then what the shell is given to read is a script, whatever
// it looks like, and a shell that reads from elsewhere is a shell.
//
// The package is pure: the same command gives the same reading. It must never
// use the clock, the network or files, must never change a command's bytes,
// and must never call a text plain that a shell might read in another way.
package shell
