// Command doorward is a Layer 7 gate between AI coding agents and production.
// This package only wires: it is the one place that sees every room, and it
// must never decide anything itself.
package main
