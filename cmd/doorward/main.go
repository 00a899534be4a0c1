// Command doorward is a Layer 7 gate between AI coding agents and production.
// This package only wires: it is the one place that sees every room.
package main

import (
	"os"

	"github.com/doorward/doorward/internal/cli"
)

func main() {
	os.Exit(cli.Main(&cli.Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Serve: serve, TargetPlan: targetPlan, Reach: reach,
	}, os.Args[1:]))
}
