// Package replay renders a tape: as a timeline for the console, as text for a
// terminal, and as an asciicast. It reads files only, and shows what the
// client was sent; what it shows to terminals can do nothing there.
//
// The package must never write a tape, trust a byte of one (each is checked,
// bounded, and made harmless), or hold a whole session in memory unbounded.
package replay
