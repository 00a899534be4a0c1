// Command bench measures doorward beside the same server reached directly and
// through pgbouncer, interleaved in one run, so that the ratios hold whatever
// the machine is doing:
//
//	make bench
//	make bench BENCH='-seconds 2 -runs 3'
//
// It prints a table and writes bench/results.json. It measures; it must never
// choose which runs to keep.
package main
