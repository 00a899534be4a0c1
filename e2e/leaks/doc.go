// Command leaks runs the masking kit's leak and oracle cases against a real
// PostgreSQL through doorward:
//
//	go run ./e2e/leaks [--blind] [FILE]
//
// With --blind the values have formats that no detector knows, so that only
// what is known of columns can protect them.
package main
